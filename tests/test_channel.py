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
    replica.let_go()
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


@pytest.mark.parametrize("arguments", [(7, 8, 1), (8, 8, 32), (8, 8, 1, "chance"), (8, 8, 1, "modulo", 1, "lap")])
def test_bad_arguments(arguments):
    with pytest.raises(ScoutError):
        Channel(*arguments)


def test_too_long_a_payload():
    with pytest.raises(ScoutError, match="9 bytes"):
        Channel(8, 8, 1).send(bytes(9))
