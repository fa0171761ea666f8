"""The compiled loop of a domain: what it can be built from, and when it is compiled anew."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from port_router import ADDRESSES, LEFT, RIGHT, finished, frames

from scout import domain
from scout.io.ports.memory import MemoryPort
from scout.paths.compiler.plan import CompileError
from scout.paths.compiler.source import MAKE, routine_source
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage
from scout.paths.model.table import Table
from scout.paths.model.verdict import HOLD
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.ipv4 import Ip
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.paths.stages.filter import Filter
from scout.supervisor import Supervisor


@pytest.mark.long
def test_a_router_without_icmp_drops_packets_that_are_held_for_too_long() -> None:
    """Its graph says nowhere what else becomes of them."""
    graph = RouterGraph("no_icmp")
    (frame,) = frames(1)
    given = [(frame, 0), (frame, 4 * 10**9)]
    graph.add(Ethernet("left", MemoryPort(LEFT, frames=given)))
    graph.add(Ethernet("right", MemoryPort(RIGHT, frames=[])))
    graph.add(Ip("ip", ADDRESSES))
    graph.add(Arp("arp"))
    for name in graph.ports:
        graph.connect("ip", "arp", name)
        graph.connect("ip", name)
    with Supervisor(graph, [graph.create_path("left")], 1) as supervisor:
        account = finished(supervisor)
    assert account["drops"] == {"hold-expired": 1, "held-at-stop": 1}


def wait_once(frame: Any, end: Any, packet: Any, seen: Any) -> int:
    """Hold every packet the first time that it comes."""
    seen[0] += 1
    return HOLD if seen[0] & 1 else 0


class Waiting(Router):
    """Holds packets without saying where those go that are held for too long."""

    requires = {"down": "ipv4"}

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen = Table(np.zeros(1, np.int64), "private")

    def arrive(self, service: str, below: bool) -> str:
        return "wait"

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        return Stage(wait_once, (Outcome("done", Exit()),), {"seen": self.seen})


def test_a_stage_may_hold_packets_without_a_time_out() -> None:
    graph = RouterGraph("waiting")
    (frame,) = frames(1)
    graph.add(Ethernet("left", MemoryPort(LEFT, frames=[(frame, 0), (bytes(60), 10**9)])))
    graph.add(Waiting("waiting"))
    graph.connect("waiting", "left")
    with Supervisor(graph, [graph.create_path("left")], 1) as supervisor:
        account = finished(supervisor)
    assert account == {"received": 2, "out": {}, "ended": {"done": 1}, "drops": {"not-for-us": 1}}


def test_a_change_of_how_a_router_makes_packets_compiles_it_anew() -> None:
    def code(source: str) -> tuple[str, str]:
        scope: dict[str, Any] = {"__name__": "user"}
        exec(source, scope)
        made = routine_source("mine", Stage(scope["emit"], ()), MAKE)
        return made.text, made.marks

    before = code("LIMIT = 3\ndef emit(frame, end): return LIMIT")
    assert code("LIMIT = 3\ndef emit(frame, end): return LIMIT") == before
    assert code("LIMIT = 4\ndef emit(frame, end): return LIMIT") != before
    assert code("LIMIT = 3\ndef emit(frame, end): return -LIMIT") != before


class Stopped(Exception):
    """Ends a start where the loop would be compiled."""


def _loop_of(monkeypatch: pytest.MonkeyPatch, *services: Any, routes: dict[str, str] | None = None) -> tuple[str, ...]:
    """All that decides which loop a router of two ports has."""
    graph = RouterGraph("two ports")
    for name, mac in (("left", LEFT), ("right", RIGHT)):
        graph.add(Ethernet(name, MemoryPort(mac)))
    for each in (Ip("ip", ADDRESSES, routes or {}), Arp("arp"), *services):
        graph.add(each)
    for port in graph.ports:
        graph.connect("ip", *(each.name for each in services), port)
        graph.connect("ip", "arp", port)

    def load(name: str, text: str, marks: str, signature: Any, *rest: Any) -> None:
        found.extend((text, marks, repr(signature)))
        raise Stopped

    found: list[str] = []
    compiled = SimpleNamespace(file=None)
    monkeypatch.setattr("scout.shapes.compile_path", lambda *given: compiled)
    monkeypatch.setattr(domain, "load_generated", load)
    with pytest.raises(CompileError), Supervisor(graph, [graph.create_path(port) for port in graph.ports], 1):
        pass
    return tuple(found)


def refused(frame: Any, end: Any, seen: Any) -> int:
    seen[0] += 1
    return 0


def test_routers_with_equal_ports_and_features_share_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = _loop_of(monkeypatch)
    seen = Table(np.zeros(100, np.int64), "private")
    services = Filter("mine", refused, seen=seen), HeavyHitter("heavy", 1 << 20)
    assert _loop_of(monkeypatch, *services, routes={"10.9.0.0/16": "10.0.1.2"}) == loop
