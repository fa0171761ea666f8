"""`scout bench forward`: floods of many flows and of one, the loss-free rate, latency, and TCP through a router.

Every contender has a topology of its own (`scout.tools.bench.forwarders`). The generator is pinned to the first core,
the router to the last. The sink's kernel drops the frames of a flood at once; the benchmark counts the frames that
arrive at the sink's interface. The sink's part of the kernel runs on the core that sends, the router's.

Scout hands packets of one flow to the kernel as super-frames (`scout.io.transmit.coalesce`). If those arrived whole,
each would count as one frame: so in all topologies the router's outgoing veth takes no UDP super-frames, and the kernel
cuts them there into the frames that were sent. The setting changes nothing for the other contenders, which send single
frames.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from statistics import median
from typing import Any

import numpy as np

from scout.io.host.lab import Lab
from scout.io.host.process import usable_cores
from scout.io.mac import mac_number
from scout.ring.errors import ScoutError
from scout.tools.bench import forwarders
from scout.tools.bench.baselines import compile_c
from scout.tools.bench.forwarders import FLOODED, MACS, SINK, SOURCE, Forwarder, Topology
from scout.tools.bench.rounds import interleaved, rounded, spread
from scout.tools.bench.search import LOSS, Trial, loss_free_rate
from scout.tools.report import Report
from scout.tools.traffic.flood import IMIX, Flood
from scout.tools.traffic.peers import ANSWER_SECONDS, TCP_PEERS, round_trips, tcp_goodput

__all__ = ["MEASURES", "Load", "run"]

MEASURES = ("flood", "loss-free", "latency", "tcp")
FLOWS = (10_000, 16, 1)
SIZES: tuple[str, ...] = ("60", "1514")
FULL_SIZES = ("60", "512", "1514", "imix")

FEW_FLOWS, BURST = 64, 8
"""Up to so many flows send bursts of so many frames: single frames, and bursts of 4, could not be sent faster than
Scout passes them. A burst of each of 16 flows is a batch."""
SINGLE, FRAMES = 1514, 1 << 12
"""Bytes of the longest frame of a flood; and the slots of Scout's receive rings there."""
WARM_UP = 0.15  # seconds of a flood before it is measured
HIGHEST = 2e6  # frames a second: more than the generator sends
TRIAL = 0.3  # seconds of a trial of the search for the loss-free rate
SETTLE = 0.05  # seconds after which no frame of a trial is still on its way
PROBES = {"idle": (60, 0.01), "half": (200, 0.002)}
"""Pings of a measurement of latency, and the seconds between two: an idle router has time to fall asleep."""
CONNECTIONS = (1, 8)

Load = tuple[int, "int | str"]
"""The flows and the frame's bytes of a flood: a number, or "imix"."""


def _flood(topology: Topology, load: Load) -> Flood:
    flows, size = load
    sizes = IMIX if size == "imix" else int(size)
    burst = BURST if 1 < flows <= FEW_FLOWS else None
    macs = mac_number(MACS[0]), mac_number(topology.router_mac)
    return Flood(sizes, SOURCE, FLOODED, *macs, flows=flows, burst=burst)


@contextmanager
def _flooded(topology: Topology, load: Load, pps: float | None = None) -> Iterator[Flood]:
    """Have the source flood the router for the time of a `with` block."""
    flood = _flood(topology, load)
    process = topology.source.run(flood.run, "eth0", 3600.0, pps, usable_cores()[0])
    try:
        time.sleep(WARM_UP)
        yield flood
    finally:
        flood.stop()
        process.join()


def _saturated(topology: Topology, load: Load, seconds: float) -> tuple[float, float]:
    """Frames a second that arrive at the sink, and that were sent."""
    with _flooded(topology, load) as flood:
        start, before = time.perf_counter(), (topology.sink.link_stats("eth0").rx_packets, flood.sent)
        time.sleep(seconds)
        after, end = (topology.sink.link_stats("eth0").rx_packets, flood.sent), time.perf_counter()
    arrived, sent = ((late - early) / (end - start) for early, late in zip(before, after, strict=True))
    return arrived, sent


def _loss_free(topology: Topology, load: Load) -> float:
    """The highest rate at which next to nothing is lost, frames a second."""

    def trial(pps: float) -> Trial:
        flood, before = _flood(topology, load), topology.sink.link_stats("eth0").rx_packets
        topology.source.run(flood.run, "eth0", TRIAL, pps, usable_cores()[0]).join()
        time.sleep(SETTLE)
        arrived = topology.sink.link_stats("eth0").rx_packets - before
        return Trial(flood.sent, flood.sent - arrived, flood.sent / TRIAL)

    return loss_free_rate(trial, HIGHEST)


