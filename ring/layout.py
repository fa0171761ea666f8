"""The layout of a replicated channel in shared memory: its words, its members' records, its entries, its marks.

An entry of a software channel is `mark | length | payload`, padded to whole cache lines. The marks are written by the
election (`scout.ring.claims`, `scout.ring.election`). A ring that the kernel fills has its marks in an array beside it.

A *position* counts requests: the entries of the ring, and the control requests that a kernel's ring has beside it. In a
software channel every request is an entry, so a position is the number of an entry.
"""

from typing import Any

import numpy as np

from scout.ring.atomics import load64, load64_acquire, store64
from scout.ring.jit import Record, inline
from scout.ring.segment import LINE

__all__ = [
    "CHANNEL",
    "CLAIM",
    "CLOSED",
    "CONTROLS",
    "GATING",
    "HEADER",
    "LENGTH",
    "LIMIT",
    "LOCK",
    "MARK",
    "MEMBER",
    "MEMBERS",
    "MEMBER_BYTES",
    "MODULO",
    "PATIENCE",
    "REFCOUNT",
    "REFUSED",
    "RETURNED",
    "SLEEPERS",
    "TAIL",
    "TURN",
    "WORDS",
    "controls_floor_of",
    "end_of",
    "floor_of",
    "granted_of",
    "head_of",
    "mark_of",
    "payload",
    "payload_length",
    "position",
    "prepared_of",
    "published",
    "set_length",
    "slot_of",
    "stamp_of",
    "state_of",
    "word",
]

CHANNEL = np.dtype(
    [
        ("ring", "i8"),  # address of the first entry
        ("entries", "i8"),  # how many there are; in a software channel a power of two
        ("stride", "i8"),  # bytes from one entry to the next
        ("words", "i8"),  # address of the words, a cache line each
        ("members", "i8"),  # address of the MEMBER records
        ("marks", "i8"),  # address of the first mark
        ("mark_count", "i8"),  # how many marks there are, a power of two
        ("mark_stride", "i8"),  # bytes from one mark to the next
        ("lap_bits", "i8"),  # the binary logarithm of mark_count
        ("policy", "i8"),  # how primaries are elected: CLAIM, REFCOUNT or MODULO
        ("batch", "i8"),  # the most requests that are dequeued together, a power of two
        ("group", "i8"),  # requests that share a primary by their number: batch, or 1 with CLAIM
        ("interval", "i8"),  # no batch crosses a multiple of this, a power of two
        ("keeps", "i8"),  # not 0: a replica raises its floor when it saves a snapshot
        ("laps", "i8"),  # not 0: the producer does not wait for replicas that are between two batches
        ("wakes", "i8"),  # not 0: replicas may sleep on a futex until something is published
        ("bell", "i8"),  # address of the bell to be rung when something is published; 0 if there is none
    ],
    align=True,
)
"""The facts about a channel that compiled code needs. They do not change while the channel is in use."""

CLAIM, REFCOUNT, MODULO = 0, 1, 2

TAIL, LIMIT, LOCK, MEMBERS, GATING, TURN, REFUSED, CLOSED, SLEEPERS, PATIENCE, RETURNED, CONTROLS, WORDS = range(13)
"""The words by number.

TAIL: requests published. LIMIT: how far the ring may be filled, as announced to joining replicas; on the same line
follow GRANTED, how far it may really be filled, and STAMP, the members that the producer elects from now. LOCK: 0, or 1
plus the number of the process that produces (or returns frames) now. MEMBERS: mask of the replicas that primaries are
elected from. GATING: mask of the replicas whose floors count. TURN: position up to which packets have left, for channel
order. REFUSED: requests that found the channel full. CLOSED: not 0 if nothing more will be sent. SLEEPERS: not 0 if a
replica may sleep until it is woken. PATIENCE: a struct timespec, the longest time that it sleeps.

Only in a kernel's ring: RETURNED: frames that were returned to the kernel; on the same line follows PREPARED, frames
that are marked so that a frame can be told from its successor in the slot. CONTROLS: control requests published.

WORDS: how many words there are.
"""

