"""How large the segments of a connection may be on their path (RFC 1191), whatever attackers say (RFC 5927).

An ICMP error that says less than what has just passed may be forged: it is followed only if the segment that it quotes
times out, and forgotten when that segment is acknowledged (RFC 5927 section 7.2). After ten minutes larger segments are
tried again, as the path may have changed (RFC 1191 section 6.3). `path_search` finds sizes without ICMP errors.
"""

from typing import Any

from scout.paths.protocols.tcp.loss import lose_all
from scout.paths.protocols.tcp.opening import SMALLEST_SEGMENT, TIMESTAMP_BYTES
from scout.paths.protocols.tcp.path_search import MEMORY, begin_search, bound_search, change
from scout.paths.protocols.tcp.state import FOREVER, PATH_TIMER

__all__ = ["believe_claim", "see_acknowledged", "see_path_mtu", "see_sent", "try_larger"]


def see_path_mtu(c: Any, largest: int, quoted: int, now: int) -> None:
    """The path is said to take no more than so many bytes of data and TCP options in a packet.

    Less than `SMALLEST_SEGMENT` is not believed. `quoted` is the position of the segment that was too large.
    """
    size = max(largest, SMALLEST_SEGMENT) - (TIMESTAMP_BYTES if c.timestamps else 0)
    if size >= c.mss:
        bound_search(c, size, quoted)
        return
    if c.mss_passed:
        c.claimed_mss = size
        c.claimed_at = quoted
    else:
        shrink(c, size, now)
        lose_all(c)
        c.rearm = 1


def believe_claim(c: Any, now: int) -> None:
    """The sender's timer has fired: so nothing has shown that the claim was false."""
    if c.claimed_mss:
        shrink(c, c.claimed_mss, now)


def shrink(c: Any, size: int, now: int) -> None:
    """Send smaller segments."""
    change(c, size)
    c.mtu_next = 0
    c.timers[PATH_TIMER] = now + MEMORY


def try_larger(c: Any, now: int) -> None:
    """Try segments as large as the peer takes."""
    c.timers[PATH_TIMER] = FOREVER
    if c.mss >= c.mss_agreed:
        return
    if c.sack:
        begin_search(c, c.mss_agreed, now)
    else:
        change(c, c.mss_agreed)


def see_sent(c: Any, first: int, last: int) -> None:
    """Bytes [first, last) are sent: if a segment of them is full, its acknowledgement will show that these pass."""
    if c.mss_passed == 0 and c.mss_trial == 0 and last - first >= c.mss:
        c.mss_trial = first + c.mss


def see_acknowledged(c: Any) -> None:
    """Bytes were acknowledged, up to `snd_una`."""
    if c.mss_trial and c.snd_una >= c.mss_trial:
        c.mss_trial = 0
        c.mss_passed = 1
    if c.claimed_mss and c.snd_una > c.claimed_at:
        c.claimed_mss = 0
