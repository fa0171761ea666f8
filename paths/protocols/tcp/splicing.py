"""Splicing: two connections become one, whose segments pass without being terminated (docs/tcp.md).

Both sockets ask for it (`join`). From then on the stack forwards the bytes of each connection to the other one
(`drive`): they are sent from the receive ring in which they lie. The windows do not move on meanwhile, so that comes to
an end. Once each peer has acknowledged all that this end has sent it, and nothing out of order waits, the sequence
numbers of both connections differ by constants: from then on the primary of a segment rewrites its headers
(`scout.paths.protocols.tcp.splice`), and the states of both connections stay as they are.

All of this is replicated. The end of a pair is noted in `scout.paths.protocols.tcp.passing`.
"""

import errno
from typing import Any

from scout.io.access import load64
from scout.io.endpoints import message
from scout.paths.protocols.tcp import requests
from scout.paths.protocols.tcp.actions import EMIT, next_action, plain_segment
from scout.paths.protocols.tcp.deadlines import watch
from scout.paths.protocols.tcp.outbox import post
from scout.paths.protocols.tcp.roundtrip import clock
from scout.paths.protocols.tcp.rows import CONNECTED, ENDED, SPLICED, UNUSED, begin_with, partner_of, unbind_row
from scout.paths.protocols.tcp.sequence import MODULUS
from scout.paths.protocols.tcp.settings import KEEP_IDLE, NODELAY
from scout.paths.protocols.tcp.settled import ask
from scout.paths.protocols.tcp.state import CLOSE_WAIT, CLOSED, ESTABLISHED, FIN_WAIT_2, FINISHED, FOREVER
from scout.paths.wire.tcp import ACK, FIN
from scout.ring.jit import outline

__all__ = ["LARGEST_WINDOW", "acknowledge", "drive", "end_pair", "join", "watch_pair"]

LARGEST_WINDOW = 0xFFFF


@outline
def join(frame: Any, row: int, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any) -> None:
    """A socket asks to be spliced with another one (`SPLICE`): they are, if that has asked too."""
    number, c, socket = load64(frame, message.HEADER) & MODULUS, connections[row], rows[row]
    if partner_of(rows, row) >= 0:
        return
    socket.partner = 0
    begin_with(host, socket)
    read = load64(frame, message.HEADER + 8) - (c.rcv_read - c.irs - 1)
    ask(requests.READ, read, 0, row, now, host, rows, bindings, connections, deadlines)
    other = number & message.ROW
    if other >= len(rows) or other == row or rows[other].number != number + 1 or rows[other].role != CONNECTED:
        refuse_splice(errno.ENOTCONN, row, now, host, rows, bindings, connections, deadlines)
        return
    socket.partner = number + 1
    socket.splice.begin = FOREVER
    if partner_of(rows, row) < 0:
        return
    d = connections[other]
    error = errno.EPROTO if socket.secured or rows[other].secured else obstacle(c, d)
    if error:
        socket.partner = 0
        rows[other].partner = 0
        refuse_splice(error, row, now, host, rows, bindings, connections, deadlines)
        return
    begin_forwarding(c, d, rows[other].splice)
    begin_forwarding(d, c, socket.splice)
    host.joined = rows[other].number


def refuse_splice(
    error: int, row: int, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any
) -> None:
    """Tell a socket that it is not spliced, and why (errno)."""
    rows[row].errors += 1
    told = rows[row].errors << 16 | error + 1
    ask(requests.ERROR, told, 0, row, now, host, rows, bindings, connections, deadlines)


def obstacle(c: Any, d: Any) -> int:
    """The reason (errno) why two connections cannot be spliced; 0 if they can.

    Segments with and without timestamps cannot be made of each other. All else can: segments that are too long are
    cut, windows are scaled, and the options and flags of SACK and ECN are taken out.
    """
    if c.fin or d.fin:
        return errno.EPIPE
    if (c.state != ESTABLISHED and c.state != CLOSE_WAIT) or (d.state != ESTABLISHED and d.state != CLOSE_WAIT):
        return errno.ENOTCONN
    return errno.EOPNOTSUPP if c.timestamps != d.timestamps else 0


def begin_forwarding(c: Any, d: Any, splice: Any) -> None:
    """Let what follows in d's stream be what was received from c's peer and not read; `splice` is d's."""
    splice.begin = d.snd_end - d.iss - 1
    splice.shift = c.rcv_read - c.irs - 1 - splice.begin
    d.settings[NODELAY] = 1  # the sooner all is acknowledged, the better
    d.changes += 1


def has_ended(c: Any) -> int:
    """1 if the FIN of the peer has come, with all before it."""
    return 1 if 0 <= c.rcv_fin < c.rcv_nxt else 0


def left_to_forward(c: Any, d: Any, splice: Any) -> int:
    """Bytes received from c's peer that d does not send yet."""
    return c.rcv_nxt - has_ended(c) - c.irs - 1 - splice.shift - (d.snd_end - d.iss - 1)


