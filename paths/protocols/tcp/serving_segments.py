"""Segments and ICMP errors as requests: the row that they are for, what a listener makes of a SYN, and what is refused.

A replica has placed the data of a segment before the segment became a request, by its own copy of the state, which may
have been older. So the state decides here, in every replica alike, whether the data count: they do if they lie where
the stream has them. Else the segment is served as if its data were lost on the way.
"""

import errno
from typing import Any

from scout.io.access import load16, load32, load64, require
from scout.io.endpoints import message
from scout.paths.framework.flow_table import FOREVER, find
from scout.paths.model.verdict import drop
from scout.paths.protocols.family import family_of, key_of
from scout.paths.protocols.sockets import bound_socket, local_of, remote_of
from scout.paths.protocols.tcp import requests
from scout.paths.protocols.tcp.actions import refuse
from scout.paths.protocols.tcp.arrival import ANEW
from scout.paths.protocols.tcp.cookies import answer_with_cookie, open_by_cookie
from scout.paths.protocols.tcp.header import drop_data, read_header
from scout.paths.protocols.tcp.opening import TIMESTAMP_BYTES
from scout.paths.protocols.tcp.output import finish
from scout.paths.protocols.tcp.passing import pass_on
from scout.paths.protocols.tcp.requests import serve
from scout.paths.protocols.tcp.rows import (
    CONNECTED,
    COOKIE_LIFE,
    LISTENS,
    SPLICED,
    begin,
    begin_with,
    bind_row,
    choose_segment,
    flow_of,
    partner_of,
)
from scout.paths.protocols.tcp.secret import initial_number, timestamp_offset
from scout.paths.protocols.tcp.sequence import position
from scout.paths.protocols.tcp.settled import ask, settle
from scout.paths.protocols.tcp.spares import end_opening, first_spare, is_crowded, rest, take_spare
from scout.paths.protocols.tcp.state import SYN_RECEIVED
from scout.paths.wire import ipv6, tcp
from scout.paths.wire.address import IPV6, copy_address
from scout.paths.wire.ip import destination_of, header_of, largest_segment, payload_of, source_of, traffic_of
from scout.paths.wire.tcp import ACK, RST, SYN
from scout.ring.jit import outline

__all__ = ["POSITION", "UNKNOWN", "take_notice", "take_segment"]

BAD_REQUEST, NO_CONNECTION, NO_SPARE = drop("bad-request"), drop("tcp-no-connection"), drop("tcp-no-spare")

POSITION = message.LOCAL
"""Offset in a SEGMENT request of the position of its data; of a segment for no connection, the MTU of its port."""

UNKNOWN = 0xFFFFFFFF
"""In place of a socket's number in a SEGMENT request: no connection was known."""

PLACED, LOST = 0, 1
"""Verdicts for segments: its data are there, or it had none; its data count as lost."""

PATIENCE = 3_000_000_000
"""Nanoseconds without a fresh socket until SYNs are answered with cookies. Before, the peer is to repeat its SYN: an
application that is slow offers more by then, and a server that speaks first cannot lose a connection's opening."""

CONGESTED = 3
"""The ECN bits of an IP header (RFC 3168 section 5)."""

LEAST_MTU = 552
"""Bytes below which an ICMP error that says nothing better does not bring the MTU of a path over IPv4."""


