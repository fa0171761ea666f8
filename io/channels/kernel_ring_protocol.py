"""The protocol of the kernel's receive ring: which requests come next, and how frames are returned to the kernel.

An entry of the ring is one frame, which the kernel fills. Claims, floors, membership and the turn are those of every
channel (`scout.ring`); their words and marks lie beside the ring. This module is the rest:

- Frame n lies in slot n % entries. A replica may read it when frame n - entries has been returned to the
  kernel (RETURNED) and, looked at after that, its status says USER. Without the first condition a fast replica would
  read the old frame again.
- A replica that raises its floor returns frames below the lowest floor, in order, under a lock that no replica waits
  for: its holder looks at the floors again after it has unlocked. Before a frame is returned it is marked (its length
  becomes 0), and PREPARED says up to where. So a replica that finds the lock of a dead holder can tell
  a frame that was not returned from the next frame in the same slot, whose length the kernel has written.
- A control request is not in the ring. The claim at a position says whether frames or one control request come there
  (a count of 0): so all replicas have it at the same position, also when no frames come.

`scout.io.channels.kernel_ring_frame` has the layout of a frame in its slot.
"""

import numba
import numpy as np

from scout.io.batch import TAIL
from scout.io.channels.kernel_ring_frame import APART, LENGTH, PAGE, STATUS, STATUS_KERNEL, STATUS_USER
from scout.io.packet import REACH
from scout.ring.atomics import (
    compare_exchange,
    exchange,
    load32,
    load32_acquire,
    load64,
    load64_acquire,
    load64_seq,
    popcount,
    prefetch,
    prefetch_read,
    store32,
    store32_release,
    store64,
    store64_release,
)
from scout.ring.batch import take, to_boundary
from scout.ring.bell import ring_bell
from scout.ring.claims import claim, claim_at, count_of, owner_of
from scout.ring.election import follow
from scout.ring.floors import lowest_floor, refresh_limit
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import (
    CHANNEL,
    CONTROLS,
    GATING,
    LOCK,
    RETURNED,
    controls_floor_of,
    floor_of,
    position,
    prepared_of,
    word,
)
from scout.ring.segment import LINE

__all__ = [
    "BATCH_BYTES",
    "CONTROL",
    "MANY",
    "MOST_CONTROLS",
    "NOTHING",
    "RING",
    "add_control",
    "advance_floor",
    "control_at",
    "frame_at",
    "has_control",
    "has_room",
    "is_filled",
    "next_frame",
    "offered",
    "open_requests",
    "prefetch_frames",
    "settle",
]

MOST_CONTROLS = 1024
"""Control requests for which there is room; a power of two."""

BATCH_BYTES = 96 << 10
"""Bytes that a primary copies for a batch, about: with the frames in the ring they fit the second-level cache."""

MANY = 64
"""The packets of the longest super-frame. A replica that keeps up waits a moment for as many frames, and takes no more
of them at once."""

NOTHING = -1

_SUPERVISOR = 1 << 6  # in LOCK, where replica r is r + 1

CONTROL = np.dtype(
    [
        ("port", "i8"),
        ("kind", "i8"),
        ("stage", "i8"),
        ("argument", "i8"),
        ("timestamp", "i8"),
        ("spare", "i8", 3),
    ]
)
"""A control request, a cache line."""

# The channel's fields come last: numba would take a record that begins as a CHANNEL for one.
RING = np.dtype(
    [
        ("port", "i8"),  # index of the port, if there is only one
        ("ports", "i8"),  # how many there are
        ("interfaces", "i8"),  # address of two int64 for each: the interface's index, and the port's
        ("controls", "i8"),  # address of the control requests
        *((name, "i8") for name in CHANNEL.names or ()),
    ]
)
"""A `CHANNEL` whose entries are frames, and what their ports need besides."""


@inline
def first_line(ring: Record) -> int:
    """Offset in a slot of the cache line in which the frame begins."""
    return LINE + (0 if ring.stride % PAGE else APART)


