"""Actions: what a request makes necessary outside the state. Every replica computes them; the primary carries them out.

An action has all that its primary needs, because other replicas' states may be further on by then.
"""

from typing import Any

import numpy as np

from scout.paths.protocols.tcp.sequence import MODULUS
from scout.paths.protocols.tcp.state import RANGE
from scout.paths.wire.tcp import ACK, RST, SYN

__all__ = [
    "ACTION",
    "ADVICE",
    "EMIT",
    "MOST_ACTIONS",
    "OUT",
    "REPORT",
    "ROOM",
    "clear_out",
    "next_action",
    "plain_segment",
    "refuse",
]

EMIT, REPORT, ADVICE = 1, 2, 3
"""Kinds: send a segment; tell the socket where the connection is; tell IP that the path seems dead (MUST-20)."""

MOST_ACTIONS = 24
"""Actions of one request; a connection that has more to send asks for a timer at once."""

ROOM = MOST_ACTIONS - 2
"""Actions before the last ones: an acknowledgement and a report always fit behind."""

ACTION = np.dtype(
    [
        ("kind", "i8"),
        # EMIT: header fields as on the wire.
        ("flags", "i8"),
        ("sequence", "i8"),
        ("acknowledgement", "i8"),
        ("window", "i8"),
        ("urgent", "i8"),
        ("length", "i8"),  # bytes of data
        ("offset", "i8"),  # of its first byte in the stream that the application has written
        ("segment", "i8"),  # bytes of data in each segment, if a device is to cut it
        ("capable", "i8"),  # 1: the IP header says ECT(0)
        ("mss", "i8"),  # 0: no such option
        ("scale", "i8"),  # -1: no such option
        ("sack_permitted", "i8"),
        ("has_timestamp", "i8"),
        ("tsval", "i8"),
        ("tsecr", "i8"),
        ("user_timeout", "i8"),  # seconds; 0: no such option
        ("sack_count", "i8"),
        ("sacks", RANGE, (4,)),
        # REPORT.
        ("state", "i8"),
        ("reason", "i8"),
        ("received", "i8"),  # bytes of the peer's stream that can be read, since its beginning
        ("acknowledged", "i8"),  # bytes of this end's stream that the peer has
        ("ended", "i8"),  # 1: the peer sends no more
        ("urgent_until", "i8"),  # byte of the peer's stream behind the last urgent one
        ("error", "i8"),  # an ICMP error that did not end the connection
    ]
)
"""An action."""

OUT = np.dtype([("count", "i8"), ("actions", ACTION, (MOST_ACTIONS,))])
"""The actions of a request."""


def clear_out(out: Any) -> None:
    """Begin with a request."""
    out.count = 0


def next_action(out: Any, kind: int) -> Any:
    """A new action, with nothing but its kind; without room it takes the place of the last one."""
    out.count = min(out.count + 1, MOST_ACTIONS)
    action = out.actions[out.count - 1]
    action.kind = kind
    return action


def plain_segment(action: Any, flags: int, sequence: int, acknowledgement: int) -> None:
    """Make an action a segment without data and options."""
    action.flags = flags
    action.sequence = sequence & MODULUS
    action.acknowledgement = acknowledgement & MODULUS
    action.window = 0
    action.urgent = 0
    action.length = 0
    action.offset = 0
    action.segment = 0
    action.capable = 0
    action.mss = 0
    action.scale = -1
    action.sack_permitted = 0
    action.has_timestamp = 0
    action.user_timeout = 0
    action.sack_count = 0


def refuse(segment: Any, out: Any) -> None:
    """Answer a segment of no connection with a reset (RFC 9293 section 3.10.7.1)."""
    if segment.flags & RST or out.count >= ROOM:
        return
    if segment.flags & ACK:
        plain_segment(next_action(out, EMIT), RST, segment.acknowledgement, 0)
    else:
        space = segment.length + (1 if segment.flags & SYN else 0) + (segment.flags & 1)
        plain_segment(next_action(out, EMIT), RST | ACK, 0, segment.sequence + space)
