"""Requests about secured streams (`scout.io.endpoints.records`), and what others mean for one.

TCP is given bytes to send when they are sealed; the end of the stream waits for them. Bytes that were received become
readable when they are opened.
"""

from typing import Any

from scout.io.access import load16, load64, require
from scout.io.endpoints import message
from scout.io.endpoints.ciphers import CIPHERS, RECEIVING, SENDING
from scout.io.endpoints.message import SHUTDOWN, WRITE
from scout.io.endpoints.records import (
    CLAIMED,
    COUNT,
    DIRECTION,
    DONE,
    FAILED,
    LAST,
    LEAST_RING,
    NEED,
    REACHED,
    REQUEST_BYTES,
    SECURING_WORDS,
    SERIAL,
)
from scout.paths.model.verdict import drop
from scout.paths.protocols.tcp import requests
from scout.paths.protocols.tcp.deadlines import watch
from scout.paths.protocols.tcp.outbox import OPENED, RECORDS, next_entry
from scout.paths.protocols.tcp.records import PIECES, begin_direction, claim, due, finish, is_idle, look
from scout.paths.protocols.tcp.rows import CONNECTED, begin_with, partner_of, row_of
from scout.paths.protocols.tcp.settings import RECEIVE_BUFFER, SEND_BUFFER
from scout.paths.protocols.tcp.settled import ask
from scout.paths.protocols.tcp.state import BAD_RECORD as REASON
from scout.paths.protocols.tcp.state import ESTABLISHED, FOREVER
from scout.paths.protocols.tcp.timers import due as connection_due
from scout.ring.jit import outline

__all__ = [
    "ask_again",
    "end_when_sealed",
    "follow",
    "post_looks",
    "post_opened",
    "secure",
    "take_records",
    "write_plain",
]

BAD_REQUEST, BAD_RECORD = drop("bad-request"), drop("tcp-bad-record")
_CIPHERS = len(CIPHERS)


@outline
def secure(
    frame: Any,
    end: Any,
    row: int,
    now: int,
    host: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    deadlines: Any,
    secured: Any,
) -> int:
    """Let a stream consist of records (`SECURE`); a request that cannot be right ends the connection."""
    if not require(frame, end, message.HEADER + 8 * SECURING_WORDS):
        return BAD_REQUEST
    at, c, s = message.HEADER, connections[row], secured[row]
    cipher, sends_at, receives_at = load64(frame, at), load64(frame, at + 8), load64(frame, at + 16)
    begin_with(host, rows[row])
    if (
        rows[row].secured
        or partner_of(rows, row) >= 0
        or not 0 <= cipher < _CIPHERS
        or c.state < ESTABLISHED
        or min(c.settings[RECEIVE_BUFFER], c.settings[SEND_BUFFER]) < LEAST_RING
        or sends_at != c.snd_end - c.iss - 1
        or not c.rcv_read - c.irs - 1 <= receives_at <= received(c)
    ):
        ask(requests.ABORT, 0, 0, row, now, host, rows, bindings, connections, deadlines)
        return BAD_REQUEST
    rows[row].secured = 1
    host.secured = 1
    s.cipher = cipher
    s.closing = 0
    begin_direction(s.directions[SENDING], sends_at)
    begin_direction(s.directions[RECEIVING], receives_at)
    for direction in range(2):
        for word in range(6):
            s.secrets[direction][word] = load64(frame, at + 24 + 48 * direction + 8 * word)
    return 0


def received(c: Any) -> int:
    """Bytes of the peer's stream that have come."""
    return c.rcv_nxt - c.irs - 1 - (1 if 0 <= c.rcv_fin < c.rcv_nxt else 0)


def write_plain(kind: int, position: int, row: int, connections: Any, secured: Any) -> bool:
    """Take a request WRITE, or SHUTDOWN, of a secured stream; False if it is the core's as it is."""
    c, s = connections[row], secured[row]
    d = s.directions[SENDING]
    if kind == WRITE:
        if s.closing == 0 and c.fin == 0:
            d.limit = max(d.limit, min(position, max(c.snd_una - c.iss - 1, 0) + c.settings[SEND_BUFFER]))
        return True
    return kind == SHUTDOWN and end_when_sealed(requests.CLOSE, s)


def end_when_sealed(kind: int, s: Any) -> bool:
    """Keep a request of the core that ends the stream until all is sealed; False if it is."""
    if is_idle(s.directions[SENDING]):
        return False
    s.closing = max(s.closing, 1 + kind)  # LEAVE, which does more, comes behind CLOSE
    return True


