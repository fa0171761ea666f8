"""Copies of packets that a stage has made: they begin anew as packets that it makes (`Emission`).

A stage saves a packet, as it is then, in a row of a private table, and the stage at which the copy begins restores it
from there.
"""

from typing import Any

import numpy as np

from scout.io.access import lowering
from scout.io.batch import BATCH_SIZE, LONGEST
from scout.io.packet import HEADROOM, REACH
from scout.ring.atomics import copy, load64, store64

__all__ = ["new_copies", "restore", "save"]

_FIELDS = (
    *("next_hop", "destination", "error", "flags", "gso_type", "header_bytes", "gso_size", "checksum_start"),
    *("checksum_offset", "ethertype", "link_broadcast"),
)
"""The fields of a packet's record that a copy has too: what was left to a device, and what stages have noted."""

_TIMESTAMP, _DUE, _BEFORE, _ORIGIN, _SIZE = 0, 8, 16, 24, 32
_NOTED = 40  # the offset of the first of `_FIELDS`
_BYTES = _NOTED + 8 * len(_FIELDS)
_ROW = _BYTES + HEADROOM + LONGEST
"""The offsets in a row, and its bytes. The packet's bytes come last, `_BEFORE` of them before the header at hand;
`_ORIGIN` is the distance from the frame's first byte to that header."""


def new_copies() -> np.ndarray:
    """Room for a copy of each packet of a batch, for a private table. Untouched pages cost nothing."""
    return np.zeros(BATCH_SIZE * _ROW, np.uint8)


def save(frame: Any, end: Any, packet: Any, copies: Any, row: int, due: int) -> bool:
    """Save a packet, which is to go on at the time `due`, in a row; False if there is no such row, or no room in it."""
    before = max(0, min(HEADROOM, frame.start - frame.origin))
    data = bytes(frame.data[frame.start - before :])
    if (row + 1) * _ROW > len(copies) or len(data) > HEADROOM + LONGEST:
        return False
    words = [packet.timestamp, due, before, frame.start - frame.origin, len(data)]
    words += [getattr(packet, name) for name in _FIELDS]
    copies.write(row * _ROW, np.array(words, np.int64).tobytes() + data)
    return True


save.assigns = (3,)  # type: ignore[attr-defined]


@lowering(save)
def _native_save(frame, end, packet, copies, row, due):  # type: ignore[no-untyped-def]
    def native(frame, end, packet, copies, row, due):  # type: ignore[no-untyped-def]
        begin = max(min(packet.origin, frame), frame - HEADROOM)
        head = end - begin
        if (row + 1) * _ROW > copies.shape[0] or head + packet.tail_bytes > HEADROOM + LONGEST:
            return False
        place = copies.ctypes.data + row * _ROW
        store64(place + _TIMESTAMP, packet.timestamp)
        store64(place + _DUE, due)
        store64(place + _BEFORE, frame - begin)
        store64(place + _ORIGIN, frame - packet.origin)
        store64(place + _SIZE, head + packet.tail_bytes)
        noted = place + _NOTED
        store64(noted, packet.next_hop)
        store64(noted + 8, packet.destination)
        store64(noted + 16, packet.error)
        store64(noted + 24, packet.flags)
        store64(noted + 32, packet.gso_type)
        store64(noted + 40, packet.header_bytes)
        store64(noted + 48, packet.gso_size)
        store64(noted + 56, packet.checksum_start)
        store64(noted + 64, packet.checksum_offset)
        store64(noted + 72, packet.ethertype)
        store64(noted + 80, packet.link_broadcast)
        copy(place + _BYTES, begin, head)
        copy(place + _BYTES + head, packet.tail, packet.tail_bytes)
        return True

    return native


def restore(frame: Any, end: Any, packet: Any, copies: Any, row: int) -> None:
    """Let a packet that a stage makes be the one that was saved in a row, with the time at which that is to go on."""
    words = np.frombuffer(copies.read(row * _ROW, _BYTES), np.int64).tolist()
    packet.timestamp, packet.due, before, origin, size = words[:5]
    for name, value in zip(_FIELDS, words[5:], strict=True):
        setattr(packet, name, value)
    frame.data = bytearray(HEADROOM - before) + bytearray(copies.read(row * _ROW + _BYTES, size))
    frame.start, frame.origin = HEADROOM, HEADROOM - origin
    frame.end = min(len(frame.data), HEADROOM + REACH)
    packet.tail_bytes = len(frame.data) - frame.end


restore.assigns = (0, 2)  # type: ignore[attr-defined]


@lowering(restore)
def _native_restore(frame, end, packet, copies, row):  # type: ignore[no-untyped-def]
    def native(frame, end, packet, copies, row):  # type: ignore[no-untyped-def]
        place = copies.ctypes.data + row * _ROW
        before, size, noted = load64(place + _BEFORE), load64(place + _SIZE), place + _NOTED
        packet.timestamp, packet.due = load64(place + _TIMESTAMP), load64(place + _DUE)
        packet.next_hop, packet.destination = load64(noted), load64(noted + 8)
        packet.error, packet.flags, packet.gso_type = load64(noted + 16), load64(noted + 24), load64(noted + 32)
        packet.header_bytes, packet.gso_size = load64(noted + 40), load64(noted + 48)
        packet.checksum_start, packet.checksum_offset = load64(noted + 56), load64(noted + 64)
        packet.ethertype, packet.link_broadcast = load64(noted + 72), load64(noted + 80)
        # The header at hand comes to the slot, where the made packet begins; the rest stays in the table.
        head = min(size, before + REACH)
        copy(frame - before, place + _BYTES, head)
        packet.origin = frame - load64(place + _ORIGIN)
        packet.end = frame - before + head
        packet.tail, packet.tail_bytes = place + _BYTES + head, size - head

    return native
