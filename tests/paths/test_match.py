"""Filters for the packets of a pattern alone, and how a path's attributes decide them."""

import random
from dataclasses import replace

import pytest
from harness import Twin, two_ports
from traces import ICMP, TCP, UDP, frame

from scout.paths.compiler.interpreter import try_stage
from scout.paths.model.attributes import Attributes
from scout.paths.model.router import GraphError
from scout.paths.stages.discard import Discard
from scout.paths.stages.filter import Filter
from scout.paths.stages.match import MATCHING, match, pattern_bindings, pattern_of
from scout.paths.stages.tee import Tee

HOST, ROUTED = 0x0A000002, 0x0A090001
TELNET = {"protocol": "tcp", "destination_port": 23}
TO_TELNET, TO_WEB = (frame((HOST, ROUTED, TCP, 4000, port)) for port in (23, 80))


def discard(name: str, **only):
    return Discard(name, name, only=only)


def between(router):
    return two_ports((router, ("ip", router.name, "left"))).graph


# The pattern.


def slowly(pattern: Attributes, data: bytes) -> bool:
    """Whether a frame has a pattern, by Scapy's dissection."""
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.l2 import Ether

    packet = Ether(data)[IP]
    l4 = packet.getlayer(TCP) or packet.getlayer(UDP)
    shows = l4 is not None and packet.frag == 0 and not packet.flags.MF
    ports = [(pattern.destination_port, "dport"), (pattern.source_port, "sport")]
    return all(
        [
            pattern.destination is None
            or int(pattern.destination[0]) <= _number(packet.dst) <= int(pattern.destination[-1]),
            pattern.source is None or int(pattern.source[0]) <= _number(packet.src) <= int(pattern.source[-1]),
            pattern.protocol is None or packet.proto == pattern.protocol,
            pattern.dscp is None or packet.tos >> 2 == pattern.dscp,
            *(each is None or (shows and getattr(l4, name) in each) for each, name in ports),
        ]
    )


def _number(address: str) -> int:
    return int.from_bytes(bytes(map(int, address.split("."))), "big")


def some(chance: random.Random, **choices):
    return {name: chance.choice(values) for name, values in choices.items() if chance.random() < 0.4}


def test_match_agrees_with_scapy() -> None:
    chance = random.Random(3)
    answers = set()
    for _ in range(400):
        given = some(
            chance,
            destination=["10.9.0.0/16", "10.9.0.1", "0.0.0.0/0", "10.8.0.0/16"],
            source=["10.0.0.2/32", "10.0.0.0/24", "192.0.2.0/24"],
            protocol=["tcp", "udp"],
            dscp=[0, 46],
            destination_port=[53, range(50, 60), range(65536)],
            source_port=[0, 1000, range(1000, 1002)],
        )
        if not given:
            continue
        flow = (
            HOST,
            ROUTED,
            chance.choice((ICMP, TCP, UDP, 50)),
            chance.choice((0, 1000, 1001)),
            chance.choice((53, 55, 60)),
        )
        data = bytearray(frame(flow, bytes(40), fragment=chance.choice((0, 0, 0x2000, 7))))
        data[15] = chance.choice((0, 46 << 2, 46 << 2 | 1))
        pattern = pattern_of("test", given)
        verdict, _ = try_stage(match, bytes(data[14:]), **pattern_bindings(pattern))
        assert (verdict == MATCHING) == slowly(pattern, bytes(data)), (given, flow)
        answers.add(verdict)
    assert answers == {0, 1}


def test_a_short_packet_shows_no_ports() -> None:
    packet = frame((HOST, ROUTED, UDP, 1, 53))[14 : 14 + 22]
    assert try_stage(match, packet, **pattern_bindings(pattern_of("test", {"destination_port": 53})))[0] != MATCHING


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ({}, ["x", "describes no packets", "destination"]),
        ({"protocol": None}, ["x", "describes no packets"]),
        ({"weight": 3}, ["x", "'weight'", "dscp"]),
        ({"egress": "left"}, ["x", "'egress'"]),
        ({"destination": "2001:db8::/32"}, ["x", "IPv4"]),
        ({"protocol": "quic"}, ["x", "quic", "udp"]),
    ],
)
def test_what_is_no_pattern_is_refused(only, words) -> None:
    with pytest.raises(GraphError) as caught:
        Discard("x", "x", only=only)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_pattern_is_for_services_of_ipv4() -> None:
    with pytest.raises(GraphError, match=r"x.*arp.*leave it out"):
        Discard("x", "x", connects="arp", only=TELNET)