def _latency(topology: Topology, pps: float) -> dict[str, tuple[float, float]]:
    """The 50th and 99th percentile of round-trip times in µs, with the router idle and with a flood at `pps`."""
    with _on_core(usable_cores()[0]):
        found = {"idle": _percentiles(topology, "idle")}
        with _flooded(topology, (10_000, 60), pps):
            found["half"] = _percentiles(topology, "half")
    return found


def _percentiles(topology: Topology, load: str) -> tuple[float, float]:
    times = round_trips(topology.source, SINK, *PROBES[load])
    if not times:
        raise ScoutError(f"namespace {topology.source.name}: no ping to {SINK} was answered; does the router forward?")
    times += [ANSWER_SECONDS * 1e6] * (PROBES[load][0] - len(times))
    low, high = np.percentile(times, (50, 99))
    return float(low), float(high)


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Keep this thread off the router's core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [core])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class _Benchmark:
    """The measurements, each of all contenders in turn."""

    def __init__(self, lab: Lab, rounds: int, seconds: float, report: Report) -> None:
        self._lab, self._rounds, self._seconds, self._report = lab, rounds, seconds, report
        self._everyone = len(usable_cores())
        self._lowest = 0.0  # median rate of the slowest contender that answers pings
        self.parameters: dict[str, Any] = {}

    def _each(self, contenders: Sequence[Forwarder], measure: Callable[[Topology], Any], what: str) -> list[list[Any]]:
        """Start each contender, measure it and stop it, in rounds."""

        def call(contender: Forwarder) -> Any:
            with contender.serving():
                return measure(contender.topology)

        return interleaved([partial(call, each) for each in contenders], self._rounds, what)

    def _scouts(self, name: str, order: str, **options: Any) -> list[Forwarder]:
        numbers = (1, self._everyone) if self._everyone > 1 else (1,)
        return [forwarders.scout(self._lab, f"{name}{number}", number, order, **options) for number in numbers]

    def routers(self, program: str | None, gro: bool) -> list[Forwarder]:
        """All contenders of floods; the first time they are used, Scout's path is compiled.

        With `gro`, super-frames come to Scout and to the kernel.
        """
        # A sandbox cannot ask whether the interface has hooks that would be passed by: these have none.
        options = {"longest": forwarders.LONGEST if gro else SINGLE, "frames": FRAMES, "bypass": True}
        routers = [*self._scouts("s", "completed", **options), forwarders.kernel(self._lab, "kernel")]
        for router in routers if gro else ():
            router.topology.join_received()
        if program:
            routers.append(forwarders.c(self._lab, "c", program))
        routers.append(forwarders.python(self._lab, "python"))
        for router in routers:
            router.topology.cut_super_frames()
        with routers[0].serving():
            pass
        return routers

    def floods(self, routers: Sequence[Forwarder], loads: Sequence[Load]) -> list[dict[str, Any]]:
        """The rates of floods faster than the routers."""

        def measure(topology: Topology) -> list[tuple[float, float]]:
            return [_saturated(topology, load, self._seconds) for load in loads]

        figures = self._each(routers, measure, "floods")
        rows, shown = [], []
        names = [router.name for router in routers]
        baseline = "c-afpacket" if "c-afpacket" in names else "kernel"
        for index, load in enumerate(loads):
            own = [[rates[index] for rates in rounds] for rounds in figures]
            base = median(arrived for arrived, _ in own[names.index(baseline)])
            for router, rates in zip(routers, own, strict=True):
                row = router.who | {"flows": load[0], "frame_bytes": load[1]}
                row |= spread([arrived for arrived, _ in rates], "pps")
                rows.append(row)
                ratio = row["pps_median"] / base if base else 0.0
                offered = median(sent for _, sent in rates)
                shown.append(row | {"offered_median": rounded(offered), f"to_{baseline}": round(ratio, 2)})
        self._report.show(shown)
        self._lowest = min(
            row["pps_median"] for row in rows if row["name"] != "python-socket" and row["flows"] == rows[0]["flows"]
        )
        return rows

    def loss_free(self, routers: Sequence[Forwarder], loads: Sequence[Load]) -> list[dict[str, Any]]:
        """The highest rates without loss, without the Python program: it is an order of magnitude slower."""
        routers = [router for router in routers if router.name != "python-socket"]

        def measure(topology: Topology) -> list[float]:
            return [_loss_free(topology, load) for load in loads]

        figures = self._each(routers, measure, "loss-free rates")
        rows = []
        for index, (flows, size) in enumerate(loads):
            for router, rounds in zip(routers, figures, strict=True):
                load = {"load": "loss-free", "flows": flows, "frame_bytes": size}
                rows.append(router.who | load | spread([rates[index] for rates in rounds], "pps"))
        self._report.show(rows)
        self.parameters |= {"loss": LOSS, "trial_seconds": TRIAL}
        return rows

    def latency(self, routers: Sequence[Forwarder]) -> list[dict[str, Any]]:
        """Round-trip times of pings; the Python program passes none, as it forwards in one direction."""
        routers = [router for router in routers if router.name != "python-socket"]
        if not self._lowest:
            rates = self._each(routers, lambda topology: _saturated(topology, (10_000, 60), TRIAL)[0], "capacity")
            self._lowest = min(median(each) for each in rates)
        half = self._lowest / 2
        figures = self._each(routers, lambda topology: _latency(topology, half), "latency")
        rows = []
        for load in ("idle", "half"):
            for router, rounds in zip(routers, figures, strict=True):
                low, high = (rounded(median(each[load][index] for each in rounds)) for index in (0, 1))
                rows.append(router.who | {"load": load, "us_p50": low, "us_p99": high})
        self._report.show(rows)
        self.parameters |= {"half_load_pps": round(half)}
        return rows

    def tcp(self) -> list[dict[str, Any]]:
        """Goodput of TCP, in channel order; `direct` is the same without a router."""
        lab = self._lab
        routers = [*self._scouts("t", "channel"), forwarders.kernel(lab, "tk"), forwarders.direct(lab, "td")]
        with routers[0].serving():
            pass  # compiled before anything is measured

        def measure(topology: Topology) -> list[float]:
            ends = topology.source, topology.sink
            return [tcp_goodput(*ends, SINK, connections, self._seconds) for connections in CONNECTIONS]

        figures = self._each(routers, measure, "TCP")
        rows = []
        for index, connections in enumerate(CONNECTIONS):
            for router, rounds in zip(routers, figures, strict=True):
                load = {"load": "tcp", "connections": connections}
                rows.append(router.who | load | spread([rates[index] for rates in rounds], "gbps"))
        self._report.show(rows)
        self.parameters["tcp_peers"] = TCP_PEERS
        return rows


