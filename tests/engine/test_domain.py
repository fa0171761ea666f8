"""The compiled loop of a domain: what it can be built from, and when it is compiled anew."""

from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from port_router import ADDRESSES, LEFT, RIGHT, finished, frames

from scout import domain
from scout.io.ports.memory import MemoryPort
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage
from scout.paths.model.table import Table
from scout.paths.model.verdict import HOLD
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.ipv4 import Ip
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


class Emitting(Router):
    """Makes packets of its own by the function that it is given."""

    def __init__(self, function: FunctionType) -> None:
        super().__init__("emitting")
        self.function = function

    def emitter(self) -> Stage:
        return Stage(self.function, ())


def test_a_change_of_how_a_router_makes_packets_compiles_the_domain_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def marks(source: str) -> str:
        scope: dict[str, Any] = {"__name__": "user"}
        exec(source, scope)
        graph = RouterGraph("emitting")
        graph.add(Emitting(scope["emit"]))
        domain.compile_domain(graph, [], [], 1, None)
        return found.pop()

    def load(name: str, text: str, marks: str, *rest: Any) -> SimpleNamespace:
        found.append(marks)
        return SimpleNamespace(serve=None, __file__="")

    found: list[str] = []
    monkeypatch.setattr(domain, "load_generated", load)
    before = marks("LIMIT = 3\ndef emit(batch): return LIMIT")
    assert marks("LIMIT = 3\ndef emit(batch): return LIMIT") == before
    assert marks("LIMIT = 4\ndef emit(batch): return LIMIT") != before
    assert marks("LIMIT = 3\ndef emit(batch): return -LIMIT") != before
