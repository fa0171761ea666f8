"""Receiving from a replicated channel: a request is one frame, from a producer of Scout's own.

A request's payload is `timestamp (8 bytes) | struct virtio_net_hdr (10) | control (1) | stage (1) | port (4) | frame`.
Where `control` is not 0 it is no packet, but something that the service at `stage` is told, and the frame is its
argument, an int64. The port is the one that it came by, or whose path has the stage: a channel may serve several, and
then has one order of all their requests.

A replica takes the next requests a batch at a time. The domain runs a whole batch as the primary or as one
of the others, so a batch ends where the role would change; batches differ between replicas, and their
packets are handled one by one in channel order. Nobody writes to a request: a replica that works on
packets copies their headers to its own slots (`REACH` bytes), the rest goes out from where it is. Requests
are let go of when the batch has been sent.

Frames come from `Feed.send`, one at a time, or from a process for each port that plays records of a pcap file as fast
as they are taken; control requests come from this process. They all take turns.
"""

import struct
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numba
import numpy as np

from scout.io.batch import BATCH_SIZE, LONGEST, place_frame
from scout.io.host.process import Child
from scout.io.packet import OFFLOAD, REACH, RECORD
from scout.io.ports.contract import PortError, mac_number
from scout.io.transmit.sink import RECORD_HEADER, SECOND, TRANSMIT, Sink
from scout.paths.wire.flow import EVERYONES
from scout.ring import turn
from scout.ring.atomics import copy, load32, load64, store64, store64_release
from scout.ring.channel import Channel
from scout.ring.election import close_batch, cut_batch, open_all, open_batch
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
from scout.ring.producer import acquire, give_back, publish, reserve
from scout.ring.segment import address, shared

__all__ = ["CURSOR", "FEED", "FedPort", "Feed", "Records", "await_turn", "done", "number", "receive"]

ENTRIES = 2048
"""Requests that a channel holds by default. A quarter of them come between two snapshots of a replica's state: large
tables want more."""

BATCH = 32
"""Requests that are dequeued together by default: few enough that replicas share out dear work evenly."""

FRAME_MARGIN = 18  # bytes of a frame beyond the MTU: the Ethernet header and one VLAN tag
REQUEST = struct.Struct("<q10sBBi")
CALLER, PLAYER = 0, 1  # the producers: this process, and the first of those that play records
TIMESTAMP, OFFLOADS, FRAME = 0, 8, REQUEST.size  # offsets in a request
CONTROL = 16  # offset of the 8 bytes that are the last 2 of the virtio_net_hdr, control, stage and port
NAP = 50e-6  # seconds that the feeding process rests when the channel is full
GRACE = 3.0  # seconds that a killed process may take to end

# The channel's fields come last: a record that begins as a CHANNEL would be taken for one by numba.
FEED = np.dtype(
    [
        ("too_long", "i8"),  # frames that were left out; written by the processes that play records, by turns
        ("spare", "i8", 3),
        *((name, "i8") for name in CHANNEL.names or ()),
    ]
)
"""A `CHANNEL`, and what ports need besides."""

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
        _take(batch[index], record, slot_of(feed, cursor.head + index), in_place)
    return count


@inline
def receive_own(
    feed: Record, cursor: Record, replica: int, batch: np.ndarray, shards: int, shard_of: Callable[..., int]
) -> int:
    """Fill `batch` with those of the next packets that this replica has one role for, by `shard_of`; how many.

    It is primary of its own flows' packets, and passes over those of others'. What is everyone's all see, the first
    replica as the primary. Control requests are for all, each as primary. What is replayed is not this replica's to
    do; its own flows' state has it already.
    """
    count, taken = open_all(feed, cursor), 0
    mine, role = cursor.primary, -1
    for index in range(count):
        slot = slot_of(feed, cursor.head + index)
        frame, end = payload(slot) + FRAME, payload(slot) + payload_length(slot)
        control = load32(payload(slot) + CONTROL) >> 16 & 0xFF
        owner = EVERYONES if control else shard_of(frame, min(end, frame + REACH), shards)
        first = 0 if owner == EVERYONES else owner
        own = 1 if mine and (control or first == replica) else 0
        if own or owner == EVERYONES:
            if taken and own != role:
                cut_batch(cursor, index)  # it has one role
                break
            role = own
            _take(batch[taken], batch.ctypes.data + taken * RECORD, slot, False)
            taken += 1
    cursor.primary = 1 if role == 1 else 0
    if mine == 0:
        cursor.replayed += cursor.count
    if cursor.primary:
        cursor.claimed -= cursor.count - taken  # they are counted as claimed when the batch is let go of
    return taken


