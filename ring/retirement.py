"""Retirement: how a replica stops taking part, alive (`may_leave`) or dead (`retire`)."""

import numba
import numpy as np

from scout.ring.atomics import fetch_and, load64, load64_acquire
from scout.ring.claims import claim_at, count_of, owner_of
from scout.ring.election import in_turn, signed_by
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import CLAIM, MEMBERS, REFCOUNT, mark_of, position, published, word
from scout.ring.membership import CHANNELS, MEMBER_RECORDS, leave
from scout.ring.turn import has_left, is_turn, pass_turn

__all__ = ["may_leave", "retire", "unfinished"]

_NUMBER = numba.int64


@inline
def _first_unfinished(member: Record) -> int:
    """The position of the first request that was not released: requests that are replayed had been."""
    return max(position(member), member.until)


@inline
def _unfinished(channel: Record, member: Record, replica: int) -> int:
    # With MODULO it may have later turns too, in groups that were published while it was a member.
    here = _first_unfinished(member)
    if channel.policy == CLAIM:
        found = claim_at(channel, here)
        return max(1, count_of(found)) if found and owner_of(found) == replica else 0
    tail = published(channel)
    if here >= tail:
        return 0
    first = here & ~(channel.group - 1)
    mark = load64_acquire(mark_of(channel, first))  # pairs with the signature of a replica
    if channel.policy == REFCOUNT:
        mine = signed_by(mark, replica)
    else:
        mine = in_turn(mark, replica, first // channel.group) == 1
    return min(tail, first + channel.group) - here if mine else 0


@inline
def may_leave(channel: Record, member: Record, replica: int) -> bool:
    """True if a replica that has resigned may leave: it has done all that it is the primary of.

    It must also have done the work of its predecessors. With REFCOUNT a group that it is primary of has to end; with
    MODULO there must be a group that was published without it.
    """
    head = member.head
    if head < member.until or _unfinished(channel, member, replica):
        return False
    if channel.policy == CLAIM:
        return True
    first = head & ~(channel.group - 1)
    if channel.policy == REFCOUNT:
        return head == first or member.role == 0
    if head < member.last_granted or published(channel) == head:
        return False
    return load64(mark_of(channel, first)) >> replica & 1 == 0


@entry(_NUMBER(CHANNELS, MEMBER_RECORDS, _NUMBER))
def unfinished(channels: np.ndarray, members: np.ndarray, replica: int) -> int:
    """How many requests a `replica` that does not run is primary of and has not released, up to the next election."""
    return _unfinished(channels[0], members[replica], replica)


@entry(_NUMBER(CHANNELS, MEMBER_RECORDS, _NUMBER, numba.boolean))
def retire(channels: np.ndarray, members: np.ndarray, replica: int, ordered: bool) -> int:
    """Take out a `replica` that does not run and gets no successor; how many requests it was primary of are lost.

    To be called repeatedly, until its bit in GATING is cleared: in channel order (`ordered`) it stays until everything
    before its unfinished requests has left, and then passes the turn on behind them.
    """
    channel, member = channels[0], members[replica]
    fetch_and(word(channel, MEMBERS), ~(1 << replica))
    lost, here = _unfinished(channel, member, replica), _first_unfinished(member)
    if lost and ordered and not has_left(channel, here):  # else it had passed the turn on before it died
        if not is_turn(channel, here):
            return 0
        pass_turn(channel, here + lost)
    member.until = max(member.until, here + lost)  # a replica that joins with this number must not do them
    leave(channel, replica)
    return lost
