"""The election of primaries, by three policies.

CLAIM (the default): the first replica to reach the next requests claims up to a batch of them (`scout.ring.claims`).

REFCOUNT (the paper's): the producer marks the first entry of each group with the mask of members: a reference count
that has names. Each replica removes its own bit by one atomic instruction. The first one finds no signature, signs with
the same instruction, and is the primary; so a replica cannot die between the two.

MODULO: the producer marks each group with the mask of members; the primary of group g is the g-th of them in turn. This
needs no atomic instruction, but a slow replica keeps its share, where with the other policies the fast ones do more.

The successor of a dead replica finds its own number in the marks, and is again primary of requests that its predecessor
had not released.
"""

from scout.ring.atomics import compare_exchange, fetch_sub, load64, load64_acquire, popcount, store64_release
from scout.ring.claims import claim, count_of, owner_of
from scout.ring.jit import Record, inline
from scout.ring.layout import CLAIM, REFCOUNT, end_of, mark_of

__all__ = ["CONTROL", "PRIMARY", "decide", "follow", "in_turn", "signed_by"]

PRIMARY, CONTROL = 1, 2
"""Bits of a member's `role`: it is the primary; the request is a control request that is not an entry."""


@inline
def decide(channel: Record, member: Record, replica: int, owner: int, here: int, count: int) -> int:
    """Decide who is primary of the next requests, which begin at position `here`, up to `count` of them.

    Sets `member.role` and `member.end`, and returns how many published requests there are up to the latter. `owner` is
    the replica itself, or NOBODY if flows are sharded.
    """
    if channel.policy == CLAIM:
        found = claim(channel, here, owner, count, member.primary == 0)
        if found:
            return follow(channel, member, replica, here, owner_of(found), count_of(found))
        return _note(channel, member, replica, here, PRIMARY if owner == replica else 0, count)
    first = here & ~(channel.group - 1)
    end = first + channel.group
    if here < member.until:
        member.role = 0
        end = min(end, member.until)  # this replica may still be the primary of the rest
    elif channel.policy == REFCOUNT:
        member.role = _dequeue(mark_of(channel, first), replica)
    else:
        member.role = in_turn(load64(mark_of(channel, first)), replica, first // channel.group)
    store64_release(end_of(channel, replica), end)  # after the role: a successor that finds the end uses the role
    return min(end, member.tail) - here


@inline
def follow(channel: Record, member: Record, replica: int, here: int, owner: int, count: int) -> int:
    """Note the claim at position `here`, of `owner` and with this count: the role, and the end.

    Returns how many requests it is of.
    """
    role = PRIMARY if owner == replica else 0
    if count == 0:
        return _note(channel, member, replica, here, role | CONTROL, 1)
    if member.head + count > member.tail:
        member.tail = member.head + count  # the claimant has seen that these are filled
    return _note(channel, member, replica, here, role, count)


@inline
def _note(channel: Record, member: Record, replica: int, here: int, role: int, count: int) -> int:
    """Note the role for the `count` requests from position `here` on, and where they end. Returns `count`."""
    member.role = role
    # Release, after the role: a successor that finds the end uses the role.
    store64_release(end_of(channel, replica), here + count)
    return count


@inline
def _dequeue(mark: int, replica: int) -> int:
    """Remove this replica's bit from a group's mark; 1 if it is the group's primary."""
    bit = 1 << replica
    before = load64_acquire(mark)  # the producer's store is older than TAIL; other replicas may change it at any time
    while before >> 32 == 0:
        # acq_rel, as the subtraction below: pairs with the accesses of other replicas.
        if compare_exchange(mark, before, (before & ~bit) | (replica + 1) << 32):
            return 1
        before = load64_acquire(mark)
    if signed_by(before, replica):
        return 1  # a successor of a replica that died before it noted its role
    if before & bit:
        fetch_sub(mark, bit)
    return 0


@inline
def signed_by(mark: int, replica: int) -> bool:
    """True if a group's mark says that `replica` is its primary."""
    return mark >> 32 == replica + 1


@inline
def in_turn(members: int, replica: int, number: int) -> int:
    """1 if `replica` is the primary of group `number` among the `members`."""
    bit = 1 << replica
    if members & bit == 0:
        return 0
    return 1 if number % popcount(members) == popcount(members & (bit - 1)) else 0
