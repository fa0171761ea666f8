"""An accessor of streams: a stage that sends bytes of a ring puts them behind the headers that it has written.

The ring is memory outside of the packet, given by its address in this process. Nothing is copied, unless the bytes wrap
in the ring.
"""

import ctypes
from typing import Any

from scout.io.access import lowering
from scout.io.batch import LONGEST
from scout.io.packet import HEADROOM
from scout.ring.atomics import copy

__all__ = ["append"]


def append(
    frame: Any, packet: Any, header: int, ring: int, ring_bytes: int, at: int, size: int, whole: Any, whole_index: int
) -> None:
    """Let a fresh packet be its first `header` bytes, and `size` bytes of a ring behind them.

    Parameters
    ----------
    frame, packet
        As the stage got them; the packet has no rest behind its end.
    header : int
        Bytes from the header at hand on that the stage has written.
    ring, ring_bytes : int
        Address and size of the ring; a power of two.
    at, size : int
        Position of the first byte, counted from the stream's beginning; how many, at most `LONGEST`.
    whole, whole_index
        The stage's parameters of these names: room for bytes that wrap.
    """
    place = at & ring_bytes - 1
    here = min(size, ring_bytes - place)
    data = ctypes.string_at(ring + place, here) + ctypes.string_at(ring, size - here)
    frame.data[frame.start + header :] = data
    frame.end = frame.start + header
    packet.tail_bytes = size


append.assigns = (0, 1)  # type: ignore[attr-defined]


@lowering(append)
def _native_append(frame, packet, header, ring, ring_bytes, at, size, whole, whole_index):  # type: ignore[no-untyped-def]
    def native(frame, packet, header, ring, ring_bytes, at, size, whole, whole_index):  # type: ignore[no-untyped-def]
        place = at & ring_bytes - 1
        tail, here = ring + place, ring_bytes - place
        if size > here:
            tail = whole.ctypes.data + whole_index * (HEADROOM + LONGEST)
            copy(tail, ring + place, here)
            copy(tail + here, ring, size - here)
        packet.end = frame + header
        packet.tail = tail
        packet.tail_bytes = size

    return native
