"""The difference between a router that runs and one that is wanted, and reloading a router file."""

from pathlib import Path as FilePath
from typing import Any

import pytest

from scout.difference import difference
from scout.loader import load_router
from scout.paths.changes.addresses import AddAddress, DeleteAddress
from scout.paths.changes.neighbours import DeleteNeighbour, SetNeighbour
from scout.paths.changes.paths import CreatePath, DeletePath
from scout.paths.changes.ports import AddPort, DeletePort
from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.changes.values import SetValue
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.testing import await_until

FILE = """
from scout import (
    Arp, Ethernet, Filter, Icmp, Ip, MemoryPort, RouterGraph, Setting, Table, drop, length,
)
import numpy as np

TOO_LONG = drop("too-long-for-us")

def short_enough(frame, end, packet, most, table, seven):
    return TOO_LONG if length(frame, end, packet) > most + table[0] - seven else 0

graph = RouterGraph("file")
graph.add(Ethernet("left", MemoryPort("02:00:00:00:00:01")))
graph.add(Ethernet("right", MemoryPort("02:00:00:00:00:02", frames=[])))
routes = {"10.8.0.0/16": "10.0.1.2", "10.9.0.0/16": "10.0.1.2"}
graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}, routes))
arp = graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
table = Table(np.full(1, 7), "constant")
graph.add(Filter("short", short_enough, most=Setting(1500), table=table, seven=7))
for name in graph.ports:
    graph.connect("icmp", "ip", name)
    graph.connect("ip", "arp", name)
graph.connect("ip", "short", "left")
arp.pin("right", "10.0.1.2", "02:00:00:00:00:0a")
arp.pin("right", "10.0.1.3", "02:00:00:00:00:0b")
paths = [graph.create_path(name) for name in graph.ports]
"""


@pytest.fixture
def load(tmp_path: FilePath) -> Any:
    """Load the router file, with texts in it replaced."""

    def loaded(*pairs: tuple[str, str]) -> Any:
        text = FILE
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "router.py").write_text(text)
        return load_router(str(tmp_path / "router.py"))[1]

    return loaded


def test_a_file_that_is_the_same_makes_no_difference(load: Any) -> None:
    assert difference(load(), load()) == []


def test_routes_neighbours_and_settings_that_differ_become_changes(load: Any) -> None:
    running = load()
    most = running[0].stages["short.receive"].bindings["most"]
    wanted = load(
        ('"10.8.0.0/16": "10.0.1.2", "10.9.0.0/16": "10.0.1.2"', '"10.9.0.0/16": "10.0.1.3", "0.0.0.0/0": "10.0.1.2"'),
        ('"10.0.1.2", "02:00:00:00:00:0a"', '"10.0.1.2", "02:00:00:00:00:0c"'),
        ('"10.0.1.3", "02:00:00:00:00:0b"', '"10.0.1.4", "02:00:00:00:00:0b"'),
        ("Setting(1500)", "Setting(576)"),
    )
    assert difference(running, wanted) == [
        SetValue(most, 576),
        DeleteRoute("10.8.0.0/16"),
        ReplaceRoute("10.9.0.0/16", "10.0.1.3"),
        AddRoute("0.0.0.0/0", "10.0.1.2"),
        DeleteNeighbour("right", "10.0.1.3"),
        SetNeighbour("right", "10.0.1.2", "02:00:00:00:00:0c"),
        SetNeighbour("right", "10.0.1.4", "02:00:00:00:00:0b"),
    ]


def test_addresses_that_differ_become_changes_between_those_of_routes(load: Any) -> None:
    running = load()
    wanted = load(
        ('"left": "10.0.0.1/24"', '"left": ["10.0.0.1/24", "10.0.3.1/24"]'),
        ('"right": "10.0.1.1/24"', '"right": "10.0.2.1/24"'),
        ('"10.8.0.0/16": "10.0.1.2", "10.9.0.0/16": "10.0.1.2"', '"10.8.0.0/16": "10.0.2.2"'),
    )
    assert difference(running, wanted) == [
        DeleteRoute("10.9.0.0/16"),
        DeleteAddress("right", "10.0.1.1/24"),
        AddAddress("left", "10.0.3.1/24"),
        AddAddress("right", "10.0.2.1/24"),
        ReplaceRoute("10.8.0.0/16", "10.0.2.2"),
    ]
    other_order = load(('"left": "10.0.0.1/24"', '"left": ["10.0.3.1/24", "10.0.0.1/24"]'))
    assert difference(running, other_order) == [
        DeleteAddress("left", "10.0.0.1/24"),
        AddAddress("left", "10.0.3.1/24"),
        AddAddress("left", "10.0.0.1/24"),
    ]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            ("length(frame, end, packet) > most", "length(frame, end, packet) >= most"),
            "the code of stage short.receive",
        ),
        (("seven=7", "seven=8"), "seven of stage short.receive of path 'left' differs; .* or a Setting in its place"),
        (("np.full(1, 7)", "np.full(1, 8)"), "table of stage short.receive of path 'left' differs"),
        (('Arp("arp")', 'Arp("arp", timeout=7)'), "of stage arp.* of path 'left' differs"),
        (('Arp("arp")', 'Arp("arp", capacity=64)'), "arp: the capacity differs"),
        (("02:00:00:00:00:02", "02:00:00:00:00:03"), r"port right is MemoryPort\('02:.*:02'\), and .*:03'\) is wanted"),
        (
            ("create_path(name)", 'create_path(name, order="channel")'),
            "path 'left' takes all packets that no other path takes, and its attributes differ",
        ),
        (("for name in graph.ports]", "for name in ['left']]"), "path 'right' takes all packets .*, and it is gone"),
        (
            ('graph.connect("ip", "short", "left")', 'graph.connect("ip", "short", "right")'),
            "the connection between short and left differs",
        ),
        (('"short"', '"brief"'), "routers that are new, gone or others: short, brief"),
    ],
)
def test_what_cannot_be_changed_is_refused_with_its_name(load: Any, pair: tuple[str, str], message: str) -> None:
    with pytest.raises(ScoutError, match=message):
        difference(load(), load(pair))


