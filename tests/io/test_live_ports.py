"""Ports that get an interface and lose it while packets flow: nothing is lost, overtaken or kept."""

import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyroute2 import IPRoute
from three_ports import LEFT, OWN, RIGHT, THIRD, Stream, router_graph, running

from scout.control_socket.client import ask
from scout.control_socket.server import ControlSocket
from scout.difference import difference
from scout.io.channels.kernel_ring import KernelRing
from scout.io.ports.afpacket import AfPacketPort
from scout.live_ports import LivePorts
from scout.paths.changes.addresses import AddAddress
from scout.paths.changes.neighbours import SetNeighbour
from scout.paths.changes.ports import AddPort, DeletePort
from scout.paths.changes.routes import AddRoute, DeleteRoute
from scout.ring.errors import ScoutError
from scout.testing import await_until
from scout.tools.traffic.peers import ping

pytestmark = pytest.mark.needs_namespaces


@pytest.fixture(scope="module")
def run() -> Iterator[SimpleNamespace]:
    """One router for all tests; each leaves the third port without an interface."""
    # As after an interface that was there from the start with bypass=True, and went: the next one has no bypass.
    with running(AfPacketPort(bypass=True)) as made:
        assert ping(made.left, RIGHT, 1)["received"] == 1
        for thread in threading.enumerate():
            if thread.name == "scout-compile":  # it opens files
                thread.join()
        yield made


def add(run: Any, interface: str = "r2") -> None:
    run.supervisor.change(AddPort("third", interface), AddAddress("third", OWN))


def echoed(run: Any, count: int = 20) -> bool:
    """True if datagrams from left to the third host come back."""
    with ExitStack() as stack:
        with run.left.entered():
            near = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with run.third.entered():
            far = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        far.bind((THIRD, 4002))
        far.settimeout(600)
        near.settimeout(600)
        for number in range(count):
            near.sendto(struct.pack("!Q", number), (THIRD, 4002))
            data, source = far.recvfrom(100)
            far.sendto(data, source)
            if near.recv(100) != data:
                return False
    return True


def resources(run: Any) -> dict[str, Any]:
    """The things that a port may leave behind (descriptors, mappings, interfaces), and the processes, which stay."""
    with run.router.entered(), IPRoute() as ip:
        links = sorted(link.get_attr("IFLA_IFNAME") for link in ip.get_links())
    with open("/proc/self/maps") as maps:
        rings = [line.split()[0] for line in maps if "socket:" in line]
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "rings": rings,
        "links": links,
        "processes": processes(run),
    }


def test_a_port_comes_is_used_and_goes_while_packets_flow(run: Any) -> None:
    """The replicas are the same processes throughout, and no ring is made: so nothing keeps them from their work."""
    with Stream(run) as stream:
        there = resources(run)
        for _ in range(2):
            add(run)
            stream.more()
            assert ping(run.third, LEFT, 3)["received"] == ping(run.right, THIRD, 3)["received"] == 3
            assert ping(run.third, "10.0.2.1", 1)["received"] == 1
            assert echoed(run)
            run.supervisor.change(DeletePort("third"))
            stream.more()
            await_until(lambda: resources(run) == there)  # code may be loaded from a file meanwhile
    assert stream.wrong == 0
    assert run.supervisor.taking_part == [0, 1]
    account = run.supervisor.account()
    assert account["out"]["third"] > 40 and set(account["drops"]) <= {"no-route"}
    assert run.supervisor.graph.router("ip").addresses.keys() == {"left", "right"}


@pytest.mark.parametrize("mac", ["02:00:00:00:00:51", "02:00:00:00:00:52"])
def test_replicas_that_run_use_the_mac_address_of_the_interface_that_came(run: Any, mac: str) -> None:
    """In the ARP requests that a router makes, in its replies, and in the packets that it forwards."""
    there = processes(run)
    run.supervisor.change(AddPort("third", "r2", mac=mac), AddAddress("third", OWN))
    try:
        assert echoed(run, 1)  # the router asks for the third host
        assert neighbour(run.third, "10.0.2.1") == mac
        forget_neighbour(run.third, "10.0.2.1")
        assert ping(run.third, LEFT, 1)["received"] == 1  # the host asks for the router
        assert neighbour(run.third, "10.0.2.1") == mac
    finally:
        run.supervisor.change(DeletePort("third"))
        forget_neighbour(run.third, "10.0.2.1")
    assert processes(run) == there


