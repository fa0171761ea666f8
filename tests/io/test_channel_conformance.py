"""Every channel that brings packets keeps the contract of channels (`scout.io.channels.contract`).

A test does by hand what domains and the supervisor do: replicas receive and release batches in turn, so nothing depends
on how fast anything is. A replica that dies is one that does not release the batch at hand.

Over 400 lines because one contract is tested in one place.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numba.core import types

from scout.io.batch import BATCH_SIZE, new_batch
from scout.io.channels.contract import ChannelOperations
from scout.io.channels.kernel_ring_protocol import MOST_CONTROLS
from scout.io.channels.software import PLAYER
from scout.io.channels.tap_device import TAP_FEED
from scout.io.channels.tap_device import collect as read_frames
from scout.io.endpoints import message
from scout.io.endpoints.application import submit
from scout.io.endpoints.collect import APPLICATION_FEED, collect
from scout.io.host.lab import Lab
from scout.io.packet import CONTROL_TICK
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.applications import ApplicationPort
from scout.io.ports.memory import MemoryPort
from scout.io.ports.pcap import PcapPort
from scout.io.ports.tap_device import TapPort
from scout.paths.compiler.native import BATCH
from scout.ring.atomics import load32
from scout.ring.jit import inline
from scout.ring.layout import MEMBER
from scout.ring.segment import address, shared
from scout.ring.turn import STOP

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
            count = receive_sharded(rings[0], cursors[0], replica, batch, shards, own_shard)
        else:
            count = receive(rings[0], cursors[0], replica, batch, False)
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

    options = {"error_model": "numpy", "_nrt": False}
    return (
        numba.njit(number(rings, cursors, number, BATCH, types.int64[::1], number), **options)(take),
        numba.njit(types.void(rings, cursors), **options)(mark),
        numba.njit(types.boolean(rings, cursors, number), **options)(turn),
        numba.njit(types.void(rings, cursors, number, types.boolean), **options)(let_go),
        numba.njit(types.boolean(rings, cursors), **options)(due),
        numba.njit(types.void(rings, cursors, number), **options)(advance),
    )


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


_FEEDS, _CURSORS = (types.Array(numba.from_dtype(kind), 1, "C") for kind in (TAP_FEED, MEMBER))


@numba.njit(types.void(_FEEDS, _CURSORS), error_model="numpy", _nrt=False)
def _read_frames(feeds: Any, cursors: Any) -> None:
    read_frames(feeds[0], cursors[0], 0)


@numba.njit(types.void(types.Array(numba.from_dtype(APPLICATION_FEED), 1, "C")), error_model="numpy", _nrt=False)
def _collect(feeds: Any) -> None:
    collect(feeds[0], 0)


def _pcap(folder: Path, numbers: range) -> PcapPort:
    file = folder / "in.pcap"
    records = (struct.pack("<IIII", 0, 0, 60, 60) + frame(number) for number in numbers)
    file.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))
    return PcapPort(file, mac=MAC, entries=ENTRIES, batch=MOST)


@pytest.fixture(
    params=[
        "memory",
        "pcap",
        "applications",
        *(pytest.param(kind, marks=pytest.mark.needs_namespaces) for kind in ("interface", "tap")),
    ]
)
def make(request: Any, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make a bench of each kind of channel, for a number of replicas."""
    with ExitStack() as stack:

        def made(replicas: int = 2, keeps: bool = False) -> Bench:
            if request.param == "memory":
                bench = Bench(MemoryPort(MAC, entries=ENTRIES, batch=MOST), _by_caller, keeps, replicas)
            elif request.param == "pcap":
                bench = Bench(_pcap(tmp_path, range(0)), _by_records(tmp_path), keeps, replicas)
            elif request.param == "applications":
                port = ApplicationPort("channel", sockets=2, entries=ENTRIES, batch=MOST)
                bench = Bench(port, _by_application, keeps, replicas)
            elif request.param == "tap":
                router = stack.enter_context(Lab("channel")).namespace("router")

                def opened() -> socket.socket:
                    with router.entered():
                        sender = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                        sender.bind(("tap", 0))
                    return sender

                with router.entered():
                    port = TapPort("tap", MAC, entries=ENTRIES, batch=MOST)
                    bench = Bench(port, _by_tap(opened), keeps, replicas)
            else:
                lab = stack.enter_context(Lab("channel"))
                router, host = lab.namespace("router"), lab.namespace("host")
                lab.veth((router, "left"), (host, "eth0"))
                with host.entered():
                    sender = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                    sender.bind(("eth0", 0))
                with router.entered():
                    bench = Bench(AfPacketPort("left", mac=MAC, frames=ENTRIES), _by_interface(sender), keeps, replicas)
            stack.callback(bench.port.close)
            stack.callback(bench.channel.close)
            return bench

        yield made


