"""The measurements of `scout bench services`: one service, in one mode, with one kind of primary work, under one trace.

A path is: port, Ethernet, the service, the primary's work (`scout.tools.bench.work`), end. Its input is a trace that
lies in the channel before the measurement (`scout.tools.bench.trace_port`).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from scout.io.host.process import usable_cores
from scout.io.ports.memory import MemoryPort
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.ipv4 import Ip
from scout.paths.services.balancer import LoadBalancer
from scout.paths.services.conntrack import ConnectionTracking
from scout.paths.services.ddos import DdosMitigator
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.paths.services.napt import Napt
from scout.paths.services.port_knocking import PortKnocking
from scout.paths.services.token_bucket import TokenBucket
from scout.paths.stages.requests import End
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.tools.bench.search import highest_passing
from scout.tools.bench.trace_port import TracePort, drain, follow
from scout.tools.bench.traces import KNOCK, PORT, new_trace
from scout.tools.bench.work import new_work

__all__ = ["INDEPENDENT", "LOSS", "MODES", "SERVICES", "Case", "Figures", "Trial", "allows"]

MAC = 0x02_00_00_00_00_01
ENTRIES = 1 << 14  # of a channel: 26 MB of frames, which take one core some 8 ms
LAPS = 15  # drained, after one that warms caches and tables; the fastest was disturbed least by other processes
LOSS = 0.04
SECONDS, STEPS = 0.15, 4  # of a trial of the search for the MLFFR; trials after the first that succeeds
BACKENDS = ("10.0.9.1:80", "10.0.9.2:80", "10.0.9.3:80")
ROWS = 1024  # of a service's table: more than the flows of the traces

SERVICES: dict[str, Callable[[str, str], Service]] = {
    "heavy_hitter": lambda name, mode: HeavyHitter(name, capacity=ROWS, mode=mode),
    "ddos": lambda name, mode: DdosMitigator(name, 1 << 40, capacity=ROWS, mode=mode),
    "port_knocking": lambda name, mode: PortKnocking(name, PORT, (KNOCK,), capacity=ROWS, mode=mode),
    "token_bucket": lambda name, mode: TokenBucket(name, 1 << 38, 1 << 30, capacity=ROWS, mode=mode),
    "conntrack": lambda name, mode: ConnectionTracking(name, strict=False, capacity=ROWS, mode=mode),
    "balancer": lambda name, mode: LoadBalancer(name, f"10.0.1.2:{PORT}", BACKENDS, capacity=ROWS, mode=mode),
    "napt": lambda name, mode: Napt(name, "left", "right", capacity=ROWS, mode=mode),
}
"""How the benchmark makes each service: so that the service lets the packets of the traces pass."""

INDEPENDENT = "independent"
"""In place of a mode: a process on each core, which share nothing, not even the input. So many requests a second the
machine can serve with this work."""

MODES = ("replicated", "sharded", "locked", "atomic")


def allows(service: str, mode: str) -> bool:
    """True if a service has a mode."""
    try:
        SERVICES[service]("service", mode)
    except GraphError:
        return False
    return True


@dataclass(frozen=True)
class Case:
    """A measurement: a service in one mode, its traffic, the primary work and the number of replicas."""

    name: str
    mode: str
    trace: str
    work: str
    replicas: int


class Figures(NamedTuple):
    """The figures of one measurement; 0 where there is none."""

    drain: float  # packets a second, published beforehand
    mlffr: float  # packets a second
    follow_ns: float  # a replica's time for a request that another is primary of


class _Router:
    """A path with a service, its input a trace of so many frames."""

    def __init__(self, case: Case, mode: str, entries: int) -> None:
        frames = new_trace(case.trace, entries, MAC, replies=case.name not in ("napt", "balancer"))
        # The answers to these two services would come in by another port.
        self.port = TracePort("02:00:00:00:00:01", frames)
        self.graph = RouterGraph(f"{case.name}_{mode}_{case.work.replace('-', '_')}")
        self.graph.add(Ethernet("left", self.port))
        made = self.graph.add(SERVICES[case.name]("service", mode))
        if isinstance(made, Napt):
            self._between_ports(case.work)
        else:
            self._to_an_end(case.work)
        self.path = self.graph.create_path("left")

    def _to_an_end(self, work: str) -> None:
        """Port, Ethernet, service, work, end."""
        stage = new_work(work, "ipv4")
        self.graph.add(End("end", "ipv4"))
        self.graph.connect("end", *([self.graph.add(stage).name] if stage else []), "service", "left")

    def _between_ports(self, work: str) -> None:
        """A service on both sides of IP, with packets that leave by a port without room: it drops all of them."""
        graph, stage = self.graph, new_work(work, "adjacency")
        graph.add(Ethernet("right", MemoryPort("02:00:00:00:00:02", frames=[], capacity=0)))
        graph.add(Ip("ip", {"left": "10.0.0.1/23", "right": "10.0.2.1/24"}, {"10.0.1.2/32": "10.0.2.2"}))
        arp = Arp("arp")
        arp.pin(1, "10.0.2.2", "02:00:00:00:00:03")
        graph.add(arp)
        graph.connect("ip", "service", "left")
        graph.connect("service", "right")
        graph.connect("ip", "service", *([graph.add(stage).name] if stage else []), "arp", "left")
        graph.connect("arp", "right")


class Trial:
    """The measurement of one case, as often as it is wanted."""

    def __init__(self, case: Case) -> None:
        self.case = case
        if case.mode == INDEPENDENT:
            mode = "sharded" if allows(case.name, "sharded") else "replicated"
            # Together no more memory than all replicas have: they also share a cache.
            entries = 1 << (ENTRIES // case.replicas).bit_length() - 1
            self._routers = [_Router(case, mode, entries) for _ in range(case.replicas)]
        else:
            self._routers = [_Router(case, case.mode, ENTRIES)]

    def measure(self) -> Figures:
        """Measure once."""
        cores = usable_cores()[::-1]
        each = self.case.replicas // len(self._routers)
        with ExitStack() as stack:
            supervisors = [
                stack.enter_context(Supervisor(router.graph, [router.path], each, cores[index:] + cores[:index]))
                for index, router in enumerate(self._routers)
            ]
            ports = [router.port for router in self._routers]
            lap, following, mlffr = _drained(ports), 0.0, 0.0
            rate = sum(port.entries for port in ports) / lap * 1e9
            if self.case.mode == "replicated" and each > 1:
                following = _followed(ports[0], supervisors[0], lap * each) / ENTRIES
            if self.case.mode != INDEPENDENT:
                mlffr = _searched(ports[0], rate)
        for supervisor in supervisors:
            self._check(supervisor)
        return Figures(rate, mlffr, following)

    def _check(self, supervisor: Supervisor) -> None:
        """The trace has to pass the service, or its work was not done."""
        account = supervisor.account()
        passed = account["ended"].get("done", 0) + account["drops"].get("tx-full", 0)
        if passed < 0.8 * account["received"]:
            raise ScoutError(f"{self.case}: {account}: the trace does not pass the service")


def _drained(ports: Sequence[TracePort]) -> int:
    """Nanoseconds to drain the ports' channels, all at once."""
    fastest = drain(ports)
    for _ in range(LAPS):
        fastest = min(fastest, drain(ports, fastest * 9 // 10))
    return fastest


def _followed(port: TracePort, supervisor: Supervisor, expected: int) -> int:
    """Nanoseconds that the last replica takes for a trace that the others were the primaries of."""
    last = max(supervisor.processes)
    return min(follow(port, last, supervisor.processes[last], expected * 8 // 10) for _ in range(LAPS))


def _searched(port: TracePort, drained: float) -> float:
    """The MLFFR, packets a second, searched from the rate at which a full channel is drained."""

    def passes(rate: float) -> bool:
        offered = port.offer(rate, SECONDS)
        return bool(offered.served >= (1 - LOSS) * offered.packets)

    return highest_passing(passes, drained, 1.2, 0.8, STEPS)
