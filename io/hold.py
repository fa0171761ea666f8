"""Packets that wait for something (the MAC address of their next hop), kept out of the channel they came by.

Each replica keeps the packets that it is the primary of. They are the primary's own affair: nothing that replicas must
agree on may depend on them.

A packet waits at most `HOLD_TIME`, by the clock of the packets: a hold's `now` is the timestamp of the newest request,
and while none comes it runs on with the supervisor's clock, if packets are received live (`see_clock`). It never
compares a packet's timestamp with the time of day, so a recording of another year is handled as it was live.

A stage says in `packet.awaited` what it holds a packet for. When a hold is full, it drops a packet that waits for the
same as a later one: the latest packet for each neighbour is kept (RFC 1122 section 2.3.2.2).

There are two banks: a packet that comes out of one and has to wait on goes to the other, so that no packet is
overwritten before it has left.
"""

import numpy as np

from scout.io.batch import BATCH_SIZE, LONGEST, copy_whole
from scout.io.packet import HEADROOM, NOT_HELD, PACKET, RECORD
from scout.ring.atomics import copy, load64, load64_acquire, store64
from scout.ring.jit import Record, inline
from scout.ring.segment import address, private

__all__ = [
    "HOLD",
    "HOLD_TIME",
    "MOST_FOR_ONE",
    "MOST_HELD",
    "MOST_TO_HOLD",
    "RETRY",
    "has_expired",
    "is_due",
    "keep",
    "new_hold",
    "open_bank",
    "see_clock",
    "see_request",
    "see_time",
    "take_back",
]

HOLD_TIME = 3_000_000_000
"""Nanoseconds that a packet is held at most."""

RETRY = 250_000_000
"""Nanoseconds after which held packets are tried again, also if nothing that they may wait for has changed."""

MOST_HELD = 1024
"""Packets that a replica holds at most, by default."""

MOST_TO_HOLD = 1 << 16
"""Packets that a replica can be told to hold at most. Each may take 64 KiB."""

MOST_FOR_ONE = 64
"""Packets that a replica holds at most for one neighbour, by default."""

_SLOT = HEADROOM + LONGEST
_ENTRY, _PLACE, _SUPERSEDED = 24, 8, 16  # bytes of an entry; offsets of its second and third word

HOLD = np.dtype(
    [
        ("count", "i8"),  # packets in the bank that is filled
        ("now", "i8"),  # the time of the packets: nanoseconds since 1970; the supervisor reads it
        ("clock", "i8"),  # what the supervisor's clock said when `now` was set
        ("changes", "i8"),  # how many changes were known when the packets were tried last ...
        ("tried", "i8"),  # ... and when that was, by `now`
        ("full", "i8"),  # packets dropped for lack of room
        ("expired", "i8"),  # packets dropped that waited too long
        ("most", "i8"),  # packets held at most,
        ("most_for_one", "i8"),  # and for one neighbour
        ("bank", "i8"),  # 0 or 1: the bank that is filled
        ("records", "i8"),  # address of the records, both banks
        ("slots", "i8"),  # address of the frames, both banks
        ("entries", "i8"),  # address of the entries, both banks
        ("taken", "i8"),  # packets taken back from the other bank,
        ("waiting", "i8"),  # of so many in it
        ("held", "i8"),  # packets held, also those that are being tried again; the supervisor reads it
        # Packets that wait until a time (`scout.io.delay`):
        ("delayed", "i8"),  # how many: their places are in use
        ("pending", "i8"),  # those of them that are not on their way yet
        ("due", "i8"),  # the time of the first of these, FOREVER if there are none
        ("shown", "i8"),  # the same, but of those that have not left: other replicas read it
        ("shown_arrival", "i8"),  # when that packet was received; other replicas read it
        ("put", "i8"),  # packets that waited so far
        ("most_delayed", "i8"),  # packets that wait at most
        ("agenda", "i8"),  # address of the memory for them
        ("all", "i8"),  # address of the first replica's record
        ("spare", "i8", 7),
    ]
)
"""The state of the packets that a replica holds, four cache lines; written by it alone.

The entries of a bank, in the order in which the packets came, are three int64 each: what the packet waits for; the
place of its record and its frame in the bank; not 0 if a later packet waits for the same.
"""


