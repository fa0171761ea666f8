"""The producer's side of a channel: room for requests, and their publication; several producers by turns.

Requests are published by one store: TAIL, with release. A replica that reads it with acquire sees the entries. If
there are several producers each takes LOCK for the time in which it fills entries: one total order, the same for all
replicas, who cannot tell how many producers there are. LOCK names its holder. Who dies holding it has published
nothing, or all (TAIL is stored once), so it can be taken from the dead without a look at the entries.
"""

from scout.ring.atomics import (
    compare_exchange,
    load64,
    load64_acquire,
    store64,
    store64_release,
)
from scout.ring.jit import Record, inline
from scout.ring.layout import (
    CLAIM,
    LOCK,
    MARK,
    MEMBERS,
    TAIL,
    granted_of,
    slot_of,
    stamp_of,
    word,
)
from scout.ring.membership import look_again
from scout.ring.wait import relax, wake

__all__ = ["acquire", "give_back", "publish", "reserve"]


@inline
def reserve(channel: Record, want: int) -> int:
    """How many entries from TAIL on may be filled now, at most `want`; 0 if the channel is full.

    For the only producer, or the holder of LOCK.
    """
    tail = load64_acquire(word(channel, TAIL))  # our own last store, or pairs with the last holder's
    members = load64_acquire(word(channel, MEMBERS))  # pairs with join and resign
    if members == 0:
        return 0  # nobody would be primary
    store64(stamp_of(channel), members)
    granted = load64(granted_of(channel))
    if granted - tail < want:
        granted = look_again(channel, tail)
    return max(0, min(want, granted - tail))


@inline
def publish(channel: Record, count: int) -> None:
    """Make the `count` entries from TAIL on, which were reserved and are filled, the newest requests."""
    tail = load64_acquire(word(channel, TAIL))
    if channel.policy != CLAIM:
        # As they were when room was reserved: who has resigned since still serves these.
        members = load64(stamp_of(channel))
        number = (tail + channel.group - 1) & ~(channel.group - 1)
        while number < tail + count:
            store64(slot_of(channel, number) + MARK, members)
            number += channel.group
    store64_release(word(channel, TAIL), tail + count)  # pairs with `published`
    if channel.wakes:
        wake(channel)


@inline
def acquire(channel: Record, producer: int) -> None:
    """Take LOCK for `producer`, counted from 0."""
    looks = 0
    # acq_rel, pairs with give_back: what the last holder stored is seen.
    while not compare_exchange(word(channel, LOCK), 0, producer + 1):
        relax(looks)
        looks += 1


@inline
def give_back(channel: Record) -> None:
    """Let the next producer take LOCK. Also for who takes it from a dead holder."""
    store64_release(word(channel, LOCK), 0)  # pairs with acquire
