"""Congestion control: RFC 5681 with the larger first window of RFC 6928, CUBIC (RFC 9438), and PRR (RFC 6937).

A connection with BBR is controlled by `bbr`; here are the events that concern it too.

Windows are bytes. CUBIC computes with ints alone: times in milliseconds, its constants C = 0.4 and beta = 0.7 as
fractions. So plain Python and native code agree to the byte.
"""

from typing import Any

from scout.paths.protocols.tcp.settings import BBR, CONGESTION, CUBIC
from scout.paths.protocols.tcp.state import FAST, LOSS, OPEN, RESENDS
from scout.ring.jit import outline

__all__ = [
    "enter_loss",
    "enter_recovery",
    "first_window",
    "grow",
    "in_flight",
    "leave_recovery",
    "note_resent",
    "reduce",
    "restart",
    "see_twice",
    "spread",
    "undo_loss",
]

MILLISECOND = 1_000_000
LARGEST = 1 << 30  # RFC 7323 section 2.3: no window is larger
BURST = 8  # segments by which one acknowledgement may open the window in slow start (RFC 9406 section 4.2)
_LONGEST = 100_000  # milliseconds from the middle of CUBIC's curve; it is far above LARGEST there


def first_window(c: Any) -> None:
    """The window of a new connection (RFC 6928 section 2; one segment if a SYN was lost, RFC 5681 section 3.1)."""
    c.cwnd = c.mss if c.syn_repeated else _initial(c)
    c.ssthresh = LARGEST


def _initial(c: Any) -> int:
    return min(10 * c.mss, max(2 * c.mss, 14600))


def restart(c: Any) -> None:
    """Nothing was sent for longer than the time-out: what the window was grown on is old (RFC 5681 section 4.1)."""
    if c.settings[CONGESTION] == BBR:
        return
    c.cwnd = min(c.cwnd, _initial(c))
    c.cubic_start = 0
    c.resent_cwnd = 0


def in_flight(c: Any) -> int:
    """Bytes that are taken to be on the way. Without SACK a duplicate acknowledgement tells that a segment arrived."""
    return c.pipe if c.sack else max(c.pipe - c.duplicates * c.mss, 0)


