"""The application's side of a stream (`scout.io.endpoints.stream`): its words; the bytes are the caller's to copy.

These functions run in the application's process. One thread at a time reads a stream, and one at a time writes it.
"""

import numba

from scout.io.endpoints.memory import ARMED
from scout.io.endpoints.stream import (
    ACKNOWLEDGED,
    AWAITED,
    CLOSED,
    ENDED,
    FREED,
    OPENED,
    OPENING,
    PHASE,
    PLACING,
    RECEIVED,
    SEALING,
    SOFT_ERROR,
)
from scout.io.system import read, write
from scout.ring.atomics import exchange, fence, load64, load64_acquire, store64, store64_release
from scout.ring.jit import entry, inline
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import LINE

__all__ = [
    "CONNECT",
    "NOW",
    "READ",
    "RECORDS",
    "await_room",
    "ends_at",
    "errors",
    "free",
    "opened",
    "phase",
    "plain_room",
    "readable",
    "room",
    "settle",
    "soft_error",
]

READ, CONNECT, NOW, RECORDS = 1, 2, 4, 8
"""The events that an application waits for, as bits: data, the end or an error; the end of a connection's opening;
none, as the eventfd is to be readable at once. With `RECORDS` data are those that were opened."""

ONE, SCRATCH = 8, 16  # offsets in the socket's area, as in `scout.io.endpoints.application`

_i8 = numba.int64


@entry(_i8(_i8))
def readable(stream: int) -> int:
    """Bytes that wait to be read."""
    # Acquire, pairs with the replica's compare-exchange: the bytes are there. FREED is our own last store.
    return load64_acquire(stream + RECEIVED) - load64(stream + FREED)


@entry(_i8(_i8))
def opened(stream: int) -> int:
    """Bytes of the peer's stream that were opened."""
    return load64_acquire(stream + OPENED)  # pairs with the replica's compare-exchange: the bytes are there


@entry(_i8(_i8, _i8))
def free(stream: int, position: int) -> int:
    """Let bytes before a position be written over; the position up to which the stack may be told that they were read.

    It is lower than `position` as long as a replica writes bytes there that have come again.
    """
    # Release, pairs with the replica's load: the bytes were read. The fence is the contract's: PLACING is loaded
    # behind it, and a replica has one between its store of PLACING and its load of FREED.
    store64_release(stream + FREED, position)
    fence()
    lowest = position
    for replica in range(MOST_REPLICAS):
        # Acquire, pairs with the store of a replica that has written: its bytes do not come later than this load.
        placing = load64_acquire(stream + PLACING + replica * LINE)
        if placing:
            lowest = min(lowest, placing - 1)
    return lowest


@entry(_i8(_i8, _i8, _i8))
def room(stream: int, size: int, written: int) -> int:
    """Bytes for which the send ring has room, if `written` were written so far; -1 if the connection is closed."""
    if load64_acquire(stream + PHASE) >> 8 == CLOSED:  # pairs with the replica's compare-exchange, as below
        return -1
    return load64_acquire(stream + ACKNOWLEDGED) + size - written


@entry(_i8(_i8, _i8, _i8))
def plain_room(stream: int, size: int, written: int) -> int:
    """As `room`, of the plain ring, without what a late replica is about to seal."""
    if load64_acquire(stream + PHASE) >> 8 == CLOSED:  # pairs with the replica's compare-exchange
        return -1
    lowest = load64_acquire(stream + ACKNOWLEDGED)  # pairs with the replica's compare-exchange
    fence()  # between this load and those of SEALING; a replica has one between its store of SEALING and its load
    for replica in range(MOST_REPLICAS):
        sealing = load64_acquire(stream + SEALING + replica * LINE)  # pairs with the store of one that has sealed
        if sealing:
            lowest = min(lowest, sealing - 1)
    return lowest + size - written


@entry(numba.void(_i8, _i8))
def await_room(stream: int, position: int) -> None:
    """Have the application woken when the peer has the bytes before a position; 0: not any more. `settle` follows."""
    store64_release(stream + AWAITED, position)
    fence()  # between this store and the load of ACKNOWLEDGED in `settle`


@entry(_i8(_i8))
def phase(stream: int) -> int:
    """The phase of the connection << 8 | the reason of its end."""
    return load64_acquire(stream + PHASE)  # pairs with the replica's compare-exchange: the words before it are there


@entry(_i8(_i8))
def ends_at(stream: int) -> int:
    """The bytes of the peer's whole stream; -1 if it has not ended."""
    return load64_acquire(stream + ENDED) - 1  # pairs with the replica's compare-exchange


@entry(_i8(_i8))
def soft_error(stream: int) -> int:
    """The number (errno) of the last ICMP error that did not end the connection; 0: there was none."""
    return max(load64_acquire(stream + SOFT_ERROR) - 1, 0) & 0xFFFF  # pairs with the replica's compare-exchange


@entry(_i8(_i8))
def errors(stream: int) -> int:
    """How many errors were told that did not end the connection."""
    return load64_acquire(stream + SOFT_ERROR) >> 16  # pairs with the replica's compare-exchange


@entry(_i8(_i8, _i8, _i8, _i8))
def settle(area: int, stream: int, bell: int, wants: int) -> int:
    """Let the eventfd be readable if what the application waits for is there, else once it comes; 1 if it is there.

    Parameters
    ----------
    area, stream : int
        Addresses of the socket's area, and of the stream in it.
    bell : int
        The eventfd.
    wants : int
        Bits: `READ`, `CONNECT`, `NOW`. It always waits for the room that `await_room` asked for.
    """
    ready = _ready(stream, wants)
    if not ready:
        read(bell, area + SCRATCH, 8)
        # seq_cst, before the second look: a replica stores words and then loads ARMED. One side sees the other.
        exchange(area + ARMED, 1)
        ready = _ready(stream, wants)
    if ready and exchange(area + ARMED, 0):
        store64(area + ONE, 1)
        write(bell, area + ONE, 8)
    return ready


@inline
def _ready(stream: int, wants: int) -> int:
    """1 if what the application waits for is there."""
    state = load64_acquire(stream + PHASE) >> 8  # these loads pair with compare-exchanges of replicas
    awaited = load64(stream + AWAITED)  # our own last store
    if wants & NOW or (wants & CONNECT and state != OPENING) or (wants & READ and state == CLOSED):
        return 1
    if awaited and (state == CLOSED or load64_acquire(stream + ACKNOWLEDGED) >= awaited):
        return 1
    if wants & READ == 0:
        return 0
    received = load64_acquire(stream + (OPENED if wants & RECORDS else RECEIVED))
    ended = load64_acquire(stream + ENDED)
    return 1 if received > load64(stream + FREED) or ended else 0
