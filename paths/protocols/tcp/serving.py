"""The stage `serve`: every local request of TCP, in every replica, in the order of the channel.

It finds the row, has the core serve the request (`scout.paths.protocols.tcp.requests`), and settles what follows: a
connection that is established is told to its listener, one that is closed leaves the table of bindings, and the time of
the next timer is noted. All that is replicated. The primary then puts what is to be done outside into its outbox.
"""

from typing import Any

from scout.io.access import load8, load64, require
from scout.io.endpoints import message
from scout.io.endpoints.ciphers import RECEIVING, SENDING
from scout.io.endpoints.message import (
    ABORT,
    CLOSE,
    CONNECT,
    EXPIRE,
    LISTEN,
    NOTICE,
    OFFER,
    OPTION,
    READ,
    RECORDS,
    SECURE,
    SEGMENT,
    SHUTDOWN,
    SPLICE,
    WRITE,
)
from scout.paths.model.verdict import drop
from scout.paths.protocols.tcp import requests
from scout.paths.protocols.tcp.deadlines import BLOCK, refresh, watch
from scout.paths.protocols.tcp.outbox import post
from scout.paths.protocols.tcp.passing import expire_pair
from scout.paths.protocols.tcp.rows import CONNECTED, SPLICED, begin, begin_with, partner_of, row_of, tell_time
from scout.paths.protocols.tcp.serving_records import (
    ask_again,
    follow,
    post_looks,
    post_opened,
    secure,
    take_records,
    write_plain,
)
from scout.paths.protocols.tcp.serving_segments import take_notice, take_segment
from scout.paths.protocols.tcp.serving_sockets import close, connect, listen, offer_spare
from scout.paths.protocols.tcp.settings import (
    KEEP_IDLE,
    KEEP_INTERVAL,
    KEEP_PROBES,
    MILLISECOND,
    SECOND,
    TRAFFIC_CLASS,
    USER_TIMEOUT,
)
from scout.paths.protocols.tcp.settled import ask
from scout.paths.protocols.tcp.splicing import drive, join
from scout.paths.wire.address import ANY
from scout.ring.jit import outline

__all__ = ["serve"]

BAD_REQUEST, NOT_CONNECTED = drop("bad-request"), drop("tcp-not-connected")

EXPIRED = 64
"""Rows whose timers one request serves at most; another one follows at once for the others."""

_LONGEST = 1 << 60  # nanoseconds; such times can be added to the clock's


def serve(
    frame: Any,
    end: Any,
    packet: Any,
    primary: Any,
    hosts: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    deadlines: Any,
    outbox: Any,
    waiting: Any,
    sent: Any,
    secured: Any,
) -> int:
    """Serve a local request."""
    kind, host = load8(frame, message.KIND), hosts[0]
    now = tell_time(host, deadlines, packet.timestamp)
    if kind == EXPIRE:
        expire(now, primary, host, rows, bindings, connections, deadlines, secured, outbox, waiting, sent)
        return 0
    begin(host, -1, ANY, ANY, 0)
    if kind == SEGMENT:
        verdict = take_segment(frame, end, now, host, rows, bindings, connections, deadlines)
    elif kind > message.CONTROL_KINDS:
        verdict = call(frame, end, now, host, rows, bindings, connections, deadlines, secured)
    else:
        verdict = control(kind, frame, end, now, host, rows, bindings, connections, deadlines, secured)
    if host.secured:
        follow(host.number & message.ROW, now, host, rows, connections, deadlines, secured)
        if primary and host.opened:
            post_opened(outbox, waiting, sent, host, secured)
    if primary:
        post(outbox, waiting, sent, host)
        if host.looks[SENDING] | host.looks[RECEIVING]:
            post_looks(outbox, waiting, sent, host, secured)
    if host.number >= 0:
        drive(
            host.number & message.ROW, now, primary, host, rows, bindings, connections, deadlines, outbox, waiting, sent
        )
    return verdict


