"""Receiving from a replicated channel: a request is one frame, from a producer of Scout's own.

A request's payload is `timestamp (8 bytes) | struct virtio_net_hdr (10) | control (1) | stage (1) | spare (4) | frame`.
Where `control` is not 0 it is no packet, but something that the service at `stage` is told, and the frame is its
argument, an int64.

A replica takes the next requests a batch at a time. The domain runs a whole batch as the primary or as one
of the others, so a batch ends where the role would change; batches differ between replicas, and their
packets are handled one by one in channel order. Nobody writes to a request: a replica that works on
packets copies their headers to its own slots (`REACH` bytes), the rest goes out from where it is. Requests
are let go of when the batch has been sent.

Frames come from `Feed.send`, one at a time, or from `Feed.play`, a process that sends the records of a
pcap file as fast as they are taken; control requests come from this process. Both take turns.
"""

import struct
import time
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from scout.io.batch import BATCH_SIZE, LONGEST
from scout.io.packet import OFFLOAD, REACH, RECORD
from scout.io.port import PortError, mac_number
from scout.io.process import Child
from scout.io.sink import RECORD_HEADER, SECOND, TRANSMIT, Sink
from scout.ring import turn
from scout.ring.channel import Channel
from scout.ring.election import close_batch, open_all, open_batch
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import (
    CHANNEL,
    MEMBER,
    floor_of,
    payload,
    payload_length,
    published,
    set_length,
    slot_of,
)
from scout.ring.membership import join, resume
from scout.ring.memory import copy, load32, load64, store64, store64_release
from scout.ring.producer import acquire, give_back, publish, reserve
from scout.ring.shared import address, shared

__all__ = ["CURSOR", "FEED", "FedPort", "Feed", "Records", "await_turn", "done", "number", "receive"]

ENTRIES = 2048
"""Requests that a channel holds by default. A quarter of them come between two snapshots of a replica's state: large
tables want more."""

BATCH = 32
"""Requests that are dequeued together by default: few enough that replicas share out dear work evenly."""

FRAME_MARGIN = 18  # bytes of a frame beyond the MTU: the Ethernet header and one VLAN tag
REQUEST = struct.Struct("<q10sBB4x")
PLAYER, CALLER = 0, 1  # the producers: the process of `play`, and this one
TIMESTAMP, OFFLOADS, FRAME = 0, 8, REQUEST.size  # offsets in a request
CONTROL = 16  # offset of the 4 bytes that end with control and stage
NAP = 50e-6  # seconds that the feeding process rests when the channel is full
GRACE = 3.0  # seconds that a killed process may take to end

# The channel's fields come last: a record that begins as a CHANNEL would be taken for one by numba.
FEED = np.dtype(
    [
        ("port", "i8"),  # index of the port
        ("frame_bytes", "i8"),  # of the longest frame
        ("too_long", "i8"),  # frames left out; written by the producer
        ("spare", "i8"),
        *((name, "i8") for name in CHANNEL.names or ()),
    ]
)
"""A `CHANNEL`, and what a port needs besides."""

CURSOR = MEMBER
"""Where a replica stands in a feed."""


@inline
def receive(feed: Record, cursor: Record, replica: int, batch: np.ndarray, copies: bool) -> int:
    """Fill `batch` with the next packets that this replica has one role for; how many.

    With `copies` false a replica that is not the primary looks at the packets in the channel, where nobody
    may write.
    """
    count = max(0, open_batch(feed, cursor, replica))
    in_place = not copies and cursor.primary == 0
    for index in range(count):
        record = batch.ctypes.data + index * RECORD
        _take(batch[index], record, slot_of(feed, cursor.head + index), feed.port, in_place)
    return count


@inline
def receive_own(
    feed: Record, cursor: Record, replica: int, batch: np.ndarray, shards: int, shard_of: Callable[..., int]
) -> int:
    """Fill `batch` with those of the next packets that are this replica's, by `shard_of`; how many.

    It is primary of them; the others are passed over. Control requests are everyone's.
    """
    count, taken = open_all(feed, cursor), 0
    for index in range(count):
        slot = slot_of(feed, cursor.head + index)
        frame, end = payload(slot) + FRAME, payload(slot) + payload_length(slot)
        if load32(payload(slot) + CONTROL) >> 16 or shard_of(frame, min(end, frame + REACH), shards) == replica:
            _take(batch[taken], batch.ctypes.data + taken * RECORD, slot, feed.port, False)
            taken += 1
    cursor.claimed -= count - taken  # they are counted as claimed when the batch is let go of
    return taken