@outline
def take_records(
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
    """Take what a replica tells of records (`RECORDS`); also behind the end of the connection, for the reader."""
    row = row_of(frame, rows)
    if row < 0 or rows[row].secured == 0:
        return 0  # the socket was closed meanwhile
    if not require(frame, end, message.HEADER + REQUEST_BYTES):
        return BAD_REQUEST
    at, note = message.HEADER, load16(frame, message.NOTE)
    direction, serial = load64(frame, at + DIRECTION), load64(frame, at + SERIAL)
    s, c = secured[row], connections[row]
    d, failed = s.directions[direction & 1], note & FAILED != 0
    begin_with(host, rows[row])
    before, had_failed = d.done, d.failed
    if note & CLAIMED:
        none = failed and note & DONE == 0
        claim(d, serial, load64(frame, at + LAST), load64(frame, at + COUNT), load64(frame, at + NEED), none, now)
    if note & DONE:
        finish(d, serial, load64(frame, at + REACHED), failed, now)
    if direction == RECEIVING:
        host.opened = 1 if d.done > before or d.failed else 0
    elif d.done > before and rows[row].role == CONNECTED:
        size = d.done - (c.snd_end - c.iss - 1)
        ask(requests.SEND, size, 0, row, now, host, rows, bindings, connections, deadlines)
    if d.failed and had_failed == 0:
        if rows[row].role == CONNECTED:
            ask(requests.ABORT, REASON, 0, row, now, host, rows, bindings, connections, deadlines)
        return BAD_RECORD
    if s.closing and rows[row].role == CONNECTED and is_idle(s.directions[SENDING]):
        kind, s.closing = s.closing - 1, 0
        ask(kind, 0, 0, row, now, host, rows, bindings, connections, deadlines)
    return 0


def follow(row: int, now: int, host: Any, rows: Any, connections: Any, deadlines: Any, secured: Any) -> None:
    """See whether a replica is to look for records, after any request about a secured stream."""
    s, c = secured[row], connections[row]
    s.changes += 1
    d = s.directions[RECEIVING]
    d.limit = max(d.limit, received(c))
    host.looks[RECEIVING] = 1 if look(d, now) else 0
    host.looks[SENDING] = 1 if look(s.directions[SENDING], now) else 0
    await_news(row, host, rows, connections, deadlines, s)


def await_news(row: int, host: Any, rows: Any, connections: Any, deadlines: Any, s: Any) -> None:
    """Want a timer request for when work is to be asked for again."""
    soonest = min(due(s.directions[SENDING]), due(s.directions[RECEIVING]))
    rows[row].work_due = soonest
    watch(deadlines, rows, row, min(soonest, connection_due(connections[row])), host.shift)


@outline
def ask_again(
    row: int,
    now: int,
    primary: Any,
    host: Any,
    rows: Any,
    connections: Any,
    deadlines: Any,
    secured: Any,
    outbox: Any,
    waiting: Any,
    sent: Any,
) -> None:
    """Have replicas do all work of which nothing was heard for long, after `begin_with`."""
    if rows[row].number == 0:
        rows[row].work_due = FOREVER
        return  # the socket was closed meanwhile
    s = secured[row]
    s.changes += 1
    for direction in range(2):
        d = s.directions[direction]
        if due(d) > now:
            continue
        d.news = now
        if not primary:
            continue
        for index in range(d.count):
            piece = d.pieces[(d.first + index) % PIECES]
            if piece.reached < 0:
                post_work(
                    outbox, waiting, sent, host, s, direction, piece.serial, piece.first, piece.last, piece.number
                )
        if d.looking:
            post_work(outbox, waiting, sent, host, s, direction, d.serial, d.next, d.limit, d.number)
    await_news(row, host, rows, connections, deadlines, s)


def post_opened(outbox: Any, waiting: Any, sent: Any, host: Any, secured: Any) -> None:
    """Have the primary tell the reader how far records were opened, before it is told of the connection's end."""
    place = next_entry(outbox, waiting, sent, 0)
    if place >= 0:
        entry = outbox[place]
        entry.kind = OPENED
        entry.number = host.number
        entry.words[0] = secured[host.number & message.ROW].directions[RECEIVING].done


def post_looks(outbox: Any, waiting: Any, sent: Any, host: Any, secured: Any) -> None:
    """Have the primary look for records, after what it has to send."""
    s = secured[host.number & message.ROW]
    for direction in range(2):
        if host.looks[direction]:
            d = s.directions[direction]
            post_work(outbox, waiting, sent, host, s, direction, d.serial, d.next, d.limit, d.number)


@outline
def post_work(
    outbox: Any,
    waiting: Any,
    sent: Any,
    host: Any,
    s: Any,
    direction: int,
    serial: int,
    first: int,
    limit: int,
    number: int,
) -> None:
    """Have the primary find records from a position on, and do the work on them."""
    place = next_entry(outbox, waiting, sent, 0)
    if place < 0:
        return  # it is asked for again later
    entry = outbox[place]
    entry.kind = RECORDS
    entry.number = host.number
    entry.words[0] = direction
    entry.words[1] = serial
    entry.words[2] = first
    entry.words[3] = limit
    entry.words[4] = number
    entry.words[5] = s.cipher
    for word in range(6):
        entry.secret[word] = s.secrets[direction][word]
