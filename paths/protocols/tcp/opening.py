"""Opening: a fresh state, and what the SYNs of both ends agree on (RFC 9293 section 3.5, RFC 7323, 2018, 3168)."""

from typing import Any

from scout.paths.framework.state import clear
from scout.paths.protocols.tcp.congestion import first_window
from scout.paths.protocols.tcp.roundtrip import FIRST_TIMEOUT
from scout.paths.protocols.tcp.sent import note_sent
from scout.paths.protocols.tcp.sequence import MODULUS
from scout.paths.protocols.tcp.settings import (
    ASK,
    DEFAULT_SEGMENT,
    ECN,
    FOLLOW_TIMEOUT,
    KEEP_IDLE,
    KEEPALIVE,
    LARGEST_SEGMENT,
    RECEIVE_BUFFER,
    SACK,
    SETTINGS,
    TIMESTAMPS,
    USER_TIMEOUT,
    WINDOW_SCALE,
)
from scout.paths.protocols.tcp.state import CLOSED, ESTABLISHED, FOREVER, KEEP_TIMER, LISTEN, SYN_RECEIVED, SYN_SENT
from scout.paths.wire.tcp import CWR, ECE

__all__ = [
    "LARGEST_SCALE",
    "SMALLEST_SEGMENT",
    "TIMESTAMP_BYTES",
    "answer_syn",
    "connect",
    "establish",
    "follow_timeout",
    "listen",
    "scale_of",
    "synchronize",
]

TIMESTAMP_BYTES = 12
"""Bytes of the timestamp option in every segment."""

SECOND = 1_000_000_000

SHORTEST_USER_TIMEOUT, LONGEST_USER_TIMEOUT = 100 * SECOND, 3600 * SECOND
"""The limits of what a peer may ask for (RFC 5482: L_LIMIT and U_LIMIT)."""

LARGEST_SCALE = 14
"""RFC 7323 section 2.3."""

SMALLEST_SEGMENT = 48
"""Bytes of data and options that every peer and path is taken to carry in a segment, whatever it says.

A peer could have a window cut into segments of a byte each, which cost as much as long ones (CVE-2019-11479). Linux has
the same floor (tcp_min_snd_mss). It allows an MTU of 88 bytes; a network must have one of 68 (RFC 791 section 3.2).
"""


def scale_of(buffer: int) -> int:
    """The window scale with which a window of so many bytes can be told."""
    scale = 0
    while scale < LARGEST_SCALE and buffer >> scale > MODULUS >> 16:
        scale += 1
    return scale


def begin(table: Any, row: int, settings: Any, iss: int, ts_offset: int, now: int) -> None:
    """Make a row a closed connection that is about to be opened."""
    changes = table[row].changes
    clear(table, row)
    c = table[row]
    c.changes = changes
    for index in range(SETTINGS):
        c.settings[index] = settings[index]
    for index in range(len(c.timers)):
        c.timers[index] = FOREVER
    c.state = CLOSED
    c.iss = iss & MODULUS
    c.snd_una = c.iss
    c.snd_nxt = c.iss
    c.snd_end = c.iss + 1  # behind the SYN
    c.snd_up = c.iss
    c.rcv_fin = -1
    c.rcv_segment = min(c.settings[DEFAULT_SEGMENT], c.settings[LARGEST_SEGMENT])
    c.mss = min(c.settings[DEFAULT_SEGMENT], c.settings[LARGEST_SEGMENT])
    c.rto = FIRST_TIMEOUT
    c.reorder_factor = 1
    c.ts_offset = ts_offset
    c.heard_at = now
    c.sack = c.settings[SACK]
    c.timestamps = c.settings[TIMESTAMPS]
    c.scale = c.settings[WINDOW_SCALE]
    c.ecn = 1 if c.settings[ECN] == ASK else 0
    c.rcv_scale = scale_of(c.settings[RECEIVE_BUFFER]) if c.scale else 0
    c.cwnd = c.mss
    c.ssthresh = c.mss


