"""Streams in the memory of applications: segments are placed and become requests, reports raise words of the stack."""

import ctypes
import os
import random
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from endpoint_bench import HEADERS, MINE, STREAM, THEIRS, Bench

from scout.io.channels.collected import COLLECTOR
from scout.io.endpoints.memory import DOORBELL, REPLICA_RING, entry_bytes
from scout.io.endpoints.message import (
    FOLLOWED,
    HEADER,
    HEADER_STRUCT,
    KIND,
    NOT_PLACED,
    NOTE,
    NOTICE,
    PLACED,
    ROW,
    RUN,
    SEGMENT,
)
from scout.io.endpoints.replica_requests import RESERVED
from scout.io.endpoints.stream import (
    ACKNOWLEDGED,
    AWAITED,
    CLOSED,
    ESTABLISHED,
    FREED,
    PHASE,
    PLACING,
    REPORTED,
    placing_of,
)
from scout.io.ports.contract import PortError
from scout.ring.layout import LOCK
from scout.ring.segment import LINE


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.port.close()


def pattern(size: int, first: int = 0) -> bytes:
    return bytes((first + index) * 7 % 251 for index in range(size))


def notes(requests: list[bytes]) -> list[int]:
    return [int.from_bytes(each[NOTE : NOTE + 2]) for each in requests]


def run(request: bytes) -> int:
    return int.from_bytes(request[RUN : RUN + 8])


def lock(bench: Bench, producer: int) -> None:
    ctypes.c_int64.from_address(int(bench.feed.ring["words"][0]) + LINE * LOCK).value = producer + 1 if producer else 0


@pytest.mark.parametrize(("linear", "prepares"), [(0, False), (1, False), (500, False), (500, True), (2000, False)])
def test_a_segment_is_placed_and_becomes_a_request(bench: Bench, linear: int, prepares: bool) -> None:
    for first in range(0, 4 * STREAM, 1500):
        bench.word(FREED)[0] = max(0, first - 700)  # the segment wraps where it has to
        bench.segment(pattern(1500, first), first, min(linear, 1500), prepares=prepares)
        assert bench.received(first, 1500) == pattern(1500, first)
        (request,) = bench.requests()
        assert request[KIND] == SEGMENT and notes([request]) == [PLACED] and request[HEADER:] == HEADERS
        assert int.from_bytes(request[8:16]) == first and run(request) == 1500
    assert bench.word(PLACING)[0] == 0 and bench.port.transmits["writing"][0] == 0


def test_data_that_may_not_be_placed_are_as_if_they_were_lost(bench: Bench) -> None:
    bench.word(FREED)[0] = 100
    before = bench.memory.bytes.copy()
    cases = [(-1, MINE), (100 + STREAM - 9, MINE), (1 << 62, MINE), (0, 0xFFFF), (0, MINE + (1 << 16))]
    for position, socket in cases:
        bench.segment(pattern(10), position, socket=socket)
    bench.segment(b"", 100)
    bench.segment(pattern(10), -1, prepares=True)
    assert notes(bench.requests()) == [NOT_PLACED] * 7
    assert np.array_equal(bench.memory.bytes, before)
    bench.segment(pattern(10), 100 + STREAM - 10)
    assert notes(bench.requests()) == [PLACED]


def test_segments_that_follow_one_another_become_one_request(bench: Bench) -> None:
    for index in range(4):
        bench.segment(pattern(100, 100 * index), 100 * index, serial=7 + index, flushes=index == 3, prepares=index > 1)
    (request,) = bench.requests()
    assert notes([request]) == [PLACED] and int.from_bytes(request[8:16]) == 0 and run(request) == 400
    assert bench.received(0, 400) == pattern(400) and bench.port.transmits["sent"][0] == 4


