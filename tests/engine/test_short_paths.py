"""Paths with attributes behind demux, run by replicas: their packets get what they get in the path of all packets."""

import struct

import pytest
from demux_frames import frame
from port_router import ADDRESSES, HOST, LEFT, RIGHT, finished

from scout.io.ports.memory import MemoryPort
from scout.paths.changes.paths import CreatePath, DeletePath
from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.stages.discard import Discard
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.testing import await_until

ATTRIBUTES = {"destination": "10.9.0.0/16", "source": "10.0.0.128/25", "protocol": "udp"}
TARGETS = ["10.9.0.1", "10.9.7.7", "10.0.1.2", "10.0.0.1", "192.0.2.1"]
SOURCES = ["10.0.0.129", "10.0.0.2"]


def router(left: MemoryPort, right: MemoryPort) -> RouterGraph:
    graph = RouterGraph("attributes")
    graph.add(Ethernet("left", left))
    graph.add(Ethernet("right", right))
    graph.add(Ip("ip", ADDRESSES, {"10.9.0.0/16": "10.0.1.2", "10.8.0.0/16": "10.0.1.2"}))
    arp = Arp("arp")
    for port, address in ((1, "10.0.1.2"), (0, "10.0.0.2"), (0, "10.0.0.129")):
        arp.pin(port, address, HOST)
    graph.add(arp)
    graph.add(Icmp("icmp", errors_per_second=1e6, burst=10_000))
    graph.add(Discard("telnet", "telnet", only={"protocol": "tcp", "destination_port": 23}))
    for port in ("left", "right"):
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
    graph.connect("ip", "telnet", "left")
    return graph


def given() -> list[bytes]:
    """Frames of several kinds, each with its number."""
    return [
        frame(
            SOURCES[number % 2],
            TARGETS[number % 5],
            protocol=(17, 6, 17)[number % 3],
            ports=(1, (23, 53)[number % 7 == 0]),
            payload=struct.pack("!I", number) + bytes(20),
        )
        for number in range(2_100)
    ]


def sent_by(path_attributes: list[dict[str, str]]) -> tuple[list[bytes], dict[str, int], list[int]]:
    """What leaves at the right, sorted; the drops; and how many packets entered each path from the left."""
    left, right = MemoryPort(LEFT, frames=given()), MemoryPort(RIGHT, frames=[])
    graph = router(left, right)
    paths = [graph.create_path("left", **attributes) for attributes in path_attributes]
    with Supervisor(graph, [*paths, graph.create_path("right")], 2) as supervisor:
        account = finished(supervisor)
    entered = [
        sum(count for (tail, _), count in supervisor.flows(path).items() if tail == "port left") for path in paths
    ]
    return sorted(right.sent()), dict(account["drops"]), entered


@pytest.mark.long
def test_packets_with_a_short_path_of_their_own_fare_as_in_the_path_of_all() -> None:
    frames, drops, entered = sent_by([{}])
    own_frames, own_drops, own_entered = sent_by([{}, ATTRIBUTES])
    assert own_frames == frames and own_drops == drops
    assert drops.get("telnet") and "ruled-out" not in own_drops
    assert sum(own_entered) == sum(entered)
    assert own_entered[1] == sum(
        each[26:30] == bytes([10, 0, 0, 129]) and each[30] == 10 and each[31] == 9 and each[23] == 17
        for each in given()
    )


def test_the_path_of_the_test_is_short() -> None:
    graph = router(MemoryPort(LEFT, frames=[]), MemoryPort(RIGHT, frames=[]))
    stages = graph.create_path("left", **ATTRIBUTES).main_line
    assert not [node for node in stages if node.startswith("telnet.")]


@pytest.mark.long
def test_a_change_of_routes_that_would_break_a_path_is_refused_and_nothing_changes() -> None:
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    graph = router(left, right)
    paths = [graph.create_path("left"), graph.create_path("left", destination="10.9.0.0/16")]
    data = frame("10.0.0.129", "10.9.4.1", payload=bytes(20))
    with Supervisor(graph, paths, 2, most_paths=8) as supervisor:
        for breaking in (AddRoute("10.9.4.0/24", via="10.0.1.3"), ReplaceRoute("10.9.0.0/16", via="10.0.1.3")):
            with pytest.raises(ScoutError, match=r"relies on a fact.*all of 10\.9\.0\.0/16 has next hop \d+"):
                supervisor.change(breaking)
            assert left.send(data)
        supervisor.change(AddRoute("10.7.0.0/16", via="10.0.1.3"), ReplaceRoute("10.8.0.0/16", via="10.0.1.3"))
        assert left.send(data)
        await_until(lambda: len(right.sent()) == 3)
        part = paths[1].narrowed(destination="10.9.4.0/25")
        supervisor.create_path(part)
        supervisor.delete_path(paths[1])
        with pytest.raises(ScoutError, match=r"'left, destination 10\.9\.4\.0/25' relies on a fact"):
            supervisor.change(breaking)
        supervisor.delete_path(part)
        supervisor.change(breaking)  # no path relies on it any more
        with pytest.raises(ScoutError, match="routes have changed since it was created"):
            supervisor.create_path(part)
        left.end()
        right.end()
        finished(supervisor)
    assert {each[:6] for each in right.sent()} == {bytes.fromhex(HOST.replace(":", ""))}


@pytest.mark.long
def test_a_path_is_deleted_together_with_the_routes_that_it_relies_on() -> None:
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    graph = router(left, right)
    paths = [graph.create_path("left"), graph.create_path("left", destination="10.9.0.0/16")]
    one = paths[1]
    data = frame("10.0.0.129", "10.9.4.1", payload=bytes(20))
    delete, replace = DeleteRoute("10.9.0.0/16"), ReplaceRoute("10.9.0.0/16", via="10.0.1.3")
    with Supervisor(graph, paths, 2, most_paths=8) as supervisor:
        other = one.narrowed(destination="10.9.0.0/17")  # relies on the same fact
        for refused in (CreatePath(other), CreatePath(paths[0])):
            with pytest.raises(ScoutError, match=r"routes have changed since|takes all packets"):
                supervisor.change(DeletePath(one), replace, refused)
            assert one in supervisor.paths and left.send(data)
            with pytest.raises(ScoutError, match=r"relies on a fact"):  # as it did before
                supervisor.change(delete)
        supervisor.create_path(other)
        with pytest.raises(ScoutError, match=r"'left, destination 10\.9\.0\.0/17' relies on a fact"):
            supervisor.change(DeletePath(one), delete)
        supervisor.change(DeletePath(one), DeletePath(other), delete)
        assert left.send(data)
        supervisor.change(AddRoute("10.9.0.0/16", via="10.0.1.2"))
        anew = graph.create_path("left", destination="10.9.0.0/16")
        supervisor.create_path(anew)
        again = graph.create_path("left", destination="10.9.0.0/24")
        supervisor.change(CreatePath(again), DeletePath(anew), AddRoute("10.9.8.0/24", via="10.0.1.3"))
        assert left.send(frame("10.0.0.129", "10.9.0.1", payload=bytes(20)))
        left.end()
        right.end()
        finished(supervisor)
    assert (len(right.sent()), len(left.sent())) == (3, 1)  # one had no route: its sender is told
