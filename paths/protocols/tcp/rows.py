"""Sockets as rows: of each its addresses, its role, and its neighbours among the spare sockets of a listener.

A connection has the row of its socket, in `ROW` as in `CONNECTION`. Both, the table that finds the row of a segment
(`scout.paths.protocols.sockets`) and `HOST` are replicated: every replica changes them at the same requests.
"""

from typing import Any

import numpy as np

from scout.io.access import load32
from scout.io.endpoints import message
from scout.paths.framework.flow_table import remove
from scout.paths.protocols.sockets import COUNTS, SOCKET, binding_of, name_socket, new_binding
from scout.paths.protocols.tcp.actions import OUT
from scout.paths.protocols.tcp.header import SEGMENT
from scout.paths.protocols.tcp.requests import REQUEST
from scout.paths.protocols.tcp.secret import SECRET
from scout.paths.protocols.tcp.settings import LARGEST_SEGMENT, SETTINGS
from scout.paths.protocols.tcp.state import FOREVER as NEVER
from scout.paths.wire import ipv4
from scout.paths.wire.address import ADDRESS, IPV6, MAPPED, Words, address_in, put_address
from scout.paths.wire.flow import KNOWN
from scout.paths.wire.ip import largest_segment

__all__ = [
    "CONNECTED",
    "COOKIE_LIFE",
    "ENDED",
    "FRESH",
    "HOST",
    "LISTENS",
    "RESTING",
    "ROW",
    "SPARE",
    "SPLICE",
    "SPLICED",
    "UNUSED",
    "begin",
    "begin_with",
    "bind_row",
    "choose_segment",
    "flow_of",
    "name_row",
    "partner_of",
    "row_of",
    "tell_time",
    "unbind_row",
]

UNUSED, LISTENS, SPARE, CONNECTED, ENDED, SPLICED = range(6)
"""Roles of a row: none yet; it takes connections; a listener may give it a connection; it has a connection, in any
state but CLOSED; its connection is CLOSED; its segments are passed on to the connection that it is spliced with."""

SPLICE = np.dtype(
    [
        # As long as the stack forwards bytes: the bytes that this connection sends,
        ("begin", "i8"),  # from this position in its stream on, lie in the receive ring of the other one,
        ("shift", "i8"),  # by so much further on.
        # When SPLICED: segments from this connection's peer get these values for that of the other one.
        ("sequence", "i8"),  # is added to sequence numbers, and subtracted from those that the other peer acknowledges,
        ("timestamp", "i8"),  # and this likewise to and from timestamps
        ("scale", "i8"),  # of the peer's windows,
        ("other_scale", "i8"),  # and that by which the other peer reads them
        ("segment", "i8"),  # bytes of data that the other peer takes in a segment without more options than all have
        ("stamped", "i8"),  # 1: all segments have timestamps
        ("sack", "i8"),  # 1: the other peer has permitted SACK
        ("ecn", "i8"),  # 1: both use ECN
        ("ended", "i8"),  # FIN and RST, as flags, that the peer has sent
        ("seen", "i8"),  # when, by the clock, a segment of this peer last became a request,
        ("probes", "i8"),  # and how often the peer was asked since whether it is there
    ],
    align=True,
)
"""The part of a row that splices it with another one (`scout.paths.protocols.tcp.splicing`)."""

FRESH, RESTING = range(2)
"""The lists of the spare sockets of a listener (`scout.paths.protocols.tcp.spares`)."""

LISTS = 2