@outline
def control(
    kind: int,
    frame: Any,
    end: Any,
    now: int,
    host: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    deadlines: Any,
    secured: Any,
) -> int:
    """A request of the registry, or of a replica about an ICMP error or records."""
    if kind == RECORDS:
        return take_records(frame, end, now, host, rows, bindings, connections, deadlines, secured)
    if kind == NOTICE:
        return take_notice(frame, end, now, host, rows, bindings, connections, deadlines)
    if kind == LISTEN:
        return listen(frame, now, host, rows, bindings)
    if kind == OFFER:
        return offer_spare(frame, end, rows, bindings)
    if kind == CONNECT:
        return connect(frame, now, host, rows, bindings, connections, deadlines)
    if kind == CLOSE:
        return close(frame, now, host, rows, bindings, connections, deadlines, secured)
    return BAD_REQUEST


@outline
def call(
    frame: Any,
    end: Any,
    now: int,
    host: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    deadlines: Any,
    secured: Any,
) -> int:
    """A request of the application about its connection."""
    row, kind = row_of(frame, rows), load8(frame, message.KIND)
    if row < 0 or rows[row].role != CONNECTED or partner_of(rows, row) >= 0:
        return NOT_CONNECTED
    c, one, two = connections[row], 0, 0
    if kind == SECURE:
        return secure(frame, end, row, now, host, rows, bindings, connections, deadlines, secured)
    if rows[row].secured and kind in (WRITE, SHUTDOWN):
        if kind == WRITE and not require(frame, end, message.HEADER + 8):
            return BAD_REQUEST
        begin_with(host, rows[row])
        if write_plain(kind, load64(frame, message.HEADER) if kind == WRITE else 0, row, connections, secured):
            return 0
    if kind == SHUTDOWN:
        kind = requests.CLOSE
    elif kind == ABORT:
        kind = requests.ABORT
    elif not require(frame, end, message.HEADER + (16 if kind in (OPTION, SPLICE) else 8)):
        return BAD_REQUEST
    elif kind == SPLICE:
        join(frame, row, now, host, rows, bindings, connections, deadlines)
        return 0
    else:
        one = load64(frame, message.HEADER)
        if kind == WRITE:
            kind, one = requests.SEND, one - (c.snd_end - c.iss - 1)
        elif kind == READ:
            kind, one = requests.READ, one - (c.rcv_read - c.irs - 1)
        elif kind == OPTION and one == TRAFFIC_CLASS:
            rows[row].traffic = load64(frame, message.HEADER + 8) & 0xFC
            return 0
        elif kind == OPTION:
            kind, two = requests.CHOOSE, within(one, load64(frame, message.HEADER + 8))
        else:
            return BAD_REQUEST
    begin_with(host, rows[row])
    ask(kind, one, two, row, now, host, rows, bindings, connections, deadlines)
    return 0


def within(setting: int, value: int) -> int:
    """The value nearest to the one that an application has chosen with which a setting works."""
    if setting in (USER_TIMEOUT, KEEP_IDLE, KEEP_INTERVAL):
        return min(max(value, MILLISECOND if setting == USER_TIMEOUT else SECOND), _LONGEST)
    return min(max(value, 1 if setting == KEEP_PROBES else 0), 127)


@outline
def expire(
    now: int,
    primary: Any,
    host: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    deadlines: Any,
    secured: Any,
    outbox: Any,
    waiting: Any,
    sent: Any,
) -> None:
    """Serve the timers that are due."""
    served = 0
    for block in range(len(deadlines) - 1):
        if deadlines[1 + block] > now:
            continue
        for row in range(block * BLOCK, min((block + 1) * BLOCK, len(rows))):
            if rows[row].due <= now and served < EXPIRED:
                served += 1
                if rows[row].role == SPLICED:
                    expire_pair(row, now, primary, host, rows, bindings, connections, deadlines, outbox, waiting, sent)
                    continue
                begin_with(host, rows[row])
                if rows[row].work_due <= now:
                    ask_again(row, now, primary, host, rows, connections, deadlines, secured, outbox, waiting, sent)
                if rows[row].role != CONNECTED:
                    watch(deadlines, rows, row, rows[row].work_due, host.shift)
                    continue
                ask(requests.EXPIRE, 0, 0, row, now, host, rows, bindings, connections, deadlines)
                if primary:
                    post(outbox, waiting, sent, host)
                drive(row, now, primary, host, rows, bindings, connections, deadlines, outbox, waiting, sent)
        refresh(deadlines, rows, block, host.shift)
