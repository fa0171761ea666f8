"""docs/reference.md is what the docstrings say, and their lists of drop reasons are what the code can give."""

import importlib.util
from pathlib import Path

import pytest

import scout
from scout import Arp, End, Ethernet, Icmp, Ip, MemoryPort, Requests, RouterGraph

DOCS = Path(__file__).parents[2] / "docs"
GENERAL = {"too-long-for-payload"}  # of every stage that wants the whole packet: in a table of its own


def make_reference():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = make_reference()
ROUTERS = [each for each in MAKE.shipped() if each.kind != "scout.io.ports"]


def passes(frame, end):
    return 0


def made(module):
    """A router of the module: its example, or one with few words."""
    given = {
        "Drop": ("closed", "left-is-closed"),
        "Filter": ("mine", passes),
        "Tee": ("tee", "copy.pcap"),
        "Counter": ("counter",),
        "ConnectionTracking": ("tracking",),
        "DdosMitigator": ("ddos", 1000),
        "HeavyHitter": ("heavy",),
        "LoadBalancer": ("balancer", "10.0.0.1:80", ["10.0.1.2:8080"]),
        "Napt": ("napt", "left", "right"),
        "PortKnocking": ("knock", 22, (7000, 8000)),
        "TokenBucket": ("policer", 125_000, 30_000),
    }
    (name,) = module.classes
    return module.classes[name](*given[name])


def graph_with(module):
    """A graph in which all parts of the module's routers are on a path."""
    graph = RouterGraph("reference")
    if "Requests" in module.classes:
        graph.add(Requests("requests", MemoryPort("02:00:00:00:00:01")))
        graph.add(End("done", "request"))
        graph.connect("done", "requests")
        return graph
    for number, port in enumerate(("left", "right"), 1):
        graph.add(Ethernet(port, MemoryPort(f"02:00:00:00:00:0{number}")))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    router = None if module.kind == "scout.paths.protocols" else graph.add(made(module))
    for port in ("left", "right"):
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
        if router:
            graph.connect("ip", router.name, port)
    if router and "adjacency" in router.requires.values():
        graph.connect(router.name, "arp")
    return graph


def given_by_the_code(module):
    """The reasons at the leaves of the module's stages, on the paths from all ports."""
    graph = graph_with(module)
    own = {router.name for router in graph.routers if type(router) in module.classes.values()}
    found = set()
    for path in [graph.create_path(port) for port in graph.ports]:
        for node, leaf in path.edges():
            if path.nodes[node]["router"] in own and path.nodes[leaf]["kind"] == "drop":
                found.add(path.nodes[leaf]["label"])
    return found - GENERAL


@pytest.mark.parametrize("module", ROUTERS, ids=lambda module: module.name.rpartition(".")[2])
def test_the_drop_reasons_of_a_docstring_are_those_of_the_code(module):
    if "Drop" in module.classes:
        assert given_by_the_code(module) == {"left-is-closed"}
    else:
        assert set(module.drops) == given_by_the_code(module), f"the Drops of {module.file}"


def test_the_page_is_what_the_docstrings_say():
    assert (DOCS / "reference.md").read_text() == MAKE.page(), "run: python docs/make_reference.py"


def test_every_shipped_router_and_port_is_on_the_page():
    page = (DOCS / "reference.md").read_text()
    values = {name: getattr(scout, name) for name in scout.__all__}
    routers = {name for name, value in values.items() if isinstance(value, type) and issubclass(value, scout.Router)}
    ports = {name for name in values if name.endswith("Port")}
    assert [name for name in (routers | ports) - {"Router", "Service"} if f"\n{name}(" not in page] == []
