"""Ports that get an interface and lose it while packets flow: nothing is lost, overtaken or kept."""

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyroute2 import IPRoute

from scout.control_socket.client import ask
from scout.control_socket.server import ControlSocket
from scout.difference import difference
from scout.io.host.lab import Lab
from scout.io.host.process import Child
from scout.io.ports.afpacket import AfPacketPort
from scout.live_ports import LivePorts
from scout.membership import Membership
from scout.paths.changes.addresses import AddAddress
from scout.paths.changes.neighbours import SetNeighbour
from scout.paths.changes.ports import AddPort, DeletePort
from scout.paths.changes.routes import AddRoute, DeleteRoute
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.ring.errors import ScoutError
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import shared
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.traffic.peers import ping
from scout.tools.traffic.two_hosts import two_hosts

pytestmark = pytest.mark.needs_namespaces

LEFT, RIGHT, THIRD = "10.0.0.2", "10.0.1.2", "10.0.2.2"
OWN = "10.0.2.1/24"


def router_graph(third: AfPacketPort, *addresses: str) -> RouterGraph:
    """A router of three ports, of which the third may have no interface."""
    graph = RouterGraph("three")
    graph.add(Ethernet("left", AfPacketPort("r0")))
    graph.add(Ethernet("right", AfPacketPort("r1")))
    graph.add(Ethernet("third", third))
    networks: dict[str, Any] = {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}
    graph.add(Ip("ip", networks | ({"third": addresses} if addresses else {})))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    for port in graph.ports:
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
    return graph


COUNTS = np.dtype([("passed", "i8"), ("wrong", "i8"), ("stopped", "i8")])


class Stream:
    """Numbered datagrams from left to right, by a process of its own, until the block ends.

    Few are on their way at a time, and none is sent while a replica is far behind, so that no machine is too slow.
    """

    WINDOW, MOST_LAG = 32, 512

    def __init__(self, run: Any) -> None:
        (self._channel, _) = run.supervisor.channels[0]
        self._counts = shared(1, COUNTS)
        with run.left.entered():
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with run.right.entered():
            self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.bind((RIGHT, 4001))
        self._sink.settimeout(300)

    def __enter__(self) -> "Stream":
        self._process = Child(self._run)
        self.more()
        return self

    def __exit__(self, *exception: object) -> None:
        self._counts["stopped"] = 1
        self._process.join()
        self._sender.close()
        self._sink.close()
        assert self._process.exitcode == 0, "a datagram was lost"

    @property
    def wrong(self) -> int:
        """Datagrams that came in another order."""
        return int(self._counts["wrong"][0])

    def more(self, count: int = 200) -> None:
        """Wait until so many more datagrams have passed."""
        wanted = int(self._counts["passed"][0]) + count
        await_until(lambda: self._counts["passed"][0] >= wanted or not self._process.is_alive())

    def _may_send(self) -> bool:
        members = [each for each in range(MOST_REPLICAS) if self._channel.is_member(each)]
        return not self._counts["stopped"][0] and all(self._channel.lag(each) < self.MOST_LAG for each in members)

    def _run(self) -> None:
        sent, counts = 0, self._counts[0]
        while not counts["stopped"] or counts["passed"] < sent:
            while sent < counts["passed"] + self.WINDOW and self._may_send():
                self._sender.sendto(struct.pack("!Q", sent), (RIGHT, 4001))
                sent += 1
            if counts["passed"] == sent:
                time.sleep(0.001)
                continue
            (number,) = struct.unpack("!Q", self._sink.recv(100))
            counts["wrong"] += number != counts["passed"]
            counts["passed"] += 1


@contextmanager
def running(third: AfPacketPort) -> Iterator[SimpleNamespace]:
    graph = router_graph(third)
    paths = [graph.create_path(port, order="channel") for port in graph.ports]
    reports: list[str] = []
    with Lab("ports") as lab:
        left, router, right = two_hosts(lab)
        host = lab.namespace("third")
        lab.veth((host, "eth0"), (router, "r2"))
        host.address("eth0", f"{THIRD}/24")
        host.route("default", via="10.0.2.1")
        supervisor = Supervisor(graph, paths, replicas=2, report=reports.append)
        with router.entered():
            supervisor.__enter__()
        try:
            yield SimpleNamespace(
                lab=lab, left=left, router=router, right=right, third=host, supervisor=supervisor, reports=reports
            )
        finally:
            supervisor.stop()