def test_a_run_ends_with_its_batch_and_with_what_was_not_placed(bench: Bench) -> None:
    bench.segment(pattern(100), 0, serial=7)
    for position, serial in [(100, 8), (200, 9), (300, 11), (-1, 12), (400, 13), (500, 14)]:
        bench.segment(pattern(100), position, serial=serial, flushes=False)
    bench.segment(b"", 600, serial=15, flushes=False)  # an acknowledgement
    bench.segment(pattern(100), 600, serial=16)
    found = bench.requests()
    assert [int.from_bytes(each[8:16], signed=True) for each in found] == [0, 100, 300, -1, 400, 600, 600]
    assert [run(each) for each in found] == [100, 200, 100, 100, 200, 0, 100]


def test_of_segments_without_data_all_but_the_last_one_are_followed(bench: Bench) -> None:
    for socket in (MINE, MINE, THEIRS, MINE, MINE, 0xFFFFFFFF, 0xFFFFFFFF):
        bench.segment(b"", -1, socket=socket, flushes=False)
    bench.segment(pattern(10), 0)
    bench.segment(b"", -1)
    bench.segment(b"", -1, flushes=False)
    bench.segment(pattern(10), 10)
    followed = [note & FOLLOWED != 0 for note in notes(bench.requests())]
    assert followed == [True, False, False, True, False, False, False, False, False, True, False]


def test_segments_without_data_that_follow_one_another_become_one_request(bench: Bench) -> None:
    for position, serial in [(1, 7), (2, 8), (3, 9), (4, 11), (5, 12), (6, 0), (7, 0)]:
        bench.segment(b"", position, serial=serial, flushes=False)
    bench.segment(b"", 8, serial=13)
    bench.segment(b"", 9, serial=14)  # of another batch
    found = bench.requests()
    assert [int.from_bytes(each[8:16]) for each in found] == [3, 5, 6, 7, 8, 9]
    assert [run(each) for each in found] == [2, 1, 0, 0, 0, 0] and bench.port.transmits["sent"][0] == 9


def test_nothing_joins_a_request_of_a_replica_that_died(bench: Bench) -> None:
    bench.segment(pattern(100), 0, serial=7, flushes=False)
    bench.port.leave(0)
    bench.segment(pattern(100), 100, serial=8)
    assert [int.from_bytes(each[8:16]) for each in bench.requests()] == [100]


def test_bytes_that_were_read_are_not_written_again(bench: Bench) -> None:
    bench.segment(bytes([1]) * 100, STREAM)  # in the places of the first 100
    bench.word(FREED)[0] = 60
    bench.requests()
    bench.word(FREED)[0] = STREAM + 50
    bench.segment(bytes([2]) * 100, STREAM)
    assert bench.received(STREAM, 100) == bytes(50) + bytes([2]) * 50
    bench.segment(bytes([3]) * 50, STREAM)
    bench.segment(bytes([3]) * 10, STREAM)
    assert bench.received(STREAM, 100) == bytes(50) + bytes([2]) * 50
    assert notes(bench.requests()) == [PLACED] * 3


def test_a_notice_becomes_a_request_as_it_is(bench: Bench) -> None:
    frame = HEADER_STRUCT.pack(NOTICE, 6, 111, MINE, 1, 2, 3, 4, HEADER + 8 << 16) + bytes(range(8)) + bytes(100)
    bench.leave(frame, 500)
    (request,) = bench.requests()
    assert request[: HEADER - 4] == frame[: HEADER - 4] and request[HEADER:] == bytes(range(8))


def test_requests_of_replicas_come_in_the_order_of_their_batches(bench: Bench) -> None:
    lock(bench, 99)  # somebody else is the producer meanwhile
    for number, replica in enumerate((1, 0, 2, 1, 1, 0)):
        for _ in range(2):
            bench.segment(bytes(8), number * 8, replica=replica, number=number)
    assert bench.requests() == []
    lock(bench, 0)
    bench.segment(bytes(8), 800, number=6)
    found = bench.requests()
    assert [int.from_bytes(each[8:16]) for each in found] == [0, 0, 8, 8, 16, 16, 24, 24, 32, 32, 40, 40, 800]