ROW = np.dtype(
    [
        *SOCKET.descr,  # number, addresses and L4 ports, as those of other transports
        ("role", "i8"),
        ("listener", "i8"),  # number, plus 1, of the socket whose spare it is, or was until its connection was accepted
        ("first", "i8", (LISTS,)),  # of a listener: row, plus 1, of the first socket of each list; 0 if it has none
        ("last", "i8", (LISTS,)),  # of the last one
        ("fresh", "i8"),  # of a listener: how many sockets are in its list FRESH,
        ("opening", "i8"),  # and how many have a connection that is half-open
        ("next", "i8"),  # of a spare socket: row, plus 1, of the next one in its list,
        ("before", "i8"),  # and of the one before it
        ("since", "i8"),  # of a spare socket that rests: when it may be used; of a listener: when it last sent a cookie
        ("starved", "i8"),  # of a listener: since when it has had no fresh socket
        ("left", "i8"),  # 1: the application has closed it
        ("errors", "i8"),  # ICMP errors that were told
        ("traffic", "i8"),  # the DSCP of what it sends, in the upper 6 of 8 bits
        ("due", "i8"),  # when the connection, or the work on its records, wants a timer request,
        ("work_due", "i8"),  # and when this work does
        ("partner", "i8"),  # number, plus 1, of the socket that it is, or is to be, spliced with
        ("splice", SPLICE),
        ("secured", "i8"),  # 1: its stream consists of records (`scout.paths.protocols.tcp.records`)
    ],
    align=True,
)

HOST = np.dtype(
    [
        ("settings", "i8", (SETTINGS,)),  # of new connections
        ("most", "i8"),  # LARGEST_SEGMENT as it was chosen; that of a connection also depends on its port
        ("secret", SECRET),
        ("counts", COUNTS, (1,)),
        ("time", "i8"),  # of the last request, in TCP's time,
        ("shift", "i8"),  # and by how much this is ahead of the clock
        # Scratch of the request at hand.
        ("request", REQUEST),
        ("segment", SEGMENT),
        # The work that it leaves to its primary.
        ("out", OUT),
        ("number", "i8"),  # of the socket that the actions are about, -1 if they are about none,
        ("local", ADDRESS),  # and both ends of its connection
        ("remote", ADDRESS),
        ("ports", "i8"),
        ("traffic", "i8"),
        ("listener", "i8"),  # number, plus 1, of the socket that is told of the connection; 0: none
        ("closed", "i8"),  # 1: the socket is told that it has no connection,
        ("error", "i8"),  # and why it could have none (errno), or 0
        ("ended", "i8"),  # number, plus 1, of another socket that is told that its connection has ended; 0: none
        ("joined", "i8"),  # number, plus 1, of the socket that this one is spliced with; 0: none
        # Data in segments to be sent lie in the receive ring of the socket of this number, plus 1 (0: none),
        ("source", "i8"),
        ("source_begin", "i8"),  # from this position on,
        ("source_shift", "i8"),  # by so much further on
        ("secured", "i8"),  # 1: the socket's stream consists of records;
        ("looks", "i8", (2,)),  # 1: they are to be found in this direction;
        ("opened", "i8"),  # 1: the socket is told that some were opened
    ],
    align=True,
)
"""All replicated state of TCP that belongs to no row: one record."""

COOKIE_LIFE = 120_000_000_000
"""Nanoseconds after a listener's last cookie in which an acknowledgement may open a connection."""


STEP = 1_000_000_000
"""Nanoseconds by which a request may be earlier than the last one, or later than a timer, before the clock is taken to
have been set."""


def tell_time(host: Any, deadlines: Any, clock: int) -> int:
    """The time of a request in TCP's time, which goes on if the clock is set.

    Else, if it is set back, timers would wait for the clock, and peers would take our timestamps for old ones (PAWS);
    if it is set forward, the timers before the new time would be served at once, that of the user timeout too. A timer
    has a request when its time has come, so the time up to the next timer is all that can have passed before a request.
    """
    now, leap = clock + host.shift, 0
    latest = max(host.time, deadlines[0] + host.shift) if deadlines[0] < NEVER else now
    if now < host.time - STEP:
        leap = now - host.time
    elif now > latest + STEP:
        leap = now - latest
    if leap:
        host.shift -= leap
        now -= leap
        if deadlines[0] < NEVER:
            deadlines[0] += leap
    host.time = max(host.time, now)
    return host.time


