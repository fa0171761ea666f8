"""Changes of the router's own addresses, as `Ip` prepares them: what is delivered, answered for and connected."""

from ipaddress import IPv4Interface, IPv4Network
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from harness import GATEWAY, HOST, LEFT, NOW, RIGHT, two_ports
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether

from scout.paths.changes.addresses import AddAddress, DeleteAddress
from scout.paths.changes.neighbours import SetNeighbour
from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.model.change import Amendment, Change
from scout.paths.model.router import GraphError
from scout.paths.services.napt import Napt

NEW = "10.0.5.1/24"


@pytest.fixture
def router() -> SimpleNamespace:
    made = two_ports()
    made.left, made.right = made.graph.create_path("left"), made.graph.create_path("right")
    return made


def make(router: SimpleNamespace, *changes: Change) -> Amendment:
    """Prepare changes of the Ip and make them, as the supervisor does; nothing is released."""
    amendment = router.ip.prepare(changes, router.graph)
    for setting, value in amendment.settings.items():
        setting.value = value
    amendment.commit()
    return amendment


def neighbour(router: SimpleNamespace, *changes: Change) -> None:
    router.arp.prepare(changes, router.graph).commit()


def pinged(router: SimpleNamespace, address: str, source: str = "10.0.0.2") -> tuple[str, Any]:
    """The way of an echo request from the left, and what leaves."""
    packet = Ether(src=HOST, dst=LEFT) / IP(src=source, dst=address) / ICMP()
    leaf, data = router.left.run(bytes(packet), timestamp=NOW)
    return leaf, Ether(data)


def asked(router: SimpleNamespace, target: str, sender: str = "10.0.5.2") -> tuple[str, Any]:
    """What becomes of an ARP request from the left."""
    packet = Ether(src=HOST, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=HOST, psrc=sender, pdst=target)
    leaf, data = router.left.run(bytes(packet), timestamp=NOW)
    return leaf, Ether(data)


def test_a_new_address_is_delivered_answered_for_and_connected(router: SimpleNamespace) -> None:
    assert asked(router, "10.0.5.1")[0] == "learnt"  # nothing of ours
    make(router, AddAddress("left", NEW))
    leaf, reply = asked(router, "10.0.5.1")
    assert (leaf, reply[ARP].op, reply[ARP].psrc, reply[ARP].hwsrc) == ("to left", 2, "10.0.5.1", LEFT)
    leaf, reply = pinged(router, "10.0.5.1", source="10.0.5.2")  # learnt by the request
    assert (leaf, reply[IP].src, reply[IP].dst, reply.dst) == ("to left", "10.0.5.1", "10.0.5.2", HOST)
    assert pinged(router, "10.0.5.2", source="10.0.1.9")[0] == "to left"  # the network is connected
    assert pinged(router, "10.0.5.255")[0] == "ip.lookup drops broadcast"
    assert pinged(router, "10.0.0.1", source="10.0.5.1")[0] == "left.ipv4 drops own-source"
    assert pinged(router, "10.0.0.1")[0] == "to left"  # the other address is still there
    assert router.ip.addresses["left"] == (IPv4Interface("10.0.0.1/24"), IPv4Interface(NEW))


def test_errors_and_requests_of_a_network_come_from_the_address_in_it(router: SimpleNamespace) -> None:
    make(router, AddAddress("left", NEW))
    asked(router, "10.0.5.1")
    expiring = Ether(src=HOST, dst=LEFT) / IP(src="10.0.5.2", dst="10.0.1.2", ttl=1) / UDP()
    leaf, data = router.left.run(bytes(expiring), timestamp=NOW)
    assert (leaf, Ether(data)[IP].src) == ("to left", "10.0.5.1")
    pinged(router, "10.0.5.77", source="10.0.1.9")
    wishes = router.arp.wishes.initial
    assert wishes["key"][0] == 1 and wishes["source"][1] == int(IPv4Interface(NEW))


def test_a_deleted_address_is_gone_with_its_network(router: SimpleNamespace) -> None:
    make(router, AddAddress("left", NEW)).release()
    make(router, DeleteAddress("left", NEW)).release()
    assert asked(router, "10.0.5.1")[0] == "learnt"
    leaf, error = pinged(router, "10.0.5.1")
    assert (leaf, error[ICMP].type, error[ICMP].code) == ("to left", 3, 0)  # network unreachable
    assert pinged(router, "10.0.0.1", source="10.0.5.1")[0] != "left.ipv4 drops own-source"
    assert router.ip.addresses == {"left": (IPv4Interface("10.0.0.1/24"),), "right": (IPv4Interface("10.0.1.1/24"),)}


def test_of_two_addresses_in_a_network_the_second_takes_over(router: SimpleNamespace) -> None:
    neighbour(router, SetNeighbour("right", "10.0.1.2", GATEWAY))
    make(router, AddAddress("right", "10.0.1.9/24"))
    make(router, DeleteAddress("right", "10.0.1.1/24"))
    assert pinged(router, "10.9.0.1")[0] == "to right"  # by the gateway 10.0.1.2
    assert pinged(router, "10.0.1.9")[1][IP].src == "10.0.1.9"
    hop = router.ip.fib.lookup("10.9.0.1")
    assert router.ip.next_hops.initial[hop]["source"] == int(IPv4Interface("10.0.1.9/24"))
    own = Ether(src=HOST, dst=RIGHT) / IP(src="10.0.1.2", dst="10.0.0.2", ttl=1) / UDP()
    assert Ether(router.right.run(bytes(own), timestamp=NOW)[1])[IP].src == "10.0.1.9"


