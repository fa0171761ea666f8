"""Which ports may get an interface, or lose it, as far as the plan tells; tests/io/test_live_ports.py has the rest."""

from typing import Any

import numpy as np
import pytest

from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.contract import PortError
from scout.io.ports.memory import MemoryPort
from scout.live_ports import LivePorts
from scout.paths.changes.ports import AddPort, DeletePort
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.stages.requests import End, Requests
from scout.plan import make_plan
from scout.ring.errors import ScoutError


def count(frame: Any, end: Any, packet: Any, seen: Any) -> int:
    seen[0] += 1
    return 0


def graph_of(*ports: Any, sequenced: bool = False) -> tuple[RouterGraph, list[Any]]:
    """A graph with these ports below one service, and its paths."""
    graph = RouterGraph("places")
    graph.add(Service("counting", {"seen": np.zeros(1)}, [Handler(count)], "request", sequenced=sequenced))
    graph.add(End("done", "request"))
    names = [graph.add(Requests(f"in{number}", port)).name for number, port in enumerate(ports)]
    for name in names:
        graph.connect("done", "counting", name)
    return graph, [graph.create_path(name) for name in names]


def checked(graph: RouterGraph, paths: list[Any], change: Any) -> None:
    """Have the plan's part of a change checked: no port is opened."""
    plan = make_plan(graph, paths)
    nothing: Any = None
    ports = LivePorts(plan, [(nothing, share) for share in plan.shares], *[nothing] * 5)
    ports.apply([change], lambda others: 0)


def test_only_ports_on_interfaces_with_channels_of_their_own_come_and_go() -> None:
    with pytest.raises(ScoutError, match=r"port in0 is MemoryPort.*only ports on interfaces"):
        checked(*graph_of(MemoryPort("02:00:00:00:00:01")), DeletePort("in0"))
    with pytest.raises(ScoutError, match="port in0: it shares a channel with in1, as counting wants one order"):
        checked(*graph_of(AfPacketPort("r0"), AfPacketPort("r1"), sequenced=True), DeletePort("in0"))
    with pytest.raises(ScoutError, match="port in1: port in0 has interface r0"):
        checked(*graph_of(AfPacketPort("r0"), AfPacketPort()), AddPort("in1", "r0"))


def test_several_places_may_be_in_a_graph_but_in_no_shared_channel() -> None:
    make_plan(*graph_of(AfPacketPort(), AfPacketPort()))
    with pytest.raises(
        ScoutError, match="one sequenced channel of the ports that lead to it, and in1 has no interface"
    ):
        make_plan(*graph_of(AfPacketPort("r0"), AfPacketPort(), sequenced=True))


def test_a_place_has_no_mac_address() -> None:
    with pytest.raises(PortError, match="a port without an interface, and MAC address 02:00:00:00:00:01"):
        AfPacketPort(mac="02:00:00:00:00:01")
