"""A channel of each kind on a test bench: replicas receive and release batches by hand, in turn.

The bench does what domains and the supervisor do, so nothing depends on how fast anything is.
"""

import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types

from scout.io.batch import BATCH_SIZE, new_batch
from scout.io.channels.contract import ChannelOperations
from scout.io.channels.look import take_all
from scout.io.channels.software import PLAYER
from scout.io.channels.tap_device import collect as read_frames
from scout.io.endpoints import message
from scout.io.endpoints.application import submit
from scout.io.endpoints.collect import collect
from scout.io.host.lab import Lab
from scout.io.packet import CONTROL_TICK
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.applications import ApplicationPort
from scout.io.ports.memory import MemoryPort
from scout.io.ports.pcap import PcapPort
from scout.io.ports.tap_device import TapPort
from scout.paths.compiler.native import BATCH
from scout.ring.atomics import load32
from scout.ring.fuse import EntryCompiler
from scout.ring.jit import OPTIONS, inline
from scout.ring.layout import MEMBER
from scout.ring.segment import address, shared

KINDS = ("memory", "pcap", "applications", "interface", "tap")
ENTRIES, MOST = 64, 8  # of software channels: requests, and the most of a batch
MAC = "02:00:00:00:00:01"
HEADER = bytes.fromhex("020000000001020000000002") + b"\x88\xb5"  # an ethertype for experiments
SOCKET = 1 << 16  # the number of a socket in row 0
REQUEST = struct.pack("!BBHI", message.SEND, 17, 0, SOCKET)
CONTROL = -1
"""The number that stands for a control request among the numbers of frames."""


def frame(number: int) -> bytes:
    return HEADER + number.to_bytes(4, "little") + bytes(42)


@inline
def own_shard(frame: int, end: int, shards: int) -> int:
    """The number of the replica that a frame is for, by its number."""
    return load32(frame + 14) % shards


def _compiled(operations: ChannelOperations) -> tuple[Any, ...]:
    """Receive a batch; mark it as plain; await its turn; release it; see that a snapshot is due; raise the floor.

    As a domain's loop calls them.
    """
    rings, cursors = (types.Array(numba.from_dtype(kind), 1, "C") for kind in (operations.ring, operations.cursor))
    receive, receive_sharded, release = operations.receive, operations.receive_sharded, operations.release
    await_turn, mark_plain, number = operations.await_turn, operations.mark_plain, types.int64
    snapshot_due, advance_floor = operations.snapshot_due, operations.advance_floor

    def take(rings: Any, cursors: Any, replica: int, batch: Any, found: Any, shards: int) -> int:
        if shards:
            count = receive_sharded(rings[0], cursors[0], replica, batch, shards, own_shard, take_all, 0)
        else:
            count = receive(rings[0], cursors[0], replica, batch, False, take_all, 0)
        for index in range(count):
            found[index] = CONTROL if batch[index].control else load32(batch[index].frame + 14)
        return count

    def mark(rings: Any, cursors: Any) -> None:
        mark_plain(rings[0], cursors[0])

    def turn(rings: Any, cursors: Any, stop: int) -> bool:
        return await_turn(rings[0], cursors[0], stop)

    def let_go(rings: Any, cursors: Any, replica: int, ordered: bool) -> None:
        release(rings[0], cursors[0], replica, ordered)

    def due(rings: Any, cursors: Any) -> bool:
        return snapshot_due(rings[0], cursors[0])

    def advance(rings: Any, cursors: Any, replica: int) -> None:
        advance_floor(rings[0], cursors[0], replica)

    return (
        _compiler(number(rings, cursors, number, BATCH, types.int64[::1], number))(take),
        _compiler(types.void(rings, cursors))(mark),
        _compiler(types.boolean(rings, cursors, number))(turn),
        _compiler(types.void(rings, cursors, number, types.boolean))(let_go),
        _compiler(types.boolean(rings, cursors))(due),
        _compiler(types.void(rings, cursors, number))(advance),
    )


def _compiler(*signature: Any) -> Any:
    """Scout's way to call numba, without the cache; with no signature, functions are compiled when they are called."""
    return numba.njit(*signature, pipeline_class=EntryCompiler, **OPTIONS)


_KNOWN: dict[int, tuple[Any, ...]] = {}


class Got(NamedTuple):
    """A batch: the numbers of its frames, and whether the replica is its primary."""

    numbers: list[int]
    primary: bool


class Bench:
    """A channel, and what brings its packets: frames with the numbers 0, 1, 2 …"""

    def __init__(self, port: Any, bring: Callable[[Any, int, int], None], keeps: bool, replicas: int) -> None:
        port.open(0)
        self.port, self._bring, self.brought = port, bring, 0
        self.channel = port.channel({0: port}, replicas, keeps)
        operations = self.channel.operations
        if id(operations) not in _KNOWN:
            _KNOWN[id(operations)] = _compiled(operations)
        self._take, self._mark, self._turn, self._release, self._due, self._advance = _KNOWN[id(operations)]
        self._batch, self._slots = new_batch()
        self._found = np.zeros(BATCH_SIZE, np.int64)
        self.capacity = int(self.channel.ring["entries"][0])
        self.stop = shared(8, np.int64)

    def bring(self, count: int) -> None:
        self._bring(self, self.brought, count)
        self.brought += count

    def _cursor(self, replica: int) -> np.ndarray:
        return self.channel.cursors[replica : replica + 1]

    def take(self, replica: int, shards: int = 0) -> Got | None:
        """Receive a batch; None if nothing waits. It is not released."""
        cursor = self._cursor(replica)
        count = int(self._take(self.channel.ring, cursor, replica, self._batch, self._found, shards))
        if not cursor["open"][0]:
            return None
        return Got(self._found[:count].tolist(), bool(cursor["primary"][0]))

    def mark_plain(self, replica: int) -> None:
        self._mark(self.channel.ring, self._cursor(replica))

    def may_send(self, replica: int) -> bool:
        return bool(self._turn(self.channel.ring, self._cursor(replica), address(self.stop)))

    def release(self, replica: int, ordered: bool = False) -> None:
        self._release(self.channel.ring, self._cursor(replica), replica, ordered)

    def all(self, replica: int, shards: int = 0) -> list[Got]:
        """Receive and release everything that waits."""
        batches = []
        while (got := self.take(replica, shards)) is not None:
            self.release(replica)
            batches.append(got)
        return batches

    def control(self, argument: int = 0, timeout: float = 0) -> int:
        return int(self.channel.control(0, CONTROL_TICK, 0, argument, 0, timeout))

    def snapshot_due(self, replica: int) -> bool:
        return bool(self._due(self.channel.ring, self._cursor(replica)))

    def save(self, replica: int) -> None:
        """Say that the replica has saved a snapshot."""
        self._advance(self.channel.ring, self._cursor(replica), replica)


