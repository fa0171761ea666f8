"""Sockets as transports know them: a row for each, and the table that finds the socket of a packet.

Addresses are of the family of the transport (`scout.paths.protocols.family`).

A socket is found by the router's address and L4 port, and those of the other end, where it is connected to one; else by
the router's address and L4 port; else by the L4 port alone, if it is bound to all addresses. The tables are replicated:
every replica changes them at the same local request.
"""

import errno
from typing import Any

import numpy as np

from scout.io.access import load16, load32, load64, store32, store64
from scout.io.endpoints import message
from scout.paths.framework.flow_table import FOREVER, REFUSE, find, new_table, place, remove
from scout.paths.protocols.family import family_of, key_of
from scout.paths.wire import icmp
from scout.paths.wire.address import ADDRESS, ANY, IPV6, Words, address_in, put_address
from scout.ring.jit import outline

__all__ = [
    "COUNTS",
    "SOCKET",
    "bind",
    "binding_of",
    "bound_socket",
    "error_number",
    "local_of",
    "name_socket",
    "new_binding",
    "new_bindings",
    "remote_of",
    "socket_of",
    "write_message",
]

SOCKET = np.dtype(
    [
        ("number", "i8"),  # of the socket of this row, plus 1; 0 if none is bound
        ("local", ADDRESS),  # addresses and L4 ports; 0 is any
        ("local_port", "i8"),
        ("remote", ADDRESS),
        ("remote_port", "i8"),
    ]
)

COUNTS = np.dtype([("refused", "i8"), ("evicted", "i8")])
"""The counters of `place` of flow tables."""

_OPEN = 4  # rows of the table of bindings for each socket: it stays sparse, so that no socket is refused


def new_bindings(sockets: int, family: int) -> np.ndarray:
    """An empty table of bindings of a family for so many sockets."""
    return new_table(max(64, 1 << (_OPEN * sockets - 1).bit_length()), [("number", "i8")], family == IPV6)


def bound_socket(bindings: Any, local: Words, local_port: int, remote: Words, remote_port: int) -> int:
    """The number of the socket that a packet is for; -1 if there is none."""
    key, more = key_of(bindings, local, local_port, remote, remote_port)
    row = find(bindings, key, more, 0, FOREVER)
    if row < 0:
        row = wider_binding(bindings, local, local_port, remote, remote_port)
    return bindings[row].number if row >= 0 else -1


@outline
def wider_binding(bindings: Any, local: Words, local_port: int, remote: Words, remote_port: int) -> int:
    """The index of the binding that a packet is for where none names both of its ends."""
    key, more = key_of(bindings, local, local_port, ANY, 0)
    row = find(bindings, key, more, 0, FOREVER)
    if row < 0:
        key, more = key_of(bindings, ANY, local_port, remote, remote_port)
        row = find(bindings, key, more, 0, FOREVER)
    if row < 0:
        key, more = key_of(bindings, ANY, local_port, ANY, 0)
        row = find(bindings, key, more, 0, FOREVER)
    return row


def binding_of(bindings: Any, socket: Any) -> int:
    """The index of the binding that has the names of a socket's row; -1 if there is none."""
    local, remote = address_in(socket.local), address_in(socket.remote)
    key, more = key_of(bindings, local, socket.local_port, remote, socket.remote_port)
    return find(bindings, key, more, 0, FOREVER)


def new_binding(bindings: Any, counts: Any, socket: Any) -> int:
    """The index of a new binding with the names of a socket's row; -1 if there is no room."""
    local, remote = address_in(socket.local), address_in(socket.remote)
    key, more = key_of(bindings, local, socket.local_port, remote, socket.remote_port)
    return place(bindings, counts, key, more, 0, FOREVER, REFUSE)


def socket_of(frame: Any, sockets: Any) -> int:
    """The row of the socket that a local request is for; -1 if it is not bound."""
    number = load32(frame, message.SOCKET)
    row = number & message.ROW
    return row if row < len(sockets) and sockets[row].number == number + 1 else -1


def bind(frame: Any, sockets: Any, bindings: Any, counts: Any, opens: bool) -> int:
    """Let a socket have the addresses and L4 ports in a request (`BIND`), or none (`CLOSE`); its row, or -1."""
    number = load32(frame, message.SOCKET)
    row = number & message.ROW
    if row >= len(sockets):
        return -1
    socket = sockets[row]
    if socket.number != 0:
        old = binding_of(bindings, socket)
        if old >= 0:
            remove(bindings, old)
        socket.number = 0
    if not opens:
        return row
    name_socket(frame, socket, family_of(bindings))
    new = new_binding(bindings, counts, socket)
    if new < 0:
        return -1
    bindings[new].number = number
    socket.number = number + 1
    return row


def local_of(frame: Any, family: int) -> Words:
    """The local address in a request."""
    return _address_at(frame, message.LOCAL, family)


def remote_of(frame: Any, family: int) -> Words:
    """The remote address in a request."""
    return _address_at(frame, message.REMOTE, family)


def _address_at(frame: Any, at: int, family: int) -> Words:
    """An address that an application may have written: of IPv4 the last four bytes count, whatever the others are."""
    if family == IPV6:
        return load64(frame, at), load64(frame, at + 8)
    return 0, load32(frame, at + 12)


def name_socket(frame: Any, socket: Any, family: int) -> None:
    """Give the row of a socket the addresses and L4 ports in a request."""
    put_address(socket.local, local_of(frame, family))
    socket.local_port = load16(frame, message.LOCAL_PORT)
    put_address(socket.remote, remote_of(frame, family))
    socket.remote_port = load16(frame, message.REMOTE_PORT)


def write_message(
    frame: Any, kind: int, protocol: int, note: int, number: int, local: Words, remote: Words, ports: int, extent: int
) -> None:
    """Write the header of a message at the frame's beginning.

    `ports` is the local one << 16 | the remote one, `extent` the offset of the data << 16 | its size.
    """
    store32(frame, message.KIND, kind << 24 | protocol << 16 | note)
    store32(frame, message.SOCKET, number)
    store64(frame, message.LOCAL, local[0])
    store64(frame, message.LOCAL + 8, local[1])
    store64(frame, message.REMOTE, remote[0])
    store64(frame, message.REMOTE + 8, remote[1])
    store32(frame, message.LOCAL_PORT, ports)
    store32(frame, message.EXTENT_OFFSET, extent)


def error_number(kind: int, code: int) -> int:
    """The error (errno) that an ICMP error is to a socket, as in Linux (icmp_err_convert in net/ipv4/icmp.c)."""
    if kind == icmp.PARAMETER_PROBLEM:
        return errno.EPROTO
    if kind == icmp.TIME_EXCEEDED:
        return errno.EHOSTUNREACH
    if code == 0 or code == 6 or code == 9 or code == 11:
        return errno.ENETUNREACH
    if code == 2:
        return errno.ENOPROTOOPT
    if code == 3:
        return errno.ECONNREFUSED
    if code == 4:
        return errno.EMSGSIZE
    return errno.EOPNOTSUPP if code == 5 else errno.EHOSTUNREACH
