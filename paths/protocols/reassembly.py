"""Reassembly of IPv4 datagrams to the router itself (RFC 791 section 3.2, RFC 815).

The fragments of a datagram may have different primaries, so what is kept of them is shared by all replicas, under a
lock. It is no replicated state: no replica decides anything by it that others have to decide alike. A fragment that
overlaps others ends its datagram (RFC 5722 section 4 asks for that in IPv6, for reasons that hold here too), unless it
was received before as a whole.

Time is that of packets. A datagram is given up `LIFETIME` after its first fragment (RFC 1122 section 3.3.2 asks for 60
to 120 seconds, Linux waits 30), or earlier for a newer one when there is no room.
"""

from typing import Any

import numpy as np

from scout.io.access import allow, load8, load16, load32, lowering, store16, sum16
from scout.io.batch import LONGEST
from scout.io.packet import HEADROOM
from scout.paths.framework.state import acquire, release
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.wire import ipv4
from scout.paths.wire.ipv4 import header_length
from scout.ring.atomics import copy

__all__ = ["DATAGRAMS", "LIFETIME", "WAITS", "WHOLE", "Reassembly", "reassemble"]

BAD_FRAGMENT, OVERLAPS = drop("bad-fragment"), drop("fragments-overlap")

WHOLE, WAITS = 0, 1

DATAGRAMS = 64
"""Datagrams of which fragments are kept at a time."""

LIFETIME = 30_000_000_000  # nanoseconds

UNIT = 8  # bytes that offsets count
UNITS = 1 << 13  # of a datagram
DATA = 64  # offset of the data in a piece
PIECE = 64 + (1 << 16)
"""Bytes for a datagram: its first fragment's header, and its data."""

DATAGRAM = np.dtype(
    [
        ("key", "i8"),  # protocol, identification and destination; 0 if the row is free
        ("source", "i8"),
        ("expires", "i8"),
        ("received", "i8"),  # bytes of data
        ("size", "i8"),  # bytes of data in all; -1 while the last fragment has not come
        ("reach", "i8"),  # the end of what was received that is furthest from the beginning
        ("header", "i8"),  # bytes of the first fragment's header; 0 while it has not come
    ]
)


def save(frame: Any, at: int, size: int, pieces: Any, to: int) -> None:
    """Copy `size` bytes of the packet from `at` on to place `to` of `pieces`."""
    for index, byte in enumerate(frame.data[frame.span(at, size)]):
        pieces[to + index] = byte


save.assigns = (3,)  # type: ignore[attr-defined]


@lowering(save)
def _native_save(frame, at, size, pieces, to):  # type: ignore[no-untyped-def]
    return lambda frame, at, size, pieces, to: copy(pieces.ctypes.data + to, frame + at, size)


def restore(frame: Any, packet: Any, whole: Any, index: int, pieces: Any, place: int, header: int, size: int) -> Any:
    """Let the packet be the `header` bytes and the `size` bytes of data of the piece at `place`; the frame."""
    places = [*range(place, place + header), *range(place + DATA, place + DATA + size)]
    frame.data[frame.start :] = bytes(pieces[each] for each in places)
    frame.end, packet.tail_bytes = len(frame.data), 0
    return frame


restore.assigns = (0, 1)  # type: ignore[attr-defined]


@lowering(restore)
def _native_restore(frame, packet, whole, index, pieces, place, header, size):  # type: ignore[no-untyped-def]
    def native(frame, packet, whole, index, pieces, place, header, size):  # type: ignore[no-untyped-def]
        target = whole.ctypes.data + index * (HEADROOM + LONGEST) + HEADROOM
        source = pieces.ctypes.data + place
        copy(target, source, header)
        copy(target + header, source + DATA, size)
        packet.origin += target - frame  # the generated code moves the frame as far
        packet.end = target + header + size
        packet.tail_bytes = 0
        allow(target, packet.end, True)
        return target

    return native


