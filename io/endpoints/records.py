"""Secured streams: each direction of a connection is a sequence of sealed records (`scout.io.endpoints.ciphers`).

The application writes records to the plain ring as they are sent, but with plaintext in place of ciphertext, and tells
how far (`WRITE`). Replicas seal them into the send ring, and TCP sends only what is sealed. What TCP has received lies
in the receive ring; replicas open it into the opened ring, from where the application reads. Everything has the same
position in the stream and both of its rings.

Sealing and opening is work of a primary, which several replicas are to do at the same time. No replica but the one that
reads the lengths of records knows where they are, so it tells the others, by a request:

1. The primary of a request that leaves records to be found gets a message `RECORDS`: from position `FIRST` on, the
   stream is there up to `LIMIT`, and record `NUMBER` is the next. It finds whole records, a piece of at most `PIECE`
   bytes, and makes a request that *claims* them: the piece ends at `LAST`, has `COUNT` records, and the next piece is
   to be looked for when the stream is there up to `NEED`. The primary of this request looks for the next piece
   meanwhile.
2. It seals or opens the piece, and makes a request that it is *done* up to position `REACHED`. A small piece is done
   before it is claimed, and told once.

If it dies, its successor gets the message again, finds the same, and says the same again; `SERIAL` tells which message
a request answers. Sealing again the same plaintext by the same number gives the same bytes, so it is no harm that some
may have been sent.

*Late replicas.* A successor may come to a message when others are far ahead: the piece was done before and told by the
dead replica, the peer has acknowledged it or the application has read it, and newer bytes are in its place. These must
not be sealed with a number that was used, and what is there must not be written over. So a replica announces the piece
(`SEALING`, or `PLACING`) and then looks whether its first byte was acknowledged (`ACKNOWLEDGED`), or read (`FREED`): if
so, nothing is left to do or to tell. The application looks at the announcements behind its own load of ACKNOWLEDGED, or
store of FREED, and uses no room of a piece that is being worked on (`scout.io.endpoints.application_stream`). One side
sees the other.
"""

from scout.io.byte_order import swapped16, swapped64
from scout.io.endpoints.ciphers import (
    CRYPT,
    LENGTH,
    LONGEST_PLAIN,
    RECEIVING,
    ROOM,
    TAG,
    length_at,
)
from scout.io.endpoints.collect import feed_at
from scout.io.endpoints.message import HEADER, NOTE
from scout.io.endpoints.replica_requests import bring, new_request
from scout.io.endpoints.reporting import raise_word
from scout.io.endpoints.stream import (
    ACKNOWLEDGED,
    FREED,
    OPENED,
    OPENED_RING,
    PLACING,
    PLAIN_RING,
    RECEIVE_RING,
    SEALING,
    SEND_RING,
    WORDS,
)
from scout.ring.atomics import exchange, load32, load64, load64_acquire, store32, store64, store64_release
from scout.ring.bell import ring_bell
from scout.ring.jit import Record, inline
from scout.ring.linked import caller
from scout.ring.segment import LINE

__all__ = [
    "CIPHER",
    "CLAIMED",
    "COUNT",
    "DIRECTION",
    "DONE",
    "FAILED",
    "FIRST",
    "IV",
    "KEY",
    "LAST",
    "LEAST_RING",
    "LIMIT",
    "MESSAGE_BYTES",
    "NEED",
    "NUMBER",
    "PIECE",
    "REACHED",
    "REQUEST_BYTES",
    "SECURING_WORDS",
    "SERIAL",
    "opened",
    "work_on",
]

DIRECTION, SERIAL, FIRST, LIMIT, NUMBER, NEED, REACHED, CIPHER, IV, KEY = (8 * index for index in (*range(9), 10))
"""Offsets in the data of a message RECORDS, of words in network order. An IV takes 16 bytes, of which 12 count, and a
key 32, of which as many count as the cipher has."""

LAST, COUNT = LIMIT, NUMBER
"""Offsets in the data of a request RECORDS: these take the places of others."""

MESSAGE_BYTES, REQUEST_BYTES = KEY + 32, CIPHER

SECURING_WORDS = 15
"""Words of the data of a request SECURE: the cipher's number; the positions of the first records that are sent and
received; IV (2 words) and key (4) of the sending direction, and of the other one."""

