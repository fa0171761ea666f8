"""The replicated channel between ordinary processes."""

import multiprocessing
import os
import signal
import time

import pytest

from scout.ring.channel import Channel
from scout.ring.errors import ScoutError

fork = multiprocessing.get_context("fork")


def drain(replica, count, results):
    got = []
    while len(got) < count:
        request = replica.receive()
        if request is None:
            time.sleep(0)
            continue
        got.append(request)
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
        assert channel.send(number.to_bytes(8, "big"), timeout=30)
    received = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    for got in received:
        assert [int.from_bytes(payload, "big") for payload, _ in got] == list(range(count))
    primaries = [sum(got[number][1] for got in received) for number in range(count)]
    assert primaries == [1] * count
    assert channel.heads() == [count] * replicas


def test_a_full_channel_refuses_and_a_burial_frees_it():
    channel = Channel(8, 8, 2)
    living = channel.replica(0)
    sent = 0
    while channel.send(bytes([sent]), timeout=0.01):
        sent += 1
    assert sent == 8
    assert [living.receive() for _ in range(8)] == [(bytes([n]), True) for n in range(8)]
    assert not channel.send(b"x", timeout=0.01)  # replica 1 has not let go
    assert channel.bury(1) == 8
    assert channel.send(b"x", timeout=0.01)
    assert living.receive() == (b"x", True)


def test_a_killed_replica_does_not_stop_the_channel():
    channel = Channel(16, 8, 2)
    forever = fork.Process(target=drain, args=(channel.replica(1), 10**9, None))
    forever.start()
    living = channel.replica(0)
    for number in range(100):
        assert channel.send(bytes([number]), timeout=5)
        while living.receive() is None:
            pass
    os.kill(forever.pid, signal.SIGKILL)
    forever.join()
    channel.bury(1)
    for number in range(100):
        assert channel.send(bytes([number]), timeout=1)
        while (request := living.receive()) is None:
            pass
        assert request[0] == bytes([number])


@pytest.mark.parametrize("arguments", [(7, 8, 1), (8, 8, 0), (8, 8, 32)])
def test_bad_arguments(arguments):
    with pytest.raises(ScoutError):
        Channel(*arguments)


def test_too_long_a_payload():
    with pytest.raises(ScoutError, match="9 bytes"):
        Channel(8, 8, 1).send(bytes(9))
