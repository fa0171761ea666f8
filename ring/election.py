"""Who is primary of a request: the replica's side of a channel, by three policies.

`open_batch` dequeues the next requests and says who this replica is to them; `close_batch` lets go of them. In
between they are used in place. A batch has one role, and never crosses a multiple of the channel's interval, so
that all replicas have a boundary there.

CLAIM (the default): the mark of the entry at a replica's head is a *claim*, `number + 1 | count | owner + 1`.
Who finds the claim of an older request there claims up to a batch of requests for itself by one
compare-exchange; who finds this one's goes on behind it. As all replicas begin at the same place and each goes
on where a claim ends, all follow the same chain of claims. One atomic a batch, none for who comes later.

REFCOUNT (the paper's): the producer marks the first entry of each group with the mask of members, a count with
names. Each replica takes its own bit, by one atomic instruction; the first, who finds that nobody has signed,
signs with the same instruction and is the primary. So it cannot die between the two.

MODULO: the producer marks each group with the mask of members, whose g-th in turn is the primary of group g.
No atomic; but a slow replica keeps its share, where with the others the fast ones do more.

A replica that goes on in a dead one's place (its successor) finds its own number in the marks and is primary
again of what the dead had not let go of; what comes before `until` it replays, as one of the others.
"""

from scout.ring.atomics import (
    compare_exchange,
    fetch_sub,
    load64,
    load64_acquire,
    pause,
    popcount,
    prefetch,
    prefetch_read,
    store64_release,
)
from scout.ring.jit import Record, inline
from scout.ring.layout import (
    CLAIM,
    MARK,
    REFCOUNT,
    floor_of,
    group_of,
    head_of,
    published,
    slot_of,
    state_of,
)

__all__ = [
    "BUSY",
    "IDLE",
    "LAPPED",
    "LONGEST_BATCH",
    "close_batch",
    "close_round",
    "cut_batch",
    "entry_at",
    "open_all",
    "open_batch",
    "unfinished",
]

IDLE, BUSY, LAPPED = 0, 1, 2
"""A member's `state` in a channel that laps: between batches, at work on one, overtaken by the producer."""

_OWNERS, _COUNTS = 6, 14  # bits of a claim for the owner and the count; the rest is the request's number plus 1
LONGEST_BATCH = (1 << _COUNTS) - 1
_AHEAD = 192  # entries; some 300 ns at full speed, more than a miss takes
_SHORT = 256  # bytes


