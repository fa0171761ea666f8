"""Receiving from a general replicated channel: what memory and pcap ports bring packets by.

A request is one frame: `timestamp | virtio-net header | owner | frame`. A batch holds requests of one role
only, as the domain runs a batch either as primary or as one of the others. The functions are those of
`afpacket`: `receive`, `await_turn`, `done`; frames are used in place and released when they have left.
"""

import struct
import threading
import time
from collections.abc import Iterable

import numba
import numpy as np

from scout.io.batch import LONGEST
from scout.io.packet import OFFLOAD, REACH, RECORD
from scout.io.port import PortError
from scout.ring.channel import CHANNEL, HEADER, Channel, is_primary, let_go, next_request, payload_length
from scout.ring.jit import Record, entry, inline
from scout.ring.memory import copy, load32, load64, load64_acquire, pause, store64, store64_release
from scout.ring.references import discharge, unreleased
from scout.ring.shared import shared

__all__ = ["CURSOR", "Feed", "await_turn", "done", "receive"]

TIMESTAMP, VNET, OWNER, META = 0, 8, 24, 32  # of the payload; the frame follows at META
ENTRIES = 256
_SLEEP = 0.0002  # seconds that the producer waits for space

CURSOR = np.dtype(
    [
        ("head", "i8"),  # requests let go
        ("count", "i8"),  # requests of the batch at hand
        ("open", "i8"),  # not 0: there is a batch at hand
        ("primary", "i8"),  # not 0: this replica is its primary
        ("role", "i8"),  # of the request after it, if that is dequeued already: 1 primary, 2 not; else 0
        ("seen", "i8"),
        ("claimed", "i8"),
        ("spare", "i8"),
    ]
)
"""Where a replica stands; written by it alone, a cache line."""


@inline
def receive(feed: Record, cursor: Record, replica: int, batch: np.ndarray, copies: bool) -> int:
    """Fill `batch` with the next requests of one role; how many."""
    count = 0
    while count < batch.shape[0]:
        slot = next_request(feed, cursor.head + count)
        if slot == 0:
            break
        if cursor.role == 0:
            cursor.role = 2
            if is_primary(slot, replica):
                cursor.role = 1
                store64_release(slot + HEADER + OWNER, replica + 1)  # for who buries this replica
        if count == 0:
            cursor.primary = cursor.role & 1
        elif cursor.primary != cursor.role & 1:
            break  # a batch of the other role begins here
        cursor.role = 0
        _take(batch[count], batch.ctypes.data + count * RECORD, slot, feed.tag, not copies and cursor.primary == 0)
        count += 1
    cursor.count = count
    cursor.open = 1 if count else 0
    cursor.seen += count
    if cursor.primary:
        cursor.claimed += count
    return count


@inline
def _take(packet: Record, record: int, slot: int, port: int, in_place: bool) -> None:
    """Fill a packet's record from a request."""
    frame, size = slot + HEADER + META, payload_length(slot) - META
    packet.timestamp = load64(slot + HEADER + TIMESTAMP)
    store64(record + OFFLOAD, load64(slot + HEADER + VNET))
    packet.checksum_offset = load32(slot + HEADER + VNET + 8) & 0xFFFF
    packet.port = port
    packet.at = 0
    packet.link_broadcast = 0
    packet.held_since = 0
    linear = min(size, REACH)
    packet.tail = frame + linear
    packet.tail_bytes = size - linear
    if in_place:
        packet.origin = packet.frame = frame
        packet.end = frame + linear  # not more than the primary sees, or states could differ
        return
    origin = packet.slot
    copy(origin, frame, linear)
    packet.origin = packet.frame = origin
    packet.end = origin + linear


@inline
def await_turn(feed: Record, cursor: Record, stop: int) -> None:
    """Wait until all requests before the batch at hand have left; in vain if the word at `stop` is set."""
    while load64_acquire(feed.turn) != cursor.head and load64_acquire(stop) == 0:  # pairs with done
        pause()


