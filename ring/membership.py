"""Who takes part in a channel: joining and leaving while requests flow, and being overtaken.

The producer minds the floors of the replicas in GATING; primaries are elected from those in MEMBERS. Joining is a
handshake of the crosswise kind (Dekker's): the joiner stores its floor and its bit and then reads how far the
producer has allowed itself to go (LIMIT); the producer stores LIMIT and then reads the bits and floors again. Both
in sequentially consistent order, so at least one sees the other: the joiner that it comes too late, or the
producer that it must stop earlier.
"""

import numba
import numpy as np

from scout.ring.atomics import (
    compare_exchange,
    exchange,
    fetch_and,
    fetch_or,
    load64,
    load64_acquire,
    load64_seq,
    store64,
    store64_release,
)
from scout.ring.election import IDLE, LAPPED
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import CHANNEL, GATING, LIMIT, MEMBER, MEMBERS, floor_of, granted_of, published, state_of, word

__all__ = ["MOST_REPLICAS", "join", "leave", "look_again", "resign", "resume"]

MOST_REPLICAS = 31

_CHANNELS = numba.types.Array(numba.from_dtype(CHANNEL), 1, "C")
_MEMBERS = numba.types.Array(numba.from_dtype(MEMBER), 1, "C")


@entry(numba.boolean(_CHANNELS, _MEMBERS, numba.int64, numba.int64))
def join(channels: np.ndarray, members: np.ndarray, replica: int, place: int) -> bool:
    """Let `replica` take part from the request after `place` others on; False if the producer may be past that.

    `place` is a boundary of batches: another member's head, or a snapshot's place. If it was too late, nothing has
    changed, and a newer place is to be tried.
    """
    channel, member = channels[0], members[replica]
    # What was dequeued in this place before, by whom it may be, is not dequeued again as its primary.
    member.until = max(place, member.head, member.until)
    member.head = member.floor = member.tail = place
    member.group = member.role = member.count = member.open = 0
    bit = 1 << replica
    # One that was overtaken still has its bits: only a replica itself changes them.
    fetch_and(word(channel, MEMBERS), ~bit)
    fetch_and(word(channel, GATING), ~bit)
    store64_release(state_of(channel, replica), IDLE)
    fetch_or(word(channel, GATING), bit)  # seq_cst: before the load, and after the floor; pairs with look_again
    if load64_seq(word(channel, LIMIT)) > place + channel.entries:
        fetch_and(word(channel, GATING), ~bit)
        return False
    fetch_or(word(channel, MEMBERS), bit)
    return True


@entry(numba.void(_CHANNELS, _MEMBERS, numba.int64))
def resign(channels: np.ndarray, members: np.ndarray, replica: int) -> None:
    """Have `replica` no longer elected, of what is published from now on; it still serves until it can `leave`."""
    fetch_and(word(channels[0], MEMBERS), ~(1 << replica))
    members[replica].until_gone = published(channels[0])


@inline
def leave(channel: Record, replica: int) -> None:
    """Let the producer no longer mind `replica`, which has resigned and nothing left to do (`close_round`)."""
    fetch_and(word(channel, GATING), ~(1 << replica))


def resume(member: np.void, place: int) -> None:
    """Have a dead replica's successor begin at its own newest snapshot, at `place`, and replay what came since."""
    if member["head"] >= member["until"]:  # else the predecessor has itself died while it replayed
        member["until"], member["again"] = member["head"], member["count"]
    member["head"] = place
    member["floor"] = place  # the dead may not have come to say so
    # At work still, if it was: what it had claimed is not done, and the producer may not overtake.
    member["open"] = 0


@inline
def look_again(channel: Record, tail: int) -> int:
    """Look how far the producer may go, by the floors of all whom it minds; the new GRANTED. Producer only.

    LIMIT announces it before the second look, GRANTED says what the second look confirmed. GRANTED never falls: what
    is below may be filled already. Who takes LOCK from a dead holder goes by GRANTED, and need not know whether the
    dead had looked twice.
    """
    granted = load64(granted_of(channel))  # our own last store, or that of LOCK's last holder
    limit = _lowest(channel, tail) + channel.entries
    if limit <= granted:
        return granted
    exchange(word(channel, LIMIT), limit)  # seq_cst, before the second look; pairs with join
    confirmed = min(limit, _lowest(channel, tail) + channel.entries)
    if confirmed < limit:
        # A joiner that passes by the lower limit needs nothing below it: there is no third look.
        store64_release(word(channel, LIMIT), max(confirmed, granted))
    granted = max(confirmed, granted)
    store64(granted_of(channel), granted)
    return granted


@inline
def _lowest(channel: Record, tail: int) -> int:
    """The first request that is still wanted, rounded down to its group; with nobody there, a ring before `tail`.

    In a channel that laps, replicas that are in the way and not at work are overtaken, but for the foremost.
    """
    gating = load64_seq(word(channel, GATING))  # pairs with join
    foremost = _foremost(channel, gating) if channel.laps else -1
    low, replica = -1, 0
    while gating >> replica:
        if gating >> replica & 1 and not (channel.laps and _is_lapped(channel, replica)):
            floor = load64_acquire(floor_of(channel, replica))  # pairs with close_batch: the entries were read before
            in_the_way = channel.laps and replica != foremost and tail - floor >= channel.entries
            if not (in_the_way and _overtake(channel, replica)) and (low < 0 or floor < low):
                low = floor
        replica += 1
    return low & ~(channel.group - 1) if low >= 0 else tail - channel.entries


@inline
def _foremost(channel: Record, gating: int) -> int:
    """The replica with the highest floor: what it has not dequeued, perhaps nobody has."""
    best, highest = -1, -1
    replica = 0
    while gating >> replica:
        if gating >> replica & 1 and not _is_lapped(channel, replica):
            floor = load64_acquire(floor_of(channel, replica))  # pairs with close_batch
            if floor > highest:
                best, highest = replica, floor
        replica += 1
    return best


@inline
def _is_lapped(channel: Record, replica: int) -> bool:
    """True if the producer has overtaken `replica`, which has not joined anew. Acquire, pairs with join."""
    return load64_acquire(state_of(channel, replica)) == LAPPED


@inline
def _overtake(channel: Record, replica: int) -> bool:
    """Overtake `replica`; False if it is at work. It will find that out itself, and take its bits out."""
    return compare_exchange(state_of(channel, replica), IDLE, LAPPED)  # acq_rel, pairs with open_batch's exchange