@inline
def open_batch(channel: Record, member: Record, replica: int) -> int:
    """Dequeue the next requests: how many, 0 if there are none, -1 if the producer has overtaken this replica.

    They are those after `member.head` others; `member.primary` says who this replica is to them.
    """
    head = member.head
    if member.tail <= head:
        member.tail = published(channel)
        if member.tail <= head:
            return 0
    if channel.laps and not _begin(channel, replica):
        return -1
    most = min(member.tail - head, channel.interval - (head & (channel.interval - 1)))
    if head < member.until:
        count = min(most, channel.batch, member.until - head)
        member.primary = 0
        member.replayed += count
    elif channel.policy == CLAIM:
        count = _claim(channel, member, replica, min(most, channel.batch))
    else:
        first = head & ~(channel.group - 1)
        if member.group != first + 1:
            mark = slot_of(channel, first) + MARK
            if channel.policy == REFCOUNT:
                member.role = _dequeue(mark, replica)
            else:
                member.role = _in_turn(load64(mark), replica, first // channel.group)
            # Release, after the role: a successor that finds the group goes by the role.
            store64_release(group_of(channel, replica), first + 1)
        member.primary = member.role
        count = min(most, first + channel.group - head)
    member.count = count
    member.open = 1
    return count


@inline
def open_all(channel: Record, member: Record) -> int:
    """Take the next requests as primary of all, without an election; how many. Who divides them is the caller.

    Those before `member.until` it replays.
    """
    head = member.head
    if member.tail <= head:
        member.tail = published(channel)
        if member.tail <= head:
            return 0
    count = min(member.tail - head, channel.interval - (head & (channel.interval - 1)), channel.batch)
    member.primary = 1
    if head < member.until:
        count = min(count, member.until - head)
        member.primary = 0
    elif head == member.until and member.again:
        # No claim says how far the dead one's batch went, and what a batch that was sent is known by is where it began.
        count = min(count, member.again)
    member.count = count
    member.open = 1
    return count


@inline
def cut_batch(member: Record, count: int) -> None:
    """Leave all but the first `count` of a batch of `open_all` for the next."""
    member.count = count


@inline
def _begin(channel: Record, replica: int) -> bool:
    """Be at work, so that the producer does not overtake; False if it has. In the middle of a group we are already."""
    state = state_of(channel, replica)
    return compare_exchange(state, IDLE, BUSY) or load64_acquire(state) == BUSY  # pairs with the producer's exchange


@inline
def _claim(channel: Record, member: Record, replica: int, most: int) -> int:
    """Claim up to `most` requests at the head, or follow the claim that is there; how many it covers."""
    head = member.head
    mark = slot_of(channel, head) + MARK
    claim = load64_acquire(mark)  # pairs with the exchange of another replica
    if claim >> (_OWNERS + _COUNTS) != head + 1 and member.primary == 0:
        # Level with who claimed last: let it claim again, rather than tear the line from each other.
        pause()
        claim = load64_acquire(mark)
    if claim >> (_OWNERS + _COUNTS) != head + 1:
        mine = ((head + 1) << _COUNTS | most) << _OWNERS | replica + 1
        # acq_rel: who reads the claim sees what the claimant had seen published.
        if compare_exchange(mark, claim, mine):
            member.primary = 1
            # Who claims is ahead, and will mostly claim the next batch too: its mark is wanted for writing, by then.
            if channel.stride <= _SHORT:
                prefetch(slot_of(channel, head + most))
            return most
        claim = load64_acquire(mark)  # pairs with the exchange that won
    member.primary = 1 if claim & ((1 << _OWNERS) - 1) == replica + 1 else 0
    return claim >> _OWNERS & LONGEST_BATCH


@inline
def _dequeue(mark: int, replica: int) -> int:
    """Take this replica's bit of a group's mark; 1 if it is the group's primary."""
    bit = 1 << replica
    before = load64_acquire(mark)  # the producer's store is older than TAIL; others may change it at any time
    while before >> 32 == 0:
        # acq_rel, as the subtraction below: pairs with the other replicas' accesses.
        if compare_exchange(mark, before, (before & ~bit) | (replica + 1) << 32):
            return 1
        before = load64_acquire(mark)
    if before >> 32 == replica + 1:
        return 1  # a successor, of one that died before it noted its role
    if before & bit:
        fetch_sub(mark, bit)
    return 0


@inline
def _in_turn(members: int, replica: int, number: int) -> int:
    """1 if it is this replica's turn to be primary, of group `number`, among the `members`."""
    bit = 1 << replica
    if members & bit == 0:
        return 0
    return 1 if number % popcount(members) == popcount(members & (bit - 1)) else 0


@inline
def entry_at(channel: Record, member: Record, index: int) -> int:
    """Address of the entry at `index` of the batch at hand; asks for one that is to come, to be in cache by then.

    Not where entries are long: there the processor's own prefetching follows who reads, and this disturbs it.
    """
    number = member.head + index
    if channel.stride <= _SHORT:
        prefetch_read(slot_of(channel, min(number + _AHEAD, member.tail - 1)))
    return slot_of(channel, number)


@inline
def close_batch(channel: Record, member: Record, replica: int) -> None:
    """Let go of the requests of the batch at hand; their memory may not be read after."""
    member.open = 0
    member.seen += member.count
    if member.primary:
        member.claimed += member.count
    head = member.head + member.count
    # The head first: a successor must not find a floor beyond it. Release, pairs with the producer's look: what was
    # read of the entries was read before.
    store64_release(head_of(channel, replica), head)
    if channel.keeps == 0:
        store64_release(floor_of(channel, replica), head)
    # Who is primary of half a group has to see its end; who replays may have to do again what its predecessor claimed.
    if channel.laps and head & (channel.group - 1) == 0 and head > member.until:
        store64_release(state_of(channel, replica), IDLE)  # pairs with the producer's exchange


@inline
def unfinished(channel: Record, member: Record, replica: int) -> int:
    """How many requests a `replica` that does not run is primary of and has to finish, up to where roles may change.

    With MODULO it may have later turns too, in groups that were published with it.
    """
    head, tail = max(member.head, member.until), published(channel)  # what is replayed is not its own
    if head >= tail:
        return 0
    if channel.policy == CLAIM:
        claim = load64_acquire(slot_of(channel, head) + MARK)  # pairs with its exchange
        mine = claim >> (_OWNERS + _COUNTS) == head + 1 and claim & ((1 << _OWNERS) - 1) == replica + 1
        return claim >> _OWNERS & LONGEST_BATCH if mine else 0
    first = head & ~(channel.group - 1)
    mark = load64_acquire(slot_of(channel, first) + MARK)
    if channel.policy == REFCOUNT:
        mine = mark >> 32 == replica + 1
    else:
        mine = _in_turn(mark, replica, first // channel.group) == 1
    return min(tail, first + channel.group) - head if mine else 0


@inline
def close_round(channel: Record, member: Record, replica: int) -> bool:
    """True if a replica whose bit is out of MEMBERS may leave: nothing before it is its to do.

    Nothing may be left of what a predecessor was primary of. With REFCOUNT a group that it is primary of has to end;
    with MODULO a request has to come that was published without it.
    """
    head = member.head
    if head < member.until or unfinished(channel, member, replica):
        return False
    if channel.policy == CLAIM:
        return True
    first = head & ~(channel.group - 1)
    if channel.policy == REFCOUNT:
        return head == first or member.role == 0
    if head < member.until_gone or published(channel) == head:
        return False
    return load64(slot_of(channel, first) + MARK) >> replica & 1 == 0
