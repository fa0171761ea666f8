"""Packets that wait until a time, kept out of the channel they came by.

A stage with an outcome that waits (`Outcome.waits`) says in `packet.due` when the packet goes on. Each replica keeps
the packets that it is the primary of, as it keeps those that wait for an answer (`scout.io.hold`), and the same holds
for them: they are the primary's own affair, and nothing that replicas must agree on may depend on them.

Packets go on in the order of their times, and those of one time in the order in which they were received. The time of
a packet is `due` from then on, whatever the clock says when the replica comes to it.

Packets that different replicas have keep this order too, if they came to their replicas in it (a path with
`order="channel"`): each replica shows the time of its first packet to the others, and lets no packet go before all
requests up to its own position have left their primaries, which may have such packets too. While packets come live, no
packet waits long for another replica, which may not run.

While packets come live, time is the clock of the kernel's time stamps. Packets of a recording go on when a later packet
tells that it is time, and all of them once there are no more packets (`RECORDED`, `LIVE`, `ENDED`).
"""

import numpy as np

from scout.io.batch import BATCH_SIZE, LONGEST, copy_whole
from scout.io.hold import HOLD
from scout.io.packet import HEADROOM, NOT_HELD, RECORD, SECOND
from scout.io.rest import NEVER
from scout.ring.atomics import copy, load64, load64_acquire, store64, store64_release
from scout.ring.jit import Record, inline
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import address, private

__all__ = [
    "ENDED",
    "LIVE",
    "MOST_DELAY",
    "MOST_DELAYED",
    "PATIENCE",
    "RECORDED",
    "delay",
    "first_of_others",
    "forget_delayed",
    "free_delayed",
    "new_delays",
    "take_due",
]

RECORDED, LIVE, ENDED = 0, 1, 2
"""How time passes for packets that wait: by the packets of a recording; by the clock; no more packets will come."""

MOST_DELAYED = 1 << 14
"""Packets that wait in a replica at most. Each may take 64 KiB."""

MOST_DELAY = 60 * SECOND
"""Nanoseconds that a packet waits at most."""

_SET_BACK = SECOND
"""Nanoseconds by which time may be earlier than a packet's arrival before the clock is taken to have been set back."""

PATIENCE = 2_000_000
"""Nanoseconds that a packet waits at most, while packets come live, for one before it that another replica has."""

_SLOT = HEADROOM + LONGEST
_ENTRY, _ARRIVAL, _NUMBER = 24, 8, 16  # bytes of an entry of the heap; offsets of its second and third word
_PLACE_BITS = 20
_HOLD_BYTES = HOLD.itemsize
_SHOWN, _SHOWN_ARRIVAL = (int((HOLD.fields or {})[name][1]) for name in ("shown", "shown_arrival"))  # type: ignore[index]


def new_delays(holds: np.ndarray, replica: int, most: int = MOST_DELAYED) -> np.ndarray:
    """Give a replica's one of the `HOLD`s of all replicas room for packets that wait; the memory.

    Untouched pages cost nothing.
    """
    memory = private(most * (_ENTRY + 8 + RECORD + _SLOT) + BATCH_SIZE * 8, np.uint8)
    holds["agenda"][replica], holds["most_delayed"][replica] = address(memory), most
    holds["all"][replica] = address(holds)
    return memory


# The memory: the heap, the list of places, and places for records and frames.


@inline
def _places(hold: Record) -> int:
    return hold.agenda + hold.most_delayed * _ENTRY


@inline
def _record(hold: Record, place: int) -> int:
    return _places(hold) + (hold.most_delayed + BATCH_SIZE) * 8 + place * RECORD


@inline
def _slot(hold: Record, place: int) -> int:
    return _record(hold, hold.most_delayed) + place * _SLOT


@inline
def forget_delayed(hold: Record, here: int) -> None:
    """Begin without packets: what a predecessor had is gone with its memory. `here` is the record's address."""
    hold.delayed, hold.pending, hold.due = 0, 0, NEVER
    for place in range(hold.most_delayed):
        store64(_places(hold) + place * 8, place)
    _show(hold, here)


# Keeping.


@inline
def delay(hold: Record, packet: Record, record: int, here: int) -> None:
    """Keep a copy of a packet, whose record is at address `record`, until `due`, or count that there was no room."""
    size = packet.end - min(packet.origin, packet.frame) + packet.tail_bytes
    if size > LONGEST or hold.delayed == hold.most_delayed:
        hold.full += 1
        return
    place = load64(_places(hold) + hold.delayed * 8)  # the places of packets that wait are before these, in any order
    copy_whole(packet, _slot(hold, place) + HEADROOM)
    due = min(packet.due, packet.timestamp + MOST_DELAY)
    packet.due = due
    copy(_record(hold, place), record, RECORD)
    hold.delayed += 1
    _insert(hold, due, packet.timestamp, hold.put << _PLACE_BITS | place)
    hold.put += 1
    if due < hold.shown:
        # Release, pairs with `first_of_others`. The time first: with the arrival of the packet that was the first
        # before, it makes no other replica let a packet go too early.
        store64_release(here + _SHOWN, due)
        store64_release(here + _SHOWN_ARRIVAL, packet.timestamp)
    elif due == hold.shown and packet.timestamp < hold.shown_arrival:  # it came by another channel
        store64_release(here + _SHOWN_ARRIVAL, packet.timestamp)  # release, pairs with `first_of_others`


