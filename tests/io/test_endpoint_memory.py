"""The memory that applications and the stack share: rings both ways, deaths, and applications that write nonsense."""

import ctypes
import os
import random
from collections.abc import Iterator

import numpy as np
import pytest
from endpoint_bench import APPLICATION, MINE, OTHER, RING, THEIRS, Bench, collect_once

from scout.io.channels.collected import COLLECTOR
from scout.io.endpoints.collect import NEVER
from scout.io.endpoints.memory import ARMED, DOORBELL, RINGS, TAIL
from scout.io.endpoints.message import BIND, HEADER, LONGEST_DATA, ROW
from scout.ring.layout import LOCK
from scout.ring.segment import LINE


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.port.close()


def test_requests_arrive_once_and_in_order_also_around_the_end_of_the_ring(bench: Bench) -> None:
    sizes = [0, 1, 7, 8, 1000, 40_000, 65_000, 65_507, 3]
    for turn in range(5):
        for size in sizes:
            data = bytes([turn * 16 + size & 0xFF]) * size
            assert bench.ask(data)
            assert bench.collect() == [data]
    assert bench.collect() == []


def test_a_full_ring_refuses_requests_until_they_are_collected(bench: Bench) -> None:
    asked = 0
    while bench.ask(bytes(1000)):
        asked += 1
    assert asked == RING // (16 + HEADER + 1000)
    assert len(bench.collect()) == bench.feed.ring["batch"][0]  # and the doorbell is still rung
    while bench.collect():
        pass
    assert bench.ask(b"again") and bench.collect() == [b"again"]


def test_requests_that_an_application_may_not_make_are_left_out(bench: Bench) -> None:
    for wrong in ({"kind": BIND}, {"socket": THEIRS}, {"socket": MINE + (1 << 16)}, {"socket": 0xFFFF}):
        bench.ask(b"wrong", **wrong)
    bench.ask(b"right")
    bench.ask(b"the other", socket=THEIRS, application=OTHER)
    assert bench.collect() == [b"right", b"the other"]
    assert bench.feed.ring["bad_requests"][0] == 4


def test_the_bell_is_rung_once_until_the_replicas_look(bench: Bench) -> None:
    for _ in range(3):
        bench.ask(b"x")
    assert os.eventfd_read(bench.memory.bell) == 1
    bench.collect()
    bench.ask(b"x")
    assert os.eventfd_read(bench.memory.bell) == 1


@pytest.mark.parametrize("published", [True, False])
def test_of_a_collector_that_dies_no_request_is_lost_or_doubled(bench: Bench, published: bool) -> None:
    for number in range(3):
        bench.ask(b"%d" % number)
    consumed, feed = bench.memory.consumed, bench.feed.ring
    before = int(consumed[APPLICATION])
    if published:  # it died when the requests were in the channel, and it had not noted that it had taken them
        assert len(bench.collect()) == 3
        feed["intent_tail"], feed["intent_producer"] = bench.feed.sent, APPLICATION
        feed["intent_consumed"] = consumed[APPLICATION]
        consumed[APPLICATION] = before
        bench.memory.ring(APPLICATION)
    else:
        feed["intent_tail"], feed["intent_producer"] = bench.feed.sent + 3, APPLICATION
        feed["intent_consumed"] = before + 3 * 72
    ctypes.c_int64.from_address(int(feed["words"][0]) + LINE * LOCK).value = COLLECTOR + 1
    assert bench.collect() == []  # the dead one has the lock
    bench.feed.resume(0, bench.feed.sent, 0)
    assert bench.collect() == ([] if published else [b"0", b"1", b"2"])
    assert feed["intent_tail"][0] == NEVER


def test_a_collector_that_dies_before_it_looks_leaves_the_doorbell_rung(bench: Bench) -> None:
    bench.ask(b"x")
    place = bench.memory.offset_of_application(APPLICATION) + DOORBELL
    bench.memory.bytes[place] = 0  # it had silenced the doorbell, and read the bell,
    os.eventfd_read(bench.memory.bell)
    ctypes.c_int64.from_address(int(bench.feed.ring["words"][0]) + LINE * LOCK).value = COLLECTOR + 1
    bench.feed.resume(0, bench.feed.sent, 0)
    assert os.eventfd_read(bench.memory.bell)  # replicas that sleep wake
    assert bench.collect() == [b"x"]


def test_a_replica_that_dies_before_it_wakes_an_application_leaves_that_to_its_successor(bench: Bench) -> None:
    bench.deliver(b"x", replica=1, flushes=False)
    armed = bench.memory.offset_of_socket(MINE & ROW) + ARMED
    bench.memory.bytes[armed : armed + 8] = 0
    assert not bench.readable()
    bench.port.resume(1)
    assert bench.readable() and bench.take() == b"x" and not bench.readable()


def test_an_application_cannot_make_the_memory_shorter(bench: Bench) -> None:
    with pytest.raises(PermissionError):
        os.truncate(bench.memory.file, 0)


