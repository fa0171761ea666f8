"""Batches: the requests that a replica dequeues together. The replica's side of a channel.

`open_batch` dequeues the next requests and decides the role of this replica for them; `close_batch` releases them. In
between they are used in place. A batch has one role, and never crosses a multiple of the channel's interval, so that
all replicas have a boundary there.
"""

from scout.ring.atomics import compare_exchange, load64_acquire, prefetch_read, store64_release
from scout.ring.claims import claim_at, count_of, is_plain, note_plain
from scout.ring.election import CONTROL, PRIMARY, decide
from scout.ring.floors import BUSY, IDLE
from scout.ring.jit import Record, inline
from scout.ring.layout import CLAIM, floor_of, head_of, position, published, slot_of, state_of

__all__ = [
    "close_batch",
    "cut_batch",
    "entry_at",
    "finish",
    "mark_plain",
    "open_batch",
    "open_up_to",
    "passes_over",
    "take",
    "to_boundary",
]

_AHEAD = 192  # entries; some 300 ns at full speed, more than a cache miss takes


@inline
def open_batch(channel: Record, member: Record, replica: int) -> int:
    """Dequeue the next requests of a software channel.

    Returns how many, 0 if none wait, -1 if the producer has overtaken this replica. They begin at the entry
    `member.head`; `member.primary` is not 0 if this replica is their primary.
    """
    return open_up_to(channel, member, replica, replica, channel.batch)


@inline
def open_up_to(channel: Record, member: Record, replica: int, owner: int, most: int) -> int:
    """Dequeue the next requests as `open_batch`; at most `most`, unless another replica has claimed more.

    `owner` is the replica itself, or NOBODY if flows are sharded: no replica is the primary of all requests then. The
    caller decides by flow, and sets `member.primary`.
    """
    head = member.head
    if member.tail <= head:
        member.tail = published(channel)
        if member.tail <= head:
            return 0
    if channel.laps and not _begin(channel, replica):
        return -1
    end = member.end
    if end > head:
        count = min(end, member.tail) - head
    else:
        count = min(member.tail - head, most, to_boundary(channel, head))
        count = decide(channel, member, replica, owner, head, count)
    return take(member, head, count)


@inline
def to_boundary(channel: Record, position: int) -> int:
    """Requests from `position` to the next multiple of the interval, which no batch crosses."""
    return channel.interval - (position & (channel.interval - 1))


@inline
def take(member: Record, here: int, count: int) -> int:
    """Take the `count` requests from position `here` on, for which the role is decided, as the batch at hand.

    Returns how many: fewer where a replay ends.
    """
    primary, replay = member.role & PRIMARY, member.until - here
    if replay > 0:
        primary, count = 0, min(count, replay)
        member.replayed += count
    member.primary, member.count = primary, count
    member.open = 1
    return count


@inline
def _begin(channel: Record, replica: int) -> bool:
    """Be at work, so that the producer does not overtake; False if it has. Within a group the replica is already."""
    state = state_of(channel, replica)
    # acq_rel, and acquire: pair with the producer's exchange in `scout.ring.floors`.
    return compare_exchange(state, IDLE, BUSY) or load64_acquire(state) == BUSY


@inline
def mark_plain(channel: Record, member: Record) -> None:
    """For the primary: the batch at hand leads to no replicated work, so other replicas may pass over it.

    Only where claims elect the primary, and for the whole of a claim.
    """
    here = position(member)
    if channel.policy == CLAIM and count_of(claim_at(channel, here)) == member.count:
        note_plain(channel, here)


@inline
def passes_over(channel: Record, member: Record) -> bool:
    """True if this replica need not look at the batch at hand: its primary has marked it as plain."""
    return channel.policy == CLAIM and member.primary == 0 and is_plain(claim_at(channel, position(member)))


@inline
def cut_batch(member: Record, count: int) -> None:
    """Leave all but the first `count` requests of the batch at hand for the next batch."""
    if position(member) < member.until:
        member.replayed -= member.count - count
    member.count = count


@inline
def entry_at(channel: Record, member: Record, index: int) -> int:
    """Address of the entry at `index` of the batch at hand. Prefetches the first line of a later one.

    That is worth it for long entries too: the processor prefetches the lines that follow one another by itself, but not
    past the end of a page.
    """
    number = member.head + index
    prefetch_read(slot_of(channel, min(number + _AHEAD, member.tail - 1)))
    return slot_of(channel, number)


@inline
def finish(channel: Record, member: Record, replica: int) -> None:
    """Count the batch at hand as done, and move past it. The floor stays."""
    _count(member)
    if member.role & CONTROL:
        member.controls += 1
    else:
        _move(channel, replica, member.head + member.count)


@inline
def _count(member: Record) -> None:
    """Count the requests of the batch at hand, which is done."""
    member.open = 0
    member.seen += member.count
    if member.primary:
        member.claimed += member.count


@inline
def _move(channel: Record, replica: int, head: int) -> None:
    """Store a replica's new head. Before its floor: a successor must not find a floor beyond the head."""
    store64_release(head_of(channel, replica), head)  # pairs with `lag` and others that look from outside


@inline
def close_batch(channel: Record, member: Record, replica: int) -> None:
    """Release the requests of the batch at hand; their memory may not be read after.

    Of a software channel, whose control requests are entries.
    """
    _count(member)
    head = member.head + member.count
    _move(channel, replica, head)
    if channel.keeps == 0:
        # Release, pairs with the producer's load in `scout.ring.floors`: the entries were read before.
        store64_release(floor_of(channel, replica), head)
    # The primary of half a group must see its end. A replica that replays may have to do again what its predecessor had
    # claimed at `until`.
    if channel.laps and head >= member.end and head > member.until:
        store64_release(state_of(channel, replica), IDLE)  # pairs with the producer's exchange