@inline
def _take(packet: Record, record: int, slot: int, port: int, in_place: bool) -> None:
    """Fill a packet's record from a request."""
    request = payload(slot)
    frame, size = request + FRAME, payload_length(slot) - FRAME
    packet.timestamp = load64(request + TIMESTAMP)
    store64(record + OFFLOAD, load64(request + OFFLOADS))
    word = load32(request + CONTROL)
    packet.checksum_offset = word & 0xFFFF
    packet.control = word >> 16 & 0xFF
    packet.at = word >> 24
    packet.argument = load64(frame) if packet.control else 0
    packet.port = port
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
def await_turn(feed: Record, cursor: Record, stop: int) -> bool:
    """Wait until all packets before the batch at hand have left, or the word at `stop` says STOP.

    False if the batch has left too: a predecessor had sent it.
    """
    return turn.await_turn(feed, cursor.head, stop)


@inline
def done(feed: Record, cursor: Record, replica: int, ordered: bool) -> None:
    """Let go of the requests of the batch at hand."""
    if cursor.open == 0:
        return
    # Not if the wait was cut short: those before are still to leave. Not if a predecessor has passed it on.
    if ordered and cursor.primary and turn.is_turn(feed, cursor.head):
        turn.pass_turn(feed, cursor.head + cursor.count)
    close_batch(feed, cursor, replica)


@inline
def is_due(feed: Record, cursor: Record) -> bool:
    """True if the replica stands at a place where all save a snapshot, and has not yet."""
    return cursor.head & (feed.interval - 1) == 0 and cursor.floor != cursor.head


@inline
def waiting(feed: Record, cursor: Record) -> int:
    """How many packets wait."""
    if cursor.tail <= cursor.head:
        cursor.tail = published(feed)
    return max(0, cursor.tail - cursor.head)


@inline
def since(feed: Record, cursor: Record) -> int:
    """When the first of the packets that wait was received, nanoseconds since 1970."""
    return load64(payload(slot_of(feed, cursor.head)) + TIMESTAMP)


@inline
def place(feed: Record, cursor: Record) -> int:
    """How many requests the replica has let go of."""
    return cursor.head


@inline
def keep_from(feed: Record, cursor: Record, replica: int) -> None:
    """Keep the requests from here on: the state as it is now is saved."""
    store64_release(floor_of(feed, replica), cursor.head)  # pairs with the producer's look


_ARRAY = numba.types.Array(numba.from_dtype(FEED), 1, "C")


@inline
def number(place: int, swapped: bool) -> int:
    """The 32 bits at an address, in this machine's byte order or the other one."""
    value = load32(place)
    if swapped:
        return value >> 24 | (value >> 8 & 0xFF00) | (value & 0xFF00) << 8 | (value & 0xFF) << 24
    return value


@entry(numba.int64(_ARRAY, numba.int64, numba.int64, numba.int64, numba.boolean, numba.int64))
def _play(feeds: np.ndarray, records: int, at: int, end: int, swapped: bool, scale: int) -> int:
    """Send the pcap `records` at offsets [at, end) until the channel is full; the offset of the next one."""
    feed = feeds[0]
    acquire(feed, PLAYER)
    while at < end:
        room = reserve(feed, feed.batch)
        if room == 0:
            break
        first, filled = published(feed), 0
        while at < end and filled < room:
            record = records + at
            size = number(record + 8, swapped)
            if size > feed.frame_bytes:
                feed.too_long += 1
            else:
                slot = slot_of(feed, first + filled)
                request = payload(slot)
                store64(request + TIMESTAMP, number(record, swapped) * SECOND + number(record + 4, swapped) * scale)
                store64(request + OFFLOADS, 0)
                store64(request + OFFLOADS + 8, 0)
                copy(request + FRAME, record + RECORD_HEADER, size)
                set_length(slot, FRAME + size)
                filled += 1
            at += RECORD_HEADER + size
        publish(feed, filled)
    give_back(feed)
    return at


class Records(NamedTuple):
    """Packets as pcap records, known to be whole."""

    data: np.ndarray  # of bytes, with the records from `start` to the end
    start: int = 0
    swapped: bool = False  # True if their numbers are in the other byte order
    scale: int = 1  # nanoseconds in a unit of their fractions of a second


