"""Have the core serve a request to a row, and settle what follows from it."""

from typing import Any

from scout.io.endpoints import message
from scout.paths.protocols.tcp import requests
from scout.paths.protocols.tcp.actions import EMIT, REPORT
from scout.paths.protocols.tcp.deadlines import watch
from scout.paths.protocols.tcp.requests import serve
from scout.paths.protocols.tcp.rows import ENDED, UNUSED, partner_of, unbind_row
from scout.paths.protocols.tcp.spares import end_opening, rest
from scout.paths.protocols.tcp.state import CLOSED, ESTABLISHED
from scout.paths.protocols.tcp.timers import due
from scout.ring.jit import outline

__all__ = ["ask", "settle"]

REST = 60_000_000_000
"""Nanoseconds that a spare socket rests whose connection came to nothing. Until then a replica could still place bytes
of a segment that was sent to what was; one that is so far behind the others would long have held the channel up."""


def ask(
    kind: int,
    one: int,
    two: int,
    row: int,
    now: int,
    host: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    deadlines: Any,
) -> int:
    """Have the core serve a request (`REQUEST`) to a row, after `begin`; its result.

    `host.request.more` may be set before.
    """
    host.request.kind = kind
    host.request.now = now
    host.request.one = one
    host.request.two = two
    result = serve(connections, row, host.request, host.segment, host.settings, host.out)
    settle(row, now, host, rows, bindings, connections, deadlines)
    return result


@outline
def settle(row: int, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any) -> None:
    """Settle what follows from a request that the core has served."""
    socket, c = rows[row], connections[row]
    if socket.listener and c.state >= ESTABLISHED:
        listener = socket.listener
        takes = end_opening(rows, row)
        socket.listener = 0
        if takes:
            host.listener = listener
        else:  # the application has closed the listener meanwhile
            host.request.kind = requests.ABORT
            serve(connections, row, host.request, host.segment, host.settings, host.out)
    if c.state == CLOSED:
        unbind_row(rows, bindings, row)
        if partner_of(rows, row) >= 0:
            hide_end(host.out)
        elif socket.listener:
            come_to_nothing(row, now, host, rows)
        elif socket.left:
            socket.role = UNUSED
            socket.number = 0
        else:
            socket.role = ENDED
    watch(deadlines, rows, row, min(due(c), socket.work_due), host.shift)


def hide_end(out: Any) -> None:
    """Do not tell that a connection is CLOSED: another one may still send bytes from its receive ring."""
    for index in range(out.count):
        if out.actions[index].kind == REPORT:
            out.actions[index].state = ESTABLISHED


def come_to_nothing(row: int, now: int, host: Any, rows: Any) -> None:
    """Let a socket whose connection was not established be a spare one again; it is told nothing."""
    for index in range(host.out.count):
        if host.out.actions[index].kind != EMIT:
            host.out.count = index
            break
    if end_opening(rows, row):
        rest(rows, rows[row].listener - 1 & message.ROW, row, now + REST)
    else:
        rows[row].role = ENDED
        rows[row].listener = 0
