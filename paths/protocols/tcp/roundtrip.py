"""Round trip times and the retransmission time-out (RFC 6298, RFC 7323 section 4)."""

from typing import Any

from scout.paths.protocols.tcp.settings import SHORTEST_TIMEOUT

__all__ = ["FIRST_TIMEOUT", "LONGEST_TIMEOUT", "clock", "sample", "timeout"]

MILLISECOND, SECOND = 1_000_000, 1_000_000_000

FIRST_TIMEOUT = SECOND
"""Before there is a sample (RFC 6298 rule 2.1)."""

LONGEST_TIMEOUT = 60 * SECOND
"""Rule 2.5."""

GRANULARITY = MILLISECOND


def clock(c: Any, now: int) -> int:
    """The value of this end's timestamps: milliseconds from an offset that is secret (RFC 7323 section 5.4)."""
    return (now // MILLISECOND + c.ts_offset) & 0xFFFFFFFF


def sample(c: Any, rtt: int) -> None:
    """A measured round trip; never of bytes that were sent twice (Karn's algorithm, MUST-18)."""
    rtt = max(rtt, 1)
    if c.srtt == 0:
        c.srtt = rtt
        c.rttvar = rtt // 2
        c.min_rtt = rtt
    else:
        c.rttvar += (abs(c.srtt - rtt) - c.rttvar) >> 2
        c.srtt = max(c.srtt + ((rtt - c.srtt) >> 3), 1)
        c.min_rtt = min(c.min_rtt, rtt)
    c.rto = max(c.srtt + max(GRANULARITY, 4 * c.rttvar), c.settings[SHORTEST_TIMEOUT])
    c.backoff = 0


def timeout(c: Any) -> int:
    """The time-out with its back-off (rule 5.5)."""
    return min(c.rto << min(c.backoff, 16), LONGEST_TIMEOUT)
