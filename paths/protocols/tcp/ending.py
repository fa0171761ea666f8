"""How connections end: for good, by a reset of this end, or after TIME-WAIT."""

from typing import Any

from scout.paths.protocols.tcp.actions import EMIT, ROOM, next_action, plain_segment
from scout.paths.protocols.tcp.settings import MSL
from scout.paths.protocols.tcp.state import (
    ABORTED,
    CLOSED,
    CLOSING,
    FOREVER,
    LAST_ACK,
    LIFE_TIMER,
    SYN_RECEIVED,
    TIME_WAIT,
)
from scout.paths.wire.tcp import ACK, RST

__all__ = ["abort", "end", "linger"]


def end(c: Any, reason: int) -> None:
    """The connection is no more; the socket is told why."""
    c.state = CLOSED
    c.reason = reason
    c.ack_due = 0
    for index in range(len(c.timers)):
        c.timers[index] = FOREVER


def abort(c: Any, out: Any, now: int, reason: int = ABORTED) -> None:
    """End it, and tell the peer by a reset, if the peer has a connection (RFC 9293 section 3.10.5).

    The peer takes a reset only at the next byte that it expects (RFC 5961 section 3.2). That is the first byte which it
    has not acknowledged if what came behind was lost, or found no room: so there is a second reset there. Nobody may be
    there any more to answer its challenge.
    """
    if SYN_RECEIVED <= c.state < TIME_WAIT and c.state != CLOSING and c.state != LAST_ACK:
        if out.count < ROOM:
            plain_segment(next_action(out, EMIT), RST | ACK, c.snd_nxt, c.rcv_nxt)
        if c.snd_una != c.snd_nxt and c.state != SYN_RECEIVED and out.count < ROOM:
            plain_segment(next_action(out, EMIT), RST | ACK, c.snd_una, c.rcv_nxt)
    end(c, reason)


def linger(c: Any, now: int) -> None:
    """Wait for twice the longest life of a segment, from now on (MUST-13)."""
    c.timers[LIFE_TIMER] = now + 2 * c.settings[MSL]
