"""From a path to sockets: the sending side of an application port.

A message that leaves by the port (`scout.io.endpoints.message`) is copied to the ring of its socket that belongs to the
replica, which alone writes it. TAIL is stored once the message is whole: a replica that dies leaves no hole. `flush`
then wakes the applications that wait. A report raises the words of a stream in place of that.

Requests of replicas leave by the port too: the payload of a segment is placed in its stream, and the headers become a
request of the replica, which `flush` brings into the channel if nobody else does. `prepare` places the payload before
the turn of the segment: that is where most of the time goes, and it needs no order. Segments that follow one another
become one request (`scout.io.endpoints.message.SERIAL`).

The row of a socket may be given to another one when nobody writes there: a replica says in `writing` to which row it is
about to write, and then looks whether the socket is open. The registry closes the socket, and then waits until no
replica writes there.
"""

import numpy as np

from scout.io.batch import BATCH_SIZE
from scout.io.byte_order import swapped16, swapped32, swapped64
from scout.io.endpoints.memory import ARMED, ENTRY, RINGS, SKIP, USED, entry_bytes, head_of, tail_of
from scout.io.endpoints.message import (
    EXPIRE,
    EXTENT_OFFSET,
    FOLLOWED,
    HEADER,
    LOCAL,
    LONGEST_RUN,
    NOT_PLACED,
    NOTICE,
    OPENED,
    PLACED,
    RECORDS,
    REPORT,
    ROW,
    RUN,
    SEGMENT,
    SERIAL,
    SOCKET,
)
from scout.io.endpoints.placing import place
from scout.io.endpoints.records import MESSAGE_BYTES, opened, work_on
from scout.io.endpoints.replica_requests import LONGEST_REQUEST, RESERVED, bring, new_request
from scout.io.endpoints.reporting import REPORT_BYTES, report
from scout.io.endpoints.stream import CLOSED, PHASE, REPORTED
from scout.io.system import write
from scout.ring.atomics import (
    copy,
    exchange,
    fence,
    fetch_or,
    load32,
    load64,
    load64_acquire,
    store32,
    store64,
    store64_release,
)
from scout.ring.jit import Record, inline

__all__ = ["TOUCHED", "TRANSMIT", "enqueue", "expire", "flush", "prepare"]

TRANSMIT = np.dtype(
    [
        ("areas", "i8"),  # as in ENDPOINTS,
        ("sockets", "i8"),
        ("socket_bytes", "i8"),
        ("ring_bytes", "i8"),
        ("numbers", "i8"),
        ("bells", "i8"),
        ("replica", "i8"),  # the number of the replica
        ("tails", "i8"),  # address of int64[sockets]: the end of the replica's ring in each socket
        ("touched", "i8"),  # address of int64[BATCH_SIZE]: rows of sockets that got messages since `flush`,
        ("count", "i8"),  # and how many there are
        ("one", "i8"),  # address of the number 1, which is written to eventfds
        ("number", "i8"),  # of the batch, by which applications put messages of several rings in order
        ("made", "i8"),  # messages that the router made itself
        ("sent", "i8"),  # messages that reached a ring
        ("full", "i8"),  # messages for which the ring had no room
        ("closed", "i8"),  # messages to sockets that are closed
        ("here", "i8"),  # address of this record
        ("writing", "i8"),  # 1 + the row of the socket that the replica is writing to; 0: none
        ("stream_offset", "i8"),  # as in ENDPOINTS,
        ("stream_bytes", "i8"),
        ("requests", "i8"),  # address of the area of the replica's own requests,
        ("request_tail", "i8"),  # the end of those that it has made,
        ("requested", "i8"),  # and how many were made since `flush`
        ("feed", "i8"),  # address of the channel (APPLICATION_FEED); 0 if there is none
        ("crowded", "i8"),  # requests for which the ring had no room
        ("expiry", "i8"),  # address of room for the header of a request EXPIRE
        ("ended", "i8"),  # address of int64[sockets]: 1 + the number of the socket that was reported to have ended last
        ("contexts", "i8"),  # address of the replica's contexts of libcrypto (`scout.io.endpoints.ciphers`)
        ("crypt", "i8"),  # address of the machine code of `crypt`; 0 if there is no libcrypto
        ("joint", "i8"),  # address of the last request, if it is a segment and another one may join it; else 0
        ("serial", "i8"),  # the serial number of the last segment in it
        ("prior", "i8"),  # address of the last request, if it is a segment without data; else 0
    ]
)
"""The sending side of a replica, four cache lines, written by it alone. The supervisor sets it up."""

TOUCHED = BATCH_SIZE

_WRITING = int((TRANSMIT.fields or {})["writing"][1])  # type: ignore[index]
_POSITION = LOCAL
"""Offset in a segment's header of the position of its data, in the place of the local address."""

