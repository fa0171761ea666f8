"""How a replicated channel lies in shared memory: its words, its members' records, its entries.

An entry is `mark | length | payload`, padded to whole cache lines. The mark is the election's
(`scout.ring.election`), the length the payload's.
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
    "SLEEPERS",
    "TAIL",
    "TURN",
    "WORDS",
    "floor_of",
    "granted_of",
    "group_of",
    "head_of",
    "payload",
    "payload_length",
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
        ("entries", "i8"),  # how many, a power of two
        ("stride", "i8"),  # bytes from one to the next
        ("words", "i8"),  # address of the words, a cache line each
        ("members", "i8"),  # address of the MEMBER records
        ("policy", "i8"),  # who is primary: CLAIM, REFCOUNT or MODULO
        ("batch", "i8"),  # requests that are dequeued together at most, a power of two
        ("group", "i8"),  # requests that have one primary by their number: batch, or 1 with CLAIM
        ("interval", "i8"),  # no batch crosses a multiple of this, a power of two
        ("keeps", "i8"),  # not 0: floors are moved by who saves snapshots
        ("laps", "i8"),  # not 0: the producer does not wait for replicas that are not at work
        ("wakes", "i8"),  # not 0: replicas may sleep until something is published
    ],
    align=True,
)
"""What compiled code needs of a channel. It does not change while the channel is in use."""

CLAIM, REFCOUNT, MODULO = 0, 1, 2

TAIL, LIMIT, LOCK, MEMBERS, GATING, TURN, REFUSED, CLOSED, SLEEPERS, PATIENCE, WORDS = range(11)
"""The words by number. TAIL: requests published. LIMIT: how far the producer says that it may go; behind it,
on the same line, GRANTED: how far it may, and STAMP: the members that it elects from now. LOCK: 0, or the number
of the producer at work plus 1. MEMBERS: mask of replicas that primaries are elected from. GATING: mask of replicas
whose floors the producer minds. TURN: requests that have left, for channel order. REFUSED: requests that found the
channel full. CLOSED: not 0 if nothing more will be sent. SLEEPERS: replicas that wait to be woken. PATIENCE: a
struct timespec, how long they sleep at most. WORDS: how many words there are."""

MEMBER = np.dtype(
    [
        ("head", "i8"),  # requests let go of
        ("floor", "i8"),  # the first request that may still be wanted: that of the newest own snapshot
        ("state", "i8"),  # IDLE, BUSY or LAPPED; used by channels that lap
        ("count", "i8"),  # requests of the batch at hand
        ("primary", "i8"),  # not 0: this replica is their primary
        ("tail", "i8"),  # requests known to be published
        ("until", "i8"),  # requests before this one are replayed: a predecessor has let go of them
        ("group", "i8"),  # number of the first request of the group decided on last, plus 1
        ("role", "i8"),  # what was decided: not 0: primary
        ("seen", "i8"),  # requests dequeued, replayed ones included
        ("claimed", "i8"),  # requests that this replica was primary of
        ("replayed", "i8"),  # requests replayed
        ("rolled", "i8"),  # times that it went on from a snapshot of another
        ("open", "i8"),  # not 0: there is a batch at hand
        ("until_gone", "i8"),  # requests before this one it sees to also if it has resigned
        ("again", "i8"),  # how many the predecessor had at hand: as many make the first batch that is not replayed
    ],
    align=True,
)
"""Where a replica stands, two cache lines; written by its owner alone, but for `state`. Outlives its owner."""

MEMBER_BYTES = MEMBER.itemsize

MARK, LENGTH, HEADER = 0, 8, 16
"""Offsets in an entry; the payload begins at HEADER."""

_FIELDS: Any = MEMBER.fields
_FLOOR, _STATE, _GROUP = (int(_FIELDS[name][1]) for name in ("floor", "state", "group"))


@inline
def word(channel: Record, number: int) -> int:
    """Address of one of the channel's words."""
    return channel.words + number * LINE


@inline
def granted_of(channel: Record) -> int:
    """Address of GRANTED: the producer fills no entry from this number on without looking at the floors again."""
    return word(channel, LIMIT) + 8


@inline
def stamp_of(channel: Record) -> int:
    """Address of STAMP: the members among whom what is published next finds its primary."""
    return word(channel, LIMIT) + 16


@inline
def head_of(channel: Record, replica: int) -> int:
    """Address of a replica's head."""
    return channel.members + replica * MEMBER_BYTES


@inline
def floor_of(channel: Record, replica: int) -> int:
    """Address of a replica's floor."""
    return channel.members + replica * MEMBER_BYTES + _FLOOR


@inline
def state_of(channel: Record, replica: int) -> int:
    """Address of a replica's state."""
    return channel.members + replica * MEMBER_BYTES + _STATE


@inline
def group_of(channel: Record, replica: int) -> int:
    """Address of the number of the group that a replica decided on last."""
    return channel.members + replica * MEMBER_BYTES + _GROUP


@inline
def slot_of(channel: Record, number: int) -> int:
    """Address of the entry of the request after `number` others."""
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
    """Say how many bytes of payload the entry at `slot` has. Producer only, before `publish`."""
    store64(slot + LENGTH, length)


@inline
def published(channel: Record) -> int:
    """Requests published so far. Acquire, pairs with `publish`: their entries can be read."""
    return load64_acquire(word(channel, TAIL))
