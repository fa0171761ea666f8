"""The header of what an application and the stack tell each other, in front of the payload (docs/endpoints.md)::

0      1          2      4        8               24               40           42            44              48
| kind | protocol | note | socket | local address | remote address | local port | remote port | number, extent | data

A *local request* goes from an application to the stack, a *message* from the stack to one socket. Numbers are in
network order. Addresses take 16 bytes, so that IPv6 needs no other header; of an IPv4 address the last 4 count. A
socket's number has its row in the low 16 bits, and above it how often the row was given to a socket.

`number`, of a request: the low 32 bits of its position in the channel, which differ for requests that are in progress.
`extent`, of a message on its way through a path: the offset of the data from the header's beginning, and its size.
"""

import struct

__all__ = [
    "BIND",
    "CLOSE",
    "CONTROL_KINDS",
    "DATA",
    "ERROR",
    "EXTENT_OFFSET",
    "EXTENT_SIZE",
    "FAILED",
    "HEADER",
    "HEADER_STRUCT",
    "KIND",
    "LOCAL",
    "LOCAL_PORT",
    "LONGEST_DATA",
    "NOTE",
    "NUMBER",
    "PROTOCOL",
    "REMOTE",
    "REMOTE_PORT",
    "ROW",
    "SEND",
    "SOCKET",
]

KIND, PROTOCOL, NOTE, SOCKET, LOCAL_PORT, REMOTE_PORT, NUMBER = 0, 1, 2, 4, 40, 42, 44
LOCAL, REMOTE = 8 + 12, 24 + 12  # of IPv4 addresses
EXTENT_OFFSET, EXTENT_SIZE = NUMBER, NUMBER + 2
HEADER = 48

HEADER_STRUCT = struct.Struct("!BBHI12xI12xIHHI")
"""A whole header with IPv4 addresses: kind, protocol, note, socket, local and remote address, both ports, number."""

LONGEST_DATA = 65535
"""Bytes of data that a request or a message can have."""

ROW = 0xFFFF
"""The bits of a socket's number that are its row."""

BIND, CLOSE = 1, 2
"""Kinds of local requests that only the stack makes: a socket has these addresses and L4 ports from now on, or none."""

CONTROL_KINDS = 15
"""Kinds up to this one are the stack's; an application may make requests of all others."""

SEND = 16
"""Kind of a local request: send data, to the remote address and port; 0 for those that the socket is connected to. The
note is the size of the segments that the data is to be cut into, or 0."""

DATA, ERROR, FAILED = 1, 2, 3
"""Kinds of messages: data from the remote address and port, whose note is the size of the segments that it consists of,
or 0; an error that the network has reported, whose note is its number (errno); or the error for which a request of the
socket failed."""
