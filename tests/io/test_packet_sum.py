"""The checksum of a packet in two pieces: native and plain agree with a plain sum of all bytes."""

import random

import numba
import numpy as np
import pytest
from numba.core import types

from scout.io.access import Frame
from scout.io.packet import PACKET
from scout.io.packet_sum import packet_sum16
from scout.io.transmit.sums import complete, total_of
from scout.paths.wire.checksum import checksum
from scout.ring.jit import entry

_PACKETS = types.Array(numba.from_dtype(PACKET), 1, "C")


@entry(types.int64(_PACKETS, types.int64, types.int64, types.int64))
def native_sum(packets: np.ndarray, frame: int, offset: int, size: int) -> int:
    return packet_sum16(frame, packets[0], offset, size)


@entry(types.int64(types.int64, types.int64))
def native_total(start: int, size: int) -> int:
    return total_of(start, size)


@entry(types.void(types.int64, types.int64, types.int64))
def native_complete(start: int, place: int, end: int) -> None:
    complete(start, place, end)


@pytest.mark.parametrize("here", [20, 21, 64, 67])
def test_the_sum_of_a_packet_is_that_of_both_pieces(here: int) -> None:
    chance = random.Random(here)
    for size in (20, 21, 22, 23, 24, 25, 60, 64, 67, 68, 69, 70, 100, 201, 340, 1448):
        data = np.frombuffer(chance.randbytes(16 + size), np.uint8)
        first, rest = data[:here].copy(), data[max(here - 8, 0) :].copy()  # the pieces lie apart
        packets = np.zeros(1, PACKET)
        packets[0]["end"] = first.ctypes.data + len(first)
        packets[0]["tail"], packets[0]["tail_bytes"] = rest.ctypes.data + 8, max(0, len(data) - here)
        offset = 3
        expected = ~checksum(data[offset : offset + size].tobytes()) & 0xFFFF
        assert native_sum(packets, first.ctypes.data, offset, size) == expected
        assert packet_sum16(Frame(data.tobytes(), headroom=0), packets[0], offset, size) == expected


@pytest.mark.parametrize("size", [4, 5, 6, 7, 8, 20, 41, 42, 43, 255, 256, 257, 1460, 1487])
def test_a_completed_checksum_makes_the_sum_right_and_writes_nothing_else(size: int) -> None:
    data = np.frombuffer(random.Random(size).randbytes(size + 8), np.uint8).copy()
    data[2:4] = 0  # the field, and the sum of a pseudo-header
    before = data.copy()
    start = data.ctypes.data
    native_complete(start, start + 2, start + size)
    assert native_total(start, size) == 0xFFFF
    assert np.array_equal(np.delete(data, (2, 3)), np.delete(before, (2, 3)))
