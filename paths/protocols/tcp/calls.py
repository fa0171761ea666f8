"""The calls of applications on a connection, and the reports of IP to it (RFC 9293 section 3.10).

`finish` has to follow.
"""

from typing import Any

from scout.paths.protocols.tcp.bbr import end as end_bbr
from scout.paths.protocols.tcp.ending import abort, end, linger
from scout.paths.protocols.tcp.receiver import readable
from scout.paths.protocols.tcp.settings import (
    CONGESTION,
    CONTROLS,
    FOLLOW_TIMEOUT,
    KEEP_IDLE,
    KEEP_INTERVAL,
    KEEP_PROBES,
    KEEPALIVE,
    NODELAY,
    OFFER_TIMEOUT,
    RECEIVE_BUFFER,
    SEND_BUFFER,
    USER_TIMEOUT,
)
from scout.paths.protocols.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    FINISHED,
    FOREVER,
    KEEP_TIMER,
    LAST_ACK,
    LISTEN,
    SYN_RECEIVED,
    SYN_SENT,
)

__all__ = ["choose", "close", "leave", "read", "see_error", "send", "send_room", "urge"]


def send_room(c: Any) -> int:
    """Bytes that the send ring has room for."""
    return c.settings[SEND_BUFFER] - (c.snd_end - max(c.snd_una, c.iss + 1))


def send(c: Any, size: int) -> int:
    """The application has put so many more bytes into the send ring; how many of them count.

    0 if it has closed, or the connection is not open in this direction.
    """
    if c.fin or not (SYN_SENT <= c.state <= ESTABLISHED or c.state == CLOSE_WAIT):
        return 0
    size = max(min(size, send_room(c)), 0)
    c.snd_end += size
    return size


def urge(c: Any) -> None:
    """All that was sent so far is urgent (MUST-30 to 33)."""
    c.snd_up = c.snd_end


def read(c: Any, size: int) -> int:
    """The application has read so many bytes of the receive ring; how many were there.

    The peer is told once that doubles its window.
    """
    size = max(min(size, readable(c)), 0)
    c.rcv_read += size
    offered = c.rcv_edge - c.rcv_nxt
    possible = c.settings[RECEIVE_BUFFER] - readable(c)
    if possible >= 2 * offered and possible - offered >= c.rcv_segment and c.rcv_fin < 0 and c.state >= ESTABLISHED:
        c.ack_due = 1
    return size


def close(c: Any) -> None:
    """The application sends no more; it may go on reading (section 3.10.4)."""
    if c.state == LISTEN or c.state == SYN_SENT:
        end(c, FINISHED)
    elif c.state == SYN_RECEIVED:
        c.fin = 1
    elif c.state == ESTABLISHED:
        c.fin = 1
        c.state = FIN_WAIT_1
    elif c.state == CLOSE_WAIT:
        c.fin = 1
        c.state = LAST_ACK


def leave(c: Any, out: Any, now: int) -> None:
    """The application neither sends nor reads any more. Unread bytes are told to the peer by a reset (SHLD-3)."""
    c.reader_gone = 1
    if c.state != CLOSED and readable(c) > 0:
        abort(c, out, now)
        return
    close(c)
    if c.state == FIN_WAIT_2:
        linger(c, now)


def choose(c: Any, setting: int, value: int) -> int:
    """Change a setting of an open connection; 1 if it is one that may change."""
    if setting not in (
        NODELAY,
        CONGESTION,
        USER_TIMEOUT,
        OFFER_TIMEOUT,
        FOLLOW_TIMEOUT,
        KEEPALIVE,
        KEEP_IDLE,
        KEEP_INTERVAL,
        KEEP_PROBES,
    ):
        return 0
    if setting == CONGESTION and not 0 <= value < len(CONTROLS):
        return 0
    if setting == CONGESTION:
        control(c, value)
    c.settings[setting] = value
    if setting == USER_TIMEOUT:
        c.settings[FOLLOW_TIMEOUT] = 0  # RFC 5482 section 3.1
    if c.settings[OFFER_TIMEOUT] and c.state >= ESTABLISHED and setting in (USER_TIMEOUT, OFFER_TIMEOUT):
        c.timeout_due = 1
        c.ack_due = 1
    if c.state >= ESTABLISHED:
        c.timers[KEEP_TIMER] = c.heard_at + c.settings[KEEP_IDLE] if c.settings[KEEPALIVE] else FOREVER
    return 1


def control(c: Any, control: int) -> None:
    """Control congestion by another algorithm: it begins with the window as it is."""
    if control == c.settings[CONGESTION]:
        return
    end_bbr(c)
    c.ssthresh = max(c.cwnd, 2 * c.mss)
    c.cubic_max = c.cwnd
    c.cubic_start = 0
    c.resent_cwnd = 0


def see_error(c: Any, error: int) -> None:
    """IP tells of an ICMP error: the socket is told, but it ends nothing (MUST-56; RFC 5927 for all other codes)."""
    c.soft_error = error
