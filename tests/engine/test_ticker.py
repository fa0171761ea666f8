"""The supervisor's clock, and the watcher's wait for a death or a call."""

import os
import threading
import time

import numpy as np
import pytest

from scout.domain_loop import CLOCK, WAY
from scout.io.delay import LIVE, RECORDED
from scout.io.host.process import Child
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import LINE, shared
from scout.ticker import STEP, Ticker

ROUNDS = 1 << 20  # steps of more than five hours


@pytest.fixture
def orders():
    made = shared((MOST_REPLICAS, LINE // 8), np.int64)
    made[:, WAY // 8] = LIVE
    return made


@pytest.fixture
def ticker(orders):
    made = Ticker(orders)
    for replica in (0, 1):
        made.enlist(replica)
    return made


def clocks(orders):
    return orders[:3, CLOCK // 8].tolist()


def test_the_clock_advances_by_the_time_that_passes(ticker, orders):
    ticker.tick()
    start, before = clocks(orders)[0], time.monotonic_ns()
    after = before
    while after - before < 1_000_000:
        after = time.monotonic_ns()
    ticker.tick()
    assert clocks(orders)[0] - start >= after - before
    assert clocks(orders)[1] == clocks(orders)[0] and clocks(orders)[2] == 0


def test_the_clock_stands_still_where_packets_come_from_a_recording(ticker, orders):
    ticker.tick()
    before, between = clocks(orders), time.monotonic_ns()
    orders[:, WAY // 8] = RECORDED
    ticker.tick()
    assert clocks(orders) == before
    orders[:, WAY // 8] = LIVE
    ticker.tick()  # the time before does not count
    assert clocks(orders)[0] - before[0] <= time.monotonic_ns() - between


def test_a_replica_that_is_enlisted_later_has_the_clock_of_the_others(ticker, orders):
    ticker.tick()
    ticker.enlist(2)
    ticker.tick()
    assert len(set(clocks(orders))) == 1


def test_the_clock_advances_during_a_wait(ticker, orders):
    ticker.tick()
    before = clocks(orders)[0]
    assert not ticker.wait([], 2)
    assert clocks(orders)[0] - before >= 2 * STEP


def test_a_death_ends_the_wait(ticker):
    listen, end = os.pipe()
    child = Child(os.read, listen, 1, keep=[listen])
    os.close(listen)
    threading.Timer(0.01, os.close, [end]).start()
    assert ticker.wait([child], ROUNDS)
    assert child.join(0)


def test_a_call_ends_the_wait_that_goes_on_or_the_next_one(ticker):
    ticker.call()
    assert ticker.wait([], ROUNDS)
    assert not ticker.wait([], 1)  # once
    threading.Timer(0.01, ticker.call).start()
    assert ticker.wait([], ROUNDS)
