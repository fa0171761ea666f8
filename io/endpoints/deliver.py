"""From a path to sockets: the sending side of an application port.

A message that leaves by the port (`scout.io.endpoints.message`) is copied to the ring of its socket that belongs to the
replica, which alone writes it. TAIL is stored once the message is whole: a replica that dies leaves no hole. `flush`
then wakes the applications that wait.
"""

import numpy as np

from scout.io.batch import BATCH_SIZE
from scout.io.byte_order import swapped16, swapped32
from scout.io.endpoints.memory import ARMED, ENTRY, RINGS, SKIP, USED, entry_bytes, head_of, number_of, tail_of
from scout.io.endpoints.message import EXTENT_OFFSET, HEADER, ROW, SOCKET
from scout.io.system import write
from scout.ring.atomics import copy, exchange, fence, fetch_or, load32, load64, load64_acquire, store64, store64_release
from scout.ring.jit import Record, inline

__all__ = ["TOUCHED", "TRANSMIT", "enqueue", "flush"]

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
    ]
)
"""The sending side of a replica, two cache lines, written by it alone. The supervisor sets it up."""

TOUCHED = BATCH_SIZE


@inline
def enqueue(transmit: Record, packet: Record, record: int) -> None:
    """Copy a message to its socket's ring."""
    header = packet.frame
    number = swapped32(load32(header + SOCKET))
    row = number & ROW
    if row >= transmit.sockets or number_of(transmit, row) != number:
        transmit.closed += 1
        return
    extent = load32(header + EXTENT_OFFSET)
    offset, size = swapped16(extent), swapped16(extent >> 16)
    linear = packet.end - header
    size = max(0, min(size, linear + packet.tail_bytes - offset))
    place = _room(transmit, row, entry_bytes(HEADER + size))
    if place == 0:
        transmit.full += 1
        return
    store64(place, HEADER + size)
    store64(place + 8, transmit.number)
    copy(place + ENTRY, header, HEADER)
    data = place + ENTRY + HEADER
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
    if transmit.count == 0 or load64(transmit.touched + (transmit.count - 1) * 8) != row:
        store64(transmit.touched + transmit.count * 8, row)
        transmit.count += 1


@inline
def flush(transmit: Record) -> None:
    """Wake the applications that wait for these messages."""
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
