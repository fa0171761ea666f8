"""The stream of a connected socket: byte rings and words beside them, in the socket's area.

Bytes of a stream are counted from 0. Byte `position` lies in a ring at `position & (stream_bytes - 1)`. ::

    words (`WORDS` bytes) | receive ring (stream_bytes) | send ring | opened ring | plain ring

The last two are for secured streams (`scout.io.endpoints.records`), whose application reads from the opened ring and
writes to the plain ring; it uses the first two otherwise.

*Receiving.* A replica places the bytes of a segment in the receive ring before the segment becomes a request, and never
where bytes lie that the application has not read: below `FREED` plus the ring's size. It announces the lowest byte that
it is about to write in its own word `PLACING`, and then looks at `FREED` once more: bytes below that are not written.
The application stores `FREED`, and then looks at all `PLACING`: it tells the stack (`READ`) only of bytes below which
nobody is still writing. One side sees the other (both have a fence between the store and the load). So a replica that
is slow, or a successor that does the work of a dead one again, never writes over newer bytes.

*Sending.* The application writes bytes to the send ring, no further than `ACKNOWLEDGED` plus the ring's size, and tells
the stack how far it has come (`WRITE`). A replica that sends late what the peer has acknowledged may find newer bytes
there; the peer throws such a segment away by its numbers.

*The words of the stack* only grow, since every replica that reports stores the larger value (compare-exchange, acq_rel;
the application's load acquires). They are stored in the order of `REPORTED`, so an application that sees one of a
report sees those before it too. A report wakes the application if `RECEIVED`, `PHASE` or `ENDED` has grown, or
`ACKNOWLEDGED` and has come to `AWAITED`: an application that waits for data is not woken by every acknowledgement.
"""

from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import LINE

__all__ = [
    "ACKNOWLEDGED",
    "AWAITED",
    "CLOSED",
    "ENDED",
    "ESTABLISHED",
    "FREED",
    "OPENED",
    "OPENED_RING",
    "OPENING",
    "PHASE",
    "PLACING",
    "PLAIN_RING",
    "RECEIVED",
    "RECEIVE_RING",
    "REPORTED",
    "RINGS",
    "SEALING",
    "SEND_RING",
    "SOFT_ERROR",
    "SPLICED",
    "URGENT",
    "WORDS",
    "placing_of",
]

RECEIVED, ACKNOWLEDGED, PHASE, ENDED, SOFT_ERROR, URGENT = (LINE * index for index in range(6))
"""Words of the stack: bytes of the peer's stream that are there; bytes of this end's stream that the peer has; where
the connection is, `OPENING` to `CLOSED`, << 8 | the reason (`scout.paths.protocols.tcp.state`) of its end; 1 +
the bytes of the peer's whole stream, 0 as long as it has not ended; 1 + the number (errno) of an ICMP error that did
not end the connection, with a count above it (<< 16); bytes of the peer's stream up to the last urgent one."""

REPORTED = (RECEIVED, ACKNOWLEDGED, PHASE, ENDED, SOFT_ERROR, URGENT)
"""The words in the order in which a message `REPORT` has them, 8 bytes each, in network order."""

FREED = 6 * LINE
"""Word of the application: bytes of the peer's stream that it has read, so that they may be written over."""

AWAITED = 7 * LINE
"""Word of the application: it waits until the peer has so many bytes of this end's stream, so that there is room to
write; 0: it does not wait. (The application stores it, and then loads `ACKNOWLEDGED`; a replica stores `ACKNOWLEDGED`,
and then loads it. Both have a fence between the two.)"""

PLACING = 8 * LINE
"""Words of the replicas, a line each: 1 + the lowest byte that the replica is about to write; 0: it writes nothing."""

SEALING = PLACING + 8
"""Words of the replicas, each in the line of its PLACING: 1 + the lowest byte that the replica is about to seal; 0: it
seals nothing."""

OPENED = PLACING + MOST_REPLICAS * LINE
"""Word of the stack in place of RECEIVED if the stream is secured: bytes of the peer's stream that were opened."""

WORDS = 4096
"""Bytes of the words, a page."""

RECEIVE_RING, SEND_RING, OPENED_RING, PLAIN_RING, RINGS = range(5)
"""The rings by their place behind the words, and how many there are."""

OPENING, ESTABLISHED, SPLICED, CLOSED = range(4)
"""Phases: the connection is being opened; it was established; the stack passes its bytes on to another connection;
nothing more will come of it, and its row is free. The phase of a listener's spare socket is 0 until it gets a
connection."""

assert OPENED + LINE <= WORDS


def placing_of(replica: int) -> int:
    """Offset of a replica's word PLACING."""
    return PLACING + replica * LINE