def new_hold(hold: np.ndarray, most: int = MOST_HELD, most_for_one: int = MOST_FOR_ONE) -> list[np.ndarray]:
    """Set up the one `HOLD` in `hold`; the memory that it refers to. Untouched pages cost nothing."""
    records, slots = private(2 * most, PACKET), private(2 * most * _SLOT, np.uint8)
    entries = private((2 * most, _ENTRY // 8), np.int64)
    hold["records"], hold["slots"], hold["entries"] = address(records), address(slots), address(entries)
    hold["most"], hold["most_for_one"] = most, most_for_one
    return [records, slots, entries]


# Time.


@inline
def see_request(hold: Record, packet: Record, clock: int) -> None:
    """Set the time to a request's; `clock` is the address of the supervisor's clock.

    A control request never sets the time back: its time was read when it was sent, and may be older than packets that
    came by another channel meanwhile.
    """
    if packet.control == 0 or packet.timestamp > hold.now:
        hold.now = packet.timestamp
        hold.clock = load64_acquire(clock)  # pairs with the supervisor's store; a single word, nothing goes with it


@inline
def see_time(hold: Record, time: int, clock: int) -> None:
    """Set the time to that of the newest packet, which may have been dropped where it lay; else as `see_request`."""
    hold.now = time
    hold.clock = load64_acquire(clock)  # pairs with the supervisor's store; a single word, nothing goes with it


@inline
def see_clock(hold: Record, clock: int) -> None:
    """Let time pass by as much as the supervisor's clock has advanced since the newest request.

    The clock stands still where packets come from a recording: only they tell the time then.
    """
    ticked = load64_acquire(clock)  # pairs with the supervisor's store
    hold.now += ticked - hold.clock
    hold.clock = ticked


@inline
def is_due(hold: Record, changes: int) -> bool:
    """True if the held packets are to be tried again: something has changed, or it is long ago.

    Also if time was set back, so that they are tried at least once in each interval.
    """
    return changes != hold.changes or hold.now - hold.tried > RETRY or hold.now < hold.tried


@inline
def has_expired(packet: Record, now: int) -> bool:
    """True if a packet was held for too long; if time was set back, it may wait one interval from then on."""
    if now < packet.held_since:
        packet.held_since = now
    return now - packet.held_since > HOLD_TIME


# Keeping.


@inline
def keep(hold: Record, packet: Record, record: int) -> None:
    """Keep a copy of a packet, whose record is at address `record`, or count that there was no room."""
    size = packet.end - min(packet.origin, packet.frame) + packet.tail_bytes
    if size > LONGEST:
        hold.full += 1
        return
    place = _make_room(hold, packet.awaited)
    if place < 0:
        hold.full += 1
        return
    hold.held = max(hold.held, hold.count)
    place += hold.bank * hold.most
    copy_whole(packet, hold.slots + place * _SLOT + HEADROOM)
    if packet.held_since == NOT_HELD:
        packet.held_since = packet.timestamp
    copy(hold.records + place * RECORD, record, RECORD)


@inline
def _make_room(hold: Record, awaited: int) -> int:
    """Add an entry for a packet that waits for `awaited`; its place in the bank, -1 if there is no room.

    If too many packets wait for the same neighbour, the oldest of these is removed to make room. Else the oldest packet
    is removed for whose neighbour a later packet waits, too.
    """
    entries = hold.entries + hold.bank * hold.most * _ENTRY
    same, oldest_same, oldest_superseded = 0, -1, -1
    for index in range(hold.count):
        entry = entries + index * _ENTRY
        if load64(entry) == awaited:
            same += 1
            if oldest_same < 0:
                oldest_same = index
        if oldest_superseded < 0 and (load64(entry) == awaited or load64(entry + _SUPERSEDED)):
            oldest_superseded = index
    place = hold.count
    if same >= hold.most_for_one or hold.count == hold.most:
        victim = oldest_same if same >= hold.most_for_one else oldest_superseded
        if victim < 0:
            return -1
        place = load64(entries + victim * _ENTRY + _PLACE)
        hold.count -= 1
        hold.full += 1
        for word in range(entries + victim * _ENTRY, entries + hold.count * _ENTRY, 8):
            store64(word, load64(word + _ENTRY))
    for index in range(hold.count):
        entry = entries + index * _ENTRY
        if load64(entry) == awaited:
            store64(entry + _SUPERSEDED, 1)
    entry = entries + hold.count * _ENTRY
    store64(entry, awaited)
    store64(entry + _PLACE, place)
    store64(entry + _SUPERSEDED, 0)
    hold.count += 1
    return place


# Trying again.


@inline
def open_bank(hold: Record, changes: int) -> None:
    """Begin to take back all packets that are held: those that have to wait on go to the other bank."""
    hold.changes = changes
    hold.tried = hold.now
    hold.bank = 1 - hold.bank
    hold.waiting = hold.count
    hold.taken = 0
    hold.count = 0


@inline
def take_back(hold: Record, batch: np.ndarray) -> int:
    """Put the next of these packets into `batch`, which needs no slots of its own; how many, 0 at the end."""
    other = (1 - hold.bank) * hold.most
    count = min(hold.waiting - hold.taken, BATCH_SIZE)
    if count == 0:
        hold.held = hold.count
    for index in range(count):
        place = other + load64(hold.entries + (other + hold.taken + index) * _ENTRY + _PLACE)
        copy(batch.ctypes.data + index * RECORD, hold.records + place * RECORD, RECORD)
    hold.taken += count
    return count