@inline
def frame_at(ring: Record, number: int) -> int:
    """Address of the slot of the frame after `number` others."""
    return ring.ring + number % ring.entries * ring.stride


@inline
def next_frame(ring: Record, frame: int) -> int:
    """Address of the slot after the one at address `frame`. Cheaper than the division in `frame_at`."""
    frame += ring.stride
    return frame if frame < ring.ring + ring.entries * ring.stride else ring.ring


@inline
def control_at(ring: Record, number: int) -> int:
    """Address of the control request after `number` others."""
    return ring.controls + (number & (MOST_CONTROLS - 1)) * LINE


# Dequeuing.


@inline
def open_requests(ring: Record, cursor: Record, replica: int, owner: int) -> int:
    """Dequeue the next frames, or the next control request (`cursor.role` says which), as the batch at hand.

    Returns how many, 0 if nothing waits. `owner` is the replica itself, or NOBODY if flows are sharded.
    """
    here = position(cursor)
    count = cursor.end - here
    if count <= 0:
        found = claim_at(ring, here)
        if found == 0:
            count = offered(ring, cursor)
            if count == NOTHING:
                return 0
            count = min(count, to_boundary(ring, here))
            found = claim(ring, here, owner, count, False)
        if found:
            owner, count = owner_of(found), count_of(found)
        count = follow(ring, cursor, replica, here, owner, count)
    return take(cursor, here, count)


@inline
def offered(ring: Record, cursor: Record) -> int:
    """How many frames a replica at whose position there is no claim could claim; 0 for a control request; NOTHING."""
    if has_control(ring, cursor):
        return 0
    # Acquire, before the status: pairs with the store of RETURNED.
    last = min(cursor.head + ring.batch, load64_acquire(word(ring, RETURNED)) + ring.entries)
    tail, room = cursor.head, BATCH_BYTES
    frame, lines = frame_at(ring, tail), first_line(ring)
    # Acquire: pairs with the kernel's release of the frame.
    while tail < last and room > 0 and load32_acquire(frame + STATUS) & STATUS_USER:
        # The frame lies in the lines after its header; the processor's own prefetching does not find the next slot.
        prefetch_read(frame + lines)
        prefetch_read(frame + lines + LINE)
        room -= min(load32(frame + LENGTH), REACH + TAIL)  # what the primary copies of it, about
        frame = next_frame(ring, frame)
        tail += 1
    cursor.tail = max(tail, cursor.tail)
    count = tail - cursor.head
    if MANY < count < ring.batch:
        count = MANY  # of one flow the rest would leave as a short super-frame
    return count if count > 0 else NOTHING


@inline
def has_control(ring: Record, cursor: Record) -> bool:
    """True if there is a control request to which the replica has not come."""
    return load64_acquire(word(ring, CONTROLS)) > cursor.controls  # pairs with add_control


@inline
def has_room(ring: Record, number: int) -> bool:
    """True if the slot of the frame of this number was returned to the kernel, so that the frame can come."""
    # Acquire, before the status of the slot: pairs with the store of RETURNED.
    return number < load64_acquire(word(ring, RETURNED)) + ring.entries


@inline
def is_filled(ring: Record, number: int) -> bool:
    """True if the frame of this number, of which no earlier one is missing, has arrived."""
    # Acquire: pairs with the kernel's release of the frame.
    return has_room(ring, number) and load32_acquire(frame_at(ring, number) + STATUS) & STATUS_USER != 0


@inline
def prefetch_frames(ring: Record, first: int, count: int) -> None:
    """Ask for the first cache lines of the `count` frames from number `first` on, which another core has written.

    A replica that is alone will also return them: it asks to be the one that writes.
    """
    frame, alone = frame_at(ring, first), popcount(load64_acquire(word(ring, GATING))) == 1
    lines = first_line(ring)
    for _ in range(count):
        if alone:
            prefetch(frame)
        else:
            prefetch_read(frame)
        prefetch_read(frame + lines)
        prefetch_read(frame + lines + LINE)
        frame = next_frame(ring, frame)


