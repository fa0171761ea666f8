"""Claims: a replica becomes the primary of the next requests by one compare-exchange on their mark.

A claim is one word, `lap | plain | count | owner`: `count` requests from the mark's position on belong to one owner. In
the kernel's ring a count of 0 stands for one control request, which is no packet but tells the domains something, such
as the time (`scout.io.channels.kernel_ring_protocol`). All replicas begin at the same position, and each continues
where a claim ends, so all follow the same chain of claims. The chain fixes the batches, their primaries, and the order
of control requests among the entries. The primary needs one atomic instruction for a batch, the other replicas none. A
primary that finds that its requests concern no other replica notes so in the claim (`plain`): a replica that comes
later passes over all of them by one look.

The mark of a position is the word of shared memory where a claim that begins there is written. There are fewer marks
than positions: positions that are a multiple of the number of marks apart share a mark, and the lap is the number of
times that the marks have been passed through. A claim counts only if its lap is that of the position. The lap has 42
bits and wraps: an old claim would be taken for a new one only after `2 ** 42` laps in which no other claim began at its
mark. A replica's floor (`scout.ring.floors`) is the first request that it may still read. The ring is not filled past
the lowest floor of all replicas, so no new claim overwrites one that a replica may still have to follow.

`scout.ring.election.decide` claims in the software channel, `scout.io.channels.kernel_ring_protocol` in the kernel's
ring.
"""

from scout.ring.atomics import compare_exchange, load64_acquire, pause, prefetch, store64_release
from scout.ring.jit import Record, inline
from scout.ring.layout import mark_of

__all__ = [
    "LONGEST_BATCH",
    "NOBODY",
    "claim",
    "claim_at",
    "count_of",
    "is_plain",
    "note_plain",
    "owner_of",
]

NOBODY = -1
"""The owner of requests that have no single primary: their flows are sharded among the replicas."""

_OWNER_OFFSET = 1 - NOBODY
"""Added to an owner in a claim, so that NOBODY is 1 there: 0 is a mark that was never claimed."""

_OWNER_BITS, _COUNT_BITS, _LAP_BITS = 6, 14, 42  # 63 with the bit that says plain: claims are never negative
_PLAIN = _OWNER_BITS + _COUNT_BITS
_LAP = _PLAIN + 1  # the lap begins at this bit
LONGEST_BATCH = (1 << _COUNT_BITS) - 1

_NEAR = 256  # marks that are more bytes apart are not prefetched: there it gains nothing


@inline
def _lap_of(channel: Record, position: int) -> int:
    return (position >> channel.lap_bits) & ((1 << _LAP_BITS) - 1)


@inline
def _holds(found: int, lap: int) -> bool:
    """True if `found`, the word of a mark, is a claim of `lap`. A mark that was never claimed is 0: no claim."""
    return found >> _LAP == lap and found != 0


@inline
def claim_at(channel: Record, position: int) -> int:
    """The claim that begins at `position`, or 0 if there is none yet. Acquire, pairs with `claim`."""
    found = load64_acquire(mark_of(channel, position))
    return found if _holds(found, _lap_of(channel, position)) else 0


@inline
def claim(channel: Record, position: int, owner: int, count: int, yields: bool) -> int:
    """Claim `count` requests from `position` on for `owner`; 0 if this claim holds, else the earlier one that does.

    The caller's own claim is not returned: its count, on which every next position depends, would have to be decoded,
    which takes a tenth of the time of a batch of one request, and the caller has it.

    With `yields` another replica gets a moment to claim first: `decide` asks for it if this replica was not the primary
    of its last batch.
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
    mine = (lap << _LAP) | (count << _OWNER_BITS) | (owner + _OWNER_OFFSET)
    # acq_rel: a replica that reads the claim sees the entries that the claimant saw.
    if compare_exchange(mark, found, mine):
        # The claimant is in front and will mostly claim the next batch too: it will write to that mark.
        if channel.mark_stride <= _NEAR:
            prefetch(mark_of(channel, position + count))
        return 0
    # Another replica's compare_exchange has won, with which this load pairs. Its claim is of this position and lap: no
    # later one is made at this mark before this replica, which is at work, has passed it.
    return load64_acquire(mark)


@inline
def note_plain(channel: Record, position: int) -> None:
    """Note in the claim at `position`, which is the caller's, that only the primary has to look at these requests.

    No other replica writes to the mark before the owner's floor has passed it.
    """
    mark = mark_of(channel, position)
    store64_release(mark, load64_acquire(mark) | (1 << _PLAIN))  # pairs with `claim_at`


@inline
def is_plain(found: int) -> bool:
    """True if only the primary has to look at the requests of a claim, as far as it has found out."""
    return (found >> _PLAIN) & 1 == 1


@inline
def count_of(found: int) -> int:
    """How many entries a claim covers; 0 if it is of a control request."""
    return (found >> _OWNER_BITS) & LONGEST_BATCH


@inline
def owner_of(found: int) -> int:
    """The replica that a claim belongs to, or NOBODY."""
    return (found & ((1 << _OWNER_BITS) - 1)) - _OWNER_OFFSET