def test_requests_wait_as_long_as_the_channel_is_full(bench: Bench) -> None:
    for number in range(100):
        bench.segment(b"", 0, number=number)
    found = len(bench.requests())
    assert found == bench.feed.ring["entries"][0]
    while more := len(bench.collect()):
        found += more
    assert found == 100


def test_requests_without_room_are_counted(bench: Bench) -> None:
    lock(bench, 99)
    room = (REPLICA_RING - RESERVED) // entry_bytes.py_func(HEADER + len(HEADERS))
    for _ in range(room + 3):
        bench.segment(bytes(8), 0)
    lost = bench.port.transmitted()["requests-full"]
    assert 3 <= lost <= 5  # an entry does not wrap
    lock(bench, 0)
    got = 0
    while found := len(bench.collect()):
        got += found
    assert got == room + 3 - lost


def test_a_request_that_is_no_header_is_counted(bench: Bench) -> None:
    for end in (0, HEADER - 1, 300):
        bench.leave(HEADER_STRUCT.pack(SEGMENT, 6, 0, MINE, 1, 2, 3, 4, end << 16) + bytes(400), 500)
    assert bench.requests() == [] and bench.port.transmitted()["socket-closed"] == 3


@pytest.mark.parametrize("end", ["resume", "leave"])
def test_the_requests_of_a_replica_that_dies_are_collected_if_it_has_published_them(bench: Bench, end: str) -> None:
    lock(bench, 99)
    bench.segment(b"one", 0, replica=1)
    lock(bench, 0)
    bench.memory.replica_areas[1, DOORBELL] = 0  # another one has silenced it, and died too
    bench.segment(b"two", 3, replica=1, flushes=False)
    getattr(bench.port, end)(1)
    assert os.eventfd_read(bench.memory.bell)  # replicas that sleep wake
    assert bench.collect() == [HEADERS]
    bench.segment(b"two", 3, replica=1)
    assert len(bench.requests()) == 1 and bench.received(0, 6) == b"onetwo"


@pytest.mark.parametrize("published", [True, False])
def test_of_a_collector_that_dies_no_request_of_a_replica_is_lost_or_doubled(bench: Bench, published: bool) -> None:
    feed, producer = bench.feed.ring, int(bench.feed.ring["capacity"][0]) + 2
    before = int(bench.memory.consumed[producer])
    lock(bench, 99)
    bench.segment(b"one", 0, replica=2)
    lock(bench, 0)
    if published:
        assert len(bench.collect()) == 1
        feed["intent_tail"], feed["intent_consumed"] = bench.feed.sent, bench.memory.consumed[producer]
        bench.memory.consumed[producer] = before
    else:
        feed["intent_tail"], feed["intent_consumed"] = bench.feed.sent + 1, before + 100
    feed["intent_producer"] = producer
    lock(bench, COLLECTOR)
    bench.feed.resume(0, bench.feed.sent, 0)
    assert len(bench.collect()) == (0 if published else 1)


def test_a_replica_that_dies_as_it_places_lets_the_application_go_on(bench: Bench) -> None:
    bench.port.transmits["writing"][1] = 1 + (MINE & ROW)
    bench.word(placing_of(1))[0] = 1 + 4000
    bench.port.leave(1)
    assert bench.word(placing_of(1))[0] == 0 and bench.port.transmits["writing"][1] == 0
    assert bench.readable()


def test_a_row_is_cleared_when_nobody_writes_to_it_any_more(bench: Bench) -> None:
    row = MINE & ROW
    bench.memory.numbers[row] = -1
    writing = bench.port.transmits["writing"]
    writing[2] = row + 1
    bench.word(FREED)[0] = 5
    threading.Timer(0.05, lambda: writing.__setitem__(2, 0)).start()
    bench.memory.clear_socket(row, bench.port.tails)
    assert bench.word(FREED)[0] == 0 and writing[2] == 0