def port_change(load: Any, old: str, new: str) -> list[Any]:
    """The changes from one port on the right to another."""
    there = 'MemoryPort("02:00:00:00:00:02", frames=[])'
    imported = ("Arp, Ethernet", "AfPacketPort, TapPort, Arp, Ethernet")
    return difference(load(imported, (there, old)), load(imported, (there, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'AfPacketPort("r0")',
            'AfPacketPort("r0", "02:00:00:00:00:09", frames=4096, coalesce=False, bypass=True)',
            r"port right: mac and frames and coalesce and bypass of AfPacketPort\('r0'\) differ",
        ),
        (
            'AfPacketPort("r0")',
            'AfPacketPort("r0", promiscuous=True)',
            "port right: promiscuous of .* differ; that needs",
        ),
        ('AfPacketPort("r0")', 'AfPacketPort("r0", bypass=False)', "port right: bypass of .* differ; that needs"),
        ("AfPacketPort()", 'AfPacketPort("r3", bypass=True)', "port right: .* cannot have bypass=True; leave that out"),
        (
            "AfPacketPort()",
            'AfPacketPort("r3", frames=4096)',
            "port right: its ring keeps frames=2048 .*, and frames=4096 is wanted; write frames=2048, or start anew",
        ),
        ('AfPacketPort("r3", frames=4096)', "AfPacketPort()", "its ring keeps frames=4096 .*; write frames=4096"),
        ('AfPacketPort("r3", longest=1514)', "AfPacketPort()", "its ring keeps longest=1514 .*; write longest=1514"),
        (
            'MemoryPort("02:00:00:00:00:02", frames=[])',
            'MemoryPort("02:00:00:00:00:02", mtu=900)',
            "port right: mtu and frames of MemoryPort.* differ",
        ),
        ('TapPort("t0")', 'TapPort("t0", "02:00:00:00:00:07", batch=4)', "port right: batch and mac of TapPort"),
    ],
)
def test_options_of_a_port_that_differ_are_refused_by_name(load: Any, old: str, new: str, message: str) -> None:
    assert port_change(load, old, old) == []
    with pytest.raises(ScoutError, match=message) as refused:
        port_change(load, old, new)
    assert "\n" not in str(refused.value)


def test_a_port_gets_the_interface_with_its_options(load: Any) -> None:
    new = 'AfPacketPort("r3", "02:00:00:00:00:09", True, 4096, False)'
    assert port_change(load, "AfPacketPort(frames=4096)", new) == [
        AddPort("right", "r3", "02:00:00:00:00:09", promiscuous=True, coalesce=False)
    ]
    assert port_change(load, "AfPacketPort()", 'AfPacketPort("r3", bypass=False)') == [AddPort("right", "r3")]
    assert port_change(load, 'AfPacketPort("r3", bypass=True)', "AfPacketPort()") == [DeletePort("right")]


UDP = '\npaths += [graph.create_path("left", protocol="udp", destination_port=53)]'
LAST = "paths = [graph.create_path(name) for name in graph.ports]"


def test_paths_that_differ_are_deleted_and_created(load: Any) -> None:
    running = load((LAST, LAST + UDP))
    (dns,) = running[2:]
    assert difference(running, load((LAST, LAST + UDP))) == []
    assert difference(running, load()) == [DeletePath(dns)]
    deleted, created = difference(running, load((LAST, LAST + UDP.replace("=53", "=53, weight=7"))))
    assert deleted == DeletePath(dns) and isinstance(created, CreatePath)
    assert (created.path.name, created.path.attributes.weight, created.path.router_graph) == (
        (dns.name, 7, dns.router_graph)
    )
    (created,) = difference(load(), load((LAST, LAST + UDP)))
    assert created.text == "CreatePath left, protocol udp, destination port 53"


def test_a_router_is_reloaded_while_it_runs(load: Any) -> None:
    one = ("for name in graph.ports]", "for name in ['left']]")  # the path from the right is of no interest here
    running = load(one)
    graph = running[0].router_graph
    with Supervisor(graph, running, 1, report=[].append) as supervisor:
        supervisor.change(AddRoute("10.7.0.0/16", "10.0.1.2"))  # by hand: it is not in the file
        wanted = load(one, ("Setting(1500)", "Setting(576)"), ('"10.0.1.3", "02', '"10.0.1.7", "02'))
        changes = supervisor.reload(wanted)
        assert DeleteRoute("10.7.0.0/16") in changes and len(changes) == 4
        await_until(lambda: supervisor.reached(2))
        assert difference(supervisor.given_paths, wanted) == [] and supervisor.reload(wanted) == []
        with pytest.raises(ScoutError, match="seven of stage"):
            supervisor.reload(load(one, ("seven=7", "seven=8")))
