"""The application's side of the memory (`scout.io.endpoints.memory`): making local requests, and taking messages.

These functions run in the application's process. One thread at a time makes requests, and one at a time takes messages
of a socket.
"""

import numba

from scout.io.endpoints.memory import (
    ARMED,
    DOORBELL,
    ENTRY,
    HEAD,
    RINGS,
    SKIP,
    TAIL,
    USED,
    entry_bytes,
    head_of,
    tail_of,
)
from scout.io.endpoints.message import HEADER
from scout.io.system import read, write
from scout.ring.atomics import (
    copy,
    exchange,
    load64,
    load64_acquire,
    store64,
    store64_release,
)
from scout.ring.jit import entry, inline

__all__ = ["EMPTY", "add", "settle", "submit", "take"]

EMPTY = -1
"""The value of `take` if no message waits."""

ONE, SCRATCH = 8, 16  # offsets in an area of a word that is written to eventfds, and of one that is read from them

_i8 = numba.int64


@entry(_i8(_i8, _i8, _i8, _i8, _i8, _i8))
def submit(area: int, request_bytes: int, bell: int, header: int, data: int, size: int) -> int:
    """Make a request of the header at address `header` and `size` bytes at address `data`; 1, or 0 if there is no room.

    Parameters
    ----------
    area : int
        Address of the application's area.
    request_bytes : int
        Bytes of its ring.
    bell : int
        The eventfd that wakes replicas.
    """
    if not add(area, request_bytes, header, data, size):
        return 0
    # seq_cst: a replica that silenced the doorbell before this exchange loads TAIL after it, or the bell wakes it.
    if exchange(area + DOORBELL, 1) == 0:
        store64(area + ONE, 1)
        write(bell, area + ONE, 8)
    return 1


@inline
def add(area: int, request_bytes: int, header: int, data: int, size: int) -> bool:
    """Write a request to the ring of requests; False if there is no room. The doorbell is to be rung behind it."""
    tail = load64(area + TAIL)  # our own last store
    wanted = entry_bytes(HEADER + size)
    at = tail & (request_bytes - 1)
    skipped = request_bytes - at if at + wanted > request_bytes else 0
    # Acquire, pairs with the store in `scout.io.endpoints.collect`: what is overwritten now was copied.
    if tail + skipped + wanted - load64_acquire(area + HEAD) > request_bytes:
        return False
    if skipped:
        store64(area + RINGS + at, SKIP)
        tail, at = tail + skipped, 0
    place = area + RINGS + at
    store64(place, HEADER + size)
    store64(place + 8, 0)
    copy(place + ENTRY, header, HEADER)
    copy(place + ENTRY + HEADER, data, size)
    store64_release(area + TAIL, tail + wanted)  # pairs with the load of a replica: the request is whole
    return True


@entry(_i8(_i8, _i8, _i8, _i8, _i8))
def take(area: int, ring_bytes: int, bell: int, target: int, capacity: int) -> int:
    """Copy the next message, its header and data, to address `target`; its bytes, or `EMPTY`.

    Of a message that is longer than `capacity` the rest is lost. The eventfd stays readable as long as messages wait.

    Parameters
    ----------
    area, ring_bytes : int
        Address of the socket's area, and bytes of each ring.
    bell : int
        The socket's eventfd.
    target, capacity : int
        Room for a header and data.
    """
    chosen = _next(area, ring_bytes)
    if chosen < 0:
        _arm(area, ring_bytes, bell)
        chosen = _next(area, ring_bytes)
        if chosen < 0:
            return EMPTY
    head = load64(head_of(area, chosen))
    place = area + RINGS + chosen * ring_bytes + (head & (ring_bytes - 1))
    length = load64(place)
    copy(target, place + ENTRY, min(length, capacity))
    # Release, pairs with the replica's load: the message was read.
    store64_release(head_of(area, chosen), head + entry_bytes(length))
    if _next(area, ring_bytes) < 0:
        _arm(area, ring_bytes, bell)
    return length


@entry(numba.void(_i8, _i8, _i8))
def settle(area: int, ring_bytes: int, bell: int) -> None:
    """Let the eventfd not be readable unless a message waits, after somebody else has written to it."""
    if _next(area, ring_bytes) < 0:
        _arm(area, ring_bytes, bell)


@inline
def _next(area: int, ring_bytes: int) -> int:
    """The replica whose next message is the first that waits, by the numbers of their batches; -1 if none waits."""
    chosen, order, replica = -1, 0, -1
    used = load64_acquire(area + USED)  # pairs with the replica's store
    while used >> replica + 1:
        replica += 1
        head = load64(head_of(area, replica))  # our own last store
        tail = load64_acquire(tail_of(area, replica))  # pairs with the replica's store: its messages are whole
        if used >> replica & 1 == 0 or head == tail:
            continue
        place = area + RINGS + replica * ring_bytes
        if load64(place + (head & (ring_bytes - 1))) == SKIP:
            head += ring_bytes - (head & (ring_bytes - 1))
            store64_release(head_of(area, replica), head)
        number = load64(place + (head & (ring_bytes - 1)) + 8)
        if chosen < 0 or number < order:
            chosen, order = replica, number
    return chosen


@inline
def _arm(area: int, ring_bytes: int, bell: int) -> None:
    """Let the eventfd not be readable, unless a message comes meanwhile."""
    read(bell, area + SCRATCH, 8)
    # seq_cst, before the second look: a replica stores TAIL and then loads ARMED. One side sees the other.
    exchange(area + ARMED, 1)
    if _next(area, ring_bytes) >= 0 and exchange(area + ARMED, 0):
        store64(area + ONE, 1)
        write(bell, area + ONE, 8)