def connect(table: Any, row: int, settings: Any, iss: int, ts_offset: int, now: int) -> None:
    """Open actively: a SYN is to be sent.

    Parameters
    ----------
    table, row
        The table of connections, and the connection's row, which is begun anew.
    settings
        A vector of `scout.paths.protocols.tcp.settings`.
    iss, ts_offset : int
        The initial sequence number, and that of timestamps (`scout.paths.protocols.tcp.secret`).
    now : int
    """
    begin(table, row, settings, iss, ts_offset, now)
    table[row].state = SYN_SENT


def listen(table: Any, row: int, settings: Any, iss: int, ts_offset: int, now: int) -> None:
    """Open passively: the row waits for the SYN of one peer. Parameters as of `connect`.

    A listener of many peers listens with a new row for each SYN that comes.
    """
    begin(table, row, settings, iss, ts_offset, now)
    table[row].state = LISTEN
    table[row].passive = 1


def synchronize(c: Any, segment: Any, now: int) -> None:
    """Take the peer's SYN: where its sequence numbers begin, and what it can do."""
    c.irs = segment.sequence
    c.rcv_nxt = segment.sequence + 1
    c.rcv_read = c.rcv_nxt
    c.rcv_edge = c.rcv_nxt
    c.acked = c.rcv_nxt
    c.rcv_up = c.rcv_nxt
    agree(c, segment, now)
    c.ack_due = 1


def agree(c: Any, segment: Any, now: int) -> None:
    """Use the options that both ends want."""
    told = segment.mss if segment.mss else c.settings[DEFAULT_SEGMENT]
    largest = min(c.settings[LARGEST_SEGMENT], max(told, SMALLEST_SEGMENT))
    c.sack &= segment.sack_permitted
    c.timestamps &= segment.has_timestamp
    if c.timestamps:
        c.ts_recent = segment.tsval
        c.ts_recent_at = now
    c.mss = max(largest - (TIMESTAMP_BYTES if c.timestamps else 0), 1)  # MUST-16
    c.mss_agreed = c.mss
    if c.scale and segment.scale >= 0:
        c.snd_scale = min(segment.scale, LARGEST_SCALE)
    else:
        c.scale = 0
        c.rcv_scale = 0
    if c.state == SYN_SENT:
        c.ecn &= 1 if segment.flags & (ECE | CWR) == ECE else 0
    else:
        c.ecn = 1 if c.settings[ECN] and segment.flags & (ECE | CWR) == ECE | CWR else 0
    follow_timeout(c, segment.user_timeout)
    c.snd_wnd = segment.window  # never scaled in a SYN
    c.max_wnd = segment.window
    c.snd_wl1 = segment.sequence
    c.snd_wl2 = c.iss
    first_window(c)


def follow_timeout(c: Any, seconds: int) -> None:
    """Wait for the peer as long as it asks for, within limits (RFC 5482 section 3.1)."""
    if seconds and c.settings[FOLLOW_TIMEOUT]:
        longest = max(c.settings[USER_TIMEOUT], seconds * SECOND, SHORTEST_USER_TIMEOUT)
        c.settings[USER_TIMEOUT] = min(longest, LONGEST_USER_TIMEOUT)


def answer_syn(c: Any, now: int) -> None:
    """Enter SYN-RECEIVED: the SYN is to be sent with an acknowledgement."""
    c.state = SYN_RECEIVED
    if c.snd_nxt == c.iss:
        note_sent(c, c.iss + 1, now)


def establish(c: Any, now: int) -> None:
    """Both ends have acknowledged the other's SYN."""
    c.state = ESTABLISHED
    c.backoff = 0
    if c.settings[KEEPALIVE]:
        c.timers[KEEP_TIMER] = now + c.settings[KEEP_IDLE]