@inline
def _take(packet: Record, record: int, slot: int, in_place: bool) -> None:
    """Fill a packet's record from a request."""
    request = payload(slot)
    frame, size = request + FRAME, payload_length(slot) - FRAME
    packet.timestamp = load64(request + TIMESTAMP)
    store64(record + OFFLOAD, load64(request + OFFLOADS))
    word = load64(request + CONTROL)
    packet.checksum_offset = word & 0xFFFF
    packet.control = word >> 16 & 0xFF
    packet.at = word >> 24 & 0xFF
    packet.argument = load64(frame) if packet.control else 0
    packet.port = word >> 32
    packet.link_broadcast = 0
    packet.held_since = 0
    place_frame(packet, frame, size, in_place)


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
def batch_number(feed: Record, cursor: Record) -> int:
    """What tells the batch at hand from all others of the channel."""
    return cursor.head


@inline
def told(feed: Record, cursor: Record) -> int:
    """How many control requests are not among those that `place` counts: none."""
    return 0


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


@entry(numba.int64(_ARRAY, numba.int64, numba.int64, numba.int64, numba.int64, numba.int64, numba.boolean, numba.int64))
def _play(
    feeds: np.ndarray, port: int, longest: int, records: int, at: int, end: int, swapped: bool, scale: int
) -> int:
    """Send the pcap `records` at offsets [at, end) as of `port` until the channel is full; the offset of the next one.

    Of frames longer than `longest` bytes none is sent.
    """
    feed = feeds[0]
    acquire(feed, PLAYER + port)
    while at < end:
        room = reserve(feed, feed.batch)
        if room == 0:
            break
        first, filled = published(feed), 0
        while at < end and filled < room:
            record = records + at
            size = number(record + 8, swapped)
            if size > longest:
                feed.too_long += 1
            else:
                slot = slot_of(feed, first + filled)
                request = payload(slot)
                store64(request + TIMESTAMP, number(record, swapped) * SECOND + number(record + 4, swapped) * scale)
                store64(request + OFFLOADS, 0)
                store64(request + CONTROL, port << 32)
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
    """A channel, with its producers, that replicas receive the requests of one or several ports by.

    Parameters
    ----------
    ports : mapping of int to FedPort
        The ports by index. The channel holds as many requests as the greatest of their `entries`, and dequeues as many
        together as the smallest of their `batch`.
    replicas : int
    keeps : bool
        True if requests are kept back to each replica's newest snapshot.

    Attributes
    ----------
    ring, cursors : numpy.ndarray
        For the compiled loops, shared: one `FEED`, and a `CURSOR` for each replica.
    """

    kernel = "scout.io.channels.software"
    """The module of `receive`, `await_turn`, `done` and so on."""
    RECEIVE, CURSOR = FEED, CURSOR
    """The dtypes of what these are given."""

    descriptor: int | None = None
    """There is nothing to poll for packets."""

    def __init__(self, ports: Mapping[int, "FedPort"], replicas: int, keeps: bool) -> None:
        self._ports = dict(ports)
        self._channel = Channel(
            max(port.entries for port in ports.values()),
            FRAME + max(port.frame_bytes for port in ports.values()),
            replicas,
            batch=min(port.batch for port in ports.values()),
            producers=PLAYER + max(ports) + 1,
            keeps=keeps,
        )
        self.ring, self.cursors = shared(1, FEED), self._channel.members
        for name in CHANNEL.names or ():
            self.ring[name] = self._channel.record[name]
        self._players: dict[int, Child] = {}
        self._too_long = self._controls = self._untold = 0
        self._shards = 1

    # Producing.

    def feed(self) -> None:
        """Begin to send what the ports were given at the start."""
        for index, port in self._ports.items():
            if records := port.records():
                self._players[index] = Child(self._play, index, port.frame_bytes, records)

    def _play(self, port: int, longest: int, records: Records) -> None:
        data, at, swapped, scale = records
        while at < len(data):
            before = at
            at = _play(self.ring, port, longest, address(data), at, len(data), swapped, scale)
            if at == before:
                time.sleep(NAP)

    def send(self, port: int, frame: bytes, timestamp: int, offload: bytes, timeout: float) -> bool:
        """Send one frame of a port, waiting at most `timeout` seconds for space; False if it was left out."""
        if len(frame) > self._ports[port].frame_bytes:
            self._too_long += 1
            return False
        return self._channel.send(REQUEST.pack(timestamp, offload, 0, 0, port) + frame, timeout, CALLER)

    def control(self, port: int, kind: int, stage: int, argument: int, timestamp: int, timeout: float = 1.0) -> bool:
        """Tell a service something, at one place among the packets for all replicas.

        Parameters
        ----------
        port : int
            Index of the port whose path leads to the service.
        kind : int
            `CONTROL_TICK` or `CONTROL_BIND`.
        stage : int
            The service's number on that path.
        argument : int
        timestamp : int
            Nanoseconds since 1970.
        timeout : float
            Seconds to wait for room in the channel.

        Returns
        -------
        bool
            False if the channel stayed full.
        """
        request = REQUEST.pack(timestamp, bytes(10), kind, stage, port) + argument.to_bytes(8, "little", signed=True)
        sent = self._channel.send(request, timeout, CALLER)
        self._controls += sent
        self._untold += not sent
        return sent

    @property
    def ticks(self) -> bool:
        """True if packets come now, with the times at which they come, and none waits: time also passes without."""
        ports = self._ports.values()
        live = [port.is_live for port in ports]
        return any(live) and all(each or port.at_end() for each, port in zip(live, ports, strict=True)) and self._idle()

    @property
    def failed(self) -> list[int]:
        """The ports whose process died before it had brought all packets; the other producers do not wait for it."""
        dead = [port for port, player in self._players.items() if not player.is_alive() and player.exitcode != 0]
        for port in dead:
            self._channel.free_lock(PLAYER + port)
        return dead

    def played(self, port: int) -> bool:
        """True if all that a port was given at the start has been sent, also if that is nothing."""
        player = self._players.get(port)
        return player is None or (not player.is_alive() and player.exitcode == 0)

    def drained(self) -> bool:
        """True if all input is at its end and all replicas that take part have dealt with it."""
        return all(port.at_end() for port in self._ports.values()) and self._idle()

    def _idle(self) -> bool:
        """True if every replica that takes part has let go of all that was sent."""
        sent = self._channel.sent
        return all(head == sent for head in self._channel.heads().values())

    def counters(self) -> dict[str, int]:
        """Frames that the channel took, that found it full, and that were too long for it."""
        return {
            "received": self._channel.sent + self._controls * (self._shards - 1),
            "ring-full": self._channel.refused - self._untold,
            "too-long": self._too_long + int(self.ring["too_long"][0]),
        }

    # Replicas.

    def divide(self, shards: int) -> None:
        """Packets are divided among so many replicas; each deals with all control requests."""
        self._shards = shards

    def lag(self, replica: int) -> int:
        """How many requests wait for a replica."""
        return self._channel.sent - self.place(replica)

    def takes_part(self, replica: int) -> bool:
        """True if the producers mind it; also of one that died, while there is something to see to."""
        return replica in self._channel.taking_part

    def place(self, replica: int) -> int:
        """How many requests a replica has let go of."""
        return int(self.cursors["head"][replica])

    def told(self, replica: int) -> int:
        """How many control requests it has let go of that `place` does not count: none."""
        return 0

    def foremost(self) -> tuple[int, int]:
        """How many requests the foremost replica has let go of, as `place` and `told`: from there another can join."""
        return self._channel.foremost(), 0

    def join(self, replica: int, place: int, told: int) -> bool:
        """Have one more replica take part from the request after `place` others on; False if that is too late."""
        return bool(join(self._channel.record, self._channel.members, replica, place))

    def resume(self, replica: int, place: int, told: int) -> None:
        """Have the successor of a dead `replica` go on from its state at `place`, and replay what came since."""
        resume(self.cursors[replica], place)

    def unfinished(self, replica: int) -> int:
        """How many requests a stopped `replica` is primary of that it has not let go of."""
        return self._channel.unfinished(replica)

    def retire(self, replica: int, ordered: bool) -> int:
        """Take out a `replica` that runs no more; of how many packets it was primary. To be called repeatedly."""
        return self._channel.retire(replica, ordered)

    def close(self) -> None:
        """End the processes that bring packets."""
        for player in self._players.values():
            player.kill()
            player.join(GRACE)


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
        Packets that its channel holds; a power of two. Of ports that share one the greatest number counts.
    batch : int
        Packets that are dequeued together at most; a power of two. Of ports that share a channel the smallest counts.

    Attributes
    ----------
    interface : str
        The name.
    transmits : numpy.ndarray
        For the compiled loops, shared by all replicas: a `TRANSMIT` each.
    """

    kernel = "scout.io.transmit.sink"
    """The module of `enqueue` and `flush`."""
    TRANSMIT = TRANSMIT
    """The dtype of what these are given."""

    def __init__(self, name: str, mac: str, mtu: int, entries: int, batch: int) -> None:
        if not 68 <= mtu <= LONGEST - FRAME_MARGIN:
            raise PortError(f"port {name}: mtu {mtu}; give 68 to {LONGEST - FRAME_MARGIN}")
        if not 16 <= entries <= 1 << 24 or entries & (entries - 1):
            raise PortError(f"port {name}: {entries} entries; give a power of two, 16 to {1 << 24}")
        if not 1 <= batch <= BATCH_SIZE or batch & (batch - 1):
            raise PortError(f"port {name}: batches of {batch}; give a power of two, 1 to {BATCH_SIZE}")
        self.interface, self.mac, self.mtu = name, mac_number(mac), mtu
        self.entries, self.batch, self.frame_bytes = entries, batch, mtu + FRAME_MARGIN
        self._index = -1
        self._feed: Feed | None = None
        self._sink: Sink | None = None

    # Sending.

    def _open(self, index: int, sink: Sink) -> None:
        self._index, self._feed, self._sink = index, None, sink
        self.transmits = sink.transmits

    @property
    def _opened(self) -> Sink:
        if self._sink is None:
            raise PortError(f"port {self.interface} is not open; use it inside `with Supervisor(...)`")
        return self._sink

    def enlist(self, replica: int) -> None:
        """Make ready for one more replica."""
        self._opened.enlist(replica)

    def resume(self, replica: int) -> None:
        """Make ready for the successor of a dead replica: what that one had not sent is gone."""
        self._opened.resume(replica)

    def transmitted(self) -> dict[str, int]:
        """Frames that left from all replicas, those of them made here, those for which there was no room."""
        return self._opened.transmitted()

    def is_up(self) -> bool:
        """True: there is no interface that could go away."""
        return True

    # Receiving.

    def channel(self, ports: Mapping[int, "FedPort"], replicas: int, keeps: bool) -> Feed:
        """Make the one channel of these ports, by index; this port is one of them.

        Parameters
        ----------
        ports : mapping of int to FedPort
            All open, and of one class.
        replicas : int
        keeps : bool
            True if requests are kept back to each replica's newest snapshot.
        """
        feed = Feed(ports, replicas, keeps)
        for port in ports.values():
            port._feed = feed
        return feed

    @property
    def _fed(self) -> Feed:
        self._opened  # noqa: B018
        if self._feed is None:
            raise PortError(f"port {self.interface}: no path begins at it; make one with create_path")
        return self._feed

    def records(self) -> Records | None:
        """What the port receives from the start on, if it is known."""
        return None

    def at_end(self) -> bool:
        """True if nothing more will be sent to the channel."""
        return self._fed.played(self._index)

    @property
    def is_live(self) -> bool:
        """True if its packets come now, with the times at which they come."""
        return False

    def close(self) -> None:
        """Close the port; what was sent can still be read."""