def numbers(batches: list[Got]) -> list[int]:
    return [number for got in batches for number in got.numbers]


def primaries(batches: list[Got]) -> list[int]:
    return [number for got in batches if got.primary for number in got.numbers]


def _by_caller(bench: Bench, first: int, count: int) -> None:
    for number in range(first, first + count):
        bench.port.send(frame(number), timeout=0)


def _by_records(folder: Path) -> Callable[["Bench", int, int], None]:
    """Records of a file, which are sent as there is room: each time of a file of its own."""

    def bring(bench: "Bench", first: int, count: int) -> None:
        port = _pcap(folder, range(first, first + count))
        port.open(0)
        port.play(bench.channel.ring, PLAYER)
        port.close()

    return bring


def _by_interface(sender: socket.socket) -> Callable[[Bench, int, int], None]:
    def bring(bench: Bench, first: int, count: int) -> None:
        if first == 0:
            bench.channel.feed()
        for number in range(first, first + count):
            sender.send(frame(number))
        end = time.monotonic() + 600
        while sum(bench.channel.counters().values()) < first + count:  # the kernel's softirq may run later
            assert time.monotonic() < end
            time.sleep(0.001)

    return bring


def _by_application(bench: "Bench", first: int, count: int) -> None:
    """Local requests, as an application makes them and a replica collects them; their bytes are those of a frame."""
    memory = bench.port.memory
    if first == 0:
        memory.clear_application(1)
        memory.attach(1)
        memory.numbers[0], memory.owners[0] = SOCKET, 1
    area = address(memory.bytes) + memory.offset_of_application(1)
    for number in range(first, first + count):
        request = np.frombuffer(REQUEST + frame(number)[len(REQUEST) :], np.uint8)
        data = address(request) + message.HEADER
        size = len(request) - message.HEADER
        assert submit(area, memory.sizes.request_bytes, memory.bell, address(request), data, size)
        _collect(bench.channel.ring)


def _by_tap(sender: Callable[[], socket.socket]) -> Callable[[Bench, int, int], None]:
    """Frames that the kernel sends by a TAP device, and that a replica reads which has nothing else to do."""
    opened: list[socket.socket] = []
    idle = np.zeros(1, MEMBER)
    idle["head"] = 1 << 40

    def bring(bench: Bench, first: int, count: int) -> None:
        if not opened:
            opened.append(sender())
        for number in range(first, first + count):
            opened[0].send(frame(number))
            _read_frames(bench.channel.ring, idle)

    return bring


@_compiler()
def _read_frames(feeds: Any, cursors: Any) -> None:
    read_frames(feeds[0], cursors[0], 0)


@_compiler()
def _collect(feeds: Any) -> None:
    collect(feeds[0], 0)


def _pcap(folder: Path, numbers: range) -> PcapPort:
    file = folder / "in.pcap"
    records = (struct.pack("<IIII", 0, 0, 60, 60) + frame(number) for number in numbers)
    file.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))
    return PcapPort(file, mac=MAC, entries=ENTRIES, batch=MOST)


def opened(kind: str, folder: Path, stack: ExitStack, replicas: int, keeps: bool) -> Bench:
    """A bench of a kind of channel (`KINDS`), which `stack` closes."""
    if kind == "memory":
        bench = Bench(MemoryPort(MAC, entries=ENTRIES, batch=MOST), _by_caller, keeps, replicas)
    elif kind == "pcap":
        bench = Bench(_pcap(folder, range(0)), _by_records(folder), keeps, replicas)
    elif kind == "applications":
        port = ApplicationPort("channel", sockets=2, entries=ENTRIES, batch=MOST)
        bench = Bench(port, _by_application, keeps, replicas)
    elif kind == "tap":
        router = stack.enter_context(Lab("channel")).namespace("router")

        def sender() -> socket.socket:
            with router.entered():
                made = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                made.bind(("tap", 0))
            return made

        with router.entered():
            bench = Bench(TapPort("tap", MAC, entries=ENTRIES, batch=MOST), _by_tap(sender), keeps, replicas)
    else:
        lab = stack.enter_context(Lab("channel"))
        router, host = lab.namespace("router"), lab.namespace("host")
        lab.veth((router, "left"), (host, "eth0"))
        with host.entered():
            wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            wire.bind(("eth0", 0))
        with router.entered():
            bench = Bench(AfPacketPort("left", mac=MAC, frames=ENTRIES), _by_interface(wire), keeps, replicas)
    stack.callback(bench.port.close)
    stack.callback(bench.channel.close)
    return bench