def run(
    rounds: int | None,
    seconds: float | None,
    flows: Sequence[int] | None,
    sizes: Sequence[str] | None,
    measures: Sequence[str] | None,
    full: bool,
    gro: bool,
    json_path: str | None,
) -> None:
    """Measure, print a table for each measure, write the figures.

    Parameters
    ----------
    rounds : int or None
        How often each contender is measured; by default 3, with `full` 5.
    seconds : float or None
        How long a flood or a transfer lasts; by default 0.3, with `full` 1. (A transfer by iperf3 lasts at least 1.)
    flows : sequence of int or None
        The numbers of flows of the floods; by default `FLOWS`.
    sizes : sequence of str or None
        Bytes of frames, or "imix"; by default 60 and 1514, with `full` also 512 and "imix".
    measures : sequence of str or None
        Out of `MEASURES`; by default all.
    full : bool
        True to search the loss-free rate under every load and not only under the first one.
    gro : bool
        True to have the kernel join frames of a flow (GRO) before Scout, or its own forwarding, gets them.
    json_path : str or None
        Where to write the figures.

    Raises
    ------
    ScoutError
        If there is no such measure.
    """
    for name in measures or ():
        if name not in MEASURES:
            raise ScoutError(f"--measure {name}: use some of {', '.join(MEASURES)}")
    wanted = list(measures or MEASURES)
    rounds, seconds = rounds or (5 if full else 3), seconds or (1.0 if full else 0.3)
    frame_bytes = [size if size == "imix" else int(size) for size in sizes or (FULL_SIZES if full else SIZES)]
    loads = list(product(flows or FLOWS, frame_bytes))
    report = Report("bench forward", json_path)
    program = compile_c("forward.c")
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench"))
        benchmark = _Benchmark(lab, rounds, seconds, report)
        routers = benchmark.routers(str(program) if program else None, gro) if wanted != ["tcp"] else []
        if "flood" in wanted:
            rows += benchmark.floods(routers, loads)
        if "loss-free" in wanted:
            rows += benchmark.loss_free(routers, loads if full else loads[:1])
        if "latency" in wanted:
            rows += benchmark.latency(routers)
        if "tcp" in wanted:
            rows += benchmark.tcp()
    if not program:
        report.say("no C compiler was found, so c-afpacket is left out")
    cores = usable_cores()
    parameters = {"rounds": rounds, "seconds": seconds, "cores": len(cores), "generator_core": cores[0], "gro": gro}
    report.write(parameters | {"router_core": cores[-1]} | benchmark.parameters, rows)