# Order among replicas.


@inline
def _show(hold: Record, here: int) -> None:
    # The arrival first: with the time before, it stands for packets that have left.
    store64_release(here + _SHOWN_ARRIVAL, load64(hold.agenda + _ARRIVAL) if hold.pending else 0)
    # Release, pairs with `first_of_others`: the packets before this time have left.
    store64_release(here + _SHOWN, hold.due)


@inline
def first_of_others(hold: Record, here: int) -> tuple[int, int]:
    """The first packet that another replica has, and has not let go: its time, and when it was received.

    A packet of this replica with the same time goes before it if it was received earlier than that.
    """
    first, received = NEVER, 0
    for replica in range(MOST_REPLICAS):
        other = hold.all + replica * _HOLD_BYTES
        # Acquire, pairs with `_show` and `delay`; 0: there was no such replica.
        shown = load64_acquire(other + _SHOWN)
        if other != here and 0 < shown <= first:
            # Acquire, as above. Of packets received at one time those of the replica with the smaller number go first.
            arrival = load64_acquire(other + _SHOWN_ARRIVAL) + (other > here)
            # Acquire, as above: both words may have changed in between, and then neither says when the packet came.
            again = load64_acquire(other + _SHOWN)
            if again != shown or load64_acquire(other + _SHOWN_ARRIVAL) + (other > here) != arrival:
                shown, arrival = min(shown, again), 0
            received = min(received, arrival) if shown == first else arrival
            first = shown
    return first, received


# Going on.


@inline
def take_due(hold: Record, batch: np.ndarray, now: int, first: int, received: int) -> int:
    """Put packets whose time has come into `batch`, which needs no slots of its own; how many.

    None goes on behind another replica's first packet, which has the time `first` and was received at `received`. They
    keep their places until `free_delayed`, which is called before this is called again.
    """
    count = 0
    while count < BATCH_SIZE and hold.pending and _is_due(hold, now, first, received):
        place = load64(hold.agenda + _NUMBER) & (1 << _PLACE_BITS) - 1
        copy(batch.ctypes.data + count * RECORD, _record(hold, place), RECORD)
        packet = batch[np.uintp(count)]
        packet.timestamp = packet.due
        packet.held_since = NOT_HELD
        store64(_places(hold) + (hold.most_delayed + count) * 8, place)
        count += 1
        _remove_first(hold)
    return count


@inline
def _is_due(hold: Record, now: int, first: int, received: int) -> bool:
    """True if the first packet goes on; also if time was set back since it came, so that it may not wait for ever."""
    arrival = load64(hold.agenda + _ARRIVAL)
    comes_first = hold.due < first or (hold.due == first and arrival < received)
    return (now >= hold.due and comes_first) or now < arrival - _SET_BACK


@inline
def free_delayed(hold: Record, count: int, here: int) -> None:
    """Free the places of the `count` packets that were taken last: they have left, or were copied."""
    for index in range(count):
        hold.delayed -= 1
        store64(_places(hold) + hold.delayed * 8, load64(_places(hold) + (hold.most_delayed + index) * 8))
    _show(hold, here)


# The heap: an entry is not behind the two entries that follow it. An entry is the time, the time when the packet was
# received, and a number that tells packets of these times apart, with the place in its low bits.


@inline
def _insert(hold: Record, due: int, arrival: int, number: int) -> None:
    at = hold.pending
    hold.pending += 1
    while at > 0 and _is_before(due, arrival, number, hold.agenda + (at - 1 >> 1) * _ENTRY):
        copy(hold.agenda + at * _ENTRY, hold.agenda + (at - 1 >> 1) * _ENTRY, _ENTRY)
        at = at - 1 >> 1
    entry = hold.agenda + at * _ENTRY
    store64(entry, due)
    store64(entry + _ARRIVAL, arrival)
    store64(entry + _NUMBER, number)
    hold.due = load64(hold.agenda)


@inline
def _remove_first(hold: Record) -> None:
    hold.pending -= 1
    last, at = hold.agenda + hold.pending * _ENTRY, 0
    while True:
        child = 2 * at + 1
        if child >= hold.pending:
            break
        entry = hold.agenda + child * _ENTRY
        if child + 1 < hold.pending and _comes_before(entry + _ENTRY, entry):
            child += 1
            entry += _ENTRY
        if not _comes_before(entry, last):
            break
        copy(hold.agenda + at * _ENTRY, entry, _ENTRY)
        at = child
    if at != hold.pending:
        copy(hold.agenda + at * _ENTRY, last, _ENTRY)
    hold.due = load64(hold.agenda) if hold.pending else NEVER


@inline
def _comes_before(entry: int, other: int) -> bool:
    return _is_before(load64(entry), load64(entry + _ARRIVAL), load64(entry + _NUMBER), other)


@inline
def _is_before(due: int, arrival: int, number: int, entry: int) -> bool:
    other = load64(entry)
    if due != other:
        return due < other
    other = load64(entry + _ARRIVAL)
    return arrival < other or (arrival == other and number < load64(entry + _NUMBER))
