"""A small router, and a path of it run both ways: as plain Python and natively, from the same state."""

import ctypes
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from scout.io.access import BOUNDS
from scout.io.batch import new_batch
from scout.io.packet import HEADROOM, NOT_HELD, NOTES, REACH, WAITING
from scout.paths.compiler.interpreter import walk
from scout.paths.compiler.native import Work, compile_path
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage
from scout.paths.model.table import Table
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.ring.jit import CHECKED
from scout.ring.segment import address

LEFT, RIGHT = "02:00:00:00:00:01", "02:00:00:00:00:02"  # the router's own MAC addresses
HOST, GATEWAY = "02:00:00:00:00:0a", "02:00:00:00:00:0b"  # 10.0.0.2 on the left, 10.0.1.2 on the right
NOW = 1_700_000_000_000_000_000
MTU = {"left": 1500, "right": 1400}

PUSHED = HEADROOM * 3 // 4  # room enough for what a stage has put before a packet that it then drops

_SAME_FIELDS = (*NOTES, "flags", "gso_type", "gso_size")


def number(mac: str) -> int:
    """The 48-bit number of a MAC address."""
    return int(mac.replace(":", ""), 16)


def two_ports(*more: tuple[Any, ...], ports: Mapping[str, Any] | None = None, **options: Any) -> SimpleNamespace:
    """An IPv4 router between `left` and `right`; with `more` routers, each followed by how it is connected.

    Without `ports` it is for plain runs and a `Twin`, and started.
    Gives `graph`, `ip`, `arp` and `icmp`. Neighbours are known: 10.0.0.2, and the gateway 10.0.1.2.
    """
    graph = RouterGraph("test")
    for name, mac in (("left", LEFT), ("right", RIGHT)):
        graph.add(Ethernet(name, ports[name] if ports else SimpleNamespace(mac=number(mac), mtu=MTU[name])))
    addresses = {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}
    made = SimpleNamespace(graph=graph)
    made.ip = graph.add(Ip("ip", addresses, {"10.9.0.0/16": "10.0.1.2"}))
    made.arp, made.icmp = graph.add(Arp("arp")), graph.add(Icmp("icmp", **options))
    for name in ("left", "right"):
        graph.connect("icmp", "ip", name)
        graph.connect("ip", "arp", name)
    for router, *connections in more:
        graph.add(router)
        for names in connections:
            graph.connect(*names)
    graph.configure()
    made.arp.pin(0, "10.0.0.2", HOST)
    made.arp.pin(1, "10.0.1.2", GATEWAY)
    for router in [] if ports else graph.routers:
        router.start(graph)
    return made


class End(Router):
    """Where packets of a service end: a path without IP, quick to compile."""

    requires = {"down": "ipv4"}

    def arrive(self, service: str, below: bool) -> str:
        return "reach"

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        return Stage(_reach, (Outcome("end", Exit(None)),))


def _reach(frame: Any, end: Any) -> int:
    return 0


def one_port(*services: Any, port: Any = None) -> RouterGraph:
    """A graph whose packets come in at `left`, go up through the services in turn, and end."""
    graph = RouterGraph("test")
    graph.add(Ethernet("left", port or SimpleNamespace(mac=number(LEFT), mtu=MTU["left"])))
    names = ["end", *(graph.add(each).name for each in reversed(services)), "left"]
    graph.add(End("end"))
    graph.connect(*names)
    return graph


