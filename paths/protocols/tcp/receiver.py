"""The receiver: the bytes that have come, the window, and the time of acknowledgements.

A segment reaches the state only when its per-byte work has succeeded: the checksum is right, and the bytes are in the
receive ring at the place that their position gives. Any other segment leaves a gap, exactly as a lost one does. So an
acknowledgement never covers bytes that are not there.
"""

from typing import Any

from scout.paths.protocols.tcp.settings import DELAYED_ACK, RECEIVE_BUFFER
from scout.paths.protocols.tcp.state import ACK_TIMER, FOREVER, GAPS
from scout.ring.jit import outline

__all__ = ["acknowledged", "offer", "owe", "readable", "take"]

_LARGEST_WINDOW = 65535


def readable(c: Any) -> int:
    """Bytes that the application can read."""
    return c.rcv_nxt - c.rcv_read - (1 if 0 <= c.rcv_fin < c.rcv_nxt else 0)


def offer(c: Any, is_syn: bool) -> int:
    """The window field of a segment that is sent now; the right edge moves as far as it says, and never back.

    It moves by a segment or half of the buffer at least (RFC 9293 section 3.8.6.2.2, MUST-39). Of a window in units of
    2^scale the rest that is no whole unit is not told, but stays promised (RFC 7323 section 2.4).
    """
    buffer = c.settings[RECEIVE_BUFFER]
    edge = c.rcv_nxt + buffer - readable(c)
    if edge - c.rcv_edge < min(buffer // 2, c.rcv_segment):
        edge = c.rcv_edge
    room = max(edge - c.rcv_nxt, 0)
    shift = 0 if is_syn else c.rcv_scale
    window = min(room >> shift, _LARGEST_WINDOW)
    c.rcv_edge = max(c.rcv_edge, c.rcv_nxt + (window << shift))
    return window


@outline
def take(c: Any, first: int, last: int) -> int:
    """Bytes [first, last) are in the receive ring; by how many bytes more can be read."""
    last = min(last, c.rcv_edge)
    if last <= first:
        return 0
    if first > c.rcv_nxt:
        _keep(c, first, last)
        return 0
    if first < c.rcv_nxt:
        c.again.first = first
        c.again.last = min(last, c.rcv_nxt)
    before = c.rcv_nxt
    c.rcv_nxt = max(last, before)
    index = 0
    while index < c.gap_count:  # the newest first: any of them may be next
        if c.gaps[index].first <= c.rcv_nxt:
            c.rcv_nxt = max(c.rcv_nxt, c.gaps[index].last)
            _take_out(c, index)
            index = 0
        else:
            index += 1
    return c.rcv_nxt - before


def _keep(c: Any, first: int, last: int) -> None:
    """Keep a range that is out of order, joined with those that it touches, as the newest."""
    index = 0
    while index < c.gap_count:
        each = c.gaps[index]
        if each.first <= last and first <= each.last:
            if each.first <= first and last <= each.last:
                c.again.first = first
                c.again.last = last
            first = min(first, each.first)
            last = max(last, each.last)
            _take_out(c, index)
        else:
            index += 1
    if c.gap_count == GAPS:
        return  # no room: as if it were lost
    for place in range(c.gap_count, 0, -1):
        c.gaps[place].first = c.gaps[place - 1].first
        c.gaps[place].last = c.gaps[place - 1].last
    c.gap_count += 1
    c.gaps[0].first = first
    c.gaps[0].last = last


def _take_out(c: Any, index: int) -> None:
    c.gap_count -= 1
    for place in range(index, c.gap_count):
        c.gaps[place].first = c.gaps[place + 1].first
        c.gaps[place].last = c.gaps[place + 1].last


def owe(c: Any, size: int, now: int) -> None:
    """So many bytes came in order: acknowledge every second full segment at once, else after the delay (SHLD-19)."""
    c.owed += size
    if c.settings[DELAYED_ACK] == 0 or c.owed >= 2 * c.rcv_segment:
        c.ack_due = 1
    elif c.timers[ACK_TIMER] == FOREVER:
        c.timers[ACK_TIMER] = now + c.settings[DELAYED_ACK]


def acknowledged(c: Any) -> None:
    """A segment that is sent acknowledges all that was received."""
    c.ack_due = 0
    c.owed = 0
    c.acked = c.rcv_nxt
    c.timers[ACK_TIMER] = FOREVER
