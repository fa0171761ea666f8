"""The compiled operations of the kernel's receive ring.

`scout.io.channels.kernel_ring_protocol` says what its requests are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from scout.io.channels.contract import ChannelOperations
from scout.io.channels.kernel_ring_frame import frame_end, frame_of, interface_of, received_at, take_frame
from scout.io.channels.kernel_ring_protocol import (
    MANY,
    MOST_CONTROLS,
    NOTHING,
    RING,
    advance_floor,
    control_at,
    frame_at,
    has_control,
    has_room,
    is_filled,
    next_frame,
    offered,
    open_requests,
    prefetch_frames,
)
from scout.io.channels.sharding import SKIPPED, role_for, set_role
from scout.io.packet import NOT_HELD, OFFLOAD, RECORD
from scout.io.rest import gathers_now
from scout.ring import layout, turn
from scout.ring.atomics import load64, pause, store64
from scout.ring.batch import cut_batch, finish, mark_plain, passes_over
from scout.ring.bell import must_wake_others
from scout.ring.claims import NOBODY, claim_at, count_of
from scout.ring.election import CONTROL
from scout.ring.jit import Record, inline

__all__ = ["OPERATIONS"]


CONTROLS_INTERVAL = MOST_CONTROLS // 2
"""Control requests between two positions at which all replicas save a snapshot; a power of two."""


@inline
def receive(
    ring: Record,
    cursor: Record,
    replica: int,
    batch: np.ndarray,
    copies: bool,
    look: Callable[..., bool],
    tables: Any,
) -> int:
    """Fill `batch` with the next packets that this replica has one role for, or with a control request; how many.

    With `copies` false a replica that is not the primary reads the packets in the ring, where nobody may write.
    """
    count = open_requests(ring, cursor, replica, replica)
    if count and cursor.role & CONTROL:
        _take_control(ring, cursor, batch)
        return 1
    if passes_over(ring, cursor):
        return 0
    in_place = not copies and cursor.primary == 0
    if cursor.primary and count >= MANY and is_filled(ring, cursor.head + 2 * count - 1):
        # Only frames that are there: to ask for the line of a frame that the kernel has yet to write takes it away from
        # the kernel's core.
        prefetch_frames(ring, cursor.head + count, count)
    header, taken = frame_at(ring, cursor.head), 0
    for _ in range(count):
        packet, record, port = batch[np.uintp(taken)], batch.ctypes.data + taken * RECORD, _port_of(ring, header)
        taken += take_frame(packet, record, header, port, in_place, cursor.primary, look, tables)
        header = next_frame(ring, header)
    return taken


@inline
def receive_sharded(
    ring: Record,
    cursor: Record,
    replica: int,
    batch: np.ndarray,
    shards: int,
    shard_of: Callable[..., int],
    look: Callable[..., bool],
    tables: Any,
) -> int:
    """Fill `batch` with those of the next packets that concern this replica, by `shard_of` and
    `scout.io.channels.sharding`; how many.
    """
    replays = layout.position(cursor) < cursor.until
    count, taken, role = open_requests(ring, cursor, replica, NOBODY), 0, SKIPPED
    concerned = 0  # packets that are for this replica, also those that `look` leaves out
    if count and cursor.role & CONTROL:
        cursor.primary = 0 if replays else 1
        _take_control(ring, cursor, batch)
        return 1
    header = frame_at(ring, cursor.head)
    for index in range(count):
        its = role_for(shard_of(frame_of(header), frame_end(header), shards), replica, replays)
        if its != SKIPPED:
            if concerned and its != role:
                cut_batch(cursor, index)  # a batch has one role
                break
            role = its
            concerned += 1
            packet, record, port = batch[taken], batch.ctypes.data + taken * RECORD, _port_of(ring, header)
            taken += take_frame(packet, record, header, port, False, its, look, tables)
        header = next_frame(ring, header)
    set_role(cursor, role, concerned)
    return taken


@inline
def _port_of(ring: Record, header: int) -> int:
    """Index of the port by which a frame came."""
    if ring.ports == 1:
        return ring.port
    interface, entry = interface_of(header), ring.interfaces
    for _ in range(ring.ports - 1):
        if load64(entry) == interface:
            break
        entry += 16
    return load64(entry + 8)


@inline
def _take_control(ring: Record, cursor: Record, batch: np.ndarray) -> None:
    """Fill the first record of `batch` from the control request at hand."""
    address = control_at(ring, cursor.controls)
    packet, record = batch[0], batch.ctypes.data
    store64(record + OFFLOAD, 0)
    packet.checksum_offset = 0
    packet.port = load64(address)
    packet.control = load64(address + 8)
    packet.at = load64(address + 16)
    packet.argument = load64(address + 24)
    packet.timestamp = load64(address + 32)
    packet.link_broadcast = 0
    packet.held_since = NOT_HELD
    packet.tail_bytes = 0
    packet.origin = packet.frame = packet.end = packet.slot


@inline
def gathers(ring: Record, cursor: Record, waiter: np.ndarray, channel: int) -> bool:
    """True if the next frames are to wait until there are `MANY`: behind a batch of `DENSE` packets, for a moment.

    Packets of one flow leave together then. And a replica that takes each frame as soon as it is there slows down the
    core that writes them: both use the frame's first cache line at the same time. So it looks at the last one of MANY.
    """
    here, last = layout.position(cursor), cursor.head + MANY - 1
    if cursor.primary == 0 or cursor.open or cursor.end > here:
        return False
    if not gathers_now(waiter, channel):
        return False
    if not has_room(ring, last) or is_filled(ring, last) or has_control(ring, cursor) or claim_at(ring, here):
        return False
    pause()
    return True


@inline
def await_turn(ring: Record, cursor: Record, stop: int) -> bool:
    """Wait until the packets of the batch at hand may leave; as `scout.ring.turn.await_turn`."""
    return turn.await_turn(ring, layout.position(cursor), stop)


@inline
def release(ring: Record, cursor: Record, replica: int, ordered: bool) -> None:
    """Release the requests of the batch at hand, if there is one; in channel order only if its packets have left."""
    if cursor.open == 0:
        return
    if ordered and cursor.primary and not turn.leave_in_turn(ring, layout.position(cursor), cursor.count):
        return
    finish(ring, cursor, replica)
    if ring.keeps == 0:
        advance_floor(ring, cursor, replica)


@inline
def needs_help(ring: Record, cursor: Record) -> bool:
    """True if replicas that sleep are to wake: MANY frames were there and are again, or one has stayed far behind."""
    if cursor.primary and cursor.count >= MANY and is_filled(ring, cursor.head + cursor.count + MANY - 1):
        return True
    return must_wake_others(ring, cursor)


@inline
def snapshot_due(ring: Record, cursor: Record) -> bool:
    """True if the replica stands at a position where all save a snapshot, and has not saved it yet.

    Control requests have little room, and may come without frames: there is such a position behind every so many.
    """
    moved = cursor.controls_floor != cursor.controls
    if moved and cursor.controls & (CONTROLS_INTERVAL - 1) == 0:
        return True
    return layout.position(cursor) & (ring.interval - 1) == 0 and (moved or cursor.floor != cursor.head)


@inline
def position(ring: Record, cursor: Record) -> int:
    """How many requests the replica has released."""
    return layout.position(cursor)


@inline
def controls_done(ring: Record, cursor: Record) -> int:
    """How many of them were control requests."""
    return cursor.controls


@inline
def batch_number(ring: Record, cursor: Record) -> int:
    """A number that no other batch of the channel has."""
    return layout.position(cursor)


@inline
def waiting(ring: Record, cursor: Record) -> int:
    """How many packets are known to wait, at most a batch; 1 if a control request comes next."""
    here = layout.position(cursor)
    if cursor.end > here:
        return cursor.end - here
    found = claim_at(ring, here)
    count = count_of(found) if found else offered(ring, cursor)
    return 0 if count == NOTHING else max(1, count)


@inline
def waiting_since(ring: Record, cursor: Record) -> int:
    """When the first of what waits was received, nanoseconds since 1970."""
    here = layout.position(cursor)
    found = claim_at(ring, here)
    if cursor.end <= here and (count_of(found) if found else offered(ring, cursor)) == 0:
        return load64(control_at(ring, cursor.controls) + 32)
    return received_at(frame_at(ring, cursor.head))


OPERATIONS = ChannelOperations(
    ring=RING,
    cursor=layout.MEMBER,
    receive=receive,
    receive_sharded=receive_sharded,
    gathers=gathers,
    mark_plain=mark_plain,
    passes_over=passes_over,
    await_turn=await_turn,
    release=release,
    needs_help=needs_help,
    snapshot_due=snapshot_due,
    advance_floor=advance_floor,
    position=position,
    controls_done=controls_done,
    batch_number=batch_number,
    waiting=waiting,
    waiting_since=waiting_since,
)
