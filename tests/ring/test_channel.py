"""The replicated channel between ordinary processes."""

import multiprocessing
import os
import signal
import time
from collections import Counter

import numpy as np
import pytest

from scout.ring.channel import Channel
from scout.ring.errors import ScoutError
from scout.ring.segment import shared
from scout.ring.snapshot import Snapshots

fork = multiprocessing.get_context("fork")


def drain(replica, count, results):
    got = []
    while len(got) < count:
        request = replica.receive()
        if request is None:
            time.sleep(0)
            continue
        got.append(request)
    replica.release()
    results.put(got)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_every_replica_sees_all_in_order_and_each_request_has_one_primary(replicas):
    count = 5_000
    channel = Channel(64, 16, replicas)
    results = fork.Queue()
    processes = [fork.Process(target=drain, args=(channel.replica(n), count, results)) for n in range(replicas)]
    for process in processes:
        process.start()
    for number in range(count):
        assert channel.send(number.to_bytes(8, "big"), timeout=600)
    received = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    for got in received:
        assert [int.from_bytes(payload, "big") for payload, _ in got] == list(range(count))
    primaries = [sum(got[number][1] for got in received) for number in range(count)]
    assert primaries == [1] * count
    assert channel.heads() == dict.fromkeys(range(replicas), count)


def everything(replica):
    got = []
    while (request := replica.receive()) is not None:
        got.append(request)
    return got


def test_a_full_channel_refuses_and_who_retires_frees_it():
    channel = Channel(8, 8, 2, full="drop")
    living = channel.replica(0)
    sent = 0
    while channel.send(bytes([sent])):
        sent += 1
    assert sent == 8 and channel.refused == 1
    assert everything(living) == [(bytes([n]), True) for n in range(8)]
    assert not channel.send(b"x")  # replica 1 has not let go
    assert channel.retire(1) == 0
    assert channel.send(b"x")
    assert everything(living) == [(b"x", True)]


def test_a_successor_receives_what_a_killed_replica_had_not_let_go_of():
    channel = Channel(16, 8, 2)
    for number in range(4):
        assert channel.send(bytes([number]))

    def die():
        replica = channel.replica(1)
        assert replica.batch().primary
        os.kill(os.getpid(), signal.SIGKILL)

    process = fork.Process(target=die)
    process.start()
    process.join()
    living = channel.replica(0)
    assert everything(living) == [(bytes([n]), False) for n in range(4)]
    assert channel.unfinished(1) == 4
    assert everything(channel.replica(1)) == [(bytes([n]), True) for n in range(4)]


def test_records_come_as_arrays_until_the_channel_is_closed():
    price = np.dtype([("item", "i8"), ("cents", "i4")])
    prices = np.zeros(100, price)
    prices["item"], prices["cents"] = np.arange(100), 5
    channel = Channel(128, price.itemsize, 2, batch=16)
    assert channel.send_records(prices) == 100
    channel.close()
    received = list(channel.replica(0).records(price))
    assert all(primary and len(some) == 16 for some, primary in received[:6])
    assert (np.concatenate([some for some, _ in received]) == prices).all()
    assert not any(primary for _, primary in channel.replica(1).records(price))
    assert channel.heads() == {0: 100, 1: 100}


@pytest.mark.parametrize("arguments", [(7, 8, 1), (8, 8, 32), (8, 8, 1, "chance"), (8, 8, 1, "modulo", 1, "lap")])
def test_bad_arguments(arguments):
    with pytest.raises(ScoutError):
        Channel(*arguments)


def test_too_long_a_payload():
    with pytest.raises(ScoutError, match="9 bytes"):
        Channel(8, 8, 1).send(bytes(9))


