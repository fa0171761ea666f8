"""Router graphs that make sense, and those that do not."""

import networkx as nx
import pytest
from lab_router import router_graph

from scout.io.ports.afpacket import AfPacketPort
from scout.paths.compiler.native import compile_path
from scout.paths.compiler.plan import CompileError
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError, Router
from scout.paths.model.stage import Exit, Outcome, Stage
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.stages.filter import Filter
from scout.testing import ipv4_router


def test_a_path_is_a_graph_from_port_to_ports():
    path = router_graph().create_path("left")
    assert isinstance(path, nx.DiGraph) and nx.is_directed_acyclic_graph(path)
    assert path.main_line[:5] == ["left.in", "left.ipv4", "ip.lookup", "ip.forward", "arp.resolve"]
    leaves = {node for node in path if path.out_degree(node) == 0}
    assert {"to left", "to right", "learnt"} <= leaves
    assert path.edges["left.ipv4", "ip.lookup"]["service"] == "ipv4"


def test_only_what_leads_to_replicated_work_is_replicated():
    assert router_graph().create_path("left").replicated == {"left.in", "arp.in"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda g: g.connect("ip", "icmp"), ["ip", "icmp", "types match"]),
        (lambda g: g.add(Arp("left")), ["left", "Ethernet", "Arp"]),
        (lambda g: g.connect("ip", "nowhere"), ["nowhere", "left"]),
        (lambda g: g.create_path("ip"), ["ip", "no port", "left"]),
        (lambda g: g.create_path("left", egress=["ip"]), ["left", "ip", "no port"]),
        (lambda g: g.create_path("left", order="random"), ["random", "channel"]),
        (lambda g: Ip("x", {"left": "10.0.0.300/24"}), ["x", "10.0.0.300"]),
        (lambda g: Ethernet("not a name", None), ["not a name"]),
    ],
)
def test_errors_name_both_ends(make, words):
    with pytest.raises(GraphError) as caught:
        make(router_graph())
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_a_cycle_is_refused():
    class Up(Router):
        requires = {"down": "x"}
        provides = {"up": "x"}

    graph = RouterGraph("circle")
    graph.add(Up("one"))
    graph.add(Up("two"))
    graph.connect("one", "two")
    with pytest.raises(GraphError, match=r"two.*one.*cycle"):
        graph.connect("two", "one")


def test_an_unconnected_service_is_named():
    graph = RouterGraph("open")
    graph.add(Ethernet("left", AfPacketPort("r0")))
    graph.add(Ip("ip", {"left": "10.0.0.1/24"}))
    graph.connect("ip", "left")
    wanted = r"^ip requires service 'resolve' of type 'adjacency' and nothing is connected; "
    with pytest.raises(GraphError, match=rf"{wanted}add a router that provides it, and connect\('ip', \.\.\.\) to it$"):
        graph.create_path("left")
    graph.add(Arp("arp"))
    with pytest.raises(GraphError, match=rf"{wanted}arp provides it: connect\('ip', 'arp', \.\.\.\)$"):
        graph.create_path("left")


def test_an_address_on_a_port_that_does_not_exist():
    graph = RouterGraph("wrong")
    graph.add(Ethernet("left", AfPacketPort("r0")))
    graph.add(Ip("ip", {"middle": "10.0.0.1/24"}))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    graph.connect("icmp", "ip", "left")
    graph.connect("ip", "arp", "left")
    with pytest.raises(GraphError, match=r"ip.*middle"):
        graph.create_path("left")


def broken(frame, end):
    return frame.nonsense


class Broken(Router):
    def __init__(self, name, port, function):
        super().__init__(name)
        self.port, self._function = port, function

    def stage(self, key, graph, attributes):
        return Stage(self._function, (Outcome("out", Exit(self.name)),))


def test_a_stage_that_does_not_compile_is_named_with_its_line():
    graph = RouterGraph("broken")
    graph.add(Broken("bad", AfPacketPort("r0"), broken))
    with pytest.raises(CompileError) as caught:
        compile_path(graph.create_path("bad"))
    text = str(caught.value)
    assert "test_graph.py:" in text and "bad.in" in text and "\n" not in text


def unbound(frame, end, missing):
    return missing


def test_a_parameter_without_binding_is_named():
    graph = RouterGraph("unbound")
    graph.add(Broken("bad", AfPacketPort("r0"), unbound))
    with pytest.raises(CompileError, match=r"missing"):
        compile_path(graph.create_path("bad"))


def test_explain_tells_what_was_fused():
    text = router_graph().create_path("left").explain()
    for word in (
        "ip.lookup",
        "pulls 14 bytes",
        "arp_in_mac",
        "replicated on every core: left.in, arp.in",
    ):
        assert word in text


def test_a_picture_leaves_out_the_connections_that_filters_replaced():
    graph = ipv4_router(Filter("first", unmoved))
    graph.add(Filter("second", unmoved))
    graph.add(Filter("asked", unmoved, connects="arp"))
    graph.connect("ip", "left")
    graph.connect("first", "second", "left")
    graph.connect("arp", "asked", "right")
    left_out = set(graph.edges) - set(graph.picture().edges)
    assert left_out == {("ip", "left"), ("first", "left"), ("arp", "right")}


def unmoved(frame, end):
    return 0
