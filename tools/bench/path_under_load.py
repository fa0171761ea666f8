"""`scout bench paths`, measure `under-load`: how fast paths come while the router forwards at half its capacity.

Frames of 16 flows pass from one namespace through the router to another. A flood that exceeds the capacity measures it.
Then the frames come at half that rate, and paths for one flow each are created and deleted. The router itself notes the
time when the first packet of a path comes to a stage of it, so this has no part of the measurement in it. Then come
paths of new shapes, whose stages are compiled already; none is fused before its first packet.

The replica has the last core to itself. The generator and the supervisor share the first one with all else that the
machine does; both have real-time priorities, the supervisor the higher one. So the generator sends nothing while the
supervisor computes, and makes up for it afterwards.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path as File
from typing import Any

import numpy as np

from scout.io.host.lab import Lab
from scout.io.host.process import usable_cores
from scout.io.mac import mac_number
from scout.io.ports.afpacket import AfPacketPort
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.table import Table
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.stages.filter import Filter
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.tools.bench.forwarders import MACS, NEXT_HOP, NOBODY, ROUTER_MACS, SOURCE, Topology
from scout.tools.bench.path_creation import FIRST, NEW_SHAPE
from scout.tools.bench.path_work import first_seen
from scout.tools.bench.rounds import percentiles_row
from scout.tools.traffic.flood import Flood

__all__ = ["rows"]

FLOWS, BURST, FRAME_BYTES = 16, 4, 60
TIMES, NEW_SHAPES = 150, 12  # creations: in a round, and in all
MOST_PATHS = 512
PREFIX = "10.2.0.0/27"  # of the flows, whose hosts are the addresses from 10.2.0.1 on
WARM_UP, SATURATED, PAUSE = 0.3, 0.5, 0.002  # seconds
GENERATOR, SUPERVISOR = 1, 2  # real-time priorities
_PATIENCE = 1.0


def rows(rounds: int) -> list[dict[str, Any]]:
    """Measure; a row for the call and for the first packet."""
    seen = Table(np.zeros(MOST_PATHS + 8, np.int64), "private")
    with Lab("bench") as lab:
        topology = Topology(lab, "paths")
        topology.cut_super_frames()
        with topology.router.entered():
            supervisor, wide = _router(seen)
            supervisor.__enter__()
        try:
            with _on_first_core():
                return _measured(topology, supervisor, wide, seen, rounds * TIMES)
        finally:
            supervisor.stop()


def _router(seen: Table) -> tuple[Supervisor, Path]:
    """A router that is about to run, and its path for all flows."""
    graph = RouterGraph("under_load")
    graph.add(Ethernet("left", AfPacketPort("r0", mac=ROUTER_MACS[0])))
    graph.add(Ethernet("right", AfPacketPort("r1", mac=ROUTER_MACS[1])))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}, {PREFIX: NEXT_HOP}))
    arp = Arp("arp")
    arp.pin(0, SOURCE, MACS[0])
    arp.pin(1, NEXT_HOP, NOBODY)
    graph.add(arp)
    graph.add(Icmp("icmp"))
    graph.add(Filter("first", first_seen, only={"protocol": "udp"}, seen=seen))
    graph.connect("icmp", "ip", "first", "left")
    graph.connect("icmp", "ip", "right")
    for name in ("left", "right"):
        graph.connect("ip", "arp", name)
    wide = graph.create_path("left", protocol="udp", destination=PREFIX)
    paths = [wide, graph.create_path("left"), graph.create_path("right")]
    return Supervisor(graph, paths, 1, usable_cores()[-1:], most_paths=MOST_PATHS), wide


def _measured(topology: Topology, supervisor: Supervisor, wide: Path, seen: Table, times: int) -> list[dict[str, Any]]:
    for thread in threading.enumerate():
        if thread.name == "scout-compile":  # what the supervisor calls later is loaded meanwhile
            thread.join()
    with _flooded(topology, None):
        before, began = _arrived(topology), time.perf_counter()
        time.sleep(SATURATED)
        capacity = (_arrived(topology) - before) / (time.perf_counter() - began)
    with _flooded(topology, capacity / 2) as flood, _preferred():
        lost, sent = _lost(supervisor), flood.sent
        found = [_once(supervisor, _of_a_flow(wide, number), supervisor.table(seen, 0)) for number in range(times)]
        new = [_once(supervisor, _lengthened(wide, 1 + n), supervisor.table(seen, 0)) for n in range(NEW_SHAPES + 1)]
        lost, sent = _lost(supervisor) - lost, flood.sent - sent
    load = {"capacity_pps": round(capacity), "frames": sent, "lost": lost}
    measured = dict(zip(("created", FIRST, "deleted"), zip(*found, strict=True), strict=True))
    measured[NEW_SHAPE] = tuple(first for _, first, _ in new[1:])  # the first one may wait for its stages
    return [
        {"name": "under-load", "variant": variant} | percentiles_row(seconds) | load
        for variant, seconds in measured.items()
    ]


def _of_a_flow(wide: Path, number: int) -> Path:
    return wide.narrowed(destination=f"10.2.0.{1 + number % FLOWS}")


def _lengthened(wide: Path, count: int) -> Path:
    """A path of a new shape, whose stages are compiled: one of them comes `count` times more."""
    path = _of_a_flow(wide, count).copy()
    stage = next(node for node in path.main_line if node.startswith("first."))
    after = path.main_line[path.main_line.index(stage) + 1]
    for number in range(count):
        path.insert(stage, after, f"again{number}", path.stages[stage])
        after = path.main_line[path.main_line.index(stage) + 1]
    return path.establish()


def _once(supervisor: Supervisor, path: Path, seen: np.ndarray) -> tuple[float, float, float]:
    """Create a path and delete it: seconds that the call takes, until its first packet, and that deletion takes."""
    time.sleep(PAUSE)  # the generator makes up for what it did not send
    began = time.time_ns()
    supervisor.create_path(path)
    created = time.time_ns() - began
    row = supervisor.memory.paths.number(path)
    while not seen[row]:
        if time.time_ns() - began > _PATIENCE * 1e9:
            raise ScoutError(f"path {path.name!r} had no packet within {_PATIENCE:.0f} s; measure when less else runs")
        time.sleep(PAUSE)
    first = int(seen[row]) - began
    began = time.time_ns()
    epoch = supervisor.delete_path(path)
    deleted = time.time_ns() - began
    while not supervisor.reached(epoch):
        time.sleep(PAUSE)
    seen[row] = 0  # no packet comes to it any more: the number is another path's later
    return created / 1e9, first / 1e9, deleted / 1e9


@contextmanager
def _flooded(topology: Topology, pps: float | None) -> Iterator[Flood]:
    """Have the source send for the time of a `with` block."""
    macs = mac_number(MACS[0]), mac_number(topology.router_mac)
    flood = Flood(FRAME_BYTES, SOURCE, PREFIX, *macs, flows=FLOWS, burst=BURST)
    process = topology.source.run(_send, flood, pps)
    try:
        time.sleep(WARM_UP)
        yield flood
    finally:
        flood.stop()
        process.join()


def _send(flood: Flood, pps: float | None) -> None:
    if pps:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(GENERATOR))
    flood.run("eth0", 3600.0, pps, usable_cores()[0])


def _arrived(topology: Topology) -> int:
    return topology.sink.link_stats("eth0").rx_packets


def _lost(supervisor: Supervisor) -> int:
    return int(supervisor.account()["drops"].get("ring-full", 0))


@contextmanager
def _on_first_core() -> Iterator[None]:
    """Keep the threads of this process off the replica's core."""
    cores = usable_cores()
    _each_thread(os.sched_setaffinity, cores[:1])
    try:
        yield
    finally:
        _each_thread(os.sched_setaffinity, cores)


@contextmanager
def _preferred() -> Iterator[None]:
    """Have the threads of this process come before all others of their core, if they may.

    All of them, as each may hold the interpreter's lock that another one waits for.
    """
    _each_thread(os.sched_setscheduler, os.SCHED_FIFO, os.sched_param(SUPERVISOR))
    try:
        yield
    finally:
        _each_thread(os.sched_setscheduler, os.SCHED_OTHER, os.sched_param(0))


def _each_thread(call: Callable[..., object], *arguments: object) -> None:
    for task in File("/proc/self/task").iterdir():
        with suppress(PermissionError, ProcessLookupError):  # not allowed; it has ended
            call(int(task.name), *arguments)