def test_messages_are_merged_by_their_numbers(bench: Bench) -> None:
    for replica, number in ((2, 5), (0, 1), (1, 3), (0, 4), (2, 6), (1, 7)):
        bench.deliver(b"%d" % number, replica, number)
    assert [bench.take() for _ in range(7)] == [b"1", b"3", b"4", b"5", b"6", b"7", None]


def test_messages_of_all_sizes_come_whole_also_around_the_end_of_the_ring(bench: Bench) -> None:
    for turn in range(5):
        for size in (0, 1, 451, 452, 453, 1472, 40_000, 65_507):
            data = bytes(index + turn & 0xFF for index in range(size))
            bench.deliver(data)
            assert bench.take() == data
    assert bench.take() is None


def test_messages_without_room_are_counted_and_the_others_are_whole(bench: Bench) -> None:
    sent = 0
    while not bench.port.transmitted()["socket-full"]:
        bench.deliver(bytes([sent & 0xFF]) * 5000)
        sent += 1
    for number in range(sent - 1):
        assert bench.take() == bytes([number & 0xFF]) * 5000
    assert bench.take() is None
    bench.deliver(b"room again")
    assert bench.take() == b"room again"
    assert bench.port.transmitted() == {
        "sent": sent,
        "made": 0,
        "socket-full": 1,
        "socket-closed": 0,
        "requests-full": 0,
    }


def test_messages_to_a_socket_that_is_closed_are_counted(bench: Bench) -> None:
    bench.deliver(b"x", socket=MINE + (1 << 16))
    bench.deliver(b"x", socket=0xFFFF)
    assert bench.take() is None and bench.port.transmitted()["socket-closed"] == 2


def test_a_socket_is_readable_as_long_as_messages_wait(bench: Bench) -> None:
    assert not bench.readable()
    bench.deliver(b"1", flushes=False)
    bench.deliver(b"2")
    assert bench.readable() and not bench.readable(THEIRS)
    assert bench.take() == b"1" and bench.readable()
    assert bench.take() == b"2" and not bench.readable()
    bench.deliver(b"3", replica=1)
    assert bench.readable() and bench.take() == b"3" and bench.take() is None and not bench.readable()


@pytest.mark.parametrize("seed", range(20))
def test_nonsense_of_one_application_harms_nobody_else(bench: Bench, seed: int) -> None:
    """Random bytes wherever an application can write: the stack neither fails nor writes elsewhere."""
    chance = random.Random(seed)
    memory, size = bench.memory, bench.memory.sizes
    mine = [
        (memory.offset_of_application(APPLICATION), size.application_bytes),
        (memory.offset_of_socket(MINE & ROW), size.socket_bytes),
    ]
    words = [0, 1, -1, 8, RING, RING + 8, -RING, 1 << 31, 1 << 62, -(1 << 62), HEADER, HEADER + LONGEST_DATA + 1]
    for _ in range(200):
        start, _ = chance.choice(mine)
        offset = start + 8 * chance.choice([*range(100), *range(RINGS // 8, RINGS // 8 + 100)])
        memory.bytes[offset : offset + 8].view(np.int64)[0] = chance.choice([*words, chance.getrandbits(62)])
        if chance.random() < 0.5:
            tail = start + TAIL
            memory.bytes[tail : tail + 8].view(np.int64)[0] = chance.choice(
                [*words, int(memory.consumed[APPLICATION]) + 64]
            )
        memory.bytes[mine[0][0] + DOORBELL] = 1
        bench.collect()
        bench.deliver(bytes(chance.randrange(3000)), replica=chance.randrange(3))
        word = b"%d" % chance.getrandbits(30)
        assert bench.ask(word, socket=THEIRS, application=OTHER)
        assert word in bench.collect()
        bench.deliver(word, socket=THEIRS)
        assert bench.take(THEIRS) == word


def test_a_ring_that_ends_at_the_greatest_number_is_collected_to_its_end(bench: Bench) -> None:
    """Its entries say to go on at its beginning, for ever."""
    area = bench.area(APPLICATION)
    for skip in (0, RING - 8):
        ctypes.c_int64.from_address(area + RINGS + skip).value = -1
    for _ in range(3):
        ctypes.c_int64.from_address(area + TAIL).value = (1 << 63) - 1
        bench.memory.ring(APPLICATION)
        assert bench.collect() == []
    bench.ask(b"the other", socket=THEIRS, application=OTHER)
    assert bench.collect() == [b"the other"]


def test_an_application_that_fills_the_channel_does_not_keep_others_out(bench: Bench) -> None:
    for turn in range(10):
        while bench.ask(b"flood"):
            pass
        if turn == 3:
            bench.ask(b"the other", socket=THEIRS, application=OTHER)
        collect_once(bench.feed.ring)
        bench.feed.cursors["head"][0] = bench.feed.cursors["floor"][0] = bench.feed.sent - 48
    assert not bench.memory.pending(OTHER)