class Replicas:
    """A path served by several replicas without a channel: each has its tables, one is each packet's primary.

    They have the tables of another path of theirs, `beside`, in common with it.
    """

    def __init__(self, path: Path, replicas: int = 2, beside: "Replicas | None" = None) -> None:
        self.path, self.compiled = path, compile_path(path)
        self.batch, self.slots = new_batch(1)
        common = ("constant", "shared")  # a copy of the FIB alone would be 64 MiB
        self._tables = {
            id(table): [table.initial if table.kind in common else table.initial.copy() for _ in range(replicas)]
            for table in path.tables
        } | (beside._tables if beside else {})
        self._work = [Work(self.compiled.plan, partial(self.table, replica=each)) for each in range(replicas)]
        self.counters = [work.counters[0, : len(path.counter_names)] for work in self._work]

    def table(self, table: Table, replica: int) -> np.ndarray:
        """A replica's copy."""
        return self._tables[id(table)][replica]

    def serve(self, data: bytes, primary: int, **fields: int) -> None:
        """Have all replicas see one frame."""
        for replica in range(len(self.counters)):
            tail = fill(self.batch, self.slots, data, {"timestamp": NOW} | fields)
            self.compiled.run(self.batch, 0, 1, replica == primary, self._work[replica].place)
            del tail  # the batch refers to it by address

    def serve_all(self, trace: Iterable[tuple[bytes, int]], run: int = 3) -> None:
        """Have all replicas see the frames of a trace; the replicas take turns to be the primary of `run` of them."""
        for index, (data, time) in enumerate(trace):
            self.serve(data, index // run % len(self.counters), timestamp=time)

    def agree_in(self, table: Table) -> bool:
        """True if the copies of all replicas are equal."""
        first, *others = self._tables[id(table)]
        return all(np.array_equal(first, other) for other in others)

    def leaves(self) -> dict[str, dict[str, int]]:
        """Where the packets went, by their primaries."""
        account = self.path.account(sum(self.counters))
        return {group: {leaf: count for leaf, count in found.items() if count} for group, found in account.items()}


def fill(batch: np.ndarray, slots: np.ndarray, data: bytes, fields: Mapping[str, int]) -> np.ndarray:
    """Put a frame into a batch of one as a port does: `REACH` bytes into its slot, the rest into the array returned."""
    place, tail = int(batch["slot"][0]), np.frombuffer(data[REACH:] or b"\0", np.uint8)
    slots[HEADROOM : HEADROOM + min(len(data), REACH)] = np.frombuffer(data[:REACH], np.uint8)
    batch[:] = np.zeros(1, batch.dtype)
    batch["frame"] = batch["origin"] = batch["slot"] = place
    batch["end"] = place + min(len(data), REACH)
    batch["tail"], batch["tail_bytes"] = address(tail), max(len(data) - REACH, 0)
    for name, value in fields.items():
        batch[name] = value
    return tail


class Result(NamedTuple):
    """The result of a frame, in either run."""

    leaf: str
    data: bytes
    fields: dict[str, int]


class Twin:
    """A path that is run both ways, from the same state; without `native` as plain Python only.

    `scratch` are tables that only native code uses, as room to work.
    """

    def __init__(self, path: Path, *scratch: Table, native: bool = True) -> None:
        self.path, self.compiled = path, compile_path(path) if native else None
        self._tables = [table.initial for table in path.tables if table.kind != "constant" and table not in scratch]
        self._first = self._state()
        self._batch, self._slots = new_batch(1)
        self._origin = int(self._batch["origin"][0])

    def _state(self) -> list[np.ndarray]:
        return [table.copy() for table in self._tables]

    def _restore(self, state: list[np.ndarray]) -> None:
        for table, before in zip(self._tables, state, strict=True):
            table[:] = before

    def reset(self) -> None:
        """Put all state back to how it was at first."""
        self._restore(self._first)

    def both(self, data: bytes, **fields: int) -> Result:
        """Run a frame both ways from the same state, check that nothing differs; what became of it."""
        fields = {"timestamp": NOW} | fields
        if not self.compiled:
            return self.plain(data, **fields)
        state = self._state()
        plain = self.plain(data, **fields)
        after_plain = self._state()
        self._restore(state)
        native = self.native(data, **fields)
        assert native.leaf == plain.leaf
        assert native.fields == plain.fields
        for ours, theirs in zip(self._tables, after_plain, strict=True):
            assert np.array_equal(ours, theirs)
        if native.leaf.startswith("to "):
            assert native.data == plain.data
        # A dropped packet's record does not say which header is at hand: compare from there to the end.
        assert native.data[-len(plain.data) :] == plain.data or not plain.data
        return plain

    def plain(self, data: bytes, **fields: int) -> Result:
        """Run a frame as plain Python."""
        leaf, frame, packet = walk(self.path, data, fields)
        seen = {name: getattr(packet, name) for name in (*_SAME_FIELDS, "tail_bytes")}
        return Result(leaf, bytes(frame), seen | {"end": frame.end - HEADROOM})

    def native(self, data: bytes, **fields: int) -> Result:
        """Run a frame natively, laid out as a port does: `REACH` bytes in a slot, the rest elsewhere."""
        assert self.compiled
        batch, tail = self._batch, np.frombuffer(data[REACH:] or b"\0", np.uint8)
        self._slots[:] = 0
        self._slots[HEADROOM : HEADROOM + min(len(data), REACH)] = np.frombuffer(data[:REACH], np.uint8)
        batch[:] = np.zeros(1, batch.dtype)
        batch["frame"] = batch["origin"] = self._origin
        batch["end"] = self._origin + min(len(data), REACH)
        batch["tail"], batch["tail_bytes"] = address(tail), max(len(data) - REACH, 0)
        batch["port"] = self.path.ports.index(self.path.source)
        for name, value in fields.items():
            batch[name] = value
        work = Work(self.compiled.plan)
        counters = work.counters[0, : len(self.path.counter_names)]
        self.compiled.run(batch, 0, 1, True, work.place)
        while batch["egress"][0] == WAITING:  # as in the plain run, the wait takes no time
            batch["timestamp"], batch["held_since"] = batch["due"], NOT_HELD
            self.compiled.run(batch, 0, 1, True, work.place)
        if CHECKED:
            assert BOUNDS[2] == 0, "a stage touched bytes outside the packet"
        packet = batch[0]
        leaf = self._leaf(counters)
        start = packet["frame"] if leaf.startswith("to ") else packet["origin"] - PUSHED
        out = ctypes.string_at(int(start), int(packet["end"] - start))
        out += ctypes.string_at(int(packet["tail"]), int(packet["tail_bytes"]))
        seen = {name: int(packet[name]) for name in (*_SAME_FIELDS, "tail_bytes")}
        seen["end"] = int(packet["end"] - packet["origin"])
        return Result(leaf, out, seen)

    def _leaf(self, counters: np.ndarray) -> str:
        """The leaf that was counted: every packet is counted at exactly one."""
        leaves = [head for _, head, _ in self.path.counted]
        leaves += [f"{node} unknown-verdict" for node in self.path.stages]
        leaves += [f"{node} holds" for node in self.path.stages]
        (leaf,) = {leaf for leaf, count in zip(leaves, counters, strict=True) if count and leaf not in self.path.stages}
        return leaf

    @property
    def leaves(self) -> set[str]:
        """Names of all leaves of the path."""
        return {node for node in self.path if self.path.out_degree(node) == 0}


def in_modes(make: Callable[[str], Any], *modes: str) -> Any:
    """A module's fixture: the service that `make` gives for each mode, and the twin of a path with nothing else.

    The tests of all modes but the first are long: each mode is compiled.
    """
    first, *others = modes

    @pytest.fixture(scope="module", params=[first, *(pytest.param(mode, marks=pytest.mark.long) for mode in others)])
    def made(request: pytest.FixtureRequest) -> SimpleNamespace:
        service = make(request.param)
        return SimpleNamespace(service=service, twin=Twin(one_port(service).create_path("left")))

    return made


def marked(function: Any) -> int:
    """The line of a function that has the comment "here"."""
    code = function.__code__
    with open(code.co_filename) as file:
        lines = file.readlines()
    return next(number for number in range(code.co_firstlineno, len(lines)) if "# here" in lines[number - 1])
