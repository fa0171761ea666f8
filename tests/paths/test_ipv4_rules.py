"""What a path's attributes make of its IPv4 stages: which rules apply, and that no packet can tell the difference."""

import random
from ipaddress import IPv4Network

import pytest
from harness import NOW, Twin, two_ports
from traces import ICMP, TCP, UDP, frame

from scout.io.access import load32, store32
from scout.paths.model.path import Path
from scout.paths.protocols.fib import Fib
from scout.paths.protocols.ipv4_check import check, check_header
from scout.paths.protocols.ipv4_rules import set_next_hop
from scout.paths.protocols.next_hop import CONNECTED, GATEWAY, LOCAL
from scout.paths.protocols.route_facts import KindsWithin, OneNextHop, kinds_within
from scout.paths.stages.filter import Filter

HOST, ROUTED, NEIGHBOUR = 0x0A000002, 0x0A090105, 0x0A000102
GATEWAY_HOP, CONNECTED_HOP = 8, 7  # of 10.9.0.0/16 and of 10.0.1.0/24 in `two_ports`


def rules_of(path: Path) -> list[tuple[str, str]]:
    return [(each.rule, each.node) for each in path.applied]


def test_a_path_without_attributes_has_no_rule_applied() -> None:
    path = two_ports().graph.create_path("left")
    assert path.applied == () and path.relies_on == () and path.intact == frozenset()


# The routes of a prefix.


def test_kinds_within_a_prefix() -> None:
    ip = two_ports().ip
    assert kinds_within(ip, IPv4Network("10.9.0.0/16")) == {GATEWAY}
    assert kinds_within(ip, IPv4Network("10.0.1.128/26")) == {CONNECTED}
    assert kinds_within(ip, IPv4Network("10.0.1.0/24")) > {CONNECTED, LOCAL}


# Constant next hop.


@pytest.mark.parametrize(
    ("destination", "next_hop", "way"),
    [
        ("10.9.0.0/16", GATEWAY_HOP, "ip.forward"),
        ("10.9.7.1", GATEWAY_HOP, "ip.forward"),
        ("10.0.1.128/26", CONNECTED_HOP, "ip.forward"),
        ("10.0.1.1", 2, "ip.local"),  # LOCAL: the router's own address
    ],
)
def test_a_prefix_with_one_next_hop_has_no_lookup(destination: str, next_hop: int, way: str) -> None:
    path = two_ports().graph.create_path("left", destination=destination)
    assert rules_of(path)[0] == ("constant next hop", "ip.lookup")
    stage = path.stages["ip.lookup"]
    assert stage.function is set_next_hop and stage.bindings == {"next_hop": next_hop}
    assert list(path.successors("ip.lookup")) == [way]
    assert path.relies_on == (OneNextHop("ip", IPv4Network(destination), next_hop),)
    assert path.broken_facts == []


@pytest.mark.parametrize("destination", ["10.0.0.0/8", "10.0.1.0/24", "10.8.0.0/15", "192.0.2.0/24", "2001:db8::/32"])
def test_a_prefix_with_several_next_hops_or_none_has_its_lookup(destination: str) -> None:
    path = two_ports().graph.create_path("left", destination=destination)
    assert "constant next hop" not in dict(rules_of(path))
    assert path.stages["ip.lookup"].function is not set_next_hop


def test_behind_a_stage_that_may_write_the_packet_a_prefix_says_nothing() -> None:
    def redirect(frame, end):
        if load32(frame, 16) == NEIGHBOUR:
            store32(frame, 16, HOST)
        return 0

    def redirect_by_position(frame, end):
        store32(frame + 16, 0, HOST)
        return 0

    def redirect_by_record(frame, end, packet):
        store32(packet.origin, 30, HOST)
        return 0

    def look(frame, end):
        return 0 if load32(frame, 16) else 1

    for function, applies in (
        (redirect, False),
        (redirect_by_position, False),
        (redirect_by_record, False),
        (look, True),
    ):
        between = Filter("between", function)
        path = two_ports((between, ("ip", "between", "left"))).graph.create_path("left", destination="10.9.0.0/16")
        assert ("ip.lookup" in path.intact) is applies
        assert (("constant next hop", "ip.lookup") in rules_of(path)) is applies


def test_an_icmp_error_is_not_among_the_packets_that_attributes_describe() -> None:
    intact = two_ports().graph.create_path("left", source="10.0.0.0/24").intact
    assert {"left.in", "left.ipv4", "ip.lookup", "ip.forward", "ip.local"} <= intact
    assert not intact & {"icmp.error", "ip.route", "arp.resolve", "left.out"}  # an error goes through them, too


def test_a_fact_that_no_longer_holds_is_found() -> None:
    made = two_ports()
    constant = made.graph.create_path("left", destination="10.9.0.0/16")
    possible = made.graph.create_path("left", destination="10.0.1.0/24")
    assert constant.relies_on and possible.relies_on
    made.ip.fib = Fib([*made.ip.fib.routes, ("10.9.4.0/24", CONNECTED_HOP)])
    assert constant.broken_facts == list(constant.relies_on) and possible.broken_facts == []
    made.ip.fib = Fib([(prefix, hop) for prefix, hop in made.ip.fib.routes if str(prefix) != "10.0.1.0/24"])
    assert possible.broken_facts == list(possible.relies_on)


