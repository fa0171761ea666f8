"""The replicated channel: a ring in shared memory, one producer, every replica dequeues every request.

Each replica has a private head. The first to dequeue a request is its primary; the last to release it
frees its entry (`references`). A full channel refuses (`send` waits): nothing is overwritten.

An entry is `references | sequence | claim | payload`, padded to whole cache lines. The sequence, counted
from 1, is stored last, with release; the acquire load by which a replica finds its next request there
pairs with it. The claim holds the payload's length and, in its upper half, who is primary: the first puts
itself there by an exchange. So whoever buries a replica knows for sure what it was primary of, also if it
died in between.

For work that must leave in channel order there is a turn: how many requests have left. A primary waits
for its own (`await_turn`) and passes it on (`pass_turn`); of the dead, whoever buries them does.

The functions are for compiled loops and take the channel's record; `Channel` and `Replica` are the same
for Python, one request at a time.
"""

import time

import numba
import numpy as np

from scout.ring.errors import ScoutError
from scout.ring.jit import Record, entry, inline
from scout.ring.memory import (
    compare_exchange,
    copy,
    load32,
    load64_acquire,
    pause,
    store64,
    store64_release,
)
from scout.ring.references import MOST_REPLICAS, discharge, everyone, release, unreleased
from scout.ring.shared import LINE, address, shared

__all__ = [
    "CHANNEL",
    "HEADER",
    "Channel",
    "Replica",
    "await_turn",
    "head_of",
    "is_primary",
    "let_go",
    "next_request",
    "owner_of",
    "pass_turn",
    "payload_length",
    "publish",
    "reserve",
    "sweep",
]

_REFERENCES, _SEQUENCE, _CLAIM, HEADER = 0, 8, 16, 24
_OWNER = 32  # bits of the claim below the owner's number plus 1
_TAIL, _JOINED, _TURN, _HEADS = 0, LINE, 2 * LINE, 3 * LINE

CHANNEL = np.dtype([("ring", "i8"), ("entries", "i8"), ("stride", "i8"), ("words", "i8")], align=True)
"""What a compiled loop needs of a channel: the ring's address, its entries (a power of two), the bytes
from one to the next, and the address of the words beside it: the producer's tail, the mask of replicas
that have joined, the turn, and the replicas' heads, a cache line each."""


@inline
def head_of(channel: Record, replica: int) -> int:
    """Address of `replica`'s head: how many requests it has let go of. Written by its owner alone."""
    return channel.words + _HEADS + replica * LINE


@inline
def reserve(channel: Record) -> int:
    """Address of the next entry to fill, 0 if the channel is full or nobody dequeues. Producer only."""
    if load64_acquire(channel.words + _JOINED) == 0:  # pairs with sweep
        return 0
    tail = load64_acquire(channel.words + _TAIL)  # our own last store: the order pairs with nothing
    slot = _slot(channel, tail)
    # Acquire, pairs with the releasing decrements: no replica reads the entry any more.
    return 0 if unreleased(slot + _REFERENCES) else slot


@inline
def publish(channel: Record, slot: int, length: int) -> None:
    """Make the reserved `slot`, with `length` bytes of payload, the newest request. Producer only."""
    tail = load64_acquire(channel.words + _TAIL)  # our own last store
    members = load64_acquire(channel.words + _JOINED)  # pairs with sweep
    store64(slot + _CLAIM, length)
    store64(slot + _REFERENCES, everyone(members))  # only releases are taken: the claim tells who was first
    store64_release(slot + _SEQUENCE, tail + 1)  # pairs with next_request
    store64_release(channel.words + _TAIL, tail + 1)  # pairs with sweep; for observers of the lag


@inline
def _slot(channel: Record, number: int) -> int:
    """Address of the entry of the request after `number` others."""
    return channel.ring + (number & (channel.entries - 1)) * channel.stride


