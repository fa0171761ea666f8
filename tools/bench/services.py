"""`scout bench services`: the services that Scout ships, in their four modes, with work worth splitting and without.

A path is: port, Ethernet, the service, the primary's work (`scout.tools.bench.work`), end. Its input is a trace that
lies in the channel before the measurement (`scout.tools.bench.trace_port`): one flow (the favourable case), or 256
flows of which one sends 90 % of the packets. The figure is the MLFFR, the highest packet rate at which at most 4 % are
lost (RFC 2544 section 26.1, with the loss of State-Compute Replication, NSDI 2025). The benchmark first finds the rate
at which the replicas take packets without a pause, and then searches around it by halving. The speed-up is over one
replica, in mode `sharded` where the service allows that: it does the same work without sharing anything.

By default two services with one kind of work are measured, in under 3 minutes; `--service all --work all` measures
everything.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

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
from scout.tools.bench.rounds import interleaved, spread
from scout.tools.bench.trace_port import TracePort
from scout.tools.bench.traces import KNOCK, PORT, TRACES, new_trace
from scout.tools.bench.work import WORKS, new_work
from scout.tools.drawing.plot import Line, Panel, plot
from scout.tools.report import Report

__all__ = ["SERVICES", "run"]

MAC = 0x02_00_00_00_00_01
ENTRIES = 4096
LOSS = 0.04
SHORT, STEPS = 0.15, 5  # seconds of a trial; trials of a search
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
"""How the benchmark makes each service: so that the service lets the packets of the traces pass."""

DEFAULT_SERVICES, DEFAULT_WORKS = ("heavy_hitter", "conntrack"), ("aes-gcm",)
MODES = ("sharded", "locked", "atomic", "replicated")


class _Trial:
    """One service in one mode, with one kind of work, under one trace."""

    def __init__(self, service: str, mode: str, work: str, trace: str, replicas: int) -> None:
        self.who = {"name": service, "mode": mode, "trace": trace, "work": work, "replicas": replicas}
        frames = new_trace(trace, ENTRIES, MAC, replies=service not in ("napt", "balancer"))
        # The answers to these two services would come in by another port.
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
        """A service on both sides of IP, with packets that leave by a port without room: it drops all of them."""
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
            raise ScoutError(f"{self.who}: {account}: the trace does not pass the service")
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


def _chosen(option: str, given: Sequence[str], known: Iterable[str], default: Iterable[str]) -> list[str]:
    """The names that an option gave, or the default; "all" stands for all known names."""
    known = list(known)
    for name in given:
        if name != "all" and name not in known:
            raise ScoutError(f"--{option} {name}: use some of {', '.join(known)}, or all")
    return known if "all" in given else list(given or default)


def run(
    rounds: int,
    services: Sequence[str],
    works: Sequence[str],
    traces: Sequence[str],
    picture: str | None,
    json_path: str | None,
) -> None:
    """Measure, print a table, plot, write the figures.

    Parameters
    ----------
    rounds : int
        How often each service is measured in each mode.
    services, works, traces : sequence of str
        Names out of `SERVICES`, `WORKS` and `TRACES`, or "all"; empty for the default.
    picture : str or None
        Where to plot the speed-ups, as SVG and PNG.
    json_path : str or None
        Where to write the figures.
    """
    report = Report("bench services", json_path)
    services = _chosen("service", services, SERVICES, DEFAULT_SERVICES)
    works = _chosen("work", works, WORKS, DEFAULT_WORKS)
    traces = _chosen("trace", traces, TRACES, TRACES)
    everyone = len(usable_cores())
    with contextlib.suppress(OSError):  # only root may: other programs then take little of the cores
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
        rows.append(trial.who | spread(figure, "mlffr_pps") | {"speedup": round(rate / base, 3) if base else None})
    report.show(rows)
    if everyone == 1:
        report.say("one core only: there is nothing to split work among")
    elif picture:
        panels = [_panel(rows, trace, work, services) for work, trace in itertools.product(works, traces)]
        files = plot(picture, f"Services on {everyone} cores: MLFFR over that of one core", panels)
        report.say(f"plotted: {files[0]}, {files[1]}")
    parameters = {"rounds": rounds, "cores": everyone, "loss": LOSS, "seconds": SHORT, "entries": ENTRIES}
    report.write(parameters, rows)
