"""The bytes that are sent and not acknowledged, as transmissions in the order of their positions.

Neighbouring bytes that were sent within a sixteenth of a round trip are one transmission, so that few are needed. They
are bounded: when they run out, no new bytes are sent until some are acknowledged. It is always allowed to forget what
the peer has told by SACK (RFC 2018 section 8), so room for one more can be made at any time.
"""

from typing import Any

from scout.paths.protocols.tcp.congestion import note_resent
from scout.paths.protocols.tcp.state import FAST, LOST, PROBING, RETRANSMITTED, SACKED, TRANSMISSIONS
from scout.ring.jit import outline

__all__ = [
    "begin_of",
    "divide",
    "drop_sent",
    "has_room",
    "join_sacked",
    "mark_lost",
    "mark_resent",
    "mark_sacked",
    "mark_under_way",
    "note_sent",
    "transmission",
]

RESERVE = 8  # kept for dividing transmissions


def transmission(c: Any, index: int) -> Any:
    """The transmission number `index`, from 0."""
    return c.sent[(c.sent_head + index) & TRANSMISSIONS - 1]


def begin_of(c: Any, index: int) -> int:
    """The position of a transmission's first byte."""
    return c.snd_una if index == 0 else transmission(c, index - 1).last


def has_room(c: Any) -> bool:
    """True if new bytes may be sent."""
    if c.sent_count < TRANSMISSIONS - RESERVE:
        return True
    return transmission(c, c.sent_count - 1).flags == 0


def note_sent(c: Any, last: int, now: int, flags: int = 0) -> None:
    """The bytes from `snd_nxt` to `last` - 1 are sent; with `flags` they are a transmission of their own."""
    if c.snd_una == c.snd_nxt:
        c.waiting_since = now
    c.pipe += last - c.snd_nxt
    c.snd_nxt = last
    if c.sent_count:
        newest = transmission(c, c.sent_count - 1)
        is_full = c.sent_count >= TRANSMISSIONS - RESERVE
        if newest.flags == 0 and flags == 0 and (is_full or now - newest.began < c.srtt >> 4):
            newest.last = last
            newest.sent_at = now
            return
    added = transmission(c, c.sent_count)
    c.sent_count += 1
    added.last = last
    added.flags = flags
    added.began = now
    added.sent_at = now


def mark_sacked(c: Any, index: int) -> int:
    """The peer has told that it has a transmission; its bytes if that is new."""
    each = transmission(c, index)
    if each.flags & SACKED:
        return 0
    size = each.last - begin_of(c, index)
    if each.flags & LOST:
        _lose_less(c, each, size)
    else:
        c.pipe -= size
    c.sacked_bytes += size
    each.flags = each.flags & ~LOST | SACKED
    return size


def mark_lost(c: Any, index: int) -> None:
    """A transmission counts as lost, unless the peer has it."""
    each = transmission(c, index)
    if each.flags & (SACKED | LOST) == 0:
        size = each.last - begin_of(c, index)
        c.pipe -= size
        c.lost += size
        if each.flags & PROBING:
            c.mtu_lost += size
            c.mtu_failed = 1
        else:
            c.delivery.lost += size
        each.flags |= LOST


def _lose_less(c: Any, each: Any, size: int) -> None:
    """So many bytes of a transmission count as lost no longer."""
    c.lost -= size
    if each.flags & PROBING:
        c.mtu_lost -= size


def mark_under_way(c: Any, index: int) -> None:
    """A transmission that counted as lost is under way after all."""
    each = transmission(c, index)
    if each.flags & LOST:
        size = each.last - begin_of(c, index)
        _lose_less(c, each, size)
        c.pipe += size
        each.flags &= ~LOST


def mark_resent(c: Any, index: int, now: int) -> None:
    """A lost transmission is sent again."""
    each = transmission(c, index)
    size = each.last - begin_of(c, index)
    _lose_less(c, each, size)
    c.pipe += size
    if c.resent_cwnd and c.recovery == FAST:
        note_resent(c, each.last - size, each.last)
    each.flags = each.flags & ~(LOST | PROBING) | RETRANSMITTED
    each.began = now
    each.sent_at = now


def forget_sacked(c: Any, index: int) -> None:
    """A transmission that the peer has told to have counts as under way again."""
    each = transmission(c, index)
    if each.flags & SACKED:
        size = each.last - begin_of(c, index)
        c.sacked_bytes -= size
        c.pipe += size
        each.flags &= ~SACKED


def drop_sent(c: Any, last: int) -> None:
    """Remove the bytes before `last` from the first transmission, which it ends or lies in; they are acknowledged."""
    first = transmission(c, 0)
    size = last - c.snd_una
    if first.flags & SACKED:
        c.sacked_bytes -= size
    elif first.flags & LOST:
        _lose_less(c, first, size)
    else:
        c.pipe -= size
    c.snd_una = last
    if first.last == last:
        c.sent_head = (c.sent_head + 1) & TRANSMISSIONS - 1
        c.sent_count -= 1


@outline
def divide(c: Any, index: int, at: int) -> bool:
    """Divide a transmission at a position within; False if there is no room."""
    if c.sent_count == TRANSMISSIONS:
        if index >= TRANSMISSIONS - 2:
            return False
        _join_newest(c)
    for place in range(c.sent_count, index, -1):
        _copy(transmission(c, place - 1), transmission(c, place))
    c.sent_count += 1
    transmission(c, index).last = at
    return True


@outline
def join_sacked(c: Any, index: int) -> int:
    """The peer has told to have a transmission: make it one with its neighbours, if the peer has those; its index then.

    Each acknowledgement behind a gap tells of some more bytes. If they were kept apart, a single loss would use up all
    transmissions.
    """
    if index + 1 < c.sent_count and transmission(c, index + 1).flags & SACKED:
        _join(c, index)
    if index and transmission(c, index - 1).flags & SACKED:
        index -= 1
        _join(c, index)
    return index


def _join(c: Any, index: int) -> None:
    """Make one transmission of two that the peer has."""
    one, other = transmission(c, index), transmission(c, index + 1)
    one.last = other.last
    one.flags |= other.flags
    one.sent_at = max(one.sent_at, other.sent_at)
    for place in range(index + 1, c.sent_count - 1):
        _copy(transmission(c, place + 1), transmission(c, place))
    c.sent_count -= 1


def _join_newest(c: Any) -> None:
    """Make one transmission of the newest two, of which no more is known than of the one of which less is known."""
    forget_sacked(c, c.sent_count - 1)
    forget_sacked(c, c.sent_count - 2)
    newest, other = transmission(c, c.sent_count - 1), transmission(c, c.sent_count - 2)
    if (newest.flags | other.flags) & LOST:
        mark_lost(c, c.sent_count - 1)
        mark_lost(c, c.sent_count - 2)
    other.last = newest.last
    other.flags |= newest.flags
    other.sent_at = max(other.sent_at, newest.sent_at)
    c.sent_count -= 1


def _copy(one: Any, other: Any) -> None:
    other.last = one.last
    other.flags = one.flags
    other.began = one.began
    other.sent_at = one.sent_at