@pytest.fixture(scope="module")
def run() -> Iterator[SimpleNamespace]:
    """One router for all tests; each leaves the third port without an interface."""
    # As after an interface that was there from the start with bypass=True, and went: the next one has no bypass.
    with running(AfPacketPort(bypass=True)) as made:
        assert ping(made.left, RIGHT, 1)["received"] == 1
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
    """What a port may leave behind: descriptors, mappings, interfaces, processes."""
    with run.router.entered(), IPRoute() as ip:
        links = sorted(link.get_attr("IFLA_IFNAME") for link in ip.get_links())
    await_until(lambda: run.supervisor._parts.membership._spare.process is not None)
    with open("/proc/self/maps") as maps:
        rings = sum("socket:" in line for line in maps)
    taking_part = run.supervisor.taking_part
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "of replicas": [replica_descriptors(run, each) for each in taking_part],
        "rings": rings,
        "links": links,
        "replicas": len(taking_part),
    }


def replica_descriptors(run: Any, replica: int) -> int:
    """The sockets of a replica's process."""
    folder = f"/proc/{run.supervisor.processes[replica].pid}/fd"
    return sum(os.readlink(f"{folder}/{each}").startswith("socket:") for each in os.listdir(folder))


def test_a_port_comes_is_used_and_goes_while_packets_flow(run: Any) -> None:
    there: dict[str, Any] = {}
    with Stream(run) as stream:
        for _ in range(2):
            add(run)
            stream.more()
            assert ping(run.third, LEFT, 3)["received"] == ping(run.right, THIRD, 3)["received"] == 3
            assert ping(run.third, "10.0.2.1", 1)["received"] == 1
            assert echoed(run)
            run.supervisor.change(DeletePort("third"))
            stream.more()
            # The numbers of replicas change in turn, and the sockets of a number stay.
            there = there or resources(run)
            await_until(lambda there=there: resources(run) == there)
    assert stream.wrong == 0
    assert run.supervisor.taking_part == [0, 1]
    account = run.supervisor.account()
    assert account["out"]["third"] > 40 and set(account["drops"]) <= {"no-route"}
    assert run.supervisor.graph.router("ip").addresses.keys() == {"left", "right"}


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
    before, there = processes(run), resources(run)
    with pytest.raises(ScoutError) as refused:
        run.supervisor.change(*changes)
    assert error in str(refused.value) and "\n" not in str(refused.value)
    assert processes(run) == before
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
    renew, vanished = LivePorts._renew, list[str]()

    def renew_and_vanish(ports: LivePorts) -> None:
        renew(ports)
        if not vanished:
            vanished.append("r3")
            with run.router.netlink("r3 vanishes") as ip:
                ip.link("del", ifname="r3")

    monkeypatch.setattr(LivePorts, "_renew", renew_and_vanish)
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


@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_replica_dies_while_ports_change(run: Any, monkeypatch: Any, moment: str) -> None:
    """It dies before the replicas are renewed, or as one of them joins."""
    killed: list[int] = []

    def kill_one() -> None:
        process = run.supervisor.processes[run.supervisor.taking_part[-1]]
        killed.append(process.pid)
        os.kill(process.pid, signal.SIGKILL)

    renew, join = LivePorts._renew, Membership.join

    def renewed(ports: LivePorts) -> None:
        if moment == "before":
            kill_one()
        renew(ports)

    def joined(membership: Membership, core: int | None = None) -> int:
        made = join(membership, core)
        if moment == "between":
            kill_one()
        return made

    monkeypatch.setattr(LivePorts, "_renew", renewed)
    monkeypatch.setattr(Membership, "join", joined)
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
        ask(control.path, "port add", {"port": "third", "interface": "r2"})
        ask(control.path, "address add", {"port": "third", "address": OWN})
        assert ping(run.third, "10.0.2.1", 1)["received"] == 1
        states = {row["port"]: row["state"] for row in ask(control.path, "show ports")["rows"]}
        assert states == {"left": "is up", "right": "is up", "third": "is up"}
        (deleted,) = ask(control.path, "port delete", {"port": "third"})["rows"]
        assert deleted["change"] == "DeletePort third"
        assert {row["port"]: row["state"] for row in ask(control.path, "show ports")["rows"]}[
            "third"
        ] == "has no interface"
        with pytest.raises(ScoutError, match="no interface r9 here; there are lo, r0, r1, r2"):
            ask(control.path, "port add", {"port": "third", "interface": "r9"})
