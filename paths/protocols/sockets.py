"""Sockets as transports know them: a row for each, and the table that finds the socket of a packet.

A socket is found by the router's address and L4 port, and those of the other end, where it is connected to one; else by
the router's address and L4 port; else by the L4 port alone, if it is bound to all addresses. The tables are replicated:
every replica changes them at the same local request.
"""

import errno
from typing import Any

import numpy as np

from scout.io.access import load16, load32, store32, store64
from scout.io.endpoints import message
from scout.paths.framework.flow_table import FOREVER, REFUSE, find, new_table, place, remove
from scout.paths.wire import icmp

__all__ = [
    "COUNTS",
    "SOCKET",
    "bind",
    "bound_socket",
    "error_number",
    "new_bindings",
    "socket_key",
    "socket_of",
    "write_message",
]

SOCKET = np.dtype(
    [
        ("number", "i8"),  # of the socket of this row, plus 1; 0 if none is bound
        ("local", "i8"),  # addresses and L4 ports; 0 is any
        ("local_port", "i8"),
        ("remote", "i8"),
        ("remote_port", "i8"),
    ]
)

COUNTS = np.dtype([("refused", "i8"), ("evicted", "i8")])
"""The counters of `place` of flow tables."""

_WORD = 1 << 62  # in both words of a key, so that neither is 0
_OPEN = 4  # rows of the table of bindings for each socket: it stays sparse, so that no socket is refused


def new_bindings(sockets: int) -> np.ndarray:
    """An empty table of bindings for so many sockets."""
    return new_table(max(64, 1 << (_OPEN * sockets - 1).bit_length()), [("number", "i8")])


def socket_key(address: int, port: int) -> int:
    """One word of the key of a binding: an address and an L4 port; 0 is any."""
    return _WORD | address << 16 | port


def bound_socket(bindings: Any, local: int, local_port: int, remote: int, remote_port: int) -> int:
    """The number of the socket that a packet is for; -1 if there is none."""
    here, there = socket_key(local, local_port), socket_key(remote, remote_port)
    row = find(bindings, here, there, 0, FOREVER)
    if row < 0:
        row = find(bindings, here, _WORD, 0, FOREVER)
    if row < 0:
        row = find(bindings, socket_key(0, local_port), there, 0, FOREVER)
    if row < 0:
        row = find(bindings, socket_key(0, local_port), _WORD, 0, FOREVER)
    return bindings[row].number if row >= 0 else -1


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
        here, there = socket_key(socket.local, socket.local_port), socket_key(socket.remote, socket.remote_port)
        old = find(bindings, here, there, 0, FOREVER)
        if old >= 0:
            remove(bindings, old)
        socket.number = 0
    if not opens:
        return row
    socket.local = load32(frame, message.LOCAL)
    socket.local_port = load16(frame, message.LOCAL_PORT)
    socket.remote = load32(frame, message.REMOTE)
    socket.remote_port = load16(frame, message.REMOTE_PORT)
    here, there = socket_key(socket.local, socket.local_port), socket_key(socket.remote, socket.remote_port)
    new = place(bindings, counts, here, there, 0, FOREVER, REFUSE)
    if new < 0:
        return -1
    bindings[new].number = number
    socket.number = number + 1
    return row


def write_message(
    frame: Any, kind: int, protocol: int, note: int, number: int, local: int, remote: int, ports: int, extent: int
) -> None:
    """Write the header of a message at the frame's beginning.

    `ports` is the local one << 16 | the remote one, `extent` the offset of the data << 16 | its size.
    """
    store32(frame, message.KIND, kind << 24 | protocol << 16 | note)
    store32(frame, message.SOCKET, number)
    for address in (message.LOCAL, message.REMOTE):  # what stands before an IPv4 address is zeros
        store64(frame, address - 12, 0)
        store32(frame, address - 4, 0)
    store32(frame, message.LOCAL, local)
    store32(frame, message.REMOTE, remote)
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