def test_every_replica_receives_all_packets_in_order_and_each_has_one_primary(make: Any) -> None:
    bench = make()
    got: list[list[Got]] = [[], []]
    for _ in range(10):
        bench.bring(20)
        got[0] += bench.all(0)
        got[1] += bench.all(1)
        bench.bring(20)
        got[1] += bench.all(1)
        got[0] += bench.all(0)
    assert numbers(got[0]) == numbers(got[1]) == list(range(400))
    mine, others = primaries(got[0]), primaries(got[1])
    assert sorted(mine + others) == list(range(400)) and mine and others
    assert bench.channel.counters()["received"] == 400
    assert [bench.channel.lag(replica) for replica in range(2)] == [0, 0]


def test_the_other_replicas_pass_over_a_batch_that_is_marked_as_plain(make: Any) -> None:
    bench = make()
    bench.bring(5)
    first = bench.take(0)
    assert first and first.primary
    bench.mark_plain(0)
    bench.release(0)
    rest = bench.all(0)
    got = bench.all(1)
    assert got[0] == Got([], False) and numbers(got) == numbers(rest)
    assert bench.channel.position(0) == bench.channel.position(1) == 5
    bench.bring(3)  # the mark is of that batch alone
    assert numbers(bench.all(0)) == numbers(bench.all(1)) == [5, 6, 7]


def test_a_successor_is_again_primary_of_what_its_predecessor_had_marked_as_plain(make: Any) -> None:
    bench = make()
    bench.bring(5)
    dead = bench.take(0)
    bench.mark_plain(0)
    bench.channel.resume(0, bench.channel.position(0), bench.channel.controls_done(0))
    assert bench.take(0) == dead and dead and dead.primary


def test_a_control_request_has_one_position_and_needs_no_packet(make: Any) -> None:
    bench = make()
    assert bench.control()
    assert [bench.all(replica) for replica in range(2)] == [[Got([CONTROL], True)], [Got([CONTROL], False)]]
    bench.bring(3)
    assert bench.control()
    first, second = bench.all(1), bench.all(0)
    assert numbers(first) == numbers(second) and sorted(numbers(first)) == [CONTROL, 0, 1, 2]
    assert bench.channel.position(0) == bench.channel.position(1) == 5


def test_a_control_request_is_a_batch_of_its_own(make: Any) -> None:
    bench = make()
    for _ in range(4):
        bench.bring(3)
        assert bench.control() and bench.control()
    got = [bench.all(replica) for replica in range(2)]
    assert got[0] == [Got(batch.numbers, not batch.primary) for batch in got[1]]
    assert [batch.numbers for batch in got[0] if CONTROL in batch.numbers] == [[CONTROL]] * 8


def test_a_control_request_has_passed_when_no_replica_can_receive_it_again(make: Any) -> None:
    bench = make()
    first = bench.control()
    bench.bring(3)
    second = bench.control()
    assert 0 < first < second
    bench.all(0)
    assert not bench.channel.passed(first)
    bench.channel.resume(0, bench.channel.position(0), bench.channel.controls_done(0))
    bench.all(1)
    assert bench.channel.passed(first) and bench.channel.passed(second)
    third = bench.control()
    bench.all(0)
    bench.channel.retire(1, ordered=False)
    assert bench.channel.passed(third)