@pytest.mark.parametrize("policy", ["claim", "refcount", "modulo"])
def test_replicas_join_and_leave_and_each_request_has_one_primary(policy):
    channel = Channel(64, 8, 2, policy=policy, batch=4)
    ends = {number: channel.replica(number) for number in range(2)}
    primaries = Counter()

    def work(number, most=1 << 30):
        for _ in range(most):
            if (request := ends[number].receive()) is None:
                break
            primaries[request[0]] += request[1]

    for number in range(200):
        assert channel.send(number.to_bytes(8, "big"), timeout=0)
        if number == 50:
            ends[2] = channel.join()
        if number == 100:
            ends[0].leave()
        if number % 7 == 0:
            for each in ends:
                work(each, 5 + number % 11)
    for each in ends:
        work(each)
        ends[each].release()
    assert ends[0].gone
    assert channel.taking_part == [1, 2]
    assert len(primaries) == 200 and set(primaries.values()) == {1}


def test_joining_at_a_place_that_is_gone_is_refused():
    channel = Channel(8, 8, 1)
    end = channel.replica(0)
    for number in range(40):
        assert channel.send(bytes([number]))
        everything(end)
    with pytest.raises(ScoutError, match="joining at request 8: it is no longer"):
        channel.join(1, place=8)
    assert channel.taking_part == [0]


def test_several_producers_make_one_order():
    channel = Channel(64, 16, 2, producers=3)
    count = 2_000
    results = fork.Queue()

    def produce(producer):
        for number in range(count):
            assert channel.send(bytes([producer]) + number.to_bytes(8, "big"), 30, producer)

    receivers = [fork.Process(target=drain, args=(channel.replica(n), 3 * count, results)) for n in range(2)]
    producers = [fork.Process(target=produce, args=(n,)) for n in range(3)]
    for process in receivers + producers:
        process.start()
    one, other = ([payload for payload, _ in results.get(timeout=600)] for _ in range(2))
    for process in receivers + producers:
        process.join()
    assert one == other
    for producer in range(3):
        own = [int.from_bytes(payload[1:], "big") for payload in one if payload[0] == producer]
        assert own == list(range(count))


def test_the_turn_of_a_dead_producer_is_taken_from_it():
    channel = Channel(8, 8, 1, producers=2)
    channel._words[2, 0] = 2  # as if producer 1 had died with it
    assert not channel.send(b"x", timeout=0, producer=0)  # refused: the caller may be the one that is to free the lock
    assert not channel.free_lock(0)
    assert channel.free_lock(1)
    assert channel.send(b"x", producer=0)


def test_a_laggard_is_overtaken_and_rolls_forward_from_anothers_snapshot():
    channel = Channel(16, 8, 2, full="lap", interval=4, batch=4)
    sums = [shared(1, np.int64) for _ in range(2)]
    snapshots = Snapshots()
    for replica in range(2):
        snapshots.enlist(replica, [sums[replica]])
    fast, slow = channel.replica(0), channel.replica(1)

    def work(end, replica):
        while (batch := end.batch()) is not None:
            sums[replica] += sum(request[0] for request in batch.requests)
            end.release()
            if end.head % 4 == 0:
                snapshots.save(replica, end.head)

    for number in range(100):
        assert channel.send(bytes([number]))  # never waits for the one that lags
        work(fast, 0)
    with pytest.raises(ScoutError, match="replica 1 was overtaken"):
        slow.batch()
    place = snapshots.adopt(1, 0)
    assert place == 100 and sums[1][0] == sum(range(100))
    slow = channel.join(1, place)
    for number in range(10):
        assert channel.send(bytes([number]))
    work(slow, 1)
    work(fast, 0)
    assert sums[0][0] == sums[1][0] == sum(range(100)) + sum(range(10))


@pytest.mark.parametrize("wait", ["spin", "yield", "block"])
def test_all_ways_to_wait_see_what_is_sent_later(wait):
    channel = Channel(16, 8, 1, wait=wait)
    results = fork.Queue()

    def collect():
        results.put([payload for payload, _ in channel.replica(0)])

    process = fork.Process(target=collect)
    process.start()
    for number in range(50):
        assert channel.send(bytes([number]), timeout=600)
        if number % 10 == 0:
            time.sleep(0.002)  # long enough for it to fall asleep
    channel.close()
    assert results.get(timeout=600) == [bytes([n]) for n in range(50)]
    process.join()
