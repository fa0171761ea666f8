"""The producer's side of a software channel: room for requests, and their publication.

Requests are published by one store with release: TAIL. A replica that loads it with acquire sees the entries. Several
producers take turns: each takes LOCK while it fills entries, so there is one total order, and replicas cannot tell how
many producers there are. LOCK names its holder. A producer that dies as the holder has published either nothing or all
of its requests (TAIL is stored once), so LOCK can be taken from it without a look at the entries.
"""

from scout.ring.atomics import compare_exchange, load64, load64_acquire, store64, store64_release
from scout.ring.bell import ring_bell
from scout.ring.floors import refresh_limit
from scout.ring.jit import Record, inline
from scout.ring.layout import CLAIM, LOCK, MEMBERS, TAIL, granted_of, mark_of, stamp_of, word
from scout.ring.wait import relax, wake

__all__ = ["acquire", "acquire_soon", "publish", "publish_silently", "release", "reserve"]

_LOOKS = 1024  # some 40 ms: a holder needs a fraction of one, unless other processes have its core


@inline
def reserve(channel: Record, want: int) -> int:
    """How many entries from TAIL on may be filled now, at most `want`; 0 if the channel is full.

    For the only producer, or the holder of LOCK.
    """
    tail = load64_acquire(word(channel, TAIL))  # our own last store, or pairs with the last holder's
    members = load64_acquire(word(channel, MEMBERS))  # pairs with join and resign
    if members == 0:
        return 0  # no replica could be the primary
    store64(stamp_of(channel), members)
    granted = load64(granted_of(channel))
    if granted - tail < want:
        granted = refresh_limit(channel)
    return max(0, min(want, granted - tail))


@inline
def publish(channel: Record, count: int) -> None:
    """Publish the `count` entries from TAIL on, which were reserved and are filled, and wake replicas that sleep."""
    publish_silently(channel, count)
    if channel.wakes:
        wake(channel)
    if channel.bell:
        ring_bell(channel.bell)


@inline
def publish_silently(channel: Record, count: int) -> None:
    """Publish entries and wake nobody: for a replica, which comes to them in its next round.

    If it dies before, others find them at the end of their sleep, some milliseconds later. It wakes others when they
    are far behind (`scout.ring.bell.must_wake_others`).
    """
    tail = load64_acquire(word(channel, TAIL))
    if channel.policy != CLAIM:
        # The members when room was reserved: a replica that has resigned since still serves these.
        members = load64(stamp_of(channel))
        number = (tail + channel.group - 1) & ~(channel.group - 1)
        while number < tail + count:
            store64(mark_of(channel, number), members)
            number += channel.group
    store64_release(word(channel, TAIL), tail + count)  # pairs with `published`


@inline
def acquire(channel: Record, producer: int) -> None:
    """Take LOCK for `producer`, counted from 0. Not for the process that frees the lock of dead producers."""
    while not acquire_soon(channel, producer):
        pass


@inline
def acquire_soon(channel: Record, producer: int) -> bool:
    """Take LOCK for `producer`, counted from 0; False if its holder keeps it for long, and may be dead."""
    looks = 0
    # acq_rel, pairs with `release`: the last holder's stores are seen.
    while not compare_exchange(word(channel, LOCK), 0, producer + 1):
        if looks == _LOOKS:
            return False
        relax(looks)
        looks += 1
    return True


@inline
def release(channel: Record) -> None:
    """Let the next producer take LOCK."""
    store64_release(word(channel, LOCK), 0)  # pairs with `acquire`
