"""The header of what an application and the stack tell each other, in front of the payload (docs/endpoints.md)::

0      1          2      4        8               24               40           42            44              48
| kind | protocol | note | socket | local address | remote address | local port | remote port | number, extent | data

A *local request* goes from an application to the stack, a *message* from the stack to one socket. Numbers are in
network order. Addresses take 16 bytes, of either family: those of an IPv4 address are 12 zeros and its 4. A
socket's number has its row in the low 16 bits, and above it how often the row was given to a socket.

`number`, of a request: the low 32 bits of its position in the channel, which differ for requests that are in progress.
`extent`, of a message on its way through a path: the offset of the data from the header's beginning, and its size.
"""

import struct

__all__ = [
    "ABORT",
    "ACCEPTED",
    "BIND",
    "CLOSE",
    "CONNECT",
    "CONTROL_KINDS",
    "DATA",
    "ERROR",
    "EXPIRE",
    "EXTENT_OFFSET",
    "EXTENT_SIZE",
    "FAILED",
    "FOLLOWED",
    "HEADER",
    "HEADER_STRUCT",
    "HEADER_STRUCT_6",
    "KIND",
    "LISTEN",
    "LOCAL",
    "LOCAL_PORT",
    "LONGEST_DATA",
    "LONGEST_RUN",
    "NOTE",
    "NOTICE",
    "NOT_PLACED",
    "NUMBER",
    "OFFER",
    "OPENED",
    "OPTION",
    "PLACED",
    "PROTOCOL",
    "READ",
    "RECORDS",
    "REMOTE",
    "REMOTE_PORT",
    "REPORT",
    "ROW",
    "RUN",
    "SECURE",
    "SEGMENT",
    "SEND",
    "SERIAL",
    "SHUTDOWN",
    "SOCKET",
    "SPLICE",
    "WRITE",
]

KIND, PROTOCOL, NOTE, SOCKET, LOCAL, REMOTE, LOCAL_PORT, REMOTE_PORT, NUMBER = 0, 1, 2, 4, 8, 24, 40, 42, 44
EXTENT_OFFSET, EXTENT_SIZE = NUMBER, NUMBER + 2
HEADER = 48

HEADER_STRUCT = struct.Struct("!BBHI12xI12xIHHI")
"""A whole header with IPv4 addresses: kind, protocol, note, socket, local and remote address, both ports, number."""

HEADER_STRUCT_6 = struct.Struct("!BBHI16s16sHHI")
"""The same with IPv6 addresses, as bytes."""

LONGEST_DATA = 65535
"""Bytes of data that a request or a message can have."""

ROW = 0xFFFF
"""The bits of a socket's number that are its row."""

BIND, CLOSE, LISTEN, OFFER, CONNECT = 1, 2, 3, 4, 5
"""Kinds of local requests that only the registry makes: a socket has these addresses and L4 ports from now on, or none;
it takes connections; it is a spare one which the next connection of a listener gets, whose number is in the 4 bytes of
data; it opens a connection to the remote address and port."""

SEGMENT, EXPIRE, NOTICE = 8, 9, 10
"""Kinds of local requests that replicas make: a segment whose per-byte work has succeeded; the time of a timer has
come; an ICMP error about a segment of a connection. They leave a path as messages of these kinds, and enter as requests
that end where the data begin (`EXTENT_OFFSET`). Of a segment the request has the IP header and the transport's header,
the first 8 bytes of the local address field are the position of its data in the peer's stream, -1 if it is to be placed
nowhere, and the note has bits. Of a notice the note is the number of the error (errno), and behind the header are 4
bytes each: the sequence number of the segment that the error quotes, and the MTU of the path, or 0."""

PLACED, NOT_PLACED, FOLLOWED = 1, 2, 4
"""Bits of the note of a segment: its data are in the receive ring of the socket; they are not, or there are none
(neither is set until it was tried); it has no data, and another segment of the same socket follows in the batch."""

SERIAL = RUN = REMOTE
"""Offset of 8 bytes of a segment, the first ones of the remote address field. In a message they are its serial number,
which the transport gives: one more than that of the segment before if it follows that one in the same connection, with
data that begin where those end, and could be part of the same segment, or, where both have no data, if it says all that
the other one says; else 2 more at least. Segments of a batch that follow one another become one request, a *run*, if
the data of each were placed. In the request the 8 bytes say how many bytes of data the run has; the headers are those
of the first segment, and each but the last has as many bytes of data as it. Of segments without data the headers are
those of the last one, and the 8 bytes say how many were before it."""

LONGEST_RUN = LONGEST_DATA - 120
"""Bytes of data in a run at most: they fit behind the longest headers of IP and TCP, so a run can be sent on as one
packet."""

RECORDS = 11
"""Kind of a local request that replicas make: records of a secured stream were found, sealed or opened
(`scout.io.endpoints.records`). It leaves a path as a message of this kind, which says what is to be done."""

CONTROL_KINDS = 15
"""Kinds up to this one are the stack's; an application may make requests of all others."""

SEND = 16
"""Kind of a local request: send data, to the remote address and port; 0 for those that the socket is connected to. The
note is the size of the segments that the data is to be cut into, or 0."""

WRITE, READ, SHUTDOWN, ABORT, OPTION, SPLICE = 17, 18, 19, 20, 21, 23
"""Kinds of local requests about a stream (`scout.io.endpoints.stream`): bytes up to a position, of 8 bytes in the data,
are in the send ring, or were read; no more will be written; the connection is to be aborted; an option, of 8 bytes (its
index in `scout.paths.protocols.tcp.settings`), has the value of the next 8; the connection is to be spliced with
that of the socket whose number is in 8 bytes, which has to ask for the same, and bytes up to the position in the next 8
were read. Options are told for open connections only: an application keeps what is chosen before, and tells it then."""

SECURE = 22
"""Kind of a local request about a stream: it consists of sealed records from these positions on, in both directions
(`scout.io.endpoints.records.SECURING`)."""

DATA, ERROR, FAILED, ACCEPTED, REPORT, OPENED = 1, 2, 3, 4, 5, 6
"""Kinds of messages: data from the remote address and port, whose note is the size of the segments that it consists of,
or 0; an error that the network has reported, whose note is its number (errno); the error for which a request of the
socket failed; a connection for a listener, from the remote address and port, whose socket's number is in the 4 bytes of
data; the words of the stack in a stream (`scout.io.endpoints.stream.REPORTED`), which are written there; or the word
`scout.io.endpoints.stream.OPENED`, likewise."""
