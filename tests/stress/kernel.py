"""A kernel for stress tests: it fills a ring of frames by the rules of TPACKET_V2, as fast as it gets them back.

The real one brings too few frames to try the words beside the ring; this one brings millions. Every frame says which it
is.
"""

import numba
import numpy as np

from scout.io.channels.kernel_ring import KernelRing
from scout.io.channels.kernel_ring_frame import LENGTH, STATUS, STATUS_USER
from scout.io.channels.kernel_ring_operations import position, receive, release, snapshot_due
from scout.io.channels.kernel_ring_protocol import RING, advance_floor, frame_at
from scout.io.channels.look import take_all
from scout.paths.compiler.native import BATCH
from scout.ring.arithmetic import multiply
from scout.ring.atomics import load32_acquire, load64, load64_acquire, store32, store32_release, store64
from scout.ring.jit import entry, inline
from scout.ring.layout import MEMBER
from scout.ring.segment import address, shared
from scout.ring.wait import relax
from stress.pace import allowed

__all__ = ["FOUND", "SimulatedRing", "fill", "serve"]

SNAPLEN, MAC, FRAME = 8, 12, 96  # offsets in a frame's header; of a frame from its header
SIZE = 24  # bytes of a frame
_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)

FOUND = np.dtype(
    [
        ("frames", "i8"),  # seen
        ("controls", "i8"),  # seen
        ("handled", "i8"),  # frames that it was primary of, those done again included
        ("torn", "i8"),  # frames and control requests that are not the ones of their position
        ("disputed", "i8"),  # those that another replica had finished as their primary
        ("saved", "i8"),  # frames << 32 | control requests released where its successor goes on
        ("spare", "i8", 2),
    ]
)
"""The findings of a replica; written by it alone, a cache line."""

_RINGS = numba.types.Array(numba.from_dtype(RING), 1, "C")
_CURSORS = numba.types.Array(numba.from_dtype(MEMBER), 1, "C")
_FOUND = numba.types.Array(numba.from_dtype(FOUND), 1, "C")


class SimulatedRing(KernelRing):
    """A ring that `fill` fills."""

    def _open(self, frames: int) -> int:
        self._mapped = shared(frames * self._slots.size, np.uint8)
        return address(self._mapped)


@inline
def mix(value: int) -> int:
    """Another number for every number."""
    value = multiply(value ^ value >> 29, _MULTIPLIER)
    return value ^ value >> 32


@entry(numba.void(_RINGS, numba.int64, numba.int64, numba.int64, numba.int64))
def fill(rings: np.ndarray, first: int, last: int, limits: int, count: int) -> None:
    """Be the kernel for the frames from `first` to `last`: each when its slot has been returned and `Pace` allows."""
    ring = rings[0]
    for number in range(first, last):
        header = frame_at(ring, number)
        looks = 0
        # The status pairs with the return of the frame.
        while number >= allowed(limits, count) or load32_acquire(header + STATUS) & STATUS_USER:
            relax(looks)
            looks += 1
        store32(header + LENGTH, SIZE)
        store32(header + SNAPLEN, SIZE)
        store32(header + MAC, FRAME)
        store64(header + FRAME, number)
        store64(header + FRAME + 8, mix(number))
        store32_release(header + STATUS, STATUS_USER)


@inline
def _check_control(found, cursor, batch, replica, here, tellers, heard):  # type: ignore[no-untyped-def]
    # The argument of a control request is its number.
    number = cursor.controls
    found.torn += batch[0].argument != number
    if heard[number] == 0:
        heard[number] = here + 1
    found.torn += heard[number] != here + 1
    found.controls += 1
    if cursor.primary:
        found.disputed += tellers[number] != 0 and tellers[number] != replica + 1
        tellers[number] = replica + 1


@inline
def _check_frames(found, cursor, batch, replica, count, primaries):  # type: ignore[no-untyped-def]
    for index in range(count):
        number, frame = cursor.head + index, batch[index].frame
        found.torn += load64(frame) != number or load64(frame + 8) != mix(number)
        if cursor.primary:
            found.disputed += primaries[number] != 0 and primaries[number] != replica + 1
            primaries[number] = replica + 1
            found.handled += 1
    found.frames += count


@entry(
    numba.void(
        _RINGS,
        _CURSORS,
        numba.int64,
        BATCH,
        _FOUND,
        numba.uint8[::1],
        numba.int64[::1],
        numba.int64[::1],
        numba.int64,
        numba.int64,
    )
)
def serve(rings, cursors, replica, batch, founds, primaries, tellers, heard, order, last):  # type: ignore[no-untyped-def]
    """Serve until `last` frames are released, or the word at address `order` is not 0.

    `primaries` says for each frame, `tellers` for each control request, which replica was its primary, plus 1; `heard`
    has for each control request its position, plus 1, noted by the first replica that had it: the others compare.
    """
    ring, cursor, found = rings[0], cursors[0], founds[replica]
    looks = 0
    while cursor.head < last and load64_acquire(order) == 0:
        count = receive(ring, cursor, replica, batch, False, take_all, 0)
        if count == 0:
            relax(looks)
            looks += 1
            continue
        looks = 0
        if batch[0].control:
            _check_control(found, cursor, batch, replica, position(ring, cursor), tellers, heard)
        else:
            _check_frames(found, cursor, batch, replica, count, primaries)
        release(ring, cursor, replica, False)
        if ring.keeps and snapshot_due(ring, cursor):
            found.saved = cursor.head << 32 | cursor.controls  # one store, as a snapshot is whole or not there
            advance_floor(ring, cursor, replica)
