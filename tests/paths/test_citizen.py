"""A path is a networkx graph like any other: it is queried, copied, edited, pickled and drawn as one."""

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import networkx as nx
import pytest
from harness import number, one_port, two_ports

from scout.paths.compiler.interpreter import run
from scout.paths.compiler.native import compile_path
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.router import GraphError, Router
from scout.paths.model.stage import Exit, Outcome, Stage
from scout.paths.model.verdict import drop
from scout.paths.services.counter import Counter


@pytest.fixture
def path() -> Path:
    return two_ports().graph.create_path("left", order="channel")


def test_networkx_algorithms_take_a_path(path: Path) -> None:
    assert path.release_order == "channel"
    assert path.order() == len(path)
    assert nx.is_isomorphic(path, path.copy())
    assert nx.shortest_path(path, "port left", "to right")[1] == "left.in"


def test_edges_are_found_with_and_without_their_key(path: Path) -> None:
    assert path.edges["left.in", "left.ipv4"] is path.edges["left.in", "left.ipv4", 0]
    assert {len(edge) for edge in path.edges} == {3}


class Parity(Router):
    """A port whose packets all end in one place, counted by two outcomes."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.port = SimpleNamespace(mac=number("02:00:00:00:00:01"), mtu=1500)

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        return Stage(parity, (Outcome("even", Exit(self.name)), Outcome("odd", Exit(self.name))))


def parity(frame: Any, end: Any, packet: Any) -> int:
    return packet.link_broadcast & 1


def test_two_outcomes_may_lead_to_one_node() -> None:
    graph = RouterGraph("parity")
    graph.add(Parity("only"))
    path = graph.create_path("only")
    assert path.number_of_edges("only.in", "to only") == 2
    assert sorted(data["outcome"] for data in path["only.in"]["to only"].values()) == ["even", "odd"]
    assert path.merged().edges["only.in", "to only"]["outcome"] == "even, odd"
    assert path.run(bytes(60), link_broadcast=1)[0] == "to only"


@pytest.mark.parametrize(
    "edit",
    [
        lambda path: path.add_node("mine"),
        lambda path: path.add_edge("left.in", "mine"),
        lambda path: path.remove_node("ip.lookup"),
        lambda path: path.remove_edges_from(list(path.edges)),
        lambda path: path.clear(),
    ],
)
def test_an_established_path_refuses_edits_and_says_what_to_do(path: Path, edit: Any) -> None:
    with pytest.raises(GraphError, match=r"changed = path\.copy\(\).*changed\.establish\(\)"):
        edit(path)
    assert nx.is_frozen(path)


def test_a_copy_is_edited_and_established(path: Path) -> None:
    changed = path.copy()
    leaf = changed.add_drop("ip.lookup", drop("closed"))
    changed.remove_edge("ip.lookup", "ip.local", 1)
    changed.add_outcome("ip.lookup", 1, "for us", leaf)
    changed.remove_nodes_from(["ip.local", "icmp.in"])
    changed.establish()
    assert "ip.lookup drops closed" in changed and "ip.local" not in changed.stages
    assert "ip.local" in path.stages


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda path: path.add_node("mine"), "node 'mine' is no part of a path; add it by add_stage"),
        (
            lambda path: path.add_edge("left.in", "ip.local"),
            "left.in -> ip.local has no verdict",
        ),
        (
            lambda path: path.add_outcome("left.in", 0, "again", "ip.local"),
            "verdict 0 leads to left.ipv4 and",
        ),
        (lambda path: path.remove_edge("left.in", "left.ipv4", 0), "left.in: verdict 0 leads nowhere"),
        (lambda path: path.remove_node("left.in"), "no stage behind 'port left'"),
        (lambda path: path.add_outcome("ip.route", 9, "back", "ip.lookup"), "goes in a circle"),
    ],
)
def test_what_is_missing_is_named_when_a_path_is_established(path: Path, edit: Any, words: str) -> None:
    changed = path.copy()
    edit(changed)
    with pytest.raises(GraphError) as caught:
        changed.establish()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_stage_that_held_packets_go_to_is_missed(path: Path) -> None:
    changed = path.copy()
    for tail, _, verdict in list(changed.in_edges("icmp.error", keys=True)):
        changed.add_outcome(tail, verdict, "silent", changed.add_drop(tail, drop("silent")))
    changed.remove_node("icmp.error")
    with pytest.raises(GraphError, match=r"arp\.resolve sends packets that were held too long to icmp\.error"):
        changed.establish()


@pytest.mark.parametrize("use", [compile_path, lambda path: run(path, bytes(60), {})])
def test_a_changed_path_is_not_used_before_it_is_established(path: Path, use: Any) -> None:
    with pytest.raises(GraphError, match=r"path 'left' was changed and not established; call establish\(\) first"):
        use(path.copy())


def counted() -> Path:
    return one_port(Counter("counter")).create_path("left")


def routed() -> Path:
    """With a FIB, whose memory is large."""
    return two_ports().graph.create_path("left")


@pytest.mark.parametrize("make", [counted, pytest.param(routed, marks=pytest.mark.long)])
def test_paths_and_graphs_are_pickled_and_copied(make: Any) -> None:
    path = make()
    frame = bytes.fromhex("02000000000102000000000a0800") + bytes(46)
    for other in (pickle.loads(pickle.dumps(path)), copy.deepcopy(path)):
        assert set(other.edges) == set(path.edges)
        assert other.run(frame) == path.run(frame)
        with pytest.raises(GraphError, match="copy"):
            other.add_node("mine")
    graph = pickle.loads(pickle.dumps(path.router_graph))
    assert graph.create_path("left").source == "left"


def test_notebooks_get_a_picture(path: Path) -> None:
    for graph in (path, path.router_graph):
        picture = graph._repr_svg_()
        assert picture is not None and "<svg" in picture
