"""Floors: how far the ring may be filled, by the entries that replicas may still read.

Every replica has a floor: it will not read entries before it again. The ring is filled only up to the lowest floor plus
its entries. In a software channel the producer reads the floors when its room is used up; in a kernel's ring a replica
that raises its floor returns frames to the kernel. Both go in two steps (`refresh_limit`). A replica that joins stores
its floor and its bit in GATING, and then loads LIMIT; `refresh_limit` stores LIMIT, and then loads the bits and floors
again. All of this is sequentially consistent, so at least one side sees the other: the joining replica sees that it
comes too late, or the other side that it must stop earlier.
"""

from scout.ring.atomics import compare_exchange, exchange, load64, load64_acquire, load64_seq, store64, store64_release
from scout.ring.jit import Record, inline
from scout.ring.layout import GATING, LIMIT, floor_of, granted_of, published, state_of, word

__all__ = ["BUSY", "IDLE", "LAPPED", "lowest_floor", "refresh_limit"]

IDLE, BUSY, LAPPED = 0, 1, 2
"""A member's `state` in a channel that laps: between two batches, at work on one, overtaken by the producer."""


@inline
def refresh_limit(channel: Record) -> int:
    """Read the floors; the new GRANTED, the entries that may be filled. For the holder of LOCK, or the only producer.

    LIMIT announces what the first look at the floors found, GRANTED is what the second look confirmed. GRANTED never
    falls, as entries below it may be filled already. A process that takes LOCK from a dead holder uses GRANTED, and
    need not know whether the dead one had looked twice.
    """
    granted = load64(granted_of(channel))  # our own last store, or that of LOCK's last holder
    limit = lowest_floor(channel) + channel.entries
    if limit <= granted:
        return granted
    exchange(word(channel, LIMIT), limit)  # seq_cst, before the second look; pairs with `join`
    confirmed = max(granted, min(limit, lowest_floor(channel) + channel.entries))
    if confirmed < limit:
        # A replica that joins by the lower limit needs nothing below it, so there is no third look.
        store64_release(word(channel, LIMIT), confirmed)
    store64(granted_of(channel), confirmed)
    return confirmed


@inline
def lowest_floor(channel: Record) -> int:
    """The first entry that may still be read, rounded down to its group; below all entries if there is no replica.

    In a channel that laps, replicas that block the producer between two batches are overtaken, except the foremost.
    """
    gating = load64_seq(word(channel, GATING))  # pairs with `join`
    foremost = _foremost(channel, gating) if channel.laps else -1
    low, replica = -1, 0
    while gating >> replica:
        if gating >> replica & 1 and not (channel.laps and _is_lapped(channel, replica)):
            # Pairs with the store of the floor: the entries were read before. seq_cst, for two replicas that raise
            # their floors at the same time and then read each other's.
            floor = load64_seq(floor_of(channel, replica))
            blocks = channel.laps and replica != foremost and published(channel) - floor >= channel.entries
            if not (blocks and _overtake(channel, replica)) and (low < 0 or floor < low):
                low = floor
        replica += 1
    return low & ~(channel.group - 1) if low >= 0 else -channel.entries


@inline
def _foremost(channel: Record, gating: int) -> int:
    """The replica with the highest floor: perhaps no other has dequeued the entries after it."""
    best, highest = -1, -1
    replica = 0
    while gating >> replica:
        if gating >> replica & 1 and not _is_lapped(channel, replica):
            floor = load64_acquire(floor_of(channel, replica))  # pairs with `close_batch`
            if floor > highest:
                best, highest = replica, floor
        replica += 1
    return best


@inline
def _is_lapped(channel: Record, replica: int) -> bool:
    """True if the producer has overtaken `replica`, and it has not joined again. Acquire, pairs with `join`."""
    return load64_acquire(state_of(channel, replica)) == LAPPED


@inline
def _overtake(channel: Record, replica: int) -> bool:
    """Overtake `replica`; False if it is at work. The replica finds out itself, and removes its bits."""
    return compare_exchange(state_of(channel, replica), IDLE, LAPPED)  # acq_rel, pairs with the one in `open_batch`
