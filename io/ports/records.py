"""The records of packets in classic pcap files: `seconds | fraction | bytes here | bytes of the packet | packet`.

The four numbers have 32 bits each, in the byte order of the machine that wrote them.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from scout.io.packet import SECOND
from scout.ring.atomics import load32, store32
from scout.ring.jit import inline

__all__ = ["LATEST", "RECORD_HEADER", "Records", "number", "pack_records", "record_header", "write_header"]

RECORD_HEADER = 16
"""Bytes before a packet."""

LATEST = (1 << 32) * SECOND
"""The first time, in 2106, that no longer fits the 32 bits that a record has for the seconds; nanoseconds."""

_HEADER = struct.Struct("=IIII")


class Records(NamedTuple):
    """Packets as pcap records, known to be whole."""

    data: np.ndarray  # of bytes, with the records from `start` to the end
    start: int = 0
    swapped: bool = False  # True if their numbers are in the other byte order
    scale: int = 1  # nanoseconds in a unit of their fractions of a second


def pack_records(packets: Iterable[tuple[int, bytes]]) -> Records:
    """Make records of this machine from packets and their times, nanoseconds since 1970 and before 2106."""
    data = bytearray()
    for timestamp, frame in packets:
        data += record_header(timestamp, len(frame)) + frame
    return Records(np.frombuffer(bytes(data), np.uint8))


def record_header(timestamp: int, size: int) -> bytes:
    """The header of a record with a packet of `size` bytes, in this machine's byte order."""
    return _HEADER.pack(*divmod(timestamp, SECOND), size, size)


@inline
def write_header(place: int, timestamp: int, size: int) -> None:
    """Write the same to an address."""
    store32(place, timestamp // SECOND)
    store32(place + 4, timestamp % SECOND)
    store32(place + 8, size)
    store32(place + 12, size)


@inline
def number(place: int, swapped: bool) -> int:
    """The 32 bits at an address, in this machine's byte order, or in the other one if `swapped`."""
    value = load32(place)
    if swapped:
        return value >> 24 | (value >> 8 & 0xFF00) | (value & 0xFF00) << 8 | (value & 0xFF) << 24
    return value
