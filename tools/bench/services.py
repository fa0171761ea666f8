"""`scout bench services`: the services that Scout ships, in their four modes, with work worth splitting and without.

A path is: port, Ethernet, the service, the primary's work (`scout.tools.bench.work`), end. Its input is a trace that
lies in the channel already (`scout.tools.bench.trace_port`): one flow, or many of which one sends 90 %. Measured is
the MLFFR, the most packets a second of which at most 4 % are lost (RFC 2544 section 26.1, with the loss of
State-Compute Replication, NSDI 2025): first the rate at which packets are taken without a pause, then a binary search
around it.
Speed-up is over one replica, of mode `sharded` where the service allows that: it does just the work, with nobody to
share it.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from rich.console import Console

from scout.io.ports.memory import MemoryPort
from scout.paths.framework.service import Service
from scout.paths.model.graph import GraphError, RouterGraph
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
from scout.supervisor import Supervisor, usable_cores
from scout.tools.bench.rounds import interleaved, show
from scout.tools.bench.trace_port import TracePort
from scout.tools.bench.traces import KNOCK, PORT, TRACES, new_trace
from scout.tools.bench.work import WORKS, new_work
from scout.tools.drawing.plot import Line, Panel, check_plot, plot
from scout.tools.report import write_json

__all__ = ["SERVICES", "run"]

MAC = 0x02_00_00_00_00_01
ENTRIES = 4096
LOSS = 0.04
SHORT, STEPS = 0.2, 5  # seconds of a trial; trials of a search
PRIORITY = -20
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
"""How each service is made for the benchmark: so that it lets the packets of the traces pass."""

MODES = ("sharded", "locked", "atomic", "replicated")


class _Trial:
    """One service in one mode, with one kind of work, under one trace."""

    def __init__(self, service: str, mode: str, work: str, trace: str, replicas: int) -> None:
        self.who = {"name": service, "mode": mode, "trace": trace, "work": work, "replicas": replicas}
        frames = new_trace(trace, ENTRIES, MAC, replies=service not in ("napt", "balancer"))
        # Of those two, answers would come by another port.
        self._port = TracePort("02:00:00:00:00:01", frames)
        self._graph = RouterGraph(f"{service}_{mode}_{work.replace('-', '_')}")
        self._graph.add(Ethernet("left", self._port))
        made = self._graph.add(SERVICES[service]("service", mode))
        if isinstance(made, Napt):
            self._between_ports(work)
        else:
            self._to_an_end(work)
        self._path = self._graph.create_path("left")
        self._replicas = replicas

    def _to_an_end(self, work: str) -> None:
        """Port, Ethernet, service, work, end."""
        stage = new_work(work, "ipv4")
        self._graph.add(End("end", "ipv4"))
        self._graph.connect("end", *([self._graph.add(stage).name] if stage else []), "service", "left")

    def _between_ports(self, work: str) -> None:
        """A service that stands on both sides of IP: to a port that has no room for what it is sent."""
        graph, stage = self._graph, new_work(work, "adjacency")
        graph.add(Ethernet("right", MemoryPort("02:00:00:00:00:02", frames=[], capacity=0)))
        graph.add(Ip("ip", {"left": "10.0.0.1/23", "right": "10.0.2.1/24"}, {"10.0.1.2/32": "10.0.2.2"}))
        arp = Arp("arp")
        arp.pin(1, "10.0.2.2", "02:00:00:00:00:03")
        graph.add(arp)
        graph.connect("ip", "service", "left")
        graph.connect("service", "right")
        graph.connect("ip", "service", *([graph.add(stage).name] if stage else []), "arp", "left")
        graph.connect("arp", "right")

    def measure(self) -> float:
        """The MLFFR, packets a second."""
        with Supervisor(self._graph, [self._path], self._replicas) as supervisor:
            self._port.offer(0, SHORT)  # until caches and tables are warm
            offered = self._port.offer(0, SHORT).packets
            low, high = 0.0, 1.2 * offered / SHORT
            for step in range(STEPS + 1):
                rate = (low + high) / 2 if step else offered / SHORT
                sent, lost, _ = self._port.offer(rate, SHORT)
                if lost <= LOSS * sent and sent >= 0.99 * rate * SHORT:
                    low = max(low, (sent - lost) / SHORT)
                else:
                    high = min(high, rate)
                supervisor.wait(0.01)
        account = supervisor.account()
        passed = account["ended"].get("done", 0) + account["drops"].get("tx-full", 0)
        if passed < 0.8 * account["received"]:
            raise ScoutError(f"{self.who}: {account}: the trace does not pass the service; mend the benchmark")
        return low


def _panel(rows: Sequence[dict[str, Any]], trace: str, work: str, services: Sequence[str]) -> Panel:
    """The speed-up of every service in every mode."""
    places = {service: 2**index for index, service in enumerate(services)}
    lines = []
    for style, mode in enumerate(MODES):
        own = [
            row
            for row in rows
            if (row["mode"], row["trace"], row["work"]) == (mode, trace, work) and row["replicas"] > 1
        ]
        if own:
            lines.append(
                Line(mode, [places[row["name"]] for row in own], [row["speedup"] for row in own], style, joined=False)
            )
    ticks = [(place, service.replace("_", "\n")) for service, place in places.items()]
    return Panel(f"{work}, {trace} trace", "", "speed-up over one core", ticks, lines)


def _allows(service: str, mode: str) -> bool:
    try:
        SERVICES[service]("service", mode)
    except GraphError:
        return False
    return True


def run(
    rounds: int,
    services: Sequence[str],
    works: Sequence[str],
    traces: Sequence[str],
    plot_path: str,
    json_path: str | None,
) -> None:
    """Measure, print a table, plot, write the figures."""
    check_plot(plot_path)
    services, works, traces = services or [*SERVICES], works or [*WORKS], traces or [*TRACES]
    for what, given, known in (("service", services, SERVICES), ("work", works, WORKS), ("trace", traces, TRACES)):
        for each in given:
            if each not in known:
                raise ScoutError(f"{what} {each!r}: use some of {', '.join(known)}")
    everyone = len(usable_cores())
    with contextlib.suppress(OSError):  # root's to do: others take little of our cores meanwhile
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    trials = []
    for service, work, trace in itertools.product(services, works, traces):
        trials.append(_Trial(service, "sharded" if _allows(service, "sharded") else "replicated", work, trace, 1))
        for mode in MODES if everyone > 1 else ():
            if _allows(service, mode):
                trials.append(_Trial(service, mode, work, trace, everyone))
    figures = interleaved([trial.measure for trial in trials], rounds, "MLFFR")
    rows: list[dict[str, Any]] = []
    base = 0.0
    for trial, figure in zip(trials, figures, strict=True):
        rate = median(figure)
        base = rate if trial.who["replicas"] == 1 else base
        spread = {"mlffr_pps": round(rate), "mlffr_pps_min": round(min(figure)), "mlffr_pps_max": round(max(figure))}
        rows.append(trial.who | spread | {"speedup": round(rate / base, 3)})
    show(rows, stderr=json_path == "-")
    panels = [_panel(rows, trace, work, services) for work, trace in itertools.product(works, traces)]
    files = plot(plot_path, f"Services on {everyone} cores: MLFFR over that of one core", panels)
    Console(stderr=True).print(f"scout: plotted in {' and '.join(map(str, files))}", highlight=False)
    if everyone == 1:
        Console(stderr=True).print("scout: one core only: nothing to split work among")
    if json_path:
        parameters = {"rounds": rounds, "cores": everyone, "loss": LOSS, "seconds": SHORT, "entries": ENTRIES}
        write_json(json_path, "bench services", parameters, rows)
