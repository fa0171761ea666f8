"""The effects of an arriving acknowledgement on the sender: bytes delivered, losses, both windows.

`scout.paths.protocols.tcp.receiver` decides when this end acknowledges, and `scout.paths.protocols.tcp.output` makes
the segment.
"""

from typing import Any

from scout.paths.protocols.tcp.bbr import acknowledge
from scout.paths.protocols.tcp.congestion import grow, in_flight, leave_recovery, reduce, see_twice, spread, undo_loss
from scout.paths.protocols.tcp.loss import (
    advance,
    count_duplicate,
    find_losses,
    lose_first,
    probe_answered,
    see_duplicate_sack,
)
from scout.paths.protocols.tcp.path_mtu import see_acknowledged
from scout.paths.protocols.tcp.path_search import judge_probe
from scout.paths.protocols.tcp.resend import start_resend
from scout.paths.protocols.tcp.roundtrip import clock, sample
from scout.paths.protocols.tcp.sent import (
    begin_of,
    divide,
    drop_sent,
    join_sacked,
    mark_lost,
    mark_sacked,
    mark_under_way,
    transmission,
)
from scout.paths.protocols.tcp.sequence import position, signed
from scout.paths.protocols.tcp.settings import BBR, CONGESTION
from scout.paths.protocols.tcp.state import FAST, FOREVER, LOSS, OPEN, PERSIST, RESEND_TIMER, RETRANSMITTED, SACKED
from scout.paths.wire.tcp import ECE, FIN, SYN
from scout.ring.jit import outline

__all__ = ["take_acknowledgement"]


@outline
def take_acknowledgement(c: Any, segment: Any, sequence: int, ack: int, now: int) -> None:
    """Take an acceptable acknowledgement: `ack` is a position from `snd_una` - `max_wnd` to `snd_nxt`."""
    advances = ack > c.snd_una
    window = segment.window << c.snd_scale
    is_duplicate = (
        ack == c.snd_una
        and c.snd_una < c.snd_nxt
        and segment.length == 0
        and segment.flags & (SYN | FIN) == 0
        and window == c.snd_wnd
        and window > 0  # else it answers a probe
    )
    told_twice = False
    delivered = 0
    if c.sack and segment.sack_count:
        told_twice = _tells_twice(c, segment, ack)
        if told_twice:
            see_duplicate_sack(c)
        delivered = _take_sacks(c, segment, ack, now)
    if advances and c.undo:
        _see_whether_spurious(c, segment)
    if advances:
        delivered += _take_cumulative(c, segment, ack, now)
        c.waiting_since = now
        see_acknowledged(c)
    if advances or delivered:
        c.rearm = 1
    if told_twice and c.probe_last == 0:
        first, last = position(segment.sacks[0].first, c.snd_una), position(segment.sacks[0].last, c.snd_una)
        see_twice(c, first, last, delivered)
    if c.probe_last:
        probe_answered(c, ack, is_duplicate and segment.sack_count == 0, told_twice)
    _update_window(c, sequence, ack, window, now)
    if segment.flags & (ECE | SYN) == ECE and c.ecn and c.snd_una > c.ecn_recover and c.recovery == OPEN:
        _take_echo(c)
    if c.sack:
        find_losses(c, now)
    elif is_duplicate:
        count_duplicate(c)
    judge_probe(c)
    count = 1 + segment.run if segment.length == 0 else 1
    _control_congestion(c, advances, delivered, count, now)


def _control_congestion(c: Any, advances: bool, delivered: int, count: int, now: int) -> None:
    """Leave a recovery that is over; else set the window for what was delivered."""
    if c.recovery != OPEN and c.snd_una >= c.recover:
        leave_recovery(c)
        if c.reorder_rounds:
            c.reorder_rounds -= 1
            if c.reorder_rounds == 0:
                c.reorder_factor = 1
    elif c.recovery == FAST:
        is_partial = advances and c.sack == 0
        if is_partial:
            c.duplicates = 0
            lose_first(c)
        if delivered or c.lost == 0:
            spread(c, delivered)
        if is_partial and c.settings[CONGESTION] != BBR:  # the next segment is lost too (RFC 6582 section 3.2 step 3)
            c.cwnd = max(c.cwnd, in_flight(c) + c.mss)
    elif advances:
        c.duplicates = 0
        grow(c, delivered, count, now)
    if delivered and c.settings[CONGESTION] == BBR:
        acknowledge(c, delivered, now)