def test_a_network_moves_to_another_port_with_its_gateways(router: SimpleNamespace) -> None:
    make(
        router,
        DeleteAddress("left", "10.0.0.1/24"),
        DeleteAddress("right", "10.0.1.1/24"),
        AddAddress("left", "10.0.1.1/24"),
    )
    hop = router.ip.next_hops.initial[router.ip.fib.lookup("10.9.0.1")]
    assert (hop["port"], hop["slot"]) == (0, -1)  # of the row that the gateway has at the other port
    assert pinged(router, "10.9.0.1", source="10.0.1.7")[0] == "arp.resolve holds"  # unknown at this port


def test_a_change_that_was_undone_leaves_no_trace(router: SimpleNamespace) -> None:
    before = [router.ip.own.suspects.initial.copy(), router.ip.fib.routes, router.ip.next_hops.initial["kind"].copy()]
    changes = [AddAddress("left", NEW), AddRoute("10.8.0.0/16", "10.0.5.2"), DeleteRoute("10.9.0.0/16")]
    router.ip.prepare(changes, router.graph).undo()
    assert np.array_equal(router.ip.own.suspects.initial, before[0]) and router.ip.fib.routes == before[1]
    assert np.array_equal(router.ip.next_hops.initial["kind"], before[2])
    assert asked(router, "10.0.5.1")[0] == "learnt" and "10.0.5" not in str(router.ip.addresses)
    for _ in range(70):  # more than there are versions, and rows are given back
        make(router, *changes).release()
        make(
            router, AddRoute("10.9.0.0/16", "10.0.1.2"), DeleteRoute("10.8.0.0/16"), DeleteAddress("left", NEW)
        ).release()
    assert np.array_equal(router.ip.own.suspects.initial, before[0])
    assert (router.ip.next_hops.initial["kind"] == before[2]).sum() >= len(before[2]) - 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([AddAddress("middle", NEW)], "ip has an address on 'middle', which is no port of the graph"),
        ([AddAddress("left", "10.0.5.1")], "ip: address 10.0.5.1 of 'left' has no prefix length"),
        ([AddAddress("left", "10.0.5.0/24")], "is a broadcast address of its network"),
        ([AddAddress("left", "10.0.1.9/24")], "the networks of 'left', 10.0.1.9/24, and of 'right'.* overlap"),
        ([AddAddress("left", "10.0.0.9/25")], "overlap"),
        ([AddAddress("left", NEW)] * 2, "'left' has the address 10.0.5.1/24 already"),
        ([AddAddress("left", f"10.7.{i}.1/24") for i in range(64)], "66 addresses; give 64 at most"),
        ([DeleteAddress("left", NEW)], "ip: 'left' has no address 10.0.5.1/24; it has 10.0.0.1/24"),
        ([DeleteAddress("right", "10.0.1.1/24")], "ip: gateway 10.0.1.2 is on no connected network"),
        ([AddAddress("right", "10.0.1.2/24")], "ip: gateway 10.0.1.2 is on no connected network"),
        ([AddAddress("left", "10.9.0.1/16")], "10.9.0.0/16 is routed to 10.0.1.2 and is connected or special already"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(router: SimpleNamespace, changes: list[Change], message: str) -> None:
    before = router.ip.addresses, router.ip.fib.version
    with pytest.raises(GraphError, match=message):
        router.ip.prepare(changes, router.graph)
    assert (router.ip.addresses, router.ip.fib.version) == before


def test_routes_and_addresses_of_one_change_go_by_what_is_wanted(router: SimpleNamespace) -> None:
    make(
        router,
        ReplaceRoute("10.9.0.0/16", "10.0.5.2"),
        AddAddress("left", NEW),
        DeleteAddress("right", "10.0.1.1/24"),
        AddRoute("10.0.1.0/24", "10.0.5.2"),
    )
    assert router.ip.routes.keys() == {IPv4Network("10.9.0.0/16"), IPv4Network("10.0.1.0/24")}
    neighbour(router, SetNeighbour("left", "10.0.5.2", GATEWAY))
    assert pinged(router, "10.0.1.1")[1].dst == pinged(router, "10.9.0.1")[1].dst == GATEWAY


def test_an_address_that_napt_shares_stays() -> None:
    router = two_ports(
        (Napt("napt", "left", "right"), ("ip", "napt", "left"), ("ip", "napt", "right"), ("napt", "arp"))
    )
    with pytest.raises(GraphError, match=r"ip: napt uses 10\.0\.1\.1/24 of 'right'; it stays"):
        router.ip.prepare([DeleteAddress("right", "10.0.1.1/24")], router.graph)
    make(router, AddAddress("right", "10.0.1.9/24"), DeleteAddress("right", "10.0.1.9/24"))
