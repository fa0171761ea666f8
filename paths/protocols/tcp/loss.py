"""Finding losses: RACK and the tail loss probe (RFC 8985); without SACK, duplicate acknowledgements (RFC 6582)."""

from typing import Any

from scout.paths.protocols.tcp.congestion import enter_recovery, leave_recovery
from scout.paths.protocols.tcp.roundtrip import clock
from scout.paths.protocols.tcp.sent import divide, forget_sacked, mark_lost, transmission
from scout.paths.protocols.tcp.sequence import signed
from scout.paths.protocols.tcp.state import LOST, OPEN, RETRANSMITTED, SACKED
from scout.ring.jit import outline

__all__ = [
    "advance",
    "count_duplicate",
    "find_losses",
    "lose_all",
    "lose_first",
    "probe_answered",
    "reordering_wait",
    "see_duplicate_sack",
]

DUPLICATES = 3
"""Duplicate acknowledgements, or segments that arrived past a gap, that tell of a loss."""

ROUNDS = 16
"""Recoveries without a DSACK after which the reordering window is small again (RFC 8985 section 6.2 step 4)."""


def advance(c: Any, last: int, sent_at: int, flags: int, segment: Any, now: int) -> None:
    """A transmission is delivered: RFC 8985 section 6.2 steps 2 and 3."""
    rtt = now - sent_at
    if flags & RETRANSMITTED:
        # It may be the first copy that has arrived.
        if segment.has_timestamp and signed(segment.tsecr - clock(c, sent_at)) < 0:
            return
        if rtt < c.min_rtt:
            return
    elif last < c.rack_fack:
        c.reordering = 1
    c.rack_fack = max(c.rack_fack, last)
    c.rack_rtt = rtt
    if sent_at > c.rack_sent_at or (sent_at == c.rack_sent_at and last > c.rack_last):
        c.rack_sent_at = sent_at
        c.rack_last = last


def see_duplicate_sack(c: Any) -> None:
    """The peer has told that it got bytes twice: wait longer for reordered segments, once a round trip."""
    if c.dsack_round and c.snd_una >= c.dsack_round:
        c.dsack_round = 0
    if c.dsack_round == 0:
        c.dsack_round = c.snd_nxt
        c.reorder_factor += 1
        c.reorder_rounds = ROUNDS


def _reordering_window(c: Any) -> int:
    if c.reordering == 0 and (c.recovery != OPEN or c.sacked_bytes >= DUPLICATES * c.mss):
        return 0
    return min(c.reorder_factor * c.min_rtt // 4, c.srtt)


def _left(c: Any, each: Any, window: int, now: int) -> int:
    """How long to wait before a transmission counts as lost; 0: it does now; -1: there is no reason to think so."""
    if each.flags & (SACKED | LOST):
        return -1
    # At one time bytes are sent in their order, unless they are sent again.
    is_first = each.last < c.rack_last and each.flags & RETRANSMITTED == 0
    if each.sent_at < c.rack_sent_at or (each.sent_at == c.rack_sent_at and is_first):
        return max(each.sent_at + c.rack_rtt + window - now, 0)
    return -1


def _may_be_lost(c: Any) -> bool:
    """False if all acknowledgements came in order, so that nothing has to be looked through."""
    return c.sack != 0 and c.rack_sent_at != 0 and (c.sacked_bytes != 0 or c.recovery != OPEN)


@outline
def find_losses(c: Any, now: int) -> None:
    """Mark transmissions as lost that were sent well before one that has arrived (RFC 8985 section 6.2 step 5)."""
    if not _may_be_lost(c):
        return
    while True:
        window = _reordering_window(c)
        for index in range(c.sent_count):
            if _left(c, transmission(c, index), window, now) == 0:
                mark_lost(c, index)
        if c.lost == c.mtu_lost or c.recovery != OPEN:  # a probe that is lost tells of no congestion
            return
        enter_recovery(c)  # and look again: there is no reordering window in recovery
        c.rearm = 1


@outline
def reordering_wait(c: Any, now: int) -> int:
    """How long reordered segments may still take; 0 if none is waited for."""
    longest = 0
    if _may_be_lost(c):
        window = _reordering_window(c)
        for index in range(c.sent_count):
            left = _left(c, transmission(c, index), window, now)
            if left >= 0:
                longest = max(longest, left, 1)
    return longest


def lose_first(c: Any) -> None:
    """The first segment is lost, as a peer without SACK lets one know."""
    if c.sent_count and transmission(c, 0).flags & LOST == 0:
        if transmission(c, 0).last > c.snd_una + c.mss:
            divide(c, 0, c.snd_una + c.mss)
        mark_lost(c, 0)


def count_duplicate(c: Any) -> None:
    """A duplicate acknowledgement of a peer without SACK (RFC 6582 section 3.2)."""
    c.duplicates += 1
    # After a time-out, duplicates may come from segments that were sent twice: not below `recover`.
    if c.duplicates == DUPLICATES and c.recovery == OPEN and c.snd_una >= c.recover:
        enter_recovery(c)
        lose_first(c)
        c.rearm = 1


def lose_all(c: Any) -> None:
    """The timer has fired: all is lost that the peer has not told to have; and that too if it has thrown it away.

    A peer that has the first byte would have acknowledged it (RFC 2018 section 8).
    """
    reneged = c.sent_count > 0 and transmission(c, 0).flags & SACKED != 0
    for index in range(c.sent_count):
        if reneged:
            forget_sacked(c, index)
        mark_lost(c, index)


def probe_answered(c: Any, ack: int, was_duplicate: bool, told_twice: bool) -> None:
    """RFC 8985 section 7.4: see whether a tail loss probe has repaired a loss."""
    if c.probe_last == 0 or ack < c.probe_last:
        return
    if c.probe_again == 0 or told_twice:
        c.probe_last = 0
    elif ack > c.probe_last:
        c.probe_last = 0
        if c.recovery == OPEN:
            # The original was lost, and the probe has made up for it: a congestion event all the same, not to be undone
            enter_recovery(c)
            leave_recovery(c)
            c.resent_cwnd = 0
    elif was_duplicate:
        c.probe_last = 0
