"""Packetization layer path MTU discovery (RFC 4821, RFC 8899): the size of segments that pass is found by trying.

It needs no ICMP errors, which many networks do not let through. Two time-outs in a row while full segments are under
way make a path suspect of dropping large packets in silence: segments are half as large from then on. When these pass a
larger one is tried, first of the size that was in use, then halfway between the sizes that pass and that do not. A
probe is a segment with data. The bytes of one that is lost are sent again in smaller segments, and no congestion is
inferred (RFC 4821 section 7.4). Three lost probes of one size show that it does not pass (RFC 8899 section 5.1.2).
"""

from typing import Any

from scout.paths.protocols.tcp.congestion import in_flight
from scout.paths.protocols.tcp.state import OPEN, PATH_TIMER

__all__ = ["begin_probe", "begin_search", "bound_search", "change", "judge_probe", "next_probe", "suspect_black_hole"]

MEMORY = 600_000_000_000
"""Nanoseconds after which larger segments are tried again."""

GRANULARITY = 16
"""Bytes: sizes nearer to each other are not told apart."""

TRIES = 3
SMALLEST = 512
"""Bytes of data that every path is taken to carry (RFC 4821 section 7.7)."""


def change(c: Any, size: int) -> None:
    """Send segments of this size."""
    c.mss = size
    c.mss_passed = 0
    c.mss_trial = 0
    c.claimed_mss = 0


def suspect_black_hole(c: Any, now: int) -> None:
    """The sender's timer has fired: if this was not the first time, full segments may be too large for the path."""
    if c.backoff < 2 or c.mss <= SMALLEST or min(c.snd_nxt - c.snd_una, c.snd_wnd) < c.mss:
        return
    largest = c.mtu_largest if c.mtu_next else c.mss
    change(c, max(c.mss // 2, SMALLEST))
    begin_search(c, largest, now)


def begin_search(c: Any, largest: int, now: int) -> None:
    """Look for the largest segments that pass, up to a size, which is tried first.

    A peer without SACK cannot tell that a single segment is lost: larger ones are used when some time has passed.
    """
    c.mtu_largest = largest
    c.mtu_next = largest if c.sack else 0
    c.mtu_tries = 0
    c.timers[PATH_TIMER] = now + MEMORY


def bound_search(c: Any, size: int, quoted: int) -> None:
    """An ICMP error says that a probe was too large, and what would pass."""
    if c.mtu_probe and c.mtu_last - c.mtu_probe <= quoted < c.mtu_last and size < c.mtu_probe:
        c.mtu_largest = size
        c.mtu_tries = TRIES


def next_probe(c: Any) -> int:
    """The size of a probe that can be sent now; 0: none is to be sent."""
    size = c.mtu_next
    if size == 0 or c.mtu_probe or c.mss_passed == 0 or c.recovery != OPEN or c.lost:
        return 0
    can = min(c.snd_end - c.snd_nxt, c.snd_una + c.snd_wnd - c.snd_nxt, c.cwnd - in_flight(c), c.allowance)
    return size if can >= size else 0


def begin_probe(c: Any, size: int) -> None:
    """A probe is sent, which ends at `snd_nxt`."""
    c.mtu_probe = size
    c.mtu_last = c.snd_nxt
    c.mtu_failed = 0


def judge_probe(c: Any) -> None:
    """See whether the probe that is under way has passed or is lost."""
    if c.mtu_probe == 0:
        return
    if c.mtu_failed:
        c.mtu_tries += 1
        if c.mtu_tries >= TRIES:
            c.mtu_largest = min(c.mtu_largest, c.mtu_probe - 1)
            _choose_next(c)
        c.mtu_probe = 0
    elif c.snd_una >= c.mtu_last:
        change(c, c.mtu_probe)
        c.mss_passed = 1
        c.mtu_probe = 0
        _choose_next(c)


def _choose_next(c: Any) -> None:
    """Halve the range, until it is narrow."""
    c.mtu_tries = 0
    c.mtu_next = 0
    if c.mtu_largest - c.mss >= GRANULARITY:
        c.mtu_next = (c.mss + c.mtu_largest + 1) // 2