# Possible routes, known protocol, known sources, ARP.


def test_outcomes_that_no_destination_has_vanish() -> None:
    path = two_ports().graph.create_path("left", destination="10.8.0.0/15")  # half of it has no route
    assert rules_of(path) == [("possible routes", "ip.lookup")]
    assert path.is_ruled_out("ip.lookup", 1) and not path.is_ruled_out("ip.lookup", 0)
    assert not {"ip.local", "icmp.in"} & set(path.stages)
    assert str(path.relies_on[0]) == "ip: every address of 10.8.0.0/15 is without a route or reached by a gateway"


def test_all_outcomes_that_are_possible_stay() -> None:
    path = two_ports().graph.create_path("left", destination="10.0.0.0/8")
    assert path.applied == () and path.relies_on == ()


@pytest.mark.parametrize(("protocol", "gone"), [("udp", "icmp.in"), ("icmp", None)])
def test_the_protocol_decides_local_delivery(protocol: str, gone: str | None) -> None:
    path = two_ports().graph.create_path("left", protocol=protocol)
    assert rules_of(path) == [("known protocol", "ip.local")]
    assert path.is_ruled_out("ip.local", 0 if gone else 1)
    assert ("icmp.in" in path.stages) == (gone is None)
    assert two_ports().graph.create_path("left", source="10.0.0.0/24").applied == ()


@pytest.mark.parametrize(
    ("source", "function"),
    [
        ("10.0.0.64/26", check_header),
        ("192.0.2.0/24", check_header),  # no route leads there: it may be a source all the same
        ("10.0.0.0/24", check),  # holds the router's address, and broadcast addresses
        ("169.254.7.0/24", check),
        ("0.0.0.0/0", check),
        ("224.0.0.0/8", check),
    ],
)
def test_known_sources_are_not_checked(source: str, function: object) -> None:
    path = two_ports().graph.create_path("left", source=source)
    assert path.stages["left.ipv4"].function is function
    assert any(isinstance(fact, KindsWithin) for fact in path.relies_on) == (function is check_header)


def test_a_loopback_route_makes_no_good_source_of_a_martian() -> None:
    made = two_ports()
    made.ip.fib = Fib([*made.ip.fib.routes, ("127.9.0.0/16", GATEWAY_HOP)])
    assert made.graph.create_path("left", source="127.9.1.0/24").stages["left.ipv4"].function is check


def test_packets_that_attributes_describe_are_no_arp_messages() -> None:
    graph = two_ports().graph
    assert "arp.in" in graph.create_path("left").stages
    path = graph.create_path("left", dscp=46)
    assert "arp.in" not in path.stages and path.replicated == set()
    message = frame((HOST, ROUTED, UDP, 1, 2), bytes(28))
    arp = message[:12] + b"\x08\x06" + message[14:]
    assert path.run(arp, timestamp=NOW)[0] == "left.in drops ruled-out"
    assert graph.create_path("left", order="channel", egress=["right"]).stages.keys() >= {"arp.in"}


# No packet can tell the difference.


def packets(chance: random.Random, destination: IPv4Network) -> list[bytes]:
    """Packets to a prefix, good and bad."""
    found = []
    for _ in range(60):
        target = int(destination.network_address) + chance.randrange(destination.num_addresses)
        protocol = chance.choice((ICMP, TCP, UDP))
        data = bytearray(frame((HOST, target, protocol, 1 + chance.randrange(9), 53), bytes(chance.randrange(1400))))
        if chance.random() < 0.3:
            data[22] = chance.randrange(3)  # TTL, and with it a wrong checksum
        if chance.random() < 0.3:
            data = data[: chance.randrange(14, len(data))]
        found.append(bytes(data))
    return found


@pytest.mark.parametrize(
    "destination",
    ["10.9.0.0/16", *(pytest.param(each, marks=pytest.mark.long) for each in ("10.0.1.1", "10.8.0.0/15"))],
)
def test_a_path_with_attributes_does_what_the_path_of_all_packets_does(destination: str) -> None:
    made = two_ports()
    prefix = IPv4Network(destination)
    every, some = (Twin(made.graph.create_path("left", **given)) for given in ({}, {"destination": prefix}))
    assert some.path.applied
    for data in packets(random.Random(7), prefix):
        every.reset()
        expected = every.both(data)
        some.reset()
        assert some.both(data)[:3] == expected[:3]


def test_the_next_hop_is_in_the_record_and_not_in_the_code() -> None:
    graph = two_ports().graph
    one, other = (Twin(graph.create_path("left", destination=each)) for each in ("10.9.0.0/16", "10.0.1.128/26"))
    assert one.compiled.file == other.compiled.file
    assert one.compiled.configuration["ip_lookup_next_hop"] == GATEWAY_HOP
    assert other.compiled.configuration["ip_lookup_next_hop"] == CONNECTED_HOP