@inline
def next_request(channel: Record, head: int) -> int:
    """Address of the request after `head` others, 0 if there is none yet."""
    slot = _slot(channel, head)
    return slot if load64_acquire(slot + _SEQUENCE) == head + 1 else 0  # pairs with publish


@inline
def is_primary(slot: int, replica: int) -> bool:
    """Dequeue the request in `slot`; True if this replica is its primary."""
    claim = load64_acquire(slot + _CLAIM)  # pairs with the exchange of another replica
    # acq_rel, pairs with the load above and with owner_of; who loses it is not the first.
    mine = (replica + 1) << _OWNER | claim
    return claim >> _OWNER == 0 and compare_exchange(slot + _CLAIM, claim, mine)  # type: ignore[call-arg]


@inline
def owner_of(slot: int) -> int:
    """Who is primary of the request in `slot`, plus 1; 0 if nobody has dequeued it."""
    return load64_acquire(slot + _CLAIM) >> _OWNER  # pairs with the exchange in is_primary


@inline
def payload_length(slot: int) -> int:
    """Bytes of payload in `slot`, from `slot + HEADER` on."""
    return load32(slot + _CLAIM)


@inline
def let_go(channel: Record, slot: int, replica: int, head: int) -> None:
    """Release the request in `slot`, the one after `head` others; its memory may not be read after."""
    release(slot + _REFERENCES, replica)
    store64_release(head_of(channel, replica), head + 1)  # for observers of the lag


@inline
def await_turn(channel: Record, head: int, stop: int) -> None:
    """Wait until the `head` first requests have left; in vain if the word at address `stop` is set."""
    # Both acquire: the turn pairs with pass_turn and sweep, stop with who sets it.
    while load64_acquire(channel.words + _TURN) != head and load64_acquire(stop) == 0:
        pause()


@inline
def pass_turn(channel: Record, head: int) -> None:
    """The `head` first requests have left. For their primary, after its `await_turn`."""
    store64_release(channel.words + _TURN, head)  # pairs with await_turn


_SCALAR = numba.from_dtype(CHANNEL)
_ARRAY = numba.types.Array(_SCALAR, 1, "C")


@entry(numba.types.UniTuple(numba.int64, 2)(_ARRAY, numba.int64, numba.boolean))
def sweep(channels: np.ndarray, replica: int, ordered: bool) -> tuple[int, int]:
    """Take a dead `replica` out and release what it held; how many requests, and of how many it was primary.

    One process only. If requests leave in channel order, those it was primary of are released as their
    turn comes, and pass it on.
    """
    channel = channels[0]
    members = load64_acquire(channel.words + _JOINED)  # our own last store
    store64_release(channel.words + _JOINED, members & ~(1 << replica))  # pairs with reserve and publish
    held = orphans = 0
    tail = load64_acquire(channel.words + _TAIL)  # pairs with publish
    for number in range(max(tail - channel.entries, 0), tail):
        slot = next_request(channel, number)
        if slot == 0 or unreleased(slot + _REFERENCES) >> replica & 1 == 0:
            continue
        if owner_of(slot) == replica + 1:
            turn = load64_acquire(channel.words + _TURN)  # pairs with pass_turn
            if ordered and turn < number:
                continue
            if ordered and turn == number:  # else it had left, and the replica died before it let go
                pass_turn(channel, number + 1)
            orphans += 1
        discharge(slot + _REFERENCES, replica)
        held += 1
    return held, orphans


@entry(numba.boolean(_ARRAY, numba.int64, numba.int64))
def _send(channels: np.ndarray, source: int, length: int) -> bool:
    slot = reserve(channels[0])
    if slot == 0:
        return False
    copy(slot + HEADER, source, length)
    publish(channels[0], slot, length)
    return True


