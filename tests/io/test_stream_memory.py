"""The application's side of a stream's memory: positions, bytes around the end of the ring, and who is woken when.

The stack's words are written by the test, in turn with the application, so nothing depends on how fast anything is.
"""

import os
import random
import select
from collections.abc import Iterator

import numpy as np
import pytest

from scout.io.endpoints.application_stream import CONNECT, READ
from scout.io.endpoints.memory import ARMED, EndpointMemory
from scout.io.endpoints.stream import (
    ACKNOWLEDGED,
    CLOSED,
    ENDED,
    ESTABLISHED,
    PHASE,
    RECEIVED,
    SOFT_ERROR,
    WORDS,
    placing_of,
)
from scout.sockets.byte_stream import ByteStream

SIZE = 1 << 12


class Ends:
    """Both sides of a stream."""

    def __init__(self) -> None:
        self.memory = EndpointMemory("test", 1, 1, 1 << 17, 1 << 17, SIZE)
        self.memory.clear_socket(0, np.zeros((31, 1), np.int64))
        self.offset = self.memory.sizes.stream_offset
        self.bell = int(self.memory.bells[0])
        self.ours = ByteStream(self.memory.bytes[: self.memory.sizes.socket_bytes], self.offset, SIZE, self.bell)

    def set(self, word: int, value: int, wakes: bool = True) -> None:
        """Store a word as a replica does, and wake the application if it waits."""
        self.memory.bytes[self.offset + word :][:8].view(np.int64)[0] = value
        armed = self.memory.bytes[ARMED:][:8].view(np.int64)
        if wakes and armed[0]:
            armed[0] = 0
            os.eventfd_write(self.bell, 1)

    def ring(self, index: int) -> np.ndarray:
        at = self.offset + WORDS + index * SIZE
        return self.memory.bytes[at : at + SIZE]

    def is_readable(self) -> bool:
        return bool(select.select([self.bell], [], [], 0)[0])


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.memory.close()


def test_bytes_come_in_order_around_the_end_of_the_ring(ends: Ends) -> None:
    chance, received, read = random.Random(1), 0, 0
    for turn in range(200):
        placed = chance.randrange(SIZE - (received - read) + 1)
        at = np.arange(received, received + placed)
        ends.ring(0)[at & SIZE - 1] = at * 7 & 0xFF
        received += placed
        ends.set(RECEIVED, received)
        assert ends.ours.readable() == received - read
        count = chance.randrange(received - read + 1)
        expected = (np.arange(read, read + count) * 7 & 0xFF).astype(np.uint8).tobytes()
        if turn % 3 == 0:
            assert ends.ours.take(count) == expected
        elif turn % 3 == 1:
            target = bytearray(count)
            ends.ours.take_into(memoryview(target), count)
            assert target == expected
        else:
            view = ends.ours.read_view()
            count = min(count, len(view))
            assert view[:count] == expected[:count]
            ends.ours.free(count)
        read += count


def test_bytes_are_written_in_order_around_the_end_of_the_ring(ends: Ends) -> None:
    chance, acknowledged = random.Random(2), 0
    for _ in range(200):
        free = acknowledged + SIZE - ends.ours.written
        assert ends.ours.room() == free and len(ends.ours.write_view()) <= free
        first, data = ends.ours.written, chance.randbytes(chance.randrange(free + 1))
        ends.ours.put(memoryview(data))
        assert ends.ring(1)[np.arange(first, ends.ours.written) & SIZE - 1].tobytes() == data
        acknowledged += chance.randrange(ends.ours.written - acknowledged + 1)
        ends.set(ACKNOWLEDGED, acknowledged)


def test_the_stack_is_told_of_a_quarter_of_the_ring_but_not_of_bytes_that_are_being_written_again(ends: Ends) -> None:
    ends.set(RECEIVED, SIZE)
    ends.ours.free(SIZE // 4 - 1)
    assert ends.ours.owed() == 0
    ends.set(placing_of(30), 1 + 100)  # a segment that comes again, or a successor's work
    ends.ours.free(1)
    assert ends.ours.owed() == 100
    ends.ours.told(100)
    ends.ours.free(200)
    assert ends.ours.owed() == 0  # the replica still writes
    ends.ours.settle(READ)
    ends.set(placing_of(30), 0)
    assert ends.ours.owed() == SIZE // 4 + 200


def test_an_application_that_is_still_to_tell_something_is_called_again(ends: Ends) -> None:
    ends.set(RECEIVED, SIZE // 4)
    ends.set(placing_of(0), 1)
    ends.ours.free(SIZE // 4)
    ends.ours.settle(READ)
    assert ends.is_readable() and ends.ours.owed() == 0
    ends.set(placing_of(0), 0)
    position = ends.ours.owed()
    ends.ours.told(position)
    ends.ours.settle(READ)
    assert position == SIZE // 4 and not ends.is_readable()


def test_the_descriptor_is_readable_as_long_as_something_waits(ends: Ends) -> None:
    ends.ours.settle(READ)
    assert not ends.is_readable()
    ends.set(RECEIVED, 10)
    assert ends.is_readable()
    ends.ours.settle(READ)
    assert ends.is_readable()
    ends.ours.free(10)
    ends.ours.settle(READ)
    assert not ends.is_readable()
    ends.set(ENDED, 11)
    assert ends.is_readable() and ends.ours.ended()
    ends.ours.settle(0)  # the end is known
    assert not ends.is_readable()
    ends.ours.settle(READ)
    assert ends.is_readable()


def test_a_reader_that_pauses_is_told_of_what_came_when_it_goes_on(ends: Ends) -> None:
    ends.ours.settle(0)
    ends.set(RECEIVED, 10, wakes=False)
    ends.ours.settle(0)
    assert not ends.is_readable()
    ends.ours.settle(READ)
    assert ends.is_readable()


def test_room_is_told_when_a_quarter_of_the_ring_is_free(ends: Ends) -> None:
    ends.ours.put(memoryview(bytes(SIZE)))
    assert ends.ours.room() == 0
    ends.ours.await_room(True)
    ends.ours.settle(READ)
    for acknowledged, readable in ((SIZE // 4 - 1, False), (SIZE // 4, True)):
        ends.set(ACKNOWLEDGED, acknowledged)
        ends.ours.settle(READ)
        assert ends.is_readable() == readable
    ends.ours.await_room(False)
    ends.ours.settle(READ)
    assert not ends.is_readable()


def test_phases(ends: Ends) -> None:
    ends.ours.settle(CONNECT)
    assert not ends.is_readable()
    ends.set(PHASE, ESTABLISHED << 8)
    ends.ours.settle(CONNECT)
    assert ends.is_readable()
    ends.ours.settle(0)
    assert not ends.is_readable() and not ends.ours.closed()
    ends.set(PHASE, CLOSED << 8 | 3)
    assert ends.is_readable() and ends.ours.phase() == (CLOSED, 3) and ends.ours.room() == -1
    assert ends.ours.soft_error() == 0
    ends.set(SOFT_ERROR, 5 << 16 | 1 + 113)
    assert ends.ours.soft_error() == 113