def neighbour(host: Any, address: str) -> str:
    """The MAC address that a host has learnt for an address."""
    with host.entered(), IPRoute() as ip:
        found = [each for each in ip.get_neighbours() if each.get_attr("NDA_DST") == address]
    return str(found[0].get_attr("NDA_LLADDR"))


def forget_neighbour(host: Any, address: str) -> None:
    with host.netlink(f"forget {address}") as ip:
        if any(each.get_attr("NDA_DST") == address for each in ip.get_neighbours()):
            ip.neigh("del", dst=address, ifindex=ip.link_lookup(ifname="eth0")[0])


def processes(run: Any) -> list[int]:
    """The processes of the replicas that take part."""
    return [run.supervisor.processes[each].pid for each in run.supervisor.taking_part]


BAD: list[tuple[str, list[Any], str]] = [
    ("none", [AddPort("third", "r9")], "no interface r9 here; there are lo, r0, r1, r2"),
    ("taken", [AddPort("third", "r1")], "port third: port right has interface r1"),
    ("there", [AddPort("left", "r2")], "port left: it has interface r0 already; delete the port first"),
    ("no place", [AddPort("fourth", "r2")], "no port 'fourth'; there are left, right, third; others need a new start"),
    ("empty", [DeletePort("third")], "port third: it has no interface to delete"),
    (
        "twice",
        [DeletePort("left"), AddPort("left", "r2")],
        "port left: one change has it twice; make two changes of it",
    ),
    (
        "twice added",
        [AddPort("third", "r2"), AddPort("third", "r1")],
        "port third: one change has it twice; make two changes of it",
    ),
    (
        "overlap",
        [AddPort("third", "r2"), AddAddress("third", "10.0.1.9/24")],
        "ip: the networks of 'right', 10.0.1.1/24, and of 'third', 10.0.1.9/24, overlap; "
        "give each interface networks of its own",
    ),
    ("name", [AddPort("third", "a-name-that-is-too-long")], "a name has 1 to 15 bytes"),
]