_PHASE = 8 * REPORTED.index(PHASE)
"""Offset of the phase in a report."""


@inline
def enqueue(transmit: Record, packet: Record, record: int) -> None:
    """Take what leaves: a message or a report to its socket, or a request of the replica itself."""
    header = packet.frame
    kind, number = load32(header) & 0xFF, swapped32(load32(header + SOCKET))
    offset, size = _extent(packet)
    if kind == SEGMENT:
        _enqueue_segment(transmit, packet, offset, size)
        return
    if kind == NOTICE:
        _enqueue_request(transmit, packet, offset)
        return
    row, linear = number & ROW, packet.end - header
    if not _begin_writing(transmit, row, number):
        transmit.closed += 1
        return
    wakes = True
    if kind == RECORDS:
        wakes = False
        if transmit.crypt and transmit.stream_bytes and linear >= HEADER + MESSAGE_BYTES:
            work_on(transmit, header, _area(transmit, row) + transmit.stream_offset)
            transmit.sent += 1
        else:
            transmit.closed += 1
    elif kind == OPENED:
        wakes = size >= 8 and opened(_area(transmit, row) + transmit.stream_offset, header + offset)
        transmit.sent += 1
    elif kind == REPORT:
        if transmit.stream_bytes and size >= REPORT_BYTES and offset + size <= linear:
            wakes = report(_area(transmit, row) + transmit.stream_offset, header + offset)
            if swapped64(load64(header + offset + _PHASE)) >> 8 == CLOSED:
                # Release, pairs with the registry's load, as does that of `_end_writing` behind it.
                store64_release(transmit.ended + row * 8, number + 1)
            transmit.sent += 1
        else:
            transmit.closed += 1
    else:
        wakes = _enqueue_message(transmit, packet, row, offset, size)
    _end_writing(transmit)
    if wakes and (transmit.count == 0 or load64(transmit.touched + (transmit.count - 1) * 8) != row):
        store64(transmit.touched + transmit.count * 8, row)
        transmit.count += 1


@inline
def _extent(packet: Record) -> tuple[int, int]:
    """The offset of the data of what leaves, and how many bytes there are."""
    extent = load32(packet.frame + EXTENT_OFFSET)
    offset, size = swapped16(extent), swapped16(extent >> 16)
    return offset, max(0, min(size, packet.end - packet.frame + packet.tail_bytes - offset))


@inline
def _begin_writing(transmit: Record, row: int, number: int) -> bool:
    """True if the socket of this number is open, and its row will be given to no other one until `_end_writing`."""
    if row >= transmit.sockets:
        return False
    # seq_cst, before the load of the number: the registry closes the socket and then looks here. One sees the other.
    exchange(transmit.here + _WRITING, row + 1)
    if load64_acquire(transmit.numbers + row * 8) == number:  # pairs with the registry's stores
        return True
    _end_writing(transmit)
    return False


@inline
def _end_writing(transmit: Record) -> None:
    store64_release(transmit.here + _WRITING, 0)  # pairs with the registry's load: the area is written no more


@inline
def _enqueue_message(transmit: Record, packet: Record, row: int, offset: int, size: int) -> bool:
    """Copy a message to its socket's ring; False if there is no room."""
    header = packet.frame
    place = _room(transmit, row, entry_bytes(HEADER + size))
    if place == 0:
        transmit.full += 1
        return False
    store64(place, HEADER + size)
    store64(place + 8, transmit.number)
    copy(place + ENTRY, header, HEADER)
    data, linear = place + ENTRY + HEADER, packet.end - header
    here = max(0, min(size, linear - offset))
    copy(data, header + offset, here)
    copy(data + here, packet.tail + max(0, offset - linear), size - here)
    own = transmit.tails + row * 8
    if load64(own) == 0:
        # acq_rel, before the store of TAIL, pairs with the application's load: who sees the message looks at its ring.
        fetch_or(_area(transmit, row) + USED, 1 << transmit.replica)
    tail = load64(own) + entry_bytes(HEADER + size)
    store64(own, tail)
    # Release, pairs with the application's load: the message is whole.
    store64_release(tail_of(_area(transmit, row), transmit.replica), tail)
    transmit.sent += 1
    return True


@inline
def prepare(transmit: Record, packet: Record) -> None:
    """Place the data of a segment that is about to leave, and note in its header whether they are there."""
    header = packet.frame
    if load32(header) & 0xFF == SEGMENT:
        offset, size = _extent(packet)
        note = PLACED if _place(transmit, packet, offset, size) else NOT_PLACED
        _set_note(header, note)


