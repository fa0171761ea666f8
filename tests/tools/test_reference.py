"""docs/reference.md is what the docstrings say, and their lists of drop reasons are what the code can give.

docs/control.md has the requests of the control socket.
"""

import importlib.util
from pathlib import Path

import pytest

import scout
from scout import (
    ApplicationPort,
    Applications,
    Arp,
    Counter,
    Ethernet,
    Icmp,
    Ip,
    MemoryPort,
    RouterGraph,
    Tcp,
    Udp,
    drop,
)

DOCS = Path(__file__).parents[2] / "docs"
PORTS = ("left", "right", "bare")  # the last one without ARP
GENERAL = {"too-long-for-payload"}  # of every stage that wants the whole packet: in a table of its own


def make_reference():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = make_reference()
TELNET = drop("telnet")
ROUTERS = [each for each in MAKE.shipped() if each.kind not in ("scout.io.ports", "scout.paths.changes")]


def standard_graph():
    graph = RouterGraph("reference")
    for number, port in enumerate(PORTS, 1):
        graph.add(Ethernet(port, MemoryPort(f"02:00:00:00:00:0{number}")))
    graph.add(Ip("ip", {port: f"10.0.{number}.1/24" for number, port in enumerate(PORTS)}))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    for port in PORTS:
        graph.connect("icmp", "ip", port)
        if port != "bare":
            graph.connect("ip", "arp", port)
    return graph


def with_sockets(graph):
    """The graph with sockets of applications, which some reasons of routers are about."""
    graph.add(Udp("udp"))
    graph.add(Tcp("tcp"))
    graph.add(Applications("apps", ApplicationPort("reference")))
    graph.connect("apps", "udp", "ip")
    graph.connect("apps", "tcp", "ip")
    graph.connect("udp", "icmp")
    graph.connect("tcp", "icmp")
    return graph


def no_telnet(frame, end, port):
    return TELNET


def run_example(module, graph):
    """Run an example, one expression or statements that use `graph`; add what the expression makes to the graph."""
    names = {name: getattr(scout, name) for name in scout.__all__} | {"graph": graph, "no_telnet": no_telnet}
    names["port"], names["service"] = MemoryPort("02:00:00:00:00:01"), Counter("counter", connects="request")
    try:
        router = eval(module.example, names)
    except SyntaxError:
        exec(module.example, names)
        return
    if not any(type(each) is type(router) for each in graph.routers):
        graph.add(router)
        for port in PORTS:
            graph.connect("ip", router.name, port)
        if "adjacency" in router.requires.values():
            graph.connect(router.name, "arp")


def given_by_the_code(module):
    """The reasons at the leaves of the class's stages, on the paths from all ports."""
    graph, found = RouterGraph("requests") if "Requests" in module.classes else standard_graph(), set()
    if module.kind == "scout.paths.protocols":
        with_sockets(graph)
    run_example(module, graph)
    names = {router.name for router in graph.routers if type(router) in module.classes.values()}
    for path in [graph.create_path(port) for port in graph.ports]:
        for node, leaf, _ in path.edges:
            if path.nodes[node]["router"] in names and path.nodes[leaf]["kind"] == "drop":
                found.add(path.nodes[leaf]["label"])
    # An Ethernet without ARP above, as "bare" is here, has the reason of every service that nothing is connected to.
    return found - ({"no-arp"} if "Ethernet" in module.classes else set())


@pytest.mark.parametrize("module", ROUTERS, ids=lambda module: module.file)
def test_the_drop_reasons_of_a_docstring_are_those_of_the_code(module):
    given_by_the_example = {"left-is-closed", "telnet"}
    assert set(module.drops) - GENERAL == given_by_the_code(module) - GENERAL - given_by_the_example


def test_the_page_is_what_the_docstrings_say():
    assert (DOCS / "reference.md").read_text() == MAKE.page(), "run: python docs/make_reference.py"


def test_the_table_of_requests_is_that_of_the_control_socket():
    assert (DOCS / "control.md").read_text() == MAKE.control_page(), "run: python docs/make_reference.py"


def test_every_shipped_router_and_port_is_on_the_page():
    page = (DOCS / "reference.md").read_text()
    values = {name: getattr(scout, name) for name in scout.__all__}
    routers = {name for name, value in values.items() if isinstance(value, type) and issubclass(value, scout.Router)}
    ports = {name for name in values if name.endswith("Port")}
    assert [name for name in (routers | ports) - {"Router", "Service"} if f" {name}(" not in page] == []
