"""The trials of `scout bench paths`: a router with queues, its traffic, and what is done in time.

The router is port, Ethernet, work, meter, IP, and a port that drops all packets. Work and meter are filters for the
packets of some L4 ports, so that the paths of other packets do not have them. The traffic is a trace that lies in the
channel before the trial (`scout.tools.bench.trace_port`): its frames are some microseconds apart, the same everywhere.
"""

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scout.io.host.process import usable_cores
from scout.io.ports.fed import BATCH
from scout.io.ports.memory import MemoryPort
from scout.paths.model.graph import RouterGraph
from scout.paths.model.table import Table
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.stages.discard import Discard
from scout.paths.stages.filter import Filter
from scout.paths.wire.checksum import checksum
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.tools.bench.path_pauses import Machine, Watch, latest, machine, pauses_in
from scout.tools.bench.path_work import FIGURES, NOTED, PAUSES, meter, rounds_for, work
from scout.tools.bench.trace_port import TracePort, drain

__all__ = ["CLOSED", "Kind", "Running", "capacity", "datagram", "running", "spread_evenly"]

MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
CLOSED = 9
"""The L4 port whose packets the router discards."""

LATEST = 1 << 11
"""Packets of each kind whose times are noted."""

_PATIENCE = 10.0  # seconds until what is queued has to be served
_LOOK = 0.002


@dataclass(frozen=True)
class Kind:
    """Packets of one kind: UDP to some L4 ports, their work, and their deadline, in seconds."""

    name: str
    ports: range
    work: float = 0.0
    deadline: float = 0.0

    @property
    def only(self) -> dict[str, Any]:
        """The attributes of these packets."""
        return {"protocol": "udp", "destination_port": self.ports}


def datagram(port: int, source: int = 1) -> bytes:
    """A frame of 60 bytes with a datagram to an L4 port of 10.0.1.2, from one of 10.0.0.2."""
    udp = struct.pack("!HHHH", source, port, 26, 0) + bytes(18)
    addresses = bytes([10, 0, 0, 2, 10, 0, 1, 2])
    ip = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0x4000, 64, 17, 0) + addresses)
    ip[10:12] = struct.pack("!H", checksum(bytes(ip)))
    return bytes.fromhex(MACS[0].replace(":", "")) + bytes.fromhex("0200000000990800") + bytes(ip) + udp