def take_segment(
    frame: Any, end: Any, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any
) -> int:
    """Take a segment (`SEGMENT`)."""
    at, segment = message.HEADER, host.segment
    family = family_of(bindings)
    header = header_of(frame, at, family)
    tcp_at, size = at + header, payload_of(frame, at, header, family)
    if read_header(frame, end, tcp_at, size, segment) == 0:
        return BAD_REQUEST
    if load16(frame, message.NOTE) & message.PLACED:
        segment.run = max(load64(frame, message.RUN), segment.length)
    elif segment.length == 0:
        segment.run = load64(frame, message.RUN)
    if traffic_of(frame, at, family) & CONGESTED == CONGESTED:
        segment.congested = 1
    remote, local = source_of(frame, at, family), destination_of(frame, at, family)
    remote_port, local_port = load16(frame, tcp_at + tcp.SOURCE), load16(frame, tcp_at + tcp.DESTINATION)
    number = bound_socket(bindings, local, local_port, remote, remote_port)
    ports, ended = local_port << 16 | remote_port, 0
    if number >= 0 and rows[number & message.ROW].role == SPLICED:
        return pass_on(frame, POSITION, number & message.ROW, now, host, rows, bindings, connections, deadlines)
    if number >= 0 and rows[number & message.ROW].role == CONNECTED:
        row = number & message.ROW
        begin_with(host, rows[row])
        # Of acknowledgements that came together only the last one lets the connection send (MUST-58).
        is_followed = load16(frame, message.NOTE) & message.FOLLOWED and partner_of(rows, row) < 0
        if is_followed and segment.flags == ACK and segment.length == 0:
            host.request.more = 1
        lost = hide_lost(frame, connections[row], segment, number)
        result = ask(requests.ARRIVE, 0, 0, row, now, host, rows, bindings, connections, deadlines)
        if result != ANEW or partner_of(rows, row) >= 0:  # of a splice the other connection has work left: later
            return lost
        # The connection that was is over: the SYN is for a listener.
        ended = number + 1
        number = bound_socket(bindings, local, local_port, remote, remote_port)
    begin(host, -1, local, remote, ports)
    host.ended = ended
    if number >= 0 and rows[number & message.ROW].role == LISTENS:
        mtu = load32(frame, POSITION + 4) if load32(frame, message.SOCKET) == UNKNOWN else 0
        return take_opening(number & message.ROW, mtu, now, host, rows, bindings, connections, deadlines)
    refuse(segment, host.out)
    return PLACED


def hide_lost(frame: Any, c: Any, segment: Any, number: int) -> int:
    """Take the data out of a segment, or a run, whose data are not where the stream has them (`LOST`)."""
    if segment.length == 0:
        return PLACED
    if c.state >= SYN_RECEIVED and segment.flags & SYN == 0:
        first = position(segment.sequence, c.rcv_nxt)
        if first + segment.run <= c.rcv_nxt or first >= max(c.rcv_edge, c.rcv_nxt) or c.reader_gone:
            return PLACED  # they were there before, there is no room for them, or nobody will read: none of them counts
        if (
            load16(frame, message.NOTE) & message.PLACED
            and load32(frame, message.SOCKET) == number
            and load64(frame, POSITION) == first - c.irs - 1
        ):
            return PLACED
    drop_data(segment)
    return LOST


@outline
def take_opening(
    listener: int, mtu: int, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any
) -> int:
    """Take a segment for a listener: a SYN, or the acknowledgement of a cookie."""
    segment = host.segment
    if segment.flags & RST:
        return NO_CONNECTION
    if segment.flags & ACK:
        has_sent_cookies = now - rows[listener].since < COOKIE_LIFE
        if has_sent_cookies and first_spare(rows, listener, now) < 0:
            return NO_SPARE  # the peer sends its data again, and by then the application may have offered more
        if not has_sent_cookies or not take_cookie(listener, mtu, now, host, rows, bindings, connections, deadlines):
            refuse(segment, host.out)
        return PLACED
    if segment.flags & SYN == 0:
        return NO_CONNECTION
    drop_data(segment)
    if mtu:
        choose_segment(host, mtu, family_of(bindings))
    flow = flow_of(host, family_of(bindings))
    is_starved = first_spare(rows, listener, now) < 0
    if is_starved and now - rows[listener].starved < PATIENCE:
        return NO_SPARE
    row = -1 if is_starved or is_crowded(rows, listener) else open_row(listener, now, host, rows, bindings)
    if row < 0:
        rows[listener].since = now
        answer_with_cookie(host.secret, flow, segment, host.settings, host.out, now)
        return PLACED
    iss, offset = initial_number(host.secret, flow, now), timestamp_offset(host.secret, flow)
    host.request.kind = requests.LISTEN_FOR
    host.request.now = now
    host.request.one = iss
    host.request.two = offset
    host.request.more = 1
    serve(connections, row, host.request, segment, host.settings, host.out)
    host.request.more = 0
    ask(requests.ARRIVE, 0, 0, row, now, host, rows, bindings, connections, deadlines)
    return PLACED