def _see_whether_spurious(c: Any, segment: Any) -> None:
    """The Eifel detection (RFC 3522): is it the original that is acknowledged, which was late and not lost?"""
    is_late = c.undo == 2 and segment.has_timestamp and signed(segment.tsecr - c.undo_stamp) < 0
    if is_late and c.recovery == LOSS:
        for index in range(c.sent_count):
            mark_under_way(c, index)
        undo_loss(c)
    c.undo = 0


def _tells_twice(c: Any, segment: Any, ack: int) -> bool:
    """True if the first block is of bytes received twice (RFC 2883 section 4)."""
    first = position(segment.sacks[0].first, c.snd_una)
    last = position(segment.sacks[0].last, c.snd_una)
    if first >= last:
        return False
    if last <= ack:
        return True
    if segment.sack_count < 2:
        return False
    begin, end = position(segment.sacks[1].first, c.snd_una), position(segment.sacks[1].last, c.snd_una)
    return begin <= first and last <= end


def _take_sacks(c: Any, segment: Any, ack: int, now: int) -> int:
    """Mark what the peer has told to have; bytes that are new."""
    delivered = 0
    for block in range(segment.sack_count):
        first = position(segment.sacks[block].first, c.snd_una)
        last = position(segment.sacks[block].last, c.snd_una)
        if first < max(ack, c.snd_una) or last > c.snd_nxt or first >= last:
            continue  # a report of bytes received twice, or nonsense
        index = 0
        while index < c.sent_count:
            begin, end = begin_of(c, index), transmission(c, index).last
            if begin >= last:
                break
            if end > first and transmission(c, index).flags & SACKED == 0:
                if begin < first:
                    if not divide(c, index, first):
                        break
                    index += 1
                if transmission(c, index).last > last and not divide(c, index, last):
                    break
                each = transmission(c, index)
                advance(c, each.last, each.sent_at, each.flags, segment, now)
                delivered += mark_sacked(c, index)
                index = join_sacked(c, index)
            index += 1
    return delivered


def _take_cumulative(c: Any, segment: Any, ack: int, now: int) -> int:
    """Drop what is acknowledged; bytes of it that SACK had not told of."""
    delivered, rtt, had_retransmission = 0, 0, False
    while c.sent_count and c.snd_una < ack:
        first = transmission(c, 0)
        last = min(first.last, ack)
        if first.flags & SACKED == 0:
            delivered += last - c.snd_una
            if last == first.last:
                advance(c, last, first.sent_at, first.flags, segment, now)
        if first.flags & RETRANSMITTED:
            had_retransmission = True
        elif first.flags & SACKED == 0 and last == first.last:
            rtt = now - first.sent_at
        drop_sent(c, last)
    if rtt and not had_retransmission:
        sample(c, rtt)
    elif segment.has_timestamp and segment.tsecr:
        # The echo tells which copy arrived (RFC 7323 section 4.1).
        sample(c, max(signed(clock(c, now) - segment.tsecr), 0) * 1_000_000)
    else:
        c.backoff = 0
    return delivered


def _update_window(c: Any, sequence: int, ack: int, window: int, now: int) -> None:
    """Take the peer's window from the newest segment (RFC 9293 section 3.10.7.4)."""
    if c.snd_wl1 < sequence or (c.snd_wl1 == sequence and c.snd_wl2 <= ack):
        opened = c.snd_wnd == 0 and window > 0
        c.snd_wnd = window
        c.snd_wl1 = sequence
        c.snd_wl2 = ack
        c.max_wnd = max(c.max_wnd, window)
        if c.resend == PERSIST and c.timers[RESEND_TIMER] != FOREVER:
            if opened:  # the peer had no room for what is under way
                for index in range(c.sent_count):
                    mark_lost(c, index)
                c.backoff = 0
                c.timers[RESEND_TIMER] = FOREVER
                c.rearm = 1
            elif window == 0 and c.reader_gone == 0:
                # It answers, and may stay closed for ever (MUST-37): as long as there is an application.
                c.waiting_since = now
    elif c.resend == PERSIST and c.snd_wnd == 0 and c.timers[RESEND_TIMER] == FOREVER:
        start_resend(c, PERSIST, c.rto, now)


def _take_echo(c: Any) -> None:
    """A router has marked a packet: the same as a loss, once a round trip (RFC 3168 section 6.1.2)."""
    if c.settings[CONGESTION] != BBR:  # it sends nothing that may be marked
        reduce(c)
        c.cwnd = c.ssthresh
        c.resent_cwnd = 0
    c.ecn_recover = c.snd_nxt
    c.ecn_reduced = 1