def spread_evenly(entries: int, some: bytes, count: int, others: bytes) -> list[bytes]:
    """A trace of so many frames, `count` of which are `some`, as far apart as they can be."""
    trace = [others] * entries
    for number in range(count):
        trace[number * entries // count] = some
    return trace


@dataclass
class Running:
    """A router that runs."""

    supervisor: Supervisor
    port: TracePort
    chain: Table
    meters: dict[str, Table] = field(default_factory=dict)

    def figures(self, kind: Kind) -> np.ndarray:
        """Packets of a kind that came to its meter so far, and those that came late: int64[2]."""
        return self.supervisor.table(self.meters[kind.name], 0)[:2].copy()

    def watched(self) -> Watch:
        """Look from beside for how long the replica has no core."""
        return Watch(lambda: self.supervisor.processes[0].starved)

    def machine(self, counts: Mapping[Kind, int], watch: Watch) -> Machine:
        """How the machine behaved while the latest packets were served, so many of each kind."""
        tables = {kind: self.supervisor.table(self.meters[kind.name], 0) for kind in counts}
        found = [(latest(tables[kind], count), kind.deadline) for kind, count in counts.items()]
        return machine(found, np.concatenate([pauses_in(self.supervisor.table(self.chain, 0)), watch.pauses]))

    def offer(self, rate: float, seconds: float, kind: Kind) -> tuple[int, np.ndarray]:
        """Offer traffic; all packets offered, and the growth of `figures` until all that was queued has been served."""
        before = self.figures(kind)
        offered = self.port.offer(rate, seconds).packets
        self.settle()
        return offered, self.figures(kind) - before

    def burst(self) -> int:
        """Have a full channel come at once; nanoseconds until it and all queues are empty.

        Raises
        ------
        ScoutError
            If that takes more than 10 seconds.
        """
        taken, began = drain([self.port], spins=True), time.perf_counter_ns()
        waiting = self.supervisor.memory.paths.queues.waiting
        while waiting():
            if time.perf_counter_ns() - began > _PATIENCE * 1e9:
                raise ScoutError(f"packets still wait after {_PATIENCE:.0f} seconds: {self.supervisor.account()}")
        return taken + time.perf_counter_ns() - began

    def settle(self) -> None:
        """Wait until no packets wait.

        Raises
        ------
        ScoutError
            If that takes more than 10 seconds.
        """
        end, (channel, _) = time.monotonic() + _PATIENCE, self.supervisor.channels[0]
        while channel.lag(0) or any(row["waiting"] for row in self.supervisor.queue_figures()):
            if time.monotonic() > end:
                raise ScoutError(f"packets still wait after {_PATIENCE:.0f} seconds: {self.supervisor.account()}")
            time.sleep(_LOOK)


@contextmanager
def running(
    trace: Sequence[bytes],
    kinds: Sequence[Kind],
    wishes: Sequence[Mapping[str, Any]],
    schedule: str | None = None,
    closed: bool = False,
    discards: Sequence[Mapping[str, Any]] = (),
    batch: int = BATCH,
    **options: Any,
) -> Iterator[Running]:
    """Run a router on the last core.

    Parameters
    ----------
    trace : sequence of bytes
        Its traffic.
    kinds : sequence of Kind
        The packets that have work and a meter.
    wishes : sequence of mapping
        The attributes of each path from the port, besides the one that takes all other packets.
    schedule : str, optional
        The path scheduler.
    closed : bool
        True if a filter drops packets to `CLOSED`.
    discards : sequence of mapping
        The attributes of each path that discards its packets.
    batch : int
        Packets that are received together at most.
    **options
        Of the supervisor.
    """
    graph, port = RouterGraph("paths"), TracePort(MACS[0], trace, batch)
    graph.add(Ethernet("left", port))
    graph.add(Ethernet("right", MemoryPort(MACS[1], frames=[], capacity=0)))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
    arp = Arp("arp")
    arp.pin(1, "10.0.1.2", "02:00:00:00:00:03")
    graph.add(arp)
    graph.add(Icmp("icmp"))
    filters: list[Filter] = []
    if closed:
        filters.append(Discard("closed", "closed", only={"protocol": "udp", "destination_port": CLOSED}))
    meters, chain = {}, Table(np.zeros(NOTED + 2 * PAUSES, np.int64), "private")
    for kind in kinds:
        if kind.work:
            rounds = rounds_for(kind.work * 1e9)
            filters.append(Filter(f"{kind.name}_work", work, only=kind.only, chain=chain, rounds=rounds))
        words, limit = FIGURES + (3 * LATEST if kind.work else 0), int(kind.deadline * 1e9)
        figures = Table(np.zeros(words, np.int64), "private")
        filters.append(Filter(f"{kind.name}_meter", meter, only=kind.only, figures=figures, limit=limit, chain=chain))
        meters[kind.name] = figures
    for each in filters:
        graph.add(each)
    graph.connect("icmp", "ip", *(each.name for each in reversed(filters)), "left")
    graph.connect("icmp", "ip", "right")
    for name in ("left", "right"):
        graph.connect("ip", "arp", name)
    paths = [graph.create_path("left", **wish) for wish in wishes]
    paths += [graph.discard_path("left", **each) for each in discards]
    paths += [graph.create_path("left"), graph.create_path("right")]
    with Supervisor(graph, paths, 1, usable_cores()[-1:], path_schedule=schedule, **options) as supervisor:
        yield Running(supervisor, port, chain, meters)


def capacity(kind: Kind, entries: int) -> float:
    """Packets of a kind that a router without queues forwards in a second, when a full channel is drained."""
    with running([datagram(kind.ports.start)] * entries, [kind], [kind.only]) as router:
        drain([router.port])
        return entries / min(drain([router.port]) for _ in range(5)) * 1e9