def test_a_replica_that_is_stopped_as_it_writes_keeps_the_row(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scout.io.endpoints.memory._PATIENCE", 0.05)
    bench.port.transmits["writing"][2] = 1 + (MINE & ROW)
    with pytest.raises(PortError, match="is it stopped"):
        bench.memory.clear_socket(MINE & ROW, bench.port.tails)


def test_reports_raise_words_and_never_lower_them(bench: Bench) -> None:
    bench.report(10, 20, 1 << 8, 0, 0, 3)
    bench.report(5, 30, 0, 7, 1, 3)
    assert [int(bench.word(each)[0]) for each in REPORTED] == [10, 30, 1 << 8, 7, 1, 3]
    bench.report(1, 2, 3, 4, 5, 6, socket=MINE + (1 << 16))
    bench.report(1, 2, 3)
    assert bench.port.transmitted()["socket-closed"] == 2
    assert [int(bench.word(each, THEIRS)[0]) for each in REPORTED] == [0] * 6


def test_a_report_wakes_an_application_if_it_has_what_that_waits_for(bench: Bench) -> None:
    def wakes(*words: int) -> bool:
        bench.report(*words)
        woken = bench.readable()
        bench.take()  # arms again
        return woken

    assert wakes(10, 0, 0, 0, 0, 0)
    assert not wakes(10, 0, 0, 0, 0, 0)
    assert not wakes(10, 50, 0, 0, 0, 0)
    bench.word(AWAITED)[0] = 100
    assert not wakes(10, 99, 0, 0, 0, 0)
    assert wakes(10, 100, 0, 0, 0, 0)
    assert not wakes(10, 100, 0, 0, 1 << 16 | 114, 5)
    assert wakes(10, 0, 1 << 8, 0, 0, 0)
    assert int(bench.word(ACKNOWLEDGED)[0]) == 100


@pytest.mark.parametrize("seed", range(3))
def test_nonsense_in_a_stream_harms_nobody_else(bench: Bench, seed: int) -> None:
    """Random words wherever an application can write in its stream: the stack writes nowhere else."""
    chance = random.Random(seed)
    sizes = bench.memory.sizes
    start = bench.memory.offset_of_socket(MINE & ROW)
    values = [0, 1, -1, STREAM, -STREAM, 1 << 62, -(1 << 62), (1 << 63) - 1, -(1 << 63)]
    for _ in range(60):
        bench.word(LINE * chance.randrange(20))[0] = chance.choice([*values, chance.getrandbits(62)])
        before = bench.memory.bytes.copy()
        position = chance.choice([*values, chance.getrandbits(62)])
        bench.segment(pattern(chance.randrange(3000)), position, chance.randrange(400), chance.randrange(3))
        bench.report(*(chance.getrandbits(62) for _ in REPORTED))
        after = bench.memory.bytes.copy()
        for image in (before, after):
            image[start : start + 24] = 0  # ARMED
            stream = start + sizes.stream_offset
            image[stream : stream + sizes.socket_bytes - sizes.stream_offset] = 0
        assert np.array_equal(before, after)
        bench.requests()


def test_the_end_of_a_connection_is_known_whatever_its_application_writes(bench: Bench) -> None:
    bench.word(PHASE)[0] = CLOSED << 8
    bench.report(0, 0, ESTABLISHED << 8, 0, 0, 0)
    assert not bench.memory.has_ended(MINE)
    bench.word(PHASE)[0] = 1 << 40
    bench.report(0, 0, CLOSED << 8 | 1, 0, 0, 0)
    assert bench.memory.has_ended(MINE) and not bench.memory.has_ended(THEIRS)
    bench.memory.clear_socket(MINE & ROW, bench.port.tails)
    assert not bench.memory.has_ended(MINE)
