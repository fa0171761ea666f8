"""The compiled operations of a software channel, in which a request is one frame or one control request.

A request's payload is `timestamp (8 bytes) | struct virtio_net_hdr (10) | control (1) | stage (1) | port (4) | frame`,
in this machine's byte order. In a channel whose entries are short (`rests`) what is behind the first `REACH` bytes of a
frame lies elsewhere. Where `control` is not 0 it is a control request for the service at `stage`, and the frame
is its argument, an int64. The port is the one that the frame came by, or whose path has the stage: a channel may serve
several ports, and then has one order of all their requests.

A replica takes the next requests a batch at a time. The domain runs a whole batch either as the primary or as another
replica, so a batch ends where the role would change. A control request is a batch of its own. Nobody writes to a
request: a replica that works on packets copies their headers to slots of its own (`REACH` bytes); the rest of a packet
leaves from where it is. Requests are released when the batch has been sent.
"""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from scout.io.batch import place_frame
from scout.io.channels.contract import ChannelOperations
from scout.io.channels.sharding import SKIPPED, role_for, set_role
from scout.io.packet import NOT_HELD, OFFLOAD, REACH, RECORD
from scout.ring import turn
from scout.ring.atomics import load32, load64, prefetch_read, store64, store64_release
from scout.ring.batch import close_batch, cut_batch, mark_plain, open_up_to, passes_over
from scout.ring.bell import must_wake_others
from scout.ring.claims import NOBODY, claim_at
from scout.ring.jit import Record, inline
from scout.ring.layout import CHANNEL, MEMBER, floor_of, payload, payload_length, published, slot_of
from scout.ring.segment import LINE

__all__ = ["CONTROL", "FEED", "FRAME", "KIND", "OFFLOADS", "OPERATIONS", "REQUEST", "TIMESTAMP", "rest_of"]

REQUEST = struct.Struct("<q10sBBi")
TIMESTAMP, OFFLOADS, FRAME = 0, 8, REQUEST.size  # offsets in a request
CONTROL = 16  # offset of the 8 bytes that are the last 2 of the virtio_net_hdr, control, stage and port
KIND = 18  # offset of control

_AHEAD = 32
"""Requests of which the first cache lines are asked for ahead: as many as are dequeued together by default."""

# The channel's fields come last: numba would take a record that begins as a CHANNEL for one.
FEED = np.dtype(
    [
        ("too_long", "i8"),  # frames that were left out; written by the producer whose turn it is
        ("rests", "i8"),  # address of the rooms for the bytes of frames behind the first REACH, one for each entry; 0:
        ("rest_bytes", "i8"),  # they follow in the entry; and bytes of such a room
        ("spare", "i8", 1),
        *((name, "i8") for name in CHANNEL.names or ()),
    ]
)
"""A `CHANNEL`, and what its producers count."""


@inline
def receive(
    feed: Record,
    cursor: Record,
    replica: int,
    batch: np.ndarray,
    copies: bool,
    look: Callable[..., bool],
    tables: Any,
) -> int:
    """Fill `batch` with the next packets that this replica has one role for, or with a control request; how many.

    With `copies` false a replica that is not the primary reads the packets in the channel, where nobody may write.
    """
    count, taken = _open_requests(feed, cursor, replica, replica), 0
    if passes_over(feed, cursor):
        return 0
    in_place = not copies and cursor.primary == 0
    for index in range(count):
        record = batch.ctypes.data + taken * RECORD
        packet, number = batch[np.uintp(taken)], cursor.head + index
        # The processor's own prefetching does not find long entries; the frame's headers are in the first two lines.
        ahead = slot_of(feed, min(number + _AHEAD, cursor.tail - 1))
        prefetch_read(ahead)
        prefetch_read(ahead + LINE)
        taken += _take(feed, packet, record, number, in_place, cursor.primary, look, tables)
    return taken