class Feed:
    """The receiving side of a port: a channel, and what the replicas need to receive from it.

    Parameters
    ----------
    index : int
        The port's.
    replicas : int
    frame_bytes : int
        Of the longest frame; longer ones are left out and counted.
    keeps : bool
        True if requests are kept back to each replica's newest snapshot.
    entries : int
        Requests that the channel holds; a power of two.
    batch : int
        Requests that are dequeued together at most; a power of two.

    Attributes
    ----------
    ring, cursors : numpy.ndarray
        For the compiled loops, shared: one `FEED`, and a `CURSOR` for each replica.
    """

    def __init__(self, index: int, replicas: int, frame_bytes: int, keeps: bool, entries: int, batch: int) -> None:
        self._channel = Channel(entries, FRAME + frame_bytes, replicas, batch=batch, producers=2, keeps=keeps)
        self.ring, self.cursors = shared(1, FEED), self._channel.members
        self.ring["port"], self.ring["frame_bytes"] = index, frame_bytes
        for name in CHANNEL.names or ():
            self.ring[name] = self._channel.record[name]
        self._player: Child | None = None
        self.controls = self.untold = 0
        """Control requests sent, and those for which there was no room."""
        self.shards = 1
        """Replicas that the packets are divided among; each deals with all control requests."""

    def send(self, frame: bytes, timestamp: int, offload: bytes, timeout: float) -> bool:
        """Send one frame, waiting at most `timeout` seconds for space; False if it was left out."""
        if len(frame) > self.ring["frame_bytes"][0]:
            self.ring["too_long"] += 1
            return False
        return self._channel.send(REQUEST.pack(timestamp, offload, 0, 0) + frame, timeout, CALLER)

    def control(self, kind: int, stage: int, argument: int, timestamp: int, timeout: float) -> bool:
        """Tell the service at `stage` something; False if the channel stays full for `timeout` seconds."""
        request = REQUEST.pack(timestamp, bytes(10), kind, stage) + argument.to_bytes(8, "little", signed=True)
        sent = self._channel.send(request, timeout, CALLER)
        self.controls += sent
        self.untold += not sent
        return sent

    def play(self, records: Records) -> None:
        """Send all these records from a process of their own, which ends with this one."""
        self._player = Child(self._run, records)

    def _run(self, records: Records) -> None:
        data, at, swapped, scale = records
        while at < len(data):
            before = at
            at = _play(self.ring, address(data), at, len(data), swapped, scale)
            if at == before:
                time.sleep(NAP)

    @property
    def failed(self) -> bool:
        """True if the process of `play` ended before its time."""
        return self._player is not None and not self._player.is_alive() and self._player.exitcode != 0

    @property
    def played(self) -> bool:
        """True if all that `play` was given has been sent, also if that is nothing."""
        return self._player is None or (not self._player.is_alive() and self._player.exitcode == 0)

    def caught_up(self) -> bool:
        """True if every replica that takes part has let go of all that was sent."""
        sent = self._channel.sent
        return all(head == sent for head in self._channel.heads().values())

    def counters(self) -> dict[str, int]:
        """Frames that the channel took, that found it full, and that were too long for it."""
        return {
            "received": self._channel.sent + self.controls * (self.shards - 1),
            "ring-full": self._channel.refused - self.untold,
            "too-long": int(self.ring["too_long"][0]),
        }

    def retire(self, replica: int, ordered: bool) -> int:
        """Take out a `replica` that runs no more; of how many packets it was primary. To be called repeatedly."""
        return self._channel.retire(replica, ordered)

    def lag(self, replica: int) -> int:
        """How many requests wait for a replica."""
        return self._channel.sent - int(self._channel.members["head"][replica])

    def foremost(self) -> int:
        """How many requests the foremost replica has let go of."""
        return self._channel.foremost()

    def unfinished(self, replica: int) -> int:
        """How many requests a stopped `replica` is primary of that it has not let go of."""
        return self._channel.unfinished(replica)

    def join(self, replica: int, place: int) -> bool:
        """Have one more replica take part from the request after `place` others on; False if that is too late."""
        return bool(join(self._channel.record, self._channel.members, replica, place))

    def close(self) -> None:
        """End the process of `play`."""
        if self._player:
            self._player.kill()
            self._player.join(GRACE)


