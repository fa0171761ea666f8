"""The replicated channel: a ring in shared memory, one producer, every replica dequeues every request.

Each replica has a private head. The first to dequeue a request is its primary; the last to release it
frees its entry (`references`). A full channel refuses (`send` waits): nothing is overwritten.

An entry is `references | sequence | members, length | payload`, padded to whole cache lines. The
sequence, counted from 1, is stored last, with release; the acquire load by which a replica finds its
next request there pairs with it.

The functions are for compiled loops and take the channel's record; `Channel` and `Replica` are the same
for Python, one request at a time.
"""

import time

import numba
import numpy as np

from scout.ring.errors import ScoutError
from scout.ring.jit import Record, entry, inline
from scout.ring.memory import (
    copy,
    load32,
    load64_acquire,
    pause,
    store32,
    store64,
    store64_release,
)
from scout.ring.references import MOST_REPLICAS, dequeue, discharge, everyone, release, unreleased
from scout.ring.shared import LINE, address, shared

__all__ = [
    "CHANNEL",
    "HEADER",
    "Channel",
    "Replica",
    "head_of",
    "is_primary",
    "let_go",
    "next_request",
    "payload_length",
    "publish",
    "reserve",
    "sweep",
]

_REFERENCES, _SEQUENCE, _MEMBERS, _LENGTH, HEADER = 0, 8, 16, 20, 24
_TAIL, _JOINED, _TURN, _HEADS = 0, LINE, 2 * LINE, 3 * LINE

CHANNEL = np.dtype([(name, "i8") for name in ("ring", "entries", "stride", "words", "turn", "tag")])
"""What a compiled loop needs of a channel: the ring's address, its entries (a power of two), the bytes
from one to the next, and the address of the words beside it: the producer's tail, the mask of replicas
that have joined, and the replicas' heads, a cache line each. Then the address of the number of requests
whose primary has committed, for those who keep channel order, and a number of the owner's own."""


@inline
def head_of(channel: Record, replica: int) -> int:
    """Address of `replica`'s head: how many requests it has let go of. Written by its owner alone."""
    return channel.words + _HEADS + replica * LINE


@inline
def reserve(channel: Record) -> int:
    """Address of the next entry to fill, 0 if the channel is full. Producer only."""
    tail = load64_acquire(channel.words + _TAIL)  # our own last store: the order pairs with nothing
    slot = channel.ring + (tail & (channel.entries - 1)) * channel.stride
    # Acquire, pairs with the releasing decrements: no replica reads the entry any more.
    return 0 if unreleased(slot + _REFERENCES) else slot


@inline
def publish(channel: Record, slot: int, length: int) -> None:
    """Make the reserved `slot`, with `length` bytes of payload, the newest request. Producer only."""
    tail = load64_acquire(channel.words + _TAIL)
    members = load64_acquire(channel.words + _JOINED)  # pairs with join and leave
    store32(slot + _MEMBERS, members)
    store32(slot + _LENGTH, length)
    store64(slot + _REFERENCES, everyone(members))
    store64_release(slot + _SEQUENCE, tail + 1)  # pairs with next_request
    store64_release(channel.words + _TAIL, tail + 1)  # for observers of the lag


@inline
def next_request(channel: Record, head: int) -> int:
    """Address of the request after `head` others, 0 if there is none yet."""
    slot = channel.ring + (head & (channel.entries - 1)) * channel.stride
    return slot if load64_acquire(slot + _SEQUENCE) == head + 1 else 0  # pairs with publish


@inline
def is_primary(slot: int, replica: int) -> bool:
    """Dequeue the request in `slot`; True if this replica is its primary."""
    return dequeue(slot + _REFERENCES, replica, load32(slot + _MEMBERS))


@inline
def payload_length(slot: int) -> int:
    """Bytes of payload in `slot`, from `slot + HEADER` on."""
    return load32(slot + _LENGTH)


@inline
def let_go(channel: Record, slot: int, replica: int, head: int) -> None:
    """Release the request in `slot`, the one after `head` others; its memory may not be read after."""
    release(slot + _REFERENCES, replica)
    store64_release(head_of(channel, replica), head + 1)  # for observers of the lag


_SCALAR = numba.from_dtype(CHANNEL)
_ARRAY = numba.types.Array(_SCALAR, 1, "C")


@entry(numba.int64(_ARRAY, numba.int64))
def sweep(channels: np.ndarray, replica: int) -> int:
    """Release whatever a dead `replica` still held; how many entries that was. One process only."""
    channel = channels[0]
    count = 0
    for index in range(channel.entries):
        word = channel.ring + index * channel.stride + _REFERENCES
        held = unreleased(word) >> replica & 1
        discharge(word, replica)
        count += held
    return count


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
    tag : int
        A number for those who serve it.

    Examples
    --------
    >>> channel = Channel(entries=8, entry_bytes=40, replicas=2)
    >>> channel.send(b"hello")
    True
    >>> channel.replica(1).receive(), channel.replica(0).receive()
    ((b'hello', True), (b'hello', False))
    """

    def __init__(self, entries: int, entry_bytes: int, replicas: int, tag: int = 0) -> None:
        if entries < 1 or entries & (entries - 1):
            raise ScoutError(f"channel of {entries} entries: give a power of two")
        if not 1 <= replicas <= MOST_REPLICAS:
            raise ScoutError(f"channel for {replicas} replicas: give 1 to {MOST_REPLICAS}")
        self.entry_bytes, self.replicas = entry_bytes, replicas
        stride = -(-(HEADER + entry_bytes) // LINE) * LINE
        self._ring = shared(entries * stride, np.uint8)
        self._words = shared((3 + replicas) * LINE // 8, np.int64)
        self.record = shared(1, CHANNEL)
        """The channel for compiled loops: an array of one `CHANNEL`."""
        words = address(self._words)
        self.record[0] = (address(self._ring), entries, stride, words, words + _TURN, tag)
        self._joined[0] = (1 << replicas) - 1

    @property
    def _joined(self) -> np.ndarray:
        return self._words[_JOINED // 8 :]

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

    def leave(self, replica: int) -> None:
        """Let no further request wait for `replica`."""
        self._joined[0] &= ~(1 << replica)

    def bury(self, replica: int) -> int:
        """Take a dead replica out, so that nothing waits for it; how many requests it still held.

        Only one process may call it. Call it again while requests of before may still be published:
        a producer that had read the old membership can leave one more.
        """
        self.leave(replica)
        return int(sweep(self.record, replica))


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