CLAIMED, DONE, FAILED = 1, 2, 4
"""Bits of the note of a request RECORDS. `FAILED`, with one or both of the others: the record at `REACHED` cannot be
opened, or is none."""

PIECE = 1 << 16
"""Bytes of a piece, unless one record is longer: so many are work for some 20 microseconds, a thousand times as much as
it takes to tell others."""

MOST_RECORDS = 64
"""Records of a piece: of small ones each takes a fixed time."""

SMALL = 4096
"""Bytes of a piece up to which it is done before it is claimed."""

LEAST_RING = 1 << 16
"""Bytes of the rings of a stream that can be secured: so that the longest record always finds room."""

_crypt = caller(CRYPT)


@inline
def work_on(transmit: Record, header: int, stream: int) -> None:
    """Do the work of a message RECORDS, at address `header`, on the records of a stream."""
    data = header + HEADER
    direction, first = swapped64(load64(data + DIRECTION)), swapped64(load64(data + FIRST))
    opens, line = direction == RECEIVING, transmit.replica * LINE
    announced = stream + (PLACING if opens else SEALING) + line
    # seq_cst, before the load: the application loads ACKNOWLEDGED, or stores FREED, has a fence, and loads this word.
    exchange(announced, 1 + first)
    # Acquire, pairs with the replica's compare-exchange, or the application's store.
    if load64_acquire(stream + (FREED if opens else ACKNOWLEDGED)) <= first:
        _work_on_piece(transmit, header, stream, opens, first)
    # Release, pairs with the application's loads: what was written was written before.
    store64_release(announced, 0)


@inline
def _work_on_piece(transmit: Record, header: int, stream: int, opens: bool, first: int) -> None:
    data, size = header + HEADER, transmit.stream_bytes
    source = stream + WORDS + size * (RECEIVE_RING if opens else PLAIN_RING)
    target = stream + WORDS + size * (OPENED_RING if opens else SEND_RING)
    number, limit = swapped64(load64(data + NUMBER)), swapped64(load64(data + LIMIT))
    last, count, need, failed = _find(source, size, first, limit, transmit.contexts + ROOM)
    store64(data + LAST, swapped64(last))
    store64(data + COUNT, swapped64(count))
    store64(data + NEED, swapped64(need))
    store64(data + REACHED, swapped64(first))
    note = CLAIMED | (FAILED if failed else 0)
    if last - first > SMALL:
        _tell(transmit, header, note)
        bring(transmit)
        bell = feed_at(transmit.feed)[0].bell if transmit.feed else 0
        if need <= limit and bell:
            ring_bell(bell)  # there is work for another replica
        note = 0
    if last > first:
        # The words FIRST and LAST, which are next to each other, as the machine has them.
        store64(data + FIRST, first)
        store64(data + LAST, last)
        given = transmit.contexts, opens, data + CIPHER, number, source, target, size, data + FIRST
        done = _crypt(transmit.crypt, given)
        store64(data + FIRST, swapped64(first))
        store64(data + LAST, swapped64(last))
        store64(data + REACHED, swapped64(first + done))
        note |= DONE | (FAILED if first + done < last else 0)
    if note:
        _tell(transmit, header, note)


@inline
def _find(ring: int, size: int, first: int, limit: int, room: int) -> tuple[int, int, int, bool]:
    """Find whole records.

    The end of the last one; how many; how far the stream has to be there to find more; whether the first is none.
    """
    last, count = first, 0
    while limit >= last + LENGTH:
        length = length_at(ring, size, last, room)
        if not TAG <= length <= LONGEST_PLAIN + TAG:
            return last, count, last + LENGTH, count == 0
        end = last + LENGTH + length
        if limit < end or count == MOST_RECORDS or (count and end - first > PIECE):
            return last, count, end, False
        last, count = end, count + 1
    return last, count, last + LENGTH, False


@inline
def _tell(transmit: Record, header: int, note: int) -> None:
    """Make a request of the message."""
    store32(header, load32(header) & 0xFFFF | swapped16(note) << 16)
    if new_request(transmit, header, HEADER + REQUEST_BYTES, 0) == 0:
        transmit.crowded += 1


@inline
def opened(stream: int, data: int) -> bool:
    """Raise OPENED to the word at address `data`; True if the application has to be woken."""
    return raise_word(stream + OPENED, swapped64(load64(data)))


assert NOTE == 2 and FIRST + 8 == LIMIT
