"""The sender's timer: one at a time of retransmission, tail loss probe, reordering and window probe."""

from typing import Any

from scout.paths.protocols.tcp.loss import reordering_wait
from scout.paths.protocols.tcp.roundtrip import timeout
from scout.paths.protocols.tcp.state import (
    ESTABLISHED,
    FOREVER,
    OPEN,
    PERSIST,
    PROBE,
    REORDER,
    RESEND_TIMER,
    TIMEOUT,
)

__all__ = ["set_resend", "start_resend"]

MILLISECOND = 1_000_000

_PEERS_DELAY = 200 * MILLISECOND  # of a peer's acknowledgement of a single segment (RFC 8985 section 7.2)
_SHORTEST_PROBE = 10 * MILLISECOND


def set_resend(c: Any, now: int) -> None:
    """Set the timer after sending, as RFC 6298 section 5 and RFC 8985 section 7.2 ask."""
    if c.snd_una == c.snd_nxt:
        if c.snd_end + c.fin > c.snd_nxt and c.state >= ESTABLISHED and not c.paced:  # the peer's window holds it back
            if c.timers[RESEND_TIMER] == FOREVER or c.resend != PERSIST:
                c.waiting_since = now
                start_resend(c, PERSIST, timeout(c), now)
        else:
            c.timers[RESEND_TIMER] = FOREVER
            c.backoff = 0
        c.rearm = 0
        return
    if c.rearm == 0 and c.timers[RESEND_TIMER] != FOREVER:
        return
    c.rearm = 0
    wait = reordering_wait(c, now)
    if wait > 0:
        start_resend(c, REORDER, wait, now)
    elif c.snd_wnd == 0 and c.state >= ESTABLISHED:
        start_resend(c, PERSIST, timeout(c), now)
    elif c.sack and c.srtt and c.recovery == OPEN and c.sacked_bytes == 0 and c.probe_last == 0 and c.backoff == 0:
        wait = 2 * c.srtt
        if c.snd_nxt - c.snd_una <= c.mss:
            wait += _PEERS_DELAY
        start_resend(c, PROBE, min(max(wait, _SHORTEST_PROBE), timeout(c)), now)
    else:
        start_resend(c, TIMEOUT, timeout(c), now)


def start_resend(c: Any, kind: int, wait: int, now: int) -> None:
    """Let the timer fire after so long, for this."""
    c.resend = kind
    c.timers[RESEND_TIMER] = now + wait