MEMBER = np.dtype(
    [
        ("head", "i8"),  # entries released
        ("controls", "i8"),  # control requests released that are not entries; head + controls is the position
        ("floor", "i8"),  # the first entry that may be read again: the one of the newest snapshot
        ("controls_floor", "i8"),  # the first control request that may be read again
        ("state", "i8"),  # IDLE, BUSY or LAPPED; used by channels that lap
        ("tail", "i8"),  # entries known to be filled
        ("role", "i8"),  # what was decided for the requests before `end`: PRIMARY | CONTROL
        ("end", "i8"),  # position up to which `role` was decided
        ("until", "i8"),  # requests before this position are replayed: this replica, or a predecessor, released them
        ("open", "i8"),  # not 0 while there is a batch at hand
        ("count", "i8"),  # requests of that batch
        ("primary", "i8"),  # not 0 if this replica is its primary
        ("last_granted", "i8"),  # after `resign`: requests from here on were published without this replica
        ("seen", "i8"),  # requests dequeued, replayed ones included
        ("claimed", "i8"),  # requests that this replica was primary of
        ("replayed", "i8"),  # requests replayed
    ],
    align=True,
)
"""The state of a replica, two cache lines; written by its owner alone, except for `state`. It outlives the owner."""

MEMBER_BYTES = MEMBER.itemsize

MARK, LENGTH, HEADER = 0, 8, 16
"""Offsets in an entry of a software channel; the payload begins at HEADER."""

_FIELDS: Any = MEMBER.fields
_HEAD, _FLOOR, _CONTROLS_FLOOR, _STATE, _END = (
    int(_FIELDS[name][1]) for name in ("head", "floor", "controls_floor", "state", "end")
)


@inline
def word(channel: Record, number: int) -> int:
    """Address of one of the channel's words."""
    return channel.words + number * LINE


@inline
def granted_of(channel: Record) -> int:
    """Address of GRANTED: entries from this number on are not filled before the floors are read again."""
    return word(channel, LIMIT) + 8


@inline
def stamp_of(channel: Record) -> int:
    """Address of STAMP: the members from which primaries of the next requests are elected."""
    return word(channel, LIMIT) + 16


@inline
def prepared_of(channel: Record) -> int:
    """Address of PREPARED, of a kernel's ring."""
    return word(channel, RETURNED) + 8


@inline
def head_of(channel: Record, replica: int) -> int:
    """Address of a replica's head."""
    return channel.members + replica * MEMBER_BYTES + _HEAD


@inline
def floor_of(channel: Record, replica: int) -> int:
    """Address of a replica's floor."""
    return channel.members + replica * MEMBER_BYTES + _FLOOR


@inline
def controls_floor_of(channel: Record, replica: int) -> int:
    """Address of a replica's floor among the control requests."""
    return channel.members + replica * MEMBER_BYTES + _CONTROLS_FLOOR


@inline
def state_of(channel: Record, replica: int) -> int:
    """Address of a replica's state."""
    return channel.members + replica * MEMBER_BYTES + _STATE


@inline
def end_of(channel: Record, replica: int) -> int:
    """Address of the position up to which a replica's role is decided."""
    return channel.members + replica * MEMBER_BYTES + _END


@inline
def position(member: Record) -> int:
    """How many requests a replica has released."""
    return member.head + member.controls


@inline
def mark_of(channel: Record, position: int) -> int:
    """Address of the mark of the request at `position`."""
    return channel.marks + (position & (channel.mark_count - 1)) * channel.mark_stride


@inline
def slot_of(channel: Record, number: int) -> int:
    """Address of the entry after `number` others, in a software channel."""
    return channel.ring + (number & (channel.entries - 1)) * channel.stride


@inline
def payload(slot: int) -> int:
    """Address of the payload in the entry at `slot`."""
    return slot + HEADER


@inline
def payload_length(slot: int) -> int:
    """Bytes of payload in the entry at `slot`."""
    return load64(slot + LENGTH)


@inline
def set_length(slot: int, length: int) -> None:
    """Set the bytes of payload in the entry at `slot`. For the producer, before `publish`."""
    store64(slot + LENGTH, length)


@inline
def published(channel: Record) -> int:
    """Requests published so far. Acquire, pairs with `publish`: their entries can be read."""
    return load64_acquire(word(channel, TAIL))
