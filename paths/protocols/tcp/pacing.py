"""Pacing: bytes are sent at a rate, in bursts of about a millisecond (draft-ietf-ccwg-bbr section 5.6.3).

A burst is one request, of the timer or of an acknowledgement, and as few super-frames as hold it. So the number of
requests does not grow with the rate.
"""

from typing import Any

from scout.paths.protocols.tcp.bbr import begin, resume
from scout.paths.protocols.tcp.bbr_state import NO_PHASE
from scout.paths.protocols.tcp.delivery import begin_flight, mark_limited
from scout.paths.protocols.tcp.settings import BBR, CONGESTION
from scout.paths.protocols.tcp.state import ESTABLISHED, FOREVER, PACE_TIMER

__all__ = ["end_burst", "spend", "start_burst"]

SECOND = 1_000_000_000

_LATEST = 4_000_000
"""Nanoseconds by which a timer may be late so that nothing of the rate is lost."""

_UNPACED = 1 << 40


def start_burst(c: Any, now: int) -> None:
    """See how much may be sent now."""
    c.paced = 0
    c.allowance = _UNPACED
    if c.settings[CONGESTION] != BBR or c.state < ESTABLISHED:
        return
    if c.bbr.phase == NO_PHASE:
        begin(c, now)
    if c.pipe == 0:
        begin_flight(c, now)
        if c.delivery.limited_until:
            resume(c, now)
    if now < c.pace_at:
        c.allowance = 0
    else:
        c.pace_at = max(c.pace_at, now - _LATEST)
        c.allowance = c.quantum + (now - c.pace_at) * c.pacing_rate // SECOND


def spend(c: Any, size: int) -> None:
    """So many bytes are sent."""
    c.allowance -= size
    if c.pacing_rate:
        c.pace_at += size * SECOND // c.pacing_rate


def end_burst(c: Any, now: int) -> None:
    """Wait for the next burst if there is more to send; else see whether it is the application that limits the rate."""
    c.timers[PACE_TIMER] = c.pace_at if c.paced else FOREVER
    if c.settings[CONGESTION] == BBR and c.state >= ESTABLISHED and not c.paced:
        if c.snd_end - c.snd_nxt < c.mss and c.lost == 0 and c.pipe < c.cwnd:
            mark_limited(c)
        if c.pipe + c.mss > c.cwnd:
            c.bbr.is_full = 1