@inline
def done(feed: Record, cursor: Record, replica: int, ordered: bool) -> None:
    """Release the requests of the batch at hand."""
    if ordered and cursor.primary and cursor.count:
        store64_release(feed.turn, cursor.head + cursor.count)  # pairs with await_turn
    for _ in range(cursor.count):
        let_go(feed, next_request(feed, cursor.head), replica, cursor.head)
        cursor.head += 1
    cursor.count = 0
    cursor.open = 0


@entry(numba.int64(numba.types.Array(numba.from_dtype(CHANNEL), 1, "C"), numba.int64, numba.boolean, numba.boolean))
def _bury(feeds: np.ndarray, replica: int, ordered: bool, sure: bool) -> int:
    """Release what a dead `replica` held, oldest first; see `afpacket.bury`."""
    feed = feeds[0]
    orphans = 0
    newest = load64_acquire(feed.words)  # the producer's tail
    for sequence in range(max(newest - feed.entries, 0), newest):
        slot = next_request(feed, sequence)
        if slot == 0 or unreleased(slot) >> replica & 1 == 0:
            continue
        owner = load64_acquire(slot + HEADER + OWNER)  # pairs with receive
        dequeued = load64_acquire(slot) >> replica & 1 == 0
        if dequeued and owner == 0 and not sure:
            break
        if dequeued and (owner == 0 or owner == replica + 1):
            if ordered:
                if load64_acquire(feed.turn) != sequence:
                    break  # those before it have not left
                store64_release(feed.turn, sequence + 1)  # pairs with await_turn
            orphans += 1
        discharge(slot, replica)
    return orphans


class Feed:
    """The receiving half of a memory or pcap port: a channel, and a thread that fills it.

    Parameters
    ----------
    index, replicas : int
        Of the port; of those that will dequeue.
    """

    def __init__(self, index: int, replicas: int) -> None:
        self.channel = Channel(ENTRIES, META + LONGEST, replicas, tag=index)
        self.ring, self.cursors = self.channel.record, shared(replicas, CURSOR)
        self.too_long = 0
        self._ended, self._closed = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def start(self, frames: Iterable[tuple[int, bytes]]) -> None:
        """Send frames with their time stamps (nanoseconds) from a thread of their own, then end."""
        threading.Thread(target=self._run, args=(frames,), name="scout-feed", daemon=True).start()

    def _run(self, frames: Iterable[tuple[int, bytes]]) -> None:
        for timestamp, frame in frames:
            if self._closed.is_set():
                break
            self.send(frame, timestamp)
        self._ended.set()

    def send(self, frame: bytes, timestamp: int | None = None, offload: bytes = bytes(10)) -> None:
        """Broadcast one frame, waiting for space; one that is too long is counted and left out."""
        if len(frame) > LONGEST - 64:
            self.too_long += 1
            return
        stamp = time.time_ns() if timestamp is None else timestamp
        payload = struct.pack("<q10s6xq", stamp, offload, 0) + frame
        with self._lock:  # the channel has one producer
            while not self.channel.send(payload, timeout=0) and not self._closed.is_set():
                time.sleep(_SLEEP)

    def drained(self, dead: set[int]) -> bool:
        """True if the input is at its end and every living replica has let go of all of it."""
        if not self._ended.is_set():
            return False
        heads = [head for replica, head in enumerate(self.channel.heads()) if replica not in dead]
        return all(head == self.channel.sent for head in heads)

    def counters(self) -> dict[str, int]:
        """Frames that the channel took, and those that were too long for it."""
        return {"received": self.channel.sent, "too-long": self.too_long}

    def bury(self, replica: int, ordered: bool, sure: bool) -> int:
        """Take a dead replica out; how many requests it was primary of that nobody finished."""
        self.channel.leave(replica)
        return int(_bury(self.ring, replica, ordered, sure))

    def close(self) -> None:
        """End the thread that sends."""
        self._closed.set()


def checked_mtu(mtu: int) -> int:
    """An MTU that makes sense for a port without a device."""
    if not 68 <= mtu <= 65535:
        raise PortError(f"mtu {mtu}: give 68 to 65535")
    return mtu