@entry(numba.int64(_ARRAY, numba.int64, numba.int64, numba.int64))
def _receive(channels: np.ndarray, replica: int, head: int, target: int) -> int:
    """Length of the payload copied to `target`, with bit 32 set for the primary; -1: no request."""
    channel = channels[0]
    slot = next_request(channel, head)
    if slot == 0:
        pause()
        return -1
    length = payload_length(slot)
    primary = is_primary(slot, replica)
    copy(target, slot + HEADER, length)
    let_go(channel, slot, replica, head)
    return length | (1 << 32 if primary else 0)


class Channel:
    """A replicated channel between this process and those forked from it.

    Parameters
    ----------
    entries : int
        Requests it holds; a power of two.
    entry_bytes : int
        The longest payload.
    replicas : int
        How many domains dequeue, 1 to 31.

    Examples
    --------
    >>> channel = Channel(entries=8, entry_bytes=40, replicas=2)
    >>> channel.send(b"hello")
    True
    >>> channel.replica(1).receive(), channel.replica(0).receive()
    ((b'hello', True), (b'hello', False))
    """

    def __init__(self, entries: int, entry_bytes: int, replicas: int) -> None:
        if entries < 1 or entries & (entries - 1):
            raise ScoutError(f"channel of {entries} entries: give a power of two")
        if not 1 <= replicas <= MOST_REPLICAS:
            raise ScoutError(f"channel for {replicas} replicas: give 1 to {MOST_REPLICAS}")
        self.entry_bytes, self.replicas = entry_bytes, replicas
        stride = -(-(HEADER + entry_bytes) // LINE) * LINE
        self._ring = shared(entries * stride, np.uint8)
        self._words = shared(_HEADS // 8 + replicas * LINE // 8, np.int64)
        self.record = shared(1, CHANNEL)
        """The channel for compiled loops: an array of one `CHANNEL`."""
        self.record[0] = (address(self._ring), entries, stride, address(self._words))
        self._words[_JOINED // 8] = (1 << replicas) - 1

    @property
    def sent(self) -> int:
        """Requests published so far."""
        return int(self._words[_TAIL // 8])

    def heads(self) -> list[int]:
        """Requests that each replica has let go of."""
        return [int(head) for head in self._words[_HEADS // 8 :: LINE // 8]]

    def send(self, payload: bytes, timeout: float = 1.0) -> bool:
        """Broadcast `payload`, waiting at most `timeout` seconds for space; False if there was none."""
        if len(payload) > self.entry_bytes:
            raise ScoutError(f"payload of {len(payload)} bytes: the channel was made for {self.entry_bytes}")
        source = np.frombuffer(payload, np.uint8) if payload else np.zeros(1, np.uint8)
        deadline = time.monotonic() + timeout
        while not _send(self.record, address(source), len(payload)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0)
        return True

    def replica(self, number: int) -> "Replica":
        """The receiving end of replica `number`, counted from 0; for one process only."""
        if not 0 <= number < self.replicas:
            raise ScoutError(f"replica {number}: the channel has {self.replicas}, counted from 0")
        return Replica(self, number)

    def bury(self, replica: int, ordered: bool = False) -> int:
        """Take a dead replica out, so that nothing waits for it; how many requests it still held.

        Only one process may call it. Call it again while requests of before may still be published (a
        producer that had read the old membership can leave one more), and, if requests leave in channel
        order (`ordered`), while those before its own have not left.
        """
        return int(sweep(self.record, replica, ordered)[0])


class Replica:
    """One domain's end of a channel. Starts where the replica's head stands."""

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel, self._number = channel, number
        self._head = channel.heads()[number]
        self._buffer = np.zeros(max(1, channel.entry_bytes), np.uint8)

    def receive(self) -> tuple[bytes, bool] | None:
        """The next request and whether this replica is its primary; None if there is none yet."""
        result = _receive(self._channel.record, self._number, self._head, address(self._buffer))
        if result < 0:
            return None
        self._head += 1
        return self._buffer[: result & 0xFFFFFFFF].tobytes(), bool(result >> 32)