@inline
def advance_floor(ring: Record, cursor: Record, replica: int) -> None:
    """Declare that requests before the position will not be read again; return frames that no replica needs."""
    store64_release(controls_floor_of(ring, replica), cursor.controls)  # pairs with add_control
    # seq_cst, before the look at LOCK: the holder unlocks before it looks at the floors again.
    exchange(floor_of(ring, replica), cursor.head)
    _return_frames(ring, replica + 1)


# Returning frames to the kernel.


@inline
def _return_frames(ring: Record, me: int) -> None:
    """Return the frames below the lowest floor, unless another process is doing it, which will look again."""
    while lowest_floor(ring) > load64_acquire(word(ring, RETURNED)):  # pairs with the store below
        if load64_seq(word(ring, LOCK)) != 0:
            return
        if compare_exchange(word(ring, LOCK), 0, me):  # acquire, pairs with the exchange below
            _return_under_lock(ring)
            # seq_cst, before the next look at the floors: pairs with advance_floor.
            exchange(word(ring, LOCK), 0)


@inline
def _return_under_lock(ring: Record) -> None:
    limit = refresh_limit(ring) - ring.entries
    first, prepared = load64(word(ring, RETURNED)), load64(prepared_of(ring))
    frame = frame_at(ring, first)
    for number in range(first, limit):
        if number >= prepared:
            store32(frame + LENGTH, 0)
            store64_release(prepared_of(ring), number + 1)  # after the mark, before the frame is returned
            # Release: everything was read before; pairs with the kernel's look before it fills the slot.
            store32_release(frame + STATUS, STATUS_KERNEL)
        # A dead holder had marked it. Acquire, before the length: of a frame that was returned, and that the kernel has
        # filled again, the length is not 0.
        elif load32_acquire(frame + STATUS) & STATUS_USER and load32(frame + LENGTH) == 0:
            store32_release(frame + STATUS, STATUS_KERNEL)  # as above
        frame = next_frame(ring, frame)
    store64_release(word(ring, RETURNED), limit)  # after the statuses; pairs with `offered`


# For the supervisor.

_RINGS = numba.types.Array(numba.from_dtype(RING), 1, "C")
_NUMBER = numba.int64


@entry(_NUMBER(_RINGS, _NUMBER, _NUMBER, _NUMBER, _NUMBER, _NUMBER))
def add_control(rings: np.ndarray, port: int, kind: int, stage: int, argument: int, timestamp: int) -> int:
    """Publish a control request; how many there are now, 0 if there is no room.

    For one thread at a time, and not while a replica joins.
    """
    ring = rings[0]
    number = load64(word(ring, CONTROLS))
    gating, replica = load64_acquire(word(ring, GATING)), 0
    while gating >> replica:
        floor = load64_acquire(controls_floor_of(ring, replica))  # pairs with advance_floor
        if gating >> replica & 1 and number - floor >= MOST_CONTROLS:
            return 0
        replica += 1
    address = control_at(ring, number)
    store64(address, port)
    store64(address + 8, kind)
    store64(address + 16, stage)
    store64(address + 24, argument)
    store64(address + 32, timestamp)
    store64_release(word(ring, CONTROLS), number + 1)  # pairs with `offered`
    if ring.bell:
        ring_bell(ring.bell)
    return number + 1


@entry(numba.void(_RINGS, _NUMBER))
def settle(rings: np.ndarray, replica: int) -> None:
    """Unlock what a `replica` that does not run may have locked, and return frames that only it had kept."""
    ring = rings[0]
    if load64_acquire(word(ring, LOCK)) == replica + 1:  # no other process changes it then
        exchange(word(ring, LOCK), 0)  # seq_cst, as in _return_frames
    _return_frames(ring, _SUPERVISOR)