# In paths.


def test_only_packets_of_the_pattern_go_through_the_filter() -> None:
    twin = Twin(between(discard("telnet", **TELNET)).create_path("left"))
    assert twin.both(TO_TELNET).leaf == "telnet.receive drops telnet"
    assert twin.both(TO_WEB).leaf == "to right"


def test_packets_that_are_sent_are_told_apart_too() -> None:
    ping = Discard("ping", "ping", "adjacency", only={"protocol": "icmp"})
    path = two_ports((ping, ("ip", "ping", "arp"))).graph.create_path("left")
    assert path.run(frame((HOST, ROUTED, ICMP, 1, 1)))[0] == "ping.send drops ping"
    assert path.run(TO_WEB)[0] == "to right"


def test_a_tee_copies_the_packets_of_a_pattern(tmp_path) -> None:
    tee = Tee("tee", tmp_path / "web.pcap", only={"destination_port": 80})
    path = between(tee).create_path("left")
    for data in (TO_TELNET, TO_WEB, TO_TELNET):
        path.run(data)
    tee._close()
    assert (tmp_path / "web.pcap").read_bytes().count(TO_WEB) == 1
    assert TO_TELNET not in (tmp_path / "web.pcap").read_bytes()


@pytest.mark.parametrize(
    ("attributes", "stages"),
    [
        ({"protocol": "udp"}, []),
        ({"protocol": "tcp", "destination_port": 80}, []),
        ({"protocol": "icmp"}, []),  # has no L4 ports at all
        ({"protocol": "tcp", "destination_port": 23}, ["telnet.receive"]),
        ({"protocol": "tcp"}, ["telnet.match_receive", "telnet.receive"]),
        ({"destination_port": 23}, ["telnet.match_receive", "telnet.receive"]),
        ({"destination_port": range(20, 30), "protocol": "tcp"}, ["telnet.match_receive", "telnet.receive"]),
        ({}, ["telnet.match_receive", "telnet.receive"]),
    ],
)
def test_a_pattern_that_the_attributes_decide_has_no_test(attributes, stages) -> None:
    path = between(discard("telnet", **TELNET)).create_path("left", **attributes)
    assert [node for node in path.running_order if node.startswith("telnet.")] == stages
    decided = [each for each in path.applied if each.rule == "decided pattern"]
    assert len(decided) == ("telnet.match_receive" not in stages)
    leaf = path.run(TO_TELNET)[0]
    assert leaf == ("telnet.receive drops telnet" if stages else "to right")


def test_a_pattern_behind_a_stage_that_may_write_is_looked_for() -> None:
    from scout.io.access import store8

    def mark(frame, end):
        store8(frame, 1, 184)
        return 0

    marking = Filter("marking", mark)
    expedited = discard("expedited", dscp=46)
    graph = two_ports((marking,), (expedited, ("ip", "expedited", "marking", "left"))).graph
    path = graph.create_path("left", dscp=0)
    assert "expedited.match_receive" in path.stages
    assert path.run(TO_WEB)[0] == "expedited.receive drops expedited"


@pytest.mark.parametrize(
    ("known", "pattern", "has"),
    [
        ({"destination": "10.1.0.0/16"}, {"destination": "10.0.0.0/8"}, True),
        ({"destination": "10.0.0.0/8"}, {"destination": "10.1.0.0/16"}, None),
        ({"destination": "11.0.0.0/8"}, {"destination": "10.0.0.0/8"}, False),
        ({"destination": "2001:db8::/32"}, {"destination": "0.0.0.0/0"}, False),
        ({"source_port": range(10, 20)}, {"source_port": range(10, 20)}, True),
        ({"source_port": range(10, 20)}, {"source_port": range(19, 30)}, None),
        ({"source_port": range(10, 20)}, {"source_port": range(20, 30)}, False),
        ({"dscp": 1}, {"dscp": 1, "protocol": 6}, None),
        ({"dscp": 1}, {"dscp": 2, "protocol": 6}, False),
        ({}, {}, True),
    ],
)
def test_attributes_have_a_pattern_or_not_or_perhaps(known, pattern, has) -> None:
    attributes = Attributes.checked("left", **known)
    assert attributes.has(Attributes.checked("", **pattern)) is has
    assert replace(attributes, weight=7).has(Attributes.checked("", **pattern)) is has
