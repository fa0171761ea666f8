"""Claims: a replica becomes the primary of the next requests by one compare-exchange on their mark.

A claim is one word, `lap | count | owner`: `count` requests from the mark's position on belong to one owner. A count of
0 stands for one control request (`scout.io.channels.frames`). All replicas begin at the same position and each goes on
where a claim ends, so all follow the same chain of claims: it fixes the batches, their primaries, and the order of
control requests among the entries. The primary needs one atomic instruction for a batch, the other replicas none.

A mark is used again by the position one lap later. The lap in the claim tells the two apart. It has 43 bits and wraps:
a claim could be mistaken only for one that had lain in its mark for 2 ** 43 laps, in which no claim began there.
A mark is not used again while a replica may still follow it: the ring is not filled past the lowest floor.
"""

from scout.ring.atomics import compare_exchange, load64_acquire, pause, prefetch
from scout.ring.jit import Record, inline
from scout.ring.layout import mark_of

__all__ = ["LONGEST_BATCH", "NOBODY", "SHORT", "claim", "claim_at", "count_of", "owner_of"]

NOBODY = -1
"""The owner of requests that have no single primary: their flows are sharded among the replicas."""

_OWNER_BITS, _COUNT_BITS, _LAP_BITS = 6, 14, 43  # 63 in all: claims are never negative
_LAP = _OWNER_BITS + _COUNT_BITS  # the lowest bit of the lap
LONGEST_BATCH = (1 << _COUNT_BITS) - 1

SHORT = 256
"""Bytes up to which an entry is worth a prefetch. In longer ones the processor's own prefetching follows the reader."""


@inline
def _lap_of(channel: Record, position: int) -> int:
    return position >> channel.lap_bits & (1 << _LAP_BITS) - 1


@inline
def _holds(found: int, lap: int) -> bool:
    """True if a mark's word is a claim of this lap. Of lap 0 the zeros of a mark that was never claimed are none."""
    return found >> _LAP == lap and found != 0


@inline
def claim_at(channel: Record, position: int) -> int:
    """The claim that begins at `position`, or 0 if there is none yet. Acquire, pairs with `claim`."""
    found = load64_acquire(mark_of(channel, position))
    return found if _holds(found, _lap_of(channel, position)) else 0


@inline
def claim(channel: Record, position: int, owner: int, count: int, yields: bool) -> int:
    """Claim `count` requests from `position` on for `owner`; the claim that holds: this one, or an earlier one.

    With `yields` another replica gets a moment to claim first.
    """
    mark, lap = mark_of(channel, position), _lap_of(channel, position)
    found = load64_acquire(mark)  # pairs with another replica's compare_exchange
    if yields and not _holds(found, lap):
        # The replica that claimed the last batch has the cache lines of the marks. To let it claim again is faster than
        # to move them back and forth.
        pause()
        found = load64_acquire(mark)
    if _holds(found, lap):
        return found
    mine = (lap << _COUNT_BITS | count) << _OWNER_BITS | owner - NOBODY + 1  # never 0
    # acq_rel: a replica that reads the claim sees the entries that the claimant saw.
    if compare_exchange(mark, found, mine):
        # The claimant is in front and will mostly claim the next batch too: it will write to that mark.
        if channel.mark_stride <= SHORT:
            prefetch(mark_of(channel, position + count))
        return mine
    return load64_acquire(mark)  # pairs with the compare_exchange that won


@inline
def count_of(found: int) -> int:
    """How many entries a claim covers; 0 if it is of a control request."""
    return found >> _OWNER_BITS & LONGEST_BATCH


@inline
def owner_of(found: int) -> int:
    """The replica that a claim belongs to, or NOBODY."""
    return (found & (1 << _OWNER_BITS) - 1) + NOBODY - 1
