"""`scout bench soak`: many requests through replicas that are killed, join and leave at random points.

The service counts requests and folds each into a digest (replicated work); the primary of a request counts it in memory
that all replicas share. At the end every request must have been counted, and the states of all replicas must be equal,
as must the hashes of the states on the way.
"""

import random
import threading
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from scout.io.host.process import usable_cores
from scout.io.ports.contract import Port
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.framework.state import add_to
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.table import Table
from scout.paths.stages.requests import End, Requests
from scout.paths.wire.flow import mix
from scout.ring.segment import shared
from scout.supervisor import Supervisor
from scout.tools.bench.trace_port import TracePort
from scout.tools.report import Report

__all__ = ["finish", "folding", "run"]

ENTRIES, REQUEST_BYTES = 8192, 64
MOST_REPLICAS = 3  # at once
OFFER = 0.1  # seconds for which the producer offers requests between two looks at the progress

STATE = np.dtype([("requests", "i8"), ("digest", "i8")])
FINISHED = np.dtype([("times", "i4")])


def fold(frame: Any, end: Any, packet: Any, state: Any) -> int:
    """Count the request, and fold its time into the digest: equal digests mean equal requests in equal order."""
    state[0].digest = mix(state[0].digest ^ packet.timestamp ^ state[0].requests)
    state[0].requests += 1
    return 0


def finish(frame: Any, end: Any, state: Any, finished: Any) -> int:
    """Note that this request had a primary."""
    add_to(finished, state[0].requests - 1, "times", 1)
    return 0


class _Chaos(threading.Thread):
    """Kills replicas, adds and removes some, at random times; equal seeds make equal choices."""

    def __init__(self, supervisor: Supervisor, seed: int, interval: float) -> None:
        super().__init__(name="scout-chaos", daemon=True)
        self._supervisor, self._random, self._interval = supervisor, random.Random(seed), interval
        self.kills = self.joins = self.leaves = 0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._random.uniform(0, 2 * self._interval)):
            supervisor, chance = self._supervisor, self._random.random()
            taking_part = supervisor.taking_part
            if chance < 0.7:
                process = supervisor.processes[self._random.choice(taking_part)]
                if process.is_alive():
                    process.kill()
                    self.kills += 1
            elif chance < 0.85 and len(taking_part) < MOST_REPLICAS:
                supervisor.add_replica()
                self.joins += 1
            elif len(taking_part) > 1:
                supervisor.remove_replica(self._random.choice(taking_part))
                self.leaves += 1

    def stop(self) -> None:
        """End after the change that is under way."""
        self._over.set()
        self.join()


def run(requests: int, replicas: int | None, interval: float, seed: int, json_path: str | None) -> int:
    """Soak, print a table, write the figures; 1 if a request was lost or states differ."""
    report = Report("bench soak", json_path)
    replicas = replicas or len(usable_cores())
    port = TracePort("02:00:00:00:00:01", [bytes(REQUEST_BYTES)] * ENTRIES)
    graph, path = folding(port, requests, "soak")
    supervisor = Supervisor(graph, [path], replicas, report=lambda line: None)
    with supervisor:
        chaos = _Chaos(supervisor, seed, interval)
        chaos.start()
        start = time.monotonic()
        stall = _offer(port, requests)
        chaos.stop()
        port.end()
        supervisor.wait()
        seconds = time.monotonic() - start
        living = supervisor.taking_part
        diverged = supervisor.diverged()
    counts = np.bincount(supervisor.table("soak.finished")["times"], minlength=2)
    states = {tuple(supervisor.table("soak.state", replica)[0].tolist()) for replica in living}
    row = {
        "name": "soak",
        "requests": requests,
        "replicas": replicas,
        "kills": chaos.kills,
        "joins": chaos.joins,
        "leaves": chaos.leaves,
        "without_primary": int(counts[0]),
        "finished_twice": int(counts[2:].sum()),
        "states_at_the_end": len(states),
        "places_diverged": len(diverged),
        "stall_ms_max": round(stall / 1e6, 1),
        "requests_per_s": round(requests / seconds),
    }
    report.show([{"name": key, "figure": value} for key, value in row.items() if key != "name"])
    report.write({"seed": seed, "interval": interval, "entries": ENTRIES, "cores": len(usable_cores())}, [row])
    whole = not supervisor.failures and len(states) == 1 and next(iter(states))[0] == requests
    return 0 if counts[0] == 0 and whole and not diverged else 1


def folding(port: Port, requests: int, name: str) -> tuple[RouterGraph, Path]:
    """A graph whose requests, at most so many, go to one service with that name; the graph and its path."""
    finished = Table(shared(requests, FINISHED), "shared")
    handlers = [Handler(fold), Handler(finish, run="primary")]
    graph = RouterGraph(name)
    graph.add(Requests("requests", port))
    graph.add(Service(name, {"state": np.zeros(1, STATE)}, handlers, "request", finished=finished))
    graph.add(End("done", "request"))
    graph.connect("done", name, "requests")
    return graph, graph.create_path("requests")


def _offer(port: TracePort, requests: int) -> int:
    """Send so many requests, as fast as they are taken; the longest time without room, in nanoseconds."""
    sent = stall = 0
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("requests", total=requests)
        while sent < requests:
            offered = port.offer(0, OFFER, requests - sent)
            sent, stall = sent + offered.packets, max(stall, offered.stall)
            bar.update(task, completed=sent)
    return stall
