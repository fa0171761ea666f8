"""The neighbour cache: static entries, time, and how often each next hop is asked for."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from harness import GATEWAY, HOST, LEFT, NOW, RIGHT, number, two_ports
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

from scout.paths.limit import once
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip

OTHER = "02:00:00:00:00:66"
SECOND = 1_000_000_000


@pytest.fixture
def router() -> SimpleNamespace:
    made = two_ports()
    made.left, made.right = made.graph.create_path("left"), made.graph.create_path("right")
    return made


def router_with(arp: Arp) -> RouterGraph:
    """The same router, whose neighbours are not known."""
    graph = RouterGraph("unpinned")
    for name, mac in (("left", LEFT), ("right", RIGHT)):
        graph.add(Ethernet(name, SimpleNamespace(mac=number(mac), mtu=1500)))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}, {"10.9.0.0/16": "10.0.1.2"}))
    graph.add(arp)
    graph.add(Icmp("icmp"))
    for name in ("left", "right"):
        graph.connect("icmp", "ip", name)
        graph.connect("ip", "arp", name)
    graph.configure()
    for each in graph.routers:
        each.start(graph)
    return graph


def to(destination: str) -> bytes:
    """A packet from the host on the left."""
    return bytes(Ether(src=HOST, dst=LEFT) / IP(src="10.0.0.2", dst=destination) / UDP())


def said(mac: str, address: str, target: str = "10.0.1.1", op: int = 2) -> bytes:
    """An ARP message on the right."""
    return bytes(Ether(src=mac, dst=RIGHT) / ARP(op=op, hwsrc=mac, psrc=address, hwdst=RIGHT, pdst=target))


def sent_to(data: bytes) -> str:
    return Ether(data).dst


@pytest.mark.parametrize("op", [1, 2])
def test_a_static_entry_is_neither_changed_by_a_message_nor_expires(router: Any, op: int) -> None:
    leaf, data = router.left.run(to("10.9.0.1"), timestamp=NOW)
    assert (leaf, sent_to(data)) == ("to right", GATEWAY)
    answer = router.right.run(said(OTHER, "10.0.1.2", op=op), timestamp=NOW)[0]
    assert answer == ("to right" if op == 1 else "learnt")
    for later in (1, 61 * SECOND, 86400 * 365 * SECOND):
        leaf, data = router.left.run(to("10.9.0.1"), timestamp=NOW + later)
        assert (leaf, sent_to(data)) == ("to right", GATEWAY)
    assert router.arp.wishes.initial["key"][0] == 0, "a static entry is not asked for"
    assert router.arp.changes.initial[0] == 0


def test_a_gateway_that_is_not_pinned_is_learnt_and_expires() -> None:
    graph = router_with(Arp("arp"))
    left, right = graph.create_path("left"), graph.create_path("right")
    assert left.run(to("10.9.0.1"), timestamp=NOW)[0] == "arp.resolve holds"
    for mac in (OTHER, GATEWAY):
        assert right.run(said(mac, "10.0.1.2"), timestamp=NOW)[0] == "learnt"
        assert sent_to(left.run(to("10.9.0.1"), timestamp=NOW + 1)[1]) == mac
    assert left.run(to("10.9.0.1"), timestamp=NOW + 60 * SECOND)[0] == "arp.resolve holds"


def test_a_neighbour_is_pinned_by_the_name_of_its_port() -> None:
    arp = Arp("arp")
    arp.pin("right", "10.0.1.7", OTHER)  # before the graph is complete
    graph = router_with(arp)
    arp.pin("left", "10.0.0.7", HOST)  # and after
    for port, address, mac in ((1, 0x0A000107, OTHER), (0, 0x0A000007, HOST)):
        (row,) = [row for row in arp.adjacencies.initial if row["key"] == (port + 1) << 32 | address]
        assert row["mac"] == number(mac)
    assert sent_to(graph.create_path("left").run(to("10.0.1.7"), timestamp=NOW)[1]) == OTHER


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("middle", "10.0.0.7", HOST),
            r"arp: neighbour 10\.0\.0\.7 on 'middle', which is no port: \['left', 'right'\]",
        ),
        (("left", "10.0.0.700", HOST), r"arp: neighbour 10\.0\.0\.700"),
        (("left", "10.0.0.7", "02:00"), r"arp: neighbour 10\.0\.0\.7 at 02:00: .*MAC address"),
    ],
)
def test_a_bad_pin_is_refused(arguments: tuple[str, str, str], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        two_ports().arp.pin(*arguments)
    early = Arp("arp")
    with pytest.raises(GraphError, match=words):
        early.pin(*arguments)
        router_with(early)


@pytest.mark.parametrize("capacity", [0, 15, 1000])
def test_a_capacity_is_a_power_of_two(capacity: int) -> None:
    with pytest.raises(GraphError, match=f"arp: capacity of {capacity} adjacencies; give a power of two"):
        Arp("arp", capacity=capacity)


def test_every_neighbour_of_a_large_network_fits() -> None:
    arp = Arp("arp", capacity=4096)
    right = router_with(arp).create_path("right")
    for host in range(2, 250):
        mac = f"02:00:00:00:01:{host:02x}"
        assert right.run(said(mac, f"10.0.1.{host}"), timestamp=NOW)[0] == "learnt"
    known = {int(row["key"]) & 0xFF for row in arp.adjacencies.initial if row["expires"] > NOW}
    assert known >= set(range(2, 250))


# Time.


def test_learns_at_time_0(router: Any) -> None:
    assert router.right.run(said(OTHER, "10.0.1.9", op=1), timestamp=0)[0] == "to right"
    leaf, data = router.left.run(to("10.0.1.9"), timestamp=0)
    assert (leaf, sent_to(data)) == ("to right", OTHER)
    assert router.left.run(to("10.0.1.9"), timestamp=60 * SECOND)[0] == "arp.resolve holds"


def test_asks_at_time_0(router: Any) -> None:
    assert router.left.run(to("10.0.1.9"), timestamp=0)[0] == "arp.resolve holds"
    assert router.arp.wishes.initial["key"][0] == 1


@pytest.mark.parametrize("back", [2, 3600, 86400 * 365])
def test_asks_on_after_the_clock_was_set_back(router: Any, back: int) -> None:
    router.left.run(to("10.0.1.9"), timestamp=NOW)
    router.left.run(to("10.0.1.9"), timestamp=NOW - back * SECOND)
    router.left.run(to("10.0.1.9"), timestamp=NOW - (back - 1) * SECOND)
    assert router.arp.wishes.initial["key"][0] >= 2, "asked again within one interval"


def test_an_adjacency_is_asked_for_anew_after_the_clock_was_set_back(router: Any) -> None:
    router.right.run(said(OTHER, "10.0.1.9"), timestamp=NOW)
    before = NOW - 3600 * SECOND
    assert router.left.run(to("10.0.1.9"), timestamp=before)[0] == "to right"
    assert router.arp.wishes.initial["key"][0] == 1
    router.right.run(said(OTHER, "10.0.1.9"), timestamp=before)
    assert router.left.run(to("10.0.1.9"), timestamp=before + 60 * SECOND)[0] == "arp.resolve holds"


# Requests are limited for each neighbour by itself.


def test_a_dead_neighbour_starves_no_other(router: Any) -> None:
    """Every host of a /24 is tried every 100 ms; each is asked for once a second."""
    asked: dict[int, list[int]] = {}
    wishes = router.arp.wishes.initial["key"]
    packets = [to(f"10.0.1.{host}") for host in range(3, 255)]
    for tick in range(31):
        now = NOW + tick * SECOND // 10
        for packet in packets:
            router.left.run(packet, timestamp=now)
            for key in wishes[1 : 1 + wishes[0]].tolist():
                asked.setdefault(key, []).append(tick)
            wishes[0] = 0
    assert len(asked) == 252
    assert all(ticks == [0, 10, 20, 30] for ticks in asked.values())


def test_once_limits_each_key_and_forgets_the_oldest() -> None:
    words = np.zeros(2 * 16, np.int64)
    assert all(once(words, key, NOW + key, SECOND) for key in range(1, 17))
    assert not any(once(words, key, NOW + SECOND, SECOND) for key in range(2, 17))
    assert once(words, 17, NOW + 20, SECOND), "a table full of others refuses no key"
    assert once(words, 1, NOW + 21, SECOND), "the oldest has given up its row"