def test_a_control_request_that_may_be_replayed_has_not_passed(make: Any) -> None:
    bench = make(keeps=True)
    number = bench.control()
    for replica in range(2):
        assert numbers(bench.all(replica)) == [CONTROL]
    assert not bench.channel.passed(number)
    bench.save(0)
    assert not bench.channel.passed(number)
    bench.save(1)
    assert bench.channel.passed(number)


def test_control_requests_alone_do_not_fill_a_channel_that_keeps_requests_for_a_replay(make: Any) -> None:
    bench = make(keeps=True)
    for _ in range(3 * MOST_CONTROLS):
        assert bench.control()
        for replica in range(2):
            assert numbers(bench.all(replica)) == [CONTROL]
            if bench.snapshot_due(replica):
                bench.save(replica)
                assert not bench.snapshot_due(replica)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_control_request_is_received_only_when_a_replica_has_taken_it(make: Any, shards: int) -> None:
    """Nothing has arrived in vain if the run ends before that."""
    bench = make()
    bench.channel.divide(shards)
    assert bench.control()
    bench.bring(3)
    assert bench.channel.counters()["received"] == 3
    bench.all(0, shards=shards - 1 and shards)
    assert bench.channel.counters()["received"] == 4
    bench.all(1, shards=shards - 1 and shards)
    assert bench.channel.counters()["received"] == 3 + shards
    assert bench.control()
    assert bench.channel.counters()["received"] == 3 + shards


def test_a_successor_receives_what_its_predecessor_had_not_released(make: Any) -> None:
    bench = make()
    bench.bring(30)
    dead = bench.take(0)
    assert dead and dead.primary and bench.channel.unfinished(0) == len(dead.numbers)
    living = bench.all(1)
    assert living[0] == Got(dead.numbers, False)
    bench.channel.resume(0, bench.channel.position(0), bench.channel.controls_done(0))
    again = bench.all(0)
    assert again[0] == dead
    assert sorted(primaries(living) + primaries(again)) == numbers(again) == list(range(30))


def test_a_successor_replays_from_the_snapshot_and_is_primary_of_nothing_before(make: Any) -> None:
    bench = make(keeps=True)
    bench.bring(10)
    done = bench.take(0)
    bench.release(0)
    bench.bring(10)
    dead = bench.take(0)
    assert done and dead and done.primary and dead.primary
    bench.all(1)
    bench.channel.resume(0, 0, 0)
    bench.channel.resume(0, 0, 0)  # it died again at once
    replayed, left = [], len(done.numbers)
    while left > 0:
        got = bench.take(0)
        assert got and not got.primary
        bench.release(0)
        replayed += got.numbers
        left -= len(got.numbers)
    assert replayed == done.numbers
    assert bench.take(0) == dead