@outline
def drive(
    row: int,
    now: int,
    primary: Any,
    host: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    deadlines: Any,
    outbox: Any,
    waiting: Any,
    sent: Any,
) -> None:
    """After a request to one of two connections that are to be spliced: forward what has come, switch when it is time.

    Its requests have actions of their own, which the primary puts into the box at once.
    """
    other = partner_of(rows, row)
    if other < 0 or rows[row].role == SPLICED:
        return
    for turn in range(2):
        one, two = (row, other) if turn == 0 else (other, row)
        c, d, splice = connections[one], connections[two], rows[two].splice
        if d.state == CLOSED:
            continue
        kind, size = -1, left_to_forward(c, d, splice)
        if c.state == CLOSED and c.reason != FINISHED:
            kind = requests.ABORT
        elif size > 0:
            kind = requests.SEND
        if kind >= 0:
            begin_with(host, rows[two])
            ask(kind, size, 0, two, now, host, rows, bindings, connections, deadlines)
            if primary:
                post(outbox, waiting, sent, host)
        if has_ended(c) and not d.fin and d.state != CLOSED and left_to_forward(c, d, splice) == 0:
            begin_with(host, rows[two])
            ask(requests.CLOSE, 0, 0, two, now, host, rows, bindings, connections, deadlines)
            if primary:
                post(outbox, waiting, sent, host)
    c, d = connections[row], connections[other]
    if c.state == CLOSED and d.state == CLOSED:
        end_pair(row, other, host, rows, bindings, deadlines)
        if primary:
            post(outbox, waiting, sent, host)
    elif is_passed_on(c, d, rows[other].splice) and is_passed_on(d, c, rows[row].splice):
        rewrite_from(c, d, rows[row], now)
        rewrite_from(d, c, rows[other], now)
        watch_pair(row, other, now + c.settings[KEEP_IDLE], host, rows, deadlines)
        for turn in range(2):
            one, two = (row, other) if turn == 0 else (other, row)
            # The window of the other peer counts from now on, and that of this end may be closed.
            acknowledge(connections[one], connections[two], rows[one], connections[one].snd_nxt, now, host)
            if primary:
                post(outbox, waiting, sent, host)


def is_passed_on(c: Any, d: Any, splice: Any) -> bool:
    """True if d's peer has acknowledged all that c's peer has sent, its FIN too, and the connection is not ending."""
    if c.state != ESTABLISHED and c.state != CLOSE_WAIT and c.state != FIN_WAIT_2:
        return False
    if c.gap_count or d.snd_una != d.snd_end + d.fin or has_ended(c) != d.fin:
        return False
    return left_to_forward(c, d, splice) == 0


def rewrite_from(c: Any, d: Any, socket: Any, now: int) -> None:
    """Let segments from c's peer, of whose socket this is the row, be rewritten for d's peer from now on.

    d's peer has received all up to `d.snd_nxt`, which this end has received up to `c.rcv_nxt`. The next timestamp of
    c's peer becomes no earlier one than those that d's peer has seen.
    """
    splice = socket.splice
    splice.sequence = d.snd_nxt - c.rcv_nxt & MODULUS
    splice.timestamp = clock(d, now) - c.ts_recent & MODULUS
    splice.scale = c.snd_scale
    splice.other_scale = d.rcv_scale
    splice.segment = d.mss
    splice.stamped = c.timestamps
    splice.sack = d.sack
    splice.ecn = c.ecn & d.ecn
    splice.ended = FIN if has_ended(c) else 0
    splice.seen = now
    splice.probes = 0
    socket.role = SPLICED


def acknowledge(c: Any, d: Any, socket: Any, sequence: int, now: int, host: Any) -> None:
    """Send c's peer, of whose socket this is the row, an acknowledgement of this end's own with the window of d's."""
    begin_with(host, socket)
    action = next_action(host.out, EMIT)
    plain_segment(action, ACK, sequence, c.rcv_nxt)
    action.window = min(d.snd_wnd >> c.rcv_scale, LARGEST_WINDOW)
    if c.timestamps:
        action.has_timestamp = 1
        action.tsval = clock(c, now)
        action.tsecr = c.ts_recent


def watch_pair(one: int, two: int, time: int, host: Any, rows: Any, deadlines: Any) -> None:
    """A pair wants a timer request at this time, for one of its rows."""
    watch(deadlines, rows, min(one, two), time, host.shift)
    watch(deadlines, rows, max(one, two), FOREVER, host.shift)


@outline
def end_pair(one: int, two: int, host: Any, rows: Any, bindings: Any, deadlines: Any) -> None:
    """Both connections are over: their sockets are told, and segments find them no more."""
    begin_with(host, rows[one])
    host.source = 0
    host.closed = 1
    host.ended = rows[two].number
    watch_pair(one, two, FOREVER, host, rows, deadlines)
    _end_row(one, rows, bindings)
    _end_row(two, rows, bindings)


def _end_row(row: int, rows: Any, bindings: Any) -> None:
    socket = rows[row]
    unbind_row(rows, bindings, row)
    socket.partner = 0
    socket.role = ENDED
    if socket.left:
        socket.role = UNUSED
        socket.number = 0