@inline
def _place(transmit: Record, packet: Record, offset: int, size: int) -> int:
    """Place the data of a segment in the stream of its socket; 1 if they are there."""
    header = packet.frame
    position, number = swapped64(load64(header + _POSITION)), swapped32(load32(header + SOCKET))
    placed, row = 0, number & ROW
    if size and position >= 0 and transmit.stream_bytes and _begin_writing(transmit, row, number):
        stream = _area(transmit, row) + transmit.stream_offset
        placed = place(stream, transmit.stream_bytes, transmit.replica, position, packet, header, offset, size)
        _end_writing(transmit)
    return placed


@inline
def _note(header: int) -> int:
    return swapped16(load32(header) >> 16)


@inline
def _set_note(header: int, note: int) -> None:
    store32(header, load32(header) & 0xFFFF | swapped16(note) << 16)


@inline
def _enqueue_segment(transmit: Record, packet: Record, offset: int, size: int) -> None:
    """Make a request of the headers of a segment, or add it to the request of the one before that it follows."""
    header = packet.frame
    if _note(header) & (PLACED | NOT_PLACED) == 0:  # nobody has prepared it
        prepare(transmit, packet)
    placed, serial = _note(header) & PLACED, swapped64(load64(header + SERIAL))
    run = transmit.joint + RUN
    if placed and transmit.joint and serial == transmit.serial + 1 and swapped64(load64(run)) + size <= LONGEST_RUN:
        store64(run, swapped64(swapped64(load64(run)) + size))
        transmit.serial = serial
        transmit.sent += 1
        return
    if size == 0 and transmit.prior and serial == transmit.serial + 1:
        length = min(offset, packet.end - header)
        if load64(transmit.prior - ENTRY) == length:
            joined = swapped64(load64(transmit.prior + RUN)) + 1
            copy(transmit.prior, header, length)
            store64(transmit.prior + RUN, swapped64(joined))
            transmit.serial = serial
            transmit.sent += 1
            return
    request = _enqueue_request(transmit, packet, offset)
    if request:
        store64(request + RUN, swapped64(size))
        if transmit.prior and load32(transmit.prior + SOCKET) == load32(header + SOCKET):
            _set_note(transmit.prior, _note(transmit.prior) | FOLLOWED)
        is_known = swapped32(load32(header + SOCKET)) & ROW < transmit.sockets
        transmit.prior = request if size == 0 and is_known else 0
    transmit.joint = request if placed else 0
    transmit.serial = serial


@inline
def _enqueue_request(transmit: Record, packet: Record, offset: int) -> int:
    """Make a request of a packet up to its data; its address, 0 if there is none."""
    length = min(offset, packet.end - packet.frame)
    if not HEADER <= length <= LONGEST_REQUEST:
        transmit.closed += 1
        return 0
    request = new_request(transmit, packet.frame, length, RESERVED)
    if request == 0:
        transmit.crowded += 1
        return 0
    transmit.sent += 1
    return request


@inline
def expire(transmit: Record, protocol: int) -> None:
    """Make a request for the timers of a transport, and bring it into the channel."""
    store64(transmit.expiry, EXPIRE | protocol << 8)  # the rest of the header is 0
    transmit.number = -1  # it is none of the batch before
    if new_request(transmit, transmit.expiry, HEADER, 0) == 0:
        transmit.crowded += 1
    flush(transmit)


@inline
def flush(transmit: Record) -> None:
    """Bring the replica's requests into the channel, and wake the applications that wait for messages."""
    transmit.joint = transmit.prior = 0  # the requests are about to be published
    if transmit.requested:
        bring(transmit)
    if transmit.count == 0:
        return
    fence()  # between the stores of TAIL and the loads of ARMED; an application arms, and then loads TAIL
    for index in range(transmit.count):
        row = load64(transmit.touched + index * 8)
        armed = _area(transmit, row) + ARMED
        # seq_cst: of several replicas one writes to the eventfd.
        if load64(armed) and exchange(armed, 0):
            write(load64(transmit.bells + row * 8), transmit.one, 8)
    transmit.count = 0


@inline
def _area(transmit: Record, row: int) -> int:
    return transmit.areas + row * transmit.socket_bytes


@inline
def _room(transmit: Record, row: int, wanted: int) -> int:
    """Address of so many bytes in a row's ring; 0 if they are not free."""
    area, size, own = _area(transmit, row), transmit.ring_bytes, transmit.tails + row * 8
    ring = area + RINGS + transmit.replica * size
    tail = load64(own)
    # Acquire, pairs with the application's store: it has read what is overwritten now. A HEAD that cannot be, as
    # another program may have written it, leaves no room.
    used = tail - load64_acquire(head_of(area, transmit.replica))
    at = tail & (size - 1)
    skipped = size - at if at + wanted > size else 0
    if used < 0 or used + skipped + wanted > size:
        return 0
    if skipped:
        store64(ring + at, SKIP)
        store64(own, tail + skipped)
        at = 0
    return ring + at