def row_of(frame: Any, rows: Any) -> int:
    """The row of the socket that a local request is for; -1 if it has another number, or is unknown."""
    number = load32(frame, message.SOCKET)
    row = number & message.ROW
    return row if row < len(rows) and rows[row].number == number + 1 else -1


def partner_of(rows: Any, row: int) -> int:
    """The row that this one is spliced with, or will be: both have asked for it; -1 if there is none."""
    number = rows[row].partner
    other = number - 1 & message.ROW
    if number == 0 or other >= len(rows) or rows[other].number != number:
        return -1
    return other if rows[other].partner == rows[row].number else -1


def name_row(frame: Any, rows: Any, family: int) -> int:
    """Give the socket of a request of the registry the addresses and L4 ports there; its row, -1 if there is none.

    A row that had a socket of another number begins anew.
    """
    number = load32(frame, message.SOCKET)
    row = number & message.ROW
    if row >= len(rows):
        return -1
    socket = rows[row]
    if socket.number != number + 1:
        socket.number = number + 1
        socket.role = UNUSED
        socket.listener = 0
        socket.left = 0
        socket.errors = 0
        socket.traffic = 0
        socket.partner = 0
        socket.secured = 0
        socket.work_due = NEVER
    name_socket(frame, socket, family)
    return row


def bind_row(rows: Any, bindings: Any, counts: Any, row: int) -> int:
    """Let segments find a row by its addresses and L4 ports; -1 if it is bound, else the row that is bound to these.

    The result is the row itself if there is no room.
    """
    socket = rows[row]
    other = binding_of(bindings, socket)
    if other >= 0:
        return bindings[other].number & message.ROW
    new = new_binding(bindings, counts, socket)
    if new < 0:
        return row
    bindings[new].number = socket.number - 1
    return -1


def unbind_row(rows: Any, bindings: Any, row: int) -> None:
    """Let no segment find a row any more."""
    socket = rows[row]
    index = binding_of(bindings, socket)
    if index >= 0 and bindings[index].number == socket.number - 1:
        remove(bindings, index)


def begin(host: Any, number: int, local: Words, remote: Words, ports: int) -> None:
    """Begin with a request about a socket, or about none; `ports` is the local one << 16 | the remote one."""
    host.out.count = 0
    host.request.more = 0
    host.number = number
    put_address(host.local, local)
    put_address(host.remote, remote)
    host.ports = ports
    host.traffic = 0
    host.listener = 0
    host.closed = 0
    host.error = 0
    host.ended = 0
    host.joined = 0
    host.source = 0
    host.secured = 0
    host.opened = 0
    host.looks[0] = 0
    host.looks[1] = 0


def begin_with(host: Any, socket: Any) -> None:
    """Begin with a request about the socket of a row."""
    ports = socket.local_port << 16 | socket.remote_port
    begin(host, socket.number - 1, address_in(socket.local), address_in(socket.remote), ports)
    host.traffic = socket.traffic
    if socket.role == CONNECTED:
        host.source = socket.partner
        host.source_begin = socket.splice.begin
        host.source_shift = socket.splice.shift
    host.secured = socket.secured


def flow_of(host: Any, family: int) -> tuple[int, int, int, int, int]:
    """The words (`scout.paths.wire.flow.flow_words`) of what this end sends to the other end at hand."""
    mapped = 0 if family == IPV6 else MAPPED
    local, remote = host.local, host.remote
    return KNOWN | ipv4.TCP << 32 | host.ports, local.high, mapped | local.low, remote.high, mapped | remote.low


def choose_segment(host: Any, mtu: int, family: int) -> None:
    """Let the settings of the next new connection suit a port of this MTU."""
    host.settings[LARGEST_SEGMENT] = max(min(host.most, largest_segment(mtu, family)), 1)