@pytest.mark.parametrize(("changes", "error"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_what_cannot_be_is_refused_in_one_line_and_nothing_changes(run: Any, changes: list[Any], error: str) -> None:
    there = resources(run)
    with pytest.raises(ScoutError) as refused:
        run.supervisor.change(*changes)
    assert error in str(refused.value) and "\n" not in str(refused.value)
    await_until(lambda: resources(run) == there)
    assert run.supervisor.port("third").interface == ""
    assert run.supervisor.graph.router("ip").addresses.keys() == {"left", "right"}
    assert ping(run.left, RIGHT, 1)["received"] == 1


def test_a_gateway_keeps_its_port(run: Any) -> None:
    add(run)
    try:
        assert ping(run.third, "10.0.2.1", 1)["received"] == 1
        run.supervisor.change(AddRoute("10.8.0.0/16", THIRD), SetNeighbour("third", THIRD, "02:00:00:00:00:33"))
        before = processes(run)
        with pytest.raises(ScoutError, match=r"ip: gateway 10.0.2.2 is on no connected network"):
            run.supervisor.change(DeletePort("third"))
        assert processes(run) == before and run.supervisor.port("third").interface == "r2"
    finally:
        run.supervisor.change(DeletePort("third"), DeleteRoute("10.8.0.0/16"))


def test_a_port_whose_interface_vanishes_meanwhile_is_not_added(run: Any, monkeypatch: Any) -> None:
    host = run.lab.namespace("fourth")
    run.lab.veth((host, "eth0"), (run.router, "r3"))
    plug = KernelRing.plug

    def plug_and_vanish(ring: KernelRing) -> None:
        plug(ring)
        with run.router.netlink("r3 vanishes") as ip:
            ip.link("del", ifname="r3")

    monkeypatch.setattr(KernelRing, "plug", plug_and_vanish)
    with Stream(run) as stream:
        with pytest.raises(ScoutError, match=r"port r3: cannot receive: No such device; is it still there\?"):
            add(run, "r3")
        stream.more()
    assert stream.wrong == 0
    assert run.supervisor.port("third").interface == "" and len(run.supervisor.taking_part) == 2
    assert run.supervisor.graph.router("ip").addresses.keys() == {"left", "right"}
    monkeypatch.undo()
    add(run)
    assert echoed(run)
    run.supervisor.change(DeletePort("third"))


def test_a_port_whose_interface_has_vanished_is_deleted(run: Any) -> None:
    host = run.lab.namespace("fifth")
    run.lab.veth((host, "eth0"), (run.router, "r4"))
    host.address("eth0", f"{THIRD}/24")
    add(run, "r4")
    assert ping(host, "10.0.2.1", 1)["received"] == 1
    with run.router.netlink("r4 vanishes") as ip:
        ip.link("del", ifname="r4")
    with Stream(run) as stream:
        run.supervisor.change(DeletePort("third"))
        stream.more()
    assert stream.wrong == 0 and run.supervisor.port("third").interface == ""


@pytest.mark.parametrize("moment", ["_prepare", "_admit", "_drain", "_take_away"])
def test_a_replica_dies_while_ports_change(run: Any, monkeypatch: Any, moment: str) -> None:
    """It dies before its ring is bound, before frames are admitted, before the last are served, before the end."""
    killed: list[int] = []

    def kill_one() -> None:
        process = run.supervisor.processes[run.supervisor.taking_part[-1]]
        killed.append(process.pid)
        os.kill(process.pid, signal.SIGKILL)

    step = getattr(LivePorts, moment)

    def kill_and_go_on(ports: LivePorts, *arguments: Any) -> None:
        if not killed:
            kill_one()
        step(ports, *arguments)

    monkeypatch.setattr(LivePorts, moment, kill_and_go_on)
    add(run)
    assert ping(run.third, LEFT, 3)["received"] == 3 and echoed(run)
    run.supervisor.change(DeletePort("third"))
    assert killed
    await_until(lambda: len(run.supervisor.taking_part) == 2 and not set(processes(run)) & set(killed))
    assert ping(run.left, RIGHT, 3)["received"] == 3
    monkeypatch.undo()


def test_a_router_file_with_a_port_more_or_less_is_reloaded(run: Any) -> None:
    def wanted(third: AfPacketPort, *addresses: str) -> list[Any]:
        graph = router_graph(third, *addresses)
        return [graph.create_path(port, order="channel") for port in graph.ports]

    def texts(paths: list[Any]) -> list[str]:
        return [each.text for each in difference(run.supervisor.given_paths, paths)]

    more, less = wanted(AfPacketPort("r2"), OWN), wanted(AfPacketPort())
    assert texts(less) == []
    assert texts(more) == ["AddPort third r2", "AddAddress third 10.0.2.1/24"]
    run.supervisor.reload(more)
    assert echoed(run) and texts(more) == []
    assert texts(less) == ["DeletePort third", "DeleteAddress third 10.0.2.1/24"]
    with pytest.raises(ScoutError, match="port third is AfPacketPort\\('r2'\\), and AfPacketPort\\('r1'\\) is wanted"):
        run.supervisor.reload(wanted(AfPacketPort("r1"), OWN))
    run.supervisor.reload(less)
    assert run.supervisor.port("third").interface == ""


def test_scout_ctl_adds_and_deletes_a_port(run: Any, tmp_path: Path) -> None:
    with ControlSocket(run.supervisor, "three.py", str(tmp_path / "three.sock")) as control:
        forget_neighbour(run.third, "10.0.2.1")
        options = {"mac": "02:00:00:00:00:53", "promiscuous": True, "coalesce": False}
        ask(control.path, "port add", {"port": "third", "interface": "r2", **options})
        assert run.supervisor.port("third").options.items() >= (options | {"mac": 0x02_00_00_00_00_53}).items()
        ask(control.path, "address add", {"port": "third", "address": OWN})
        assert ping(run.third, "10.0.2.1", 1)["received"] == 1
        states = {row["port"]: row["state"] for row in ask(control.path, "show ports")["rows"]}
        assert states == {"left": "is up", "right": "is up", "third": "is up"}
        (deleted,) = ask(control.path, "port delete", {"port": "third"})["rows"]
        assert deleted["change"] == "DeletePort third"
        assert {row["port"]: row["state"] for row in ask(control.path, "show ports")["rows"]}[
            "third"
        ] == "has no interface"
        forget_neighbour(run.third, "10.0.2.1")
        with pytest.raises(ScoutError, match="no interface r9 here; there are lo, r0, r1, r2"):
            ask(control.path, "port add", {"port": "third", "interface": "r9"})
