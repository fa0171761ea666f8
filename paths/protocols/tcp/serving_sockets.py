"""Requests of the registry: a socket listens, is offered to a listener, connects, and is closed."""

import errno
from typing import Any

from scout.io.access import load16, load32, require
from scout.io.endpoints import message
from scout.paths.model.verdict import drop
from scout.paths.protocols.family import family_of
from scout.paths.protocols.tcp import requests
from scout.paths.protocols.tcp.passing import is_over
from scout.paths.protocols.tcp.rows import (
    CONNECTED,
    LISTENS,
    SPARE,
    SPLICED,
    UNUSED,
    begin,
    begin_with,
    bind_row,
    choose_segment,
    flow_of,
    name_row,
    partner_of,
    row_of,
    unbind_row,
)
from scout.paths.protocols.tcp.secret import initial_number, timestamp_offset
from scout.paths.protocols.tcp.serving_records import end_when_sealed
from scout.paths.protocols.tcp.settled import ask
from scout.paths.protocols.tcp.spares import begin_listening, end_opening, listens, offer, withdraw
from scout.paths.protocols.tcp.splicing import end_pair
from scout.paths.protocols.tcp.state import TIME_WAIT
from scout.paths.wire.address import ANY

__all__ = ["GRACEFUL", "NOW", "TIME_WAIT_ONLY", "close", "connect", "listen", "offer_spare"]

BAD_REQUEST = drop("bad-request")

GRACEFUL, NOW, TIME_WAIT_ONLY = range(3)
"""Notes of CLOSE: what was written is sent; the connection is aborted; only a connection in TIME-WAIT is ended."""


def listen(frame: Any, now: int, host: Any, rows: Any, bindings: Any) -> int:
    """Let a socket take connections (`LISTEN`)."""
    row = name_row(frame, rows, family_of(bindings))
    if row < 0 or rows[row].role != UNUSED:
        return BAD_REQUEST
    socket = rows[row]
    begin_with(host, socket)
    if bind_row(rows, bindings, host.counts, row) >= 0:
        fail(host, errno.EADDRINUSE)
        return 0
    begin_listening(rows, row, now)
    return 0


def offer_spare(frame: Any, end: Any, rows: Any, bindings: Any) -> int:
    """Let a socket be a spare one of a listener (`OFFER`), whose number is in the data."""
    if not require(frame, end, message.HEADER + 4):
        return BAD_REQUEST
    number = load32(frame, message.HEADER)
    listener = number & message.ROW
    if not listens(rows, number + 1):
        return BAD_REQUEST
    row = name_row(frame, rows, family_of(bindings))
    if row < 0 or rows[row].role != UNUSED:
        return BAD_REQUEST
    offer(rows, listener, row)
    return 0


def connect(frame: Any, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any) -> int:
    """Open a connection (`CONNECT`): the note is the MTU of the port that the route leads to."""
    row = name_row(frame, rows, family_of(bindings))
    if row < 0 or rows[row].role != UNUSED:
        return BAD_REQUEST
    socket = rows[row]
    other, ended = bind_row(rows, bindings, host.counts, row), 0
    if other >= 0 and other != row and connections[other].state == TIME_WAIT:
        ended = rows[other].number
        begin_with(host, rows[other])
        ask(requests.ABORT, 0, 0, other, now, host, rows, bindings, connections, deadlines)
        other = bind_row(rows, bindings, host.counts, row)
    begin_with(host, socket)
    host.ended = ended
    if other >= 0:
        fail(host, errno.EADDRINUSE if other != row else errno.ENOBUFS)
        return 0
    socket.role = CONNECTED
    family = family_of(bindings)
    choose_segment(host, load16(frame, message.NOTE), family)
    flow = flow_of(host, family)
    iss, offset = initial_number(host.secret, flow, now), timestamp_offset(host.secret, flow)
    ask(requests.CONNECT, iss, offset, row, now, host, rows, bindings, connections, deadlines)
    return 0


def fail(host: Any, error: int) -> None:
    """Tell the socket at hand that it has no connection, and why (errno)."""
    host.closed = 1
    host.error = error


def close(
    frame: Any, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any, secured: Any
) -> int:
    """The application has closed the socket, or has died (`CLOSE`); the note says how."""
    row, note = row_of(frame, rows), load16(frame, message.NOTE)
    other = partner_of(rows, row) if row >= 0 else -1
    if other >= 0 and (rows[row].role == SPLICED or note != TIME_WAIT_ONLY):
        # The stack goes on without the application.
        if note != TIME_WAIT_ONLY:
            rows[row].left = 1
        elif is_over(rows[row].splice, rows[other].splice):
            end_pair(row, other, host, rows, bindings, deadlines)
        return 0
    if note == TIME_WAIT_ONLY and (row < 0 or connections[row].state != TIME_WAIT):
        return 0
    if row < 0:  # no request was about it before
        begin(host, load32(frame, message.SOCKET), ANY, ANY, 0)
        host.closed = 1
        return 0
    socket = rows[row]
    begin_with(host, socket)
    if socket.role == CONNECTED:
        came_to_nothing = socket.listener  # no application has it
        if came_to_nothing:
            end_opening(rows, row)
        socket.listener = 0
        socket.left = 1
        kind = requests.LEAVE if note == GRACEFUL and not came_to_nothing else requests.ABORT
        if socket.secured and kind == requests.LEAVE and end_when_sealed(kind, secured[row]):
            return 0
        ask(kind, 0, 0, row, now, host, rows, bindings, connections, deadlines)
        return 0
    if socket.role == LISTENS:
        unbind_row(rows, bindings, row)
    elif socket.role == SPARE:
        withdraw(rows, row)
    socket.role = UNUSED
    socket.number = 0
    host.closed = 1
    return 0