class FedPort:
    """What ports on a `Feed` and a `Sink` have in common; subclasses open and feed them.

    Parameters
    ----------
    name : str
        What messages call the port.
    mac : str
        Its MAC address, as 02:00:00:00:00:01.
    mtu : int
        Bytes of the longest IP packet; frames that are longer by more than a VLAN tag are left out.
    entries : int
        Packets that its channel holds; a power of two.
    batch : int
        Packets that are dequeued together at most; a power of two.

    Attributes
    ----------
    interface : str
        The name.
    ring, cursors, transmits : numpy.ndarray
        For the compiled loops, shared by all replicas.
    """

    kernels = ("scout.io.feed", "scout.io.sink")
    """The modules of `receive`, `await_turn` and `done`, and of `enqueue` and `flush`."""
    RECEIVE, CURSOR, TRANSMIT = FEED, CURSOR, TRANSMIT
    """The dtypes of what these are given."""

    descriptor: int | None = None
    """There is nothing to poll for packets."""

    def __init__(self, name: str, mac: str, mtu: int, entries: int, batch: int) -> None:
        if not 68 <= mtu <= LONGEST - FRAME_MARGIN:
            raise PortError(f"port {name}: mtu {mtu}; give 68 to {LONGEST - FRAME_MARGIN}")
        if not 16 <= entries <= 1 << 24 or entries & (entries - 1):
            raise PortError(f"port {name}: {entries} entries; give a power of two, 16 to {1 << 24}")
        if not 1 <= batch <= BATCH_SIZE or batch & (batch - 1):
            raise PortError(f"port {name}: batches of {batch}; give a power of two, 1 to {BATCH_SIZE}")
        self.interface, self.mac, self.mtu = name, mac_number(mac), mtu
        self._entries, self._batch = entries, batch
        self._feed: Feed | None = None

    def _open(self, index: int, replicas: int, keeps: bool, sink: Sink) -> None:
        self._feed, self._sink = Feed(index, replicas, self.mtu + FRAME_MARGIN, keeps, self._entries, self._batch), sink
        self.ring, self.cursors, self.transmits = self._feed.ring, self._feed.cursors, sink.transmits

    @property
    def _fed(self) -> Feed:
        if self._feed is None:
            raise PortError(f"port {self.interface} is not open; use it inside `with Supervisor(...)`")
        return self._feed

    def drained(self) -> bool:
        """True if the input is at its end and all replicas that take part have dealt with it."""
        return self._at_end() and self._fed.caught_up()

    def _at_end(self) -> bool:
        return self._fed.played

    def is_up(self) -> bool:
        """True: there is no interface that could go away."""
        return True

    def kernel_counters(self) -> dict[str, int]:
        """Frames that the channel took, that found it full, and that were too long for it."""
        return self._fed.counters()

    def transmitted(self) -> dict[str, int]:
        """Frames that left from all replicas, those of them made here, those for which there was no room."""
        return self._sink.transmitted()

    def control(self, kind: int, stage: int, argument: int, timestamp: int, timeout: float = 1.0) -> bool:
        """Tell the service at stage number `stage` something, at one place among the packets for all replicas.

        Parameters
        ----------
        kind : int
            `CONTROL_TICK` or `CONTROL_BIND`.
        stage, argument : int
        timestamp : int
            Nanoseconds since 1970.
        timeout : float
            Seconds to wait for room in the channel.

        Returns
        -------
        bool
            False if the channel stayed full.
        """
        return self._fed.control(kind, stage, argument, timestamp, timeout)

    @property
    def ticks(self) -> bool:
        """True if its packets come now, with the times at which they come, and none waits: time also passes without."""
        return False

    def divide(self, shards: int) -> None:
        """Packets are divided among so many replicas."""
        self._fed.shards = shards

    def enlist(self, replica: int) -> None:
        """Make ready for one more replica."""
        self._sink.enlist(replica)

    def lag(self, replica: int) -> int:
        """How many requests wait for a replica."""
        return self._fed.lag(replica)

    @property
    def failed(self) -> bool:
        """True if the process that brings the packets has died."""
        return self._feed is not None and self._feed.failed

    def foremost(self) -> int:
        """How many requests the foremost replica has let go of: from there on another can join."""
        return self._fed.foremost()

    def place(self, replica: int) -> int:
        """How many requests a replica has let go of."""
        return int(self._fed.cursors["head"][replica])

    def resume(self, replica: int, saved: int) -> None:
        """Have the successor of a dead `replica` go on from its state at place `saved`, and replay what came since."""
        resume(self._fed.cursors[replica], saved)
        self._sink.resume(replica)

    def join(self, replica: int, place: int) -> bool:
        """Have one more replica take part from the packet after `place` others on; False if that is too late."""
        return self._fed.join(replica, place)

    def unfinished(self, replica: int) -> int:
        """How many packets a stopped `replica` is primary of that it has not dealt with."""
        return self._fed.unfinished(replica)

    def retire(self, replica: int, ordered: bool) -> int:
        """Take out a `replica` that runs no more; of how many packets it was primary. To be called repeatedly."""
        return self._fed.retire(replica, ordered)

    def close(self) -> None:
        """End the input; what was sent can still be read."""
        if self._feed:
            self._feed.close()