def grow(c: Any, acked: int, count: int, now: int) -> None:
    """Open the window for bytes that were acknowledged by so many acknowledgements, if it held data back."""
    if c.limited == 0 or c.recovery == FAST or c.settings[CONGESTION] == BBR:
        return
    if c.cwnd < c.ssthresh:
        c.cwnd = min(c.cwnd + min(acked, count * BURST * c.mss), LARGEST)
    elif c.settings[CONGESTION] == CUBIC:
        _cubic(c, acked, now)
    else:
        c.cwnd = min(c.cwnd + max(c.mss * min(acked, c.cwnd) // c.cwnd, 1), LARGEST)


def _cubic(c: Any, acked: int, now: int) -> None:
    """Congestion avoidance of RFC 9438 sections 4.2 to 4.5."""
    if c.cubic_start == 0:
        c.cubic_start = now
        c.cubic_origin = max(c.cubic_max, c.cwnd)
        c.cubic_k = _root((c.cubic_origin - c.cwnd) * 2_500_000_000 // c.mss)
        c.cubic_reno = c.cwnd
    time = (now - c.cubic_start) // MILLISECOND
    target = min(max(_curve(c, time + c.srtt // MILLISECOND), c.cwnd), c.cwnd + c.cwnd // 2)
    # alpha = 3 (1 - beta) / (1 + beta), and 1 above the window before the loss
    share = 529 if c.cubic_reno < c.cubic_max else 1000
    c.cubic_reno += share * c.mss * acked // (1000 * c.cwnd)
    if _curve(c, time) < c.cubic_reno:
        c.cwnd = min(max(c.cwnd, c.cubic_reno), LARGEST)
    else:
        c.cwnd = min(c.cwnd + (target - c.cwnd) * min(acked, c.cwnd) // c.cwnd, LARGEST)


def _curve(c: Any, time: int) -> int:
    """W_cubic at so many milliseconds: C (t - K)^3 + W_max, in bytes."""
    distance = max(min(time - c.cubic_k, _LONGEST), -_LONGEST)
    return c.cubic_origin + distance * distance * distance // 1000 * 4 * c.mss // 10_000_000


def _root(value: int) -> int:
    """The cube root, rounded down; of less than 2^62."""
    root = 0
    for bit in range(20, -1, -1):
        higher = root | 1 << bit
        if higher * higher * higher <= value:
            root = higher
    return root


def reduce(c: Any) -> None:
    """Set the threshold for a congestion event, and remember the window before it."""
    c.cubic_start = 0
    if c.settings[CONGESTION] == CUBIC:
        c.cubic_max = c.cwnd * 17 // 20 if c.cwnd < c.cubic_max else c.cwnd  # fast convergence, section 4.7
        c.ssthresh = max(c.cwnd * 7 // 10, 2 * c.mss)
    else:
        c.ssthresh = max((c.snd_nxt - c.snd_una) // 2, 2 * c.mss)


def enter_recovery(c: Any) -> None:
    """Acknowledgements tell of a loss."""
    c.recovery = FAST
    c.recover = c.snd_nxt
    c.prr_delivered = 0
    c.prr_out = 0
    c.prr_flight = max(c.snd_nxt - c.snd_una, 1)
    c.resent_count = 0
    c.resent_cwnd = 0
    if c.settings[CONGESTION] != BBR:
        c.resent_cwnd = c.cwnd
        c.resent_ssthresh = c.ssthresh
        c.resent_max = c.cubic_max
        reduce(c)
        c.cwnd = in_flight(c) + c.mss  # the first lost segment is sent at once


def spread(c: Any, delivered: int) -> None:
    """Proportional rate reduction (RFC 6937 section 3): the window in recovery, when so many bytes were delivered."""
    if c.settings[CONGESTION] == BBR:
        return
    c.prr_delivered += delivered
    flight = in_flight(c)
    if flight > c.ssthresh:
        count = -(-c.prr_delivered * c.ssthresh // c.prr_flight) - c.prr_out
    else:
        count = min(c.ssthresh - flight, max(c.prr_delivered - c.prr_out, delivered) + c.mss)
    c.cwnd = flight + max(count, 0)


def leave_recovery(c: Any) -> None:
    """All that was sent when the loss was found is acknowledged."""
    if c.settings[CONGESTION] == BBR:
        c.cwnd = max(c.cwnd, c.bbr.cwnd_before) if c.recovery == LOSS else c.cwnd
    elif c.recovery == FAST:
        c.cwnd = c.ssthresh
    c.recovery = OPEN
    c.duplicates = 0


def enter_loss(c: Any) -> None:
    """The retransmission timer has fired (RFC 5681 section 3.1)."""
    if c.recovery != LOSS:
        c.undo = c.timestamps
        c.undo_cwnd = c.cwnd
        c.undo_ssthresh = c.ssthresh
        c.undo_max = c.cubic_max
        if c.settings[CONGESTION] == BBR:
            c.bbr.cwnd_before = c.cwnd
        else:
            reduce(c)
    c.resent_cwnd = 0
    c.recovery = LOSS
    c.recover = c.snd_nxt
    c.cwnd = c.mss
    c.duplicates = 0


@outline
def see_twice(c: Any, first: int, last: int, delivered: int) -> None:
    """The peer reports (DSACK) that it received the bytes [first, last) twice; so many bytes are newly delivered.

    If it has received all bytes twice that were sent again in the fast recovery, nothing was lost, but came late: the
    recovery is undone. Otherwise reordering on the way would make the window small again and again. Each retransmission
    has to be matched, and a report that matches none means that the network duplicates packets (RFC 3708 section 2):
    then the recovery stays as it is. As RFC 4015 has it for time-outs, no burst leaves at once, and slow start brings
    the window back. CUBIC's window before the loss is restored (RFC 9438 section 4.9.2).
    """
    if c.resent_cwnd == 0:
        return
    if not _match(c, first, last):
        c.resent_cwnd = 0
        return
    for index in range(c.resent_count):
        if c.resent[index].first < c.resent[index].last:
            return
    if c.lost:
        return
    c.recovery = OPEN
    c.cwnd = max(c.cwnd, min(c.resent_cwnd, in_flight(c) + min(delivered, _initial(c))))
    c.ssthresh = max(c.ssthresh, c.resent_ssthresh, c.resent_cwnd)
    c.cubic_max = c.resent_max
    c.resent_cwnd = 0
    c.cubic_start = 0


def _match(c: Any, first: int, last: int) -> bool:
    """Take the bytes [first, last) out of those that were sent again; False if they are not among them."""
    for index in range(c.resent_count):
        each = c.resent[index]
        if each.first <= first and last <= each.last:
            end = each.last
            if first == each.first:
                each.first = last
            else:
                each.last = first
                if last < end:
                    note_resent(c, last, end)
            return True
    return False


@outline
def note_resent(c: Any, first: int, last: int) -> None:
    """The bytes [first, last) are sent again in fast recovery."""
    if c.resent_count and c.resent[c.resent_count - 1].last == first:
        c.resent[c.resent_count - 1].last = last
    elif c.resent_count < RESENDS:
        c.resent[c.resent_count].first = first
        c.resent[c.resent_count].last = last
        c.resent_count += 1
    else:
        c.resent_cwnd = 0  # there is no room: the recovery is not undone


def undo_loss(c: Any) -> None:
    """The time-out came too soon: nothing was lost (RFC 4015)."""
    c.undo = 0
    c.recovery = OPEN
    c.cwnd = c.undo_cwnd
    c.ssthresh = c.undo_ssthresh
    c.cubic_max = c.undo_max
    c.cubic_start = 0
