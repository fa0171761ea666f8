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
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from scout.io.batch import place_frame
from scout.io.channels.contract import ChannelOperations, PacketChannel
from scout.io.host.process import Child
from scout.io.packet import NOT_HELD, OFFLOAD, REACH, RECORD
from scout.io.transmit.sink import RECORD_HEADER, SECOND
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

if TYPE_CHECKING:
    from scout.io.ports.fed import FedPort

__all__ = ["CURSOR", "FEED", "Feed", "Records", "number"]

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
def receive_sharded(
    feed: Record, cursor: Record, replica: int, batch: np.ndarray, shards: int, shard_of: Callable[..., int]
) -> int:
    """Fill `batch` with those of the next packets that this replica has one role for, by `shard_of`; how many.

    It is primary of its own flows' packets, and passes over those of others'. What is everyone's all see, the first
    replica as the primary. Control requests are for all, each as primary. What is replayed is not this replica's to
    do; its own flows' state has it already.
    """
    count, taken = open_all(feed, cursor), 0
    if count == 0:
        return 0
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
    packet.held_since = NOT_HELD
    place_frame(packet, frame, size, in_place)


@inline
def await_turn(feed: Record, cursor: Record, stop: int) -> bool:
    """Wait until all packets before the batch at hand have left, or the word at `stop` says STOP.

    False if the batch has left too: a predecessor had sent it.
    """
    return turn.await_turn(feed, cursor.head, stop)


@inline
def release(feed: Record, cursor: Record, replica: int, ordered: bool) -> None:
    """Let go of the requests of the batch at hand."""
    if cursor.open == 0:
        return
    # Not if the wait was cut short: those before are still to leave. Not if a predecessor has passed it on.
    if ordered and cursor.primary and turn.is_turn(feed, cursor.head):
        turn.pass_turn(feed, cursor.head + cursor.count)
    close_batch(feed, cursor, replica)


@inline
def snapshot_due(feed: Record, cursor: Record) -> bool:
    """True if the replica stands at a place where all save a snapshot, and has not yet."""
    return cursor.head & (feed.interval - 1) == 0 and cursor.floor != cursor.head


@inline
def waiting(feed: Record, cursor: Record) -> int:
    """How many packets wait."""
    if cursor.tail <= cursor.head:
        cursor.tail = published(feed)
    return max(0, cursor.tail - cursor.head)


@inline
def waiting_since(feed: Record, cursor: Record) -> int:
    """When the first of the packets that wait was received, nanoseconds since 1970."""
    return load64(payload(slot_of(feed, cursor.head)) + TIMESTAMP)


@inline
def position(feed: Record, cursor: Record) -> int:
    """How many requests the replica has let go of."""
    return cursor.head


@inline
def batch_number(feed: Record, cursor: Record) -> int:
    """What tells the batch at hand from all others of the channel."""
    return cursor.head


@inline
def controls_done(feed: Record, cursor: Record) -> int:
    """How many control requests are not among those that `position` counts: none."""
    return 0


@inline
def advance_floor(feed: Record, cursor: Record, replica: int) -> None:
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

    operations = ChannelOperations(
        ring=FEED,
        cursor=CURSOR,
        receive=receive,
        receive_sharded=receive_sharded,
        await_turn=await_turn,
        release=release,
        snapshot_due=snapshot_due,
        advance_floor=advance_floor,
        position=position,
        controls_done=controls_done,
        batch_number=batch_number,
        waiting=waiting,
        waiting_since=waiting_since,
    )

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
    def is_live(self) -> bool:
        """True if packets come now, with the times at which they come: time also passes without."""
        ports = self._ports.values()
        return any(port.is_live for port in ports) and all(port.is_live or port.at_end() for port in ports)

    @property
    def ticks(self) -> bool:
        """True if it is live, and no request waits."""
        return self.is_live and self._idle()

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
        return self._channel.sent - self.position(replica)

    def is_member(self, replica: int) -> bool:
        """True if the producers mind it; also of one that died, while there is something to see to."""
        return replica in self._channel.taking_part

    def position(self, replica: int) -> int:
        """How many requests a replica has let go of."""
        return int(self.cursors["head"][replica])

    def controls_done(self, replica: int) -> int:
        """How many control requests it has let go of that `position` does not count: none."""
        return 0

    def foremost(self) -> tuple[int, int]:
        """`position` and `controls_done` of the foremost replica: from there another can join."""
        return self._channel.foremost(), 0

    def join(self, replica: int, position: int, controls_done: int) -> bool:
        """Have one more replica take part from the request after `position` others on; False if that is too late."""
        return bool(join(self._channel.record, self._channel.members, replica, position))

    def resume(self, replica: int, position: int, controls_done: int) -> None:
        """Have the successor of a dead `replica` go on from its state at `position`, and replay what came since."""
        resume(self.cursors[replica], position)

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


if TYPE_CHECKING:
    _conforms: type[PacketChannel] = Feed