@inline
def receive_sharded(
    feed: Record,
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
    replays = cursor.head < cursor.until
    count, taken, role = _open_requests(feed, cursor, replica, NOBODY), 0, SKIPPED
    concerned = 0  # packets that are for this replica, also those that `look` leaves out
    for index in range(count):
        slot = slot_of(feed, cursor.head + index)
        frame, end = payload(slot) + FRAME, payload(slot) + payload_length(slot)
        if _is_control(slot):
            its = 0 if replays else 1
        else:
            its = role_for(shard_of(frame, min(end, frame + REACH), shards), replica, replays)
        if its != SKIPPED:
            if concerned and its != role:
                cut_batch(cursor, index)  # a batch has one role
                break
            role = its
            concerned += 1
            record = batch.ctypes.data + taken * RECORD
            taken += _take(feed, batch[taken], record, cursor.head + index, False, its, look, tables)
    set_role(cursor, role, concerned)
    return taken


@inline
def _open_requests(feed: Record, cursor: Record, replica: int, owner: int) -> int:
    """Dequeue the next packets, or the next control request, as the batch at hand; how many, 0 if nothing waits.

    A claim ends before the next control request, or is of this alone. So a replica that follows it need not look.
    """
    head, most = cursor.head, feed.batch
    if cursor.end <= head and claim_at(feed, head) == 0:
        if cursor.tail <= head:
            cursor.tail = published(feed)
        waits = min(cursor.tail - head, most)
        if waits <= 0:
            return 0
        most = _to_control(feed, head, waits)
    return max(0, open_up_to(feed, cursor, replica, owner, most))


@inline
def _to_control(feed: Record, first: int, count: int) -> int:
    """How many of the `count` requests from number `first` on come before a control request; 1 if it is the first."""
    packets = 0
    while packets < count and not _is_control(slot_of(feed, first + packets)):
        packets += 1
    return max(1, packets)


@inline
def _is_control(slot: int) -> bool:
    """True if the entry at `slot` is a control request."""
    return load32(payload(slot) + CONTROL) >> 16 & 0xFF != 0


@inline
def rest_of(feed: Record, number: int) -> int:
    """Address of the room for the bytes of a frame behind the first `REACH`, if entries are short."""
    return feed.rests + (number & (feed.entries - 1)) * feed.rest_bytes


@inline
def _take(
    feed: Record,
    packet: Record,
    record: int,
    number: int,
    in_place: bool,
    primary: int,
    look: Callable[..., bool],
    tables: Any,
) -> bool:
    """Fill a packet's record, at address `record`, from the request of this number; False if `look` leaves it out."""
    slot = slot_of(feed, number)
    request = payload(slot)
    frame, size = request + FRAME, payload_length(slot) - FRAME
    word = load64(request + CONTROL)
    packet.control = word >> 16 & 0xFF
    packet.port = word >> 32
    packet.timestamp = load64(request + TIMESTAMP)
    if packet.control == 0 and not look(tables, packet, frame, size, primary):
        return False
    store64(record + OFFLOAD, load64(request + OFFLOADS))
    packet.checksum_offset = word & 0xFFFF
    packet.at = word >> 24 & 0xFF
    packet.argument = load64(frame) if packet.control else 0
    packet.link_broadcast = 0
    packet.held_since = NOT_HELD
    place_frame(packet, frame, size, in_place)
    if feed.rests:
        packet.tail = rest_of(feed, number)
    return True


@inline
def gathers(feed: Record, cursor: Record, waiter: np.ndarray, channel: int) -> bool:
    """False: the next packets never wait for more, as they are inserted many at once."""
    return False


@inline
def await_turn(feed: Record, cursor: Record, stop: int) -> bool:
    """Wait until the packets of the batch at hand may leave; as `scout.ring.turn.await_turn`."""
    return turn.await_turn(feed, cursor.head, stop)


@inline
def release(feed: Record, cursor: Record, replica: int, ordered: bool) -> None:
    """Release the requests of the batch at hand, if there is one; in channel order only if its packets have left."""
    if cursor.open == 0:
        return
    if ordered and cursor.primary and not turn.leave_in_turn(feed, cursor.head, cursor.count):
        return
    close_batch(feed, cursor, replica)


@inline
def needs_help(feed: Record, cursor: Record) -> bool:
    """True if replicas that sleep are to wake: one has stayed far behind. Insertions wake all by themselves."""
    return must_wake_others(feed, cursor)


@inline
def snapshot_due(feed: Record, cursor: Record) -> bool:
    """True if the replica stands at a position where all save a snapshot, and has not saved it yet."""
    return cursor.head & (feed.interval - 1) == 0 and cursor.floor != cursor.head


@inline
def advance_floor(feed: Record, cursor: Record, replica: int) -> None:
    """Declare that requests before the position will not be read again: the state after them is saved."""
    store64_release(floor_of(feed, replica), cursor.head)  # pairs with the producer's load: they were read before


@inline
def position(feed: Record, cursor: Record) -> int:
    """How many requests the replica has released."""
    return cursor.head


@inline
def controls_done(feed: Record, cursor: Record) -> int:
    """How many control requests `position` does not tell: none, as they are entries like the frames."""
    return 0


@inline
def batch_number(feed: Record, cursor: Record) -> int:
    """A number that no other batch of the channel has."""
    return cursor.head


@inline
def waiting(feed: Record, cursor: Record) -> int:
    """How many packets wait."""
    if cursor.tail <= cursor.head:
        cursor.tail = published(feed)
    return max(0, cursor.tail - cursor.head)


@inline
def waiting_since(feed: Record, cursor: Record) -> int:
    """When the first of the packets that wait was received, nanoseconds since 1970."""
    return load64(payload(slot_of(feed, cursor.head)) + TIMESTAMP)


OPERATIONS = ChannelOperations(
    ring=FEED,
    cursor=MEMBER,
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
