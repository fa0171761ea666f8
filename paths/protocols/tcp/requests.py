"""Requests: all that changes a connection, as one record, and the one function that serves them.

A replica that serves the same requests in the same order has the same states, and computes the same actions.
"""

from typing import Any

import numpy as np

from scout.paths.protocols.tcp.arrival import arrive
from scout.paths.protocols.tcp.calls import choose, close, leave, read, see_error, send, urge
from scout.paths.protocols.tcp.ending import abort
from scout.paths.protocols.tcp.opening import connect, listen
from scout.paths.protocols.tcp.output import finish
from scout.paths.protocols.tcp.path_mtu import see_path_mtu
from scout.paths.protocols.tcp.runs import arrive_together
from scout.paths.protocols.tcp.state import ABORTED, CLOSED
from scout.paths.protocols.tcp.timers import expire

__all__ = [
    "ABORT",
    "ARRIVE",
    "CHOOSE",
    "CLOSE",
    "CONNECT",
    "ERROR",
    "EXPIRE",
    "LEAVE",
    "LISTEN_FOR",
    "PATH_MTU",
    "READ",
    "REQUEST",
    "SEND",
    "URGE",
    "serve",
]

(
    CONNECT,
    LISTEN_FOR,
    ARRIVE,
    SEND,
    READ,
    CLOSE,
    LEAVE,
    ABORT,
    URGE,
    CHOOSE,
    EXPIRE,
    ERROR,
    PATH_MTU,
) = range(13)

REQUEST = np.dtype(
    [
        ("kind", "i8"),
        ("now", "i8"),  # its time
        # CONNECT, LISTEN_FOR: the initial number. SEND, READ, PATH_MTU: bytes. CHOOSE: the setting. ERROR: its number.
        # ABORT: the reason, if it is another than ABORTED
        ("one", "i8"),
        # CONNECT, LISTEN_FOR: the timestamps' offset. CHOOSE: the value. PATH_MTU: the position of the segment quoted
        ("two", "i8"),
        ("more", "i8"),  # 1: another request of the same batch follows, and nothing is sent yet
    ]
)
"""A request to one connection."""


def serve(table: Any, row: int, request: Any, segment: Any, settings: Any, out: Any) -> int:
    """Serve a request.

    Parameters
    ----------
    table, row
        The connections, of dtype `CONNECTION`; the index of one.
    request, segment, out
        Records of `REQUEST`; of `SEGMENT`, for ARRIVE; and of `OUT`, which takes the actions. Actions of requests with
        `more` add up until one without.
    settings
        For CONNECT and LISTEN_FOR.

    Returns
    -------
    int
        Bytes that SEND and READ took; `ANEW` of ARRIVE; 0 of CHOOSE if the setting may not change.
    """
    c, kind, now, result = table[row], request.kind, request.now, 0
    c.changes += 1
    if kind == ARRIVE and segment.run > segment.length > 0:
        arrive_together(c, segment, out, now)
    elif kind == ARRIVE:
        result = arrive(c, segment, out, now)
    elif kind == SEND:
        result = send(c, request.one)
    elif kind == READ:
        result = read(c, request.one)
    elif kind == EXPIRE:
        expire(c, out, now)
    elif kind == CONNECT:
        connect(table, row, settings, request.one, request.two, now)
    elif kind == LISTEN_FOR:
        listen(table, row, settings, request.one, request.two, now)
    elif kind == CLOSE:
        close(c)
    elif kind == LEAVE:
        leave(c, out, now)
    elif kind == ABORT:
        abort(c, out, now, request.one or ABORTED)
    elif kind == URGE:
        urge(c)
    elif kind == CHOOSE:
        result = choose(c, request.one, request.two)
    elif kind == ERROR:
        see_error(c, request.one)
    elif kind == PATH_MTU:
        see_path_mtu(c, request.one, request.two, now)
    if request.more == 0 or c.state == CLOSED:
        finish(c, out, now)
    return result