def open_row(listener: int, now: int, host: Any, rows: Any, bindings: Any) -> int:
    """Take a spare socket of a listener for the ends of the segment at hand; its row, -1 if there is none."""
    row = take_spare(rows, listener, now)
    if row < 0:
        return -1
    socket = rows[row]
    copy_address(socket.local, host.local)
    socket.local_port = host.ports >> 16
    copy_address(socket.remote, host.remote)
    socket.remote_port = host.ports & 0xFFFF
    if bind_row(rows, bindings, host.counts, row) >= 0:
        end_opening(rows, row)
        rest(rows, listener, row, now)
        return -1
    socket.role = CONNECTED
    host.number = socket.number - 1
    return row


def take_cookie(
    listener: int, mtu: int, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any
) -> bool:
    """Open a connection of a spare socket by the acknowledgement of a cookie, if it is one."""
    row, segment = first_spare(rows, listener, now), host.segment
    drop_data(segment)
    if mtu:
        choose_segment(host, mtu, family_of(bindings))
    flow = flow_of(host, family_of(bindings))
    if not open_by_cookie(connections, row, host.secret, flow, segment, host.settings, host.out, now):
        return False
    if open_row(listener, now, host, rows, bindings) != row:
        return False
    finish(connections[row], host.out, now)
    settle(row, now, host, rows, bindings, connections, deadlines)
    return True


@outline
def take_notice(
    frame: Any, end: Any, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any
) -> int:
    """Take an ICMP error (`NOTICE`), if the segment that it quotes is under way (RFC 5927 section 4.1)."""
    if not require(frame, end, message.HEADER + 8):
        return BAD_REQUEST
    local_port, remote_port = load16(frame, message.LOCAL_PORT), load16(frame, message.REMOTE_PORT)
    family = family_of(bindings)
    key, more = key_of(bindings, local_of(frame, family), local_port, remote_of(frame, family), remote_port)
    index = find(bindings, key, more, 0, FOREVER)
    if index < 0:
        return NO_CONNECTION
    row = bindings[index].number & message.ROW
    socket, c = rows[row], connections[row]
    if socket.role == SPLICED:
        return take_notice_of_spliced(frame, rows[partner_of(rows, row)].splice, family)
    if socket.role != CONNECTED:
        return NO_CONNECTION
    quoted = position(load32(frame, message.HEADER), c.snd_una)
    if not c.snd_una <= quoted < max(c.snd_nxt, c.snd_una + 1):
        return NO_CONNECTION
    error, mtu = load16(frame, message.NOTE), load32(frame, message.HEADER + 4)
    begin_with(host, socket)
    if error == errno.EMSGSIZE:
        largest = largest_of(mtu, family)
        ask(requests.PATH_MTU, largest, quoted, row, now, host, rows, bindings, connections, deadlines)
    else:
        socket.errors += 1
        told = socket.errors << 16 | error + 1
        ask(requests.ERROR, told, 0, row, now, host, rows, bindings, connections, deadlines)
    return 0


def take_notice_of_spliced(frame: Any, splice: Any, family: int) -> int:
    """Take an ICMP error about a segment that was passed on: if it was too long, the device cuts them from now on.

    `splice` is that of the peer that has sent it. Errors of other kinds end nothing, and nobody is told.
    """
    if load16(frame, message.NOTE) != errno.EMSGSIZE:
        return NO_CONNECTION
    largest = largest_of(load32(frame, message.HEADER + 4), family) - (TIMESTAMP_BYTES if splice.stamped else 0)
    splice.segment = min(splice.segment, largest)
    return PLACED


def largest_of(mtu: int, family: int) -> int:
    """The bytes of data and options in a segment for a path whose MTU an ICMP error has told."""
    return largest_segment(max(mtu, ipv6.LEAST_MTU if family == IPV6 else LEAST_MTU), family)