def reassemble(
    frame: Any,
    end: Any,
    packet: Any,
    datagrams: Any,
    units: Any,
    pieces: Any,
    lock: Any,
    number: Any,
    whole: Any,
    whole_index: int,
) -> int:
    """Keep a fragment; `WHOLE` if the packet is the whole datagram now, `WAITS` if others are missing, or a drop."""
    header = header_length(frame, 0)
    size, word = load16(frame, ipv4.TOTAL_LENGTH) - header, load16(frame, ipv4.FRAGMENT)
    first, is_last = word & ipv4.OFFSET, word & ipv4.MORE_FRAGMENTS == 0
    if size <= 0 or (not is_last and size & UNIT - 1) or header + first * UNIT + size > ipv4.LONGEST:
        return BAD_FRAGMENT
    acquire(lock, number)
    row = row_of(datagrams, units, *key_of(frame), packet.timestamp)
    datagram = datagrams[row]
    verdict = judge(datagram, units, row * UNITS + first, first * UNIT, size, is_last)
    if verdict == WHOLE:
        save(frame, header, size, pieces, row * PIECE + DATA + first * UNIT)
        if first == 0:
            save(frame, 0, header, pieces, row * PIECE)
            datagram.header = header
        # Behind the copies: of a replica that dies in between no bytes count that it has not copied.
        note(datagram, units, row * UNITS + first, first * UNIT, size, is_last)
        if datagram.size < 0 or datagram.received < datagram.size or datagram.header == 0:
            verdict = WAITS
    total = datagram.header + datagram.size
    if verdict == WHOLE and total > ipv4.LONGEST:
        verdict = BAD_FRAGMENT  # the first fragment has more options than the last one, which fitted
    if verdict == WHOLE:
        frame = restore(frame, packet, whole, whole_index, pieces, row * PIECE, datagram.header, datagram.size)
        store16(frame, ipv4.TOTAL_LENGTH, total)
        store16(frame, ipv4.FRAGMENT, 0)
        store16(frame, ipv4.CHECKSUM, 0)
        store16(frame, ipv4.CHECKSUM, ~sum16(frame, 0, datagram.header))
        packet.flags = 0
    if verdict != WAITS:
        datagram.key = 0
    release(lock)
    return verdict


def key_of(frame: Any) -> tuple[int, int]:
    """The key that all fragments of a datagram have, in two words, of which the first is not 0."""
    protocol, identification = load8(frame, ipv4.PROTOCOL), load16(frame, ipv4.IDENTIFICATION)
    return 1 << 60 | protocol << 48 | identification << 32 | load32(frame, ipv4.DESTINATION), load32(frame, ipv4.SOURCE)


def row_of(datagrams: Any, units: Any, key: int, source: int, now: int) -> int:
    """The row of a datagram; a new one takes a free row, or that of the datagram that expires first."""
    chosen = 0
    for row in range(len(datagrams)):
        datagram = datagrams[row]
        if datagram.key == key and datagram.source == source and now < datagram.expires:
            return row
        if datagram.key == 0 or datagram.expires <= now:
            datagram.key = datagram.expires = 0
        if datagram.expires < datagrams[chosen].expires:
            chosen = row
    datagram = datagrams[chosen]
    datagram.source = source
    datagram.expires = now + LIFETIME
    datagram.received = datagram.reach = datagram.header = 0
    datagram.size = -1
    for unit in range(chosen * UNITS, (chosen + 1) * UNITS):
        units[unit] = 0
    datagram.key = key  # last: a replica that dies before leaves a free row
    return chosen


def judge(datagram: Any, units: Any, unit: int, start: int, size: int, is_last: bool) -> int:
    """Compare a fragment with those received: `WHOLE` if its bytes are new, `WAITS` if they are known, or a drop."""
    known, count, end = 0, (size + UNIT - 1) // UNIT, start + size
    for each in range(unit, unit + count):
        known += units[each]
    if known == count and end <= datagram.reach:
        return WAITS
    if is_last:
        misfits = datagram.reach > end or (datagram.size >= 0 and datagram.size != end)
    else:
        misfits = datagram.size >= 0 and end > datagram.size
    return OVERLAPS if known or misfits else WHOLE


def note(datagram: Any, units: Any, unit: int, start: int, size: int, is_last: bool) -> None:
    """Note that a fragment was received."""
    end = start + size
    for each in range(unit, unit + (size + UNIT - 1) // UNIT):
        units[each] = 1
    datagram.received += size
    if is_last:
        datagram.size = end
    datagram.reach = max(datagram.reach, end)


class Reassembly:
    """The tables of reassembly, and the lock that a replica holds when it uses them.

    Attributes
    ----------
    bindings : dict of str to Table
        For stages that call `reassemble`.
    lock : Table
    """

    def __init__(self) -> None:
        self.lock = Table(np.zeros(8, np.int64), "shared")
        self.bindings = {
            "datagrams": Table(np.zeros(DATAGRAMS, DATAGRAM), "shared"),
            "units": Table(np.zeros(DATAGRAMS * UNITS, np.uint8), "shared"),
            "pieces": Table(np.zeros(DATAGRAMS * PIECE, np.uint8), "shared"),
            "lock": self.lock,
            "number": Table(np.ones(1, np.int64), "number"),
        }