def test_of_a_retired_replica_only_the_batch_at_hand_is_lost(make: Any) -> None:
    bench = make()
    bench.bring(20)
    dead = bench.take(0)
    assert dead and dead.primary
    assert bench.channel.retire(0, ordered=False) == len(dead.numbers)
    assert not bench.channel.is_member(0) and bench.channel.is_member(1)
    living = bench.all(1)
    assert primaries(living) == [number for number in range(20) if number not in dead.numbers]
    for _ in range(4 * bench.capacity // 20):  # no room is kept for it
        bench.bring(20)
        assert numbers(bench.all(1)) == list(range(bench.brought - 20, bench.brought))


def test_a_replica_that_has_released_everything_leaves_without_loss(make: Any) -> None:
    bench = make()
    bench.bring(20)
    assert numbers(bench.all(0)) == list(range(20))
    assert bench.channel.unfinished(0) == 0
    assert bench.channel.retire(0, ordered=False) == 0
    assert not bench.channel.is_member(0)
    assert numbers(bench.all(1)) == list(range(20))


def test_a_replica_joins_at_the_foremost_and_not_where_requests_are_gone(make: Any) -> None:
    bench = make(replicas=1)
    for _ in range(2 * bench.capacity // 16 + 1):
        bench.bring(16)
        bench.all(0)
    assert not bench.channel.join(1, 0, 0) and not bench.channel.is_member(1)
    assert bench.channel.join(1, *bench.channel.foremost()) and bench.channel.is_member(1)
    before = bench.brought
    bench.bring(16)
    both = [bench.all(1), bench.all(0)]
    assert numbers(both[0]) == numbers(both[1]) == list(range(before, before + 16))
    assert sorted(primaries(both[0]) + primaries(both[1])) == list(range(before, before + 16))


def test_packets_that_find_the_ring_full_are_counted_and_the_others_arrive(make: Any) -> None:
    bench = make()
    if isinstance(bench.port, PcapPort | ApplicationPort | TapPort):
        pytest.skip("they wait for room outside")
    bench.bring(3 * bench.capacity)
    counted = bench.channel.counters()
    assert counted["received"] == bench.capacity and counted["ring-full"] == 2 * bench.capacity
    got = [bench.all(0), bench.all(1)]
    assert numbers(got[0]) == numbers(got[1]) == list(range(bench.capacity))
    assert sorted(primaries(got[0]) + primaries(got[1])) == list(range(bench.capacity))
    bench.bring(5)
    assert numbers(bench.all(0)) == list(range(bench.brought - 5, bench.brought))


def test_one_replica_that_lags_makes_the_ring_full_for_all(make: Any) -> None:
    bench = make()
    if isinstance(bench.port, PcapPort | ApplicationPort | TapPort):
        pytest.skip("they wait for room outside")
    bench.bring(bench.capacity)
    assert numbers(bench.all(0)) == list(range(bench.capacity))
    bench.bring(1)
    assert bench.channel.counters()["ring-full"] == 1 and bench.take(0) is None
    assert numbers(bench.all(1)) == list(range(bench.capacity))


def test_requests_that_find_no_room_wait_for_it(make: Any) -> None:
    bench = make()
    if not isinstance(bench.port, ApplicationPort | TapPort):
        pytest.skip("others lose them, and count them")
    bench.bring(3 * bench.capacity)
    got: list[list[Got]] = [[], []]
    while len(numbers(got[1])) < bench.brought:
        for replica in range(2):
            got[replica] += bench.all(replica)
    assert numbers(got[0]) == numbers(got[1]) == list(range(bench.brought))
    assert bench.channel.counters() == {"received": bench.brought, "ring-full": 0, "too-long": 0}


def test_sharded_flows_go_to_one_replica_and_control_requests_to_all(make: Any) -> None:
    bench = make()
    bench.channel.divide(2)
    bench.bring(40)
    assert bench.control()
    first = bench.take(0, shards=2)
    assert first and first.primary
    bench.channel.resume(0, bench.channel.position(0), bench.channel.controls_done(0))  # it died
    got = [bench.all(replica, shards=2) for replica in range(2)]
    assert got[0][0] == first  # the successor has the same batch
    for replica in range(2):
        assert sorted(numbers(got[replica])) == [CONTROL, *range(replica, 40, 2)]
        assert all(batch.primary for batch in got[replica] if batch.numbers)


def test_packets_leave_in_channel_order_also_when_replicas_are_told_to_stop(make: Any) -> None:
    bench = make()
    bench.bring(10)
    first = bench.take(0)
    bench.bring(10)
    assert first and bench.take(1) == Got(first.numbers, False)
    bench.release(1, ordered=True)
    second = bench.take(1)
    assert first.primary and second and second.primary
    bench.stop[0] = STOP
    assert not bench.may_send(1)  # the first batch has not left
    bench.release(1, ordered=True)
    assert bench.channel.cursors["open"][1]  # nor is it released
    assert bench.may_send(0)
    bench.release(0, ordered=True)
    assert bench.may_send(1)
