"""Ports that a NAPT forwards to hosts inside, and parameters and places that it refuses."""

from typing import Any

import pytest
from harness import NOW, two_ports
from napt_world import OWN, REMOTES, forwarded, ipv4_bytes, made_of, ran, renumbered, tcp, udp
from scapy.all import IP, TCP, UDP, raw

from scout.paths.model.router import GraphError
from scout.paths.services.napt import Napt


@pytest.mark.parametrize("filtering", ["endpoint-independent", "address-dependent"])
def test_ports_are_forwarded_to_hosts_inside(filtering: str) -> None:
    """Also years later, out of the pool, and with filtering; the answers come from the router's address."""
    made = made_of(filtering=filtering, forward={("tcp", 8080): "10.0.0.3:80", ("udp", 8080): "10.0.0.4:53"})
    for now in (NOW, NOW + 10**17):
        asked = tcp(REMOTES[0], 999, OWN, 8080, "S")
        leaf, got = ran(made.right, asked, now)
        assert (leaf, got.src, got[TCP].sport, got.dst, got[TCP].dport) == ("to left", REMOTES[0], 999, "10.0.0.3", 80)
        assert raw(got) == forwarded(renumbered(IP(ipv4_bytes(asked)), TCP, "dport", "10.0.0.3", 80))
        leaf, got = ran(made.left, tcp("10.0.0.3", 80, REMOTES[0], 999, "SA"), now)
        assert (leaf, got.src, got[TCP].sport, got.dst, got[TCP].dport) == ("to right", OWN, 8080, REMOTES[0], 999)
        leaf, got = ran(made.right, tcp(REMOTES[0], 999, OWN, 8080, "R"), now)
        assert leaf == "to left"
    leaf, got = ran(made.right, udp(REMOTES[0], 999, OWN, 8080))
    assert (leaf, got.dst, got[UDP].dport) == ("to left", "10.0.0.4", 53)
    assert ran(made.right, udp(REMOTES[0], 999, OWN, 8081))[0] == "napt.receive drops napt-no-mapping"
    # From inside, by the address outside; the sender gets another port than the one forwarded.
    leaf, got = ran(made.left, tcp("10.0.0.5", 8080, OWN, 8080, "S"))
    assert (leaf, got.src, got.dst, got[TCP].dport) == ("to left", OWN, "10.0.0.3", 80)
    assert got[TCP].sport != 8080 and got[TCP].sport % 2 == 0


def test_forwarded_ports_are_never_evicted() -> None:
    made = made_of(capacity=16, full="evict", forward={("tcp", 80): "10.0.0.3:80"})
    for number in range(40):
        ran(made.left, udp("10.0.0.3", 2000 + number, REMOTES[0], 53), NOW + number)
    assert made.service.account()["evicted"] == 25
    assert ran(made.right, tcp(REMOTES[0], 999, OWN, 80, "S"), NOW + 50)[0] == "to left"


@pytest.mark.parametrize(("forward", "words"), [
    ({("icmp", 1): "10.0.0.3:80"}, "napt: forward .'icmp', 1.; write"),
    ({("tcp", 0): "10.0.0.3:80"}, "napt: forward .'tcp', 0.; write"),
    ({("tcp", 80): "10.0.0.3"}, "napt: '10.0.0.3' is no address and port"),
    ({("tcp", 80): "10.0.0.3:80", ("tcp", 81): "10.0.0.3:80"}, "napt: two tcp ports are forwarded to 10.0.0.3:80"),
])  # fmt: skip
def test_bad_forwarding_is_refused(forward: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        made_of(forward=forward)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"inside": "right"}, "napt: inside .'right'., outside 'right'; name other ports"),
        ({"filtering": "none"}, "napt: filtering='none'; use endpoint-independent or address-dependent"),
        ({"ports": (0, 5)}, "napt: ports 0 to 5; give a first and a last of 1 to 65535"),
        ({"udp": 119.0}, "napt: udp=119.0 seconds; give 120 or more"),
        ({"established": 7000.0}, "napt: established=7000.0 seconds; give 7440 or more"),
        ({"full": "wait"}, "napt: full='wait'; use evict or refuse"),
        ({"mode": "sharded"}, "napt: mode 'sharded' would separate packets from their answers"),
        ({"mode": "atomic"}, "napt: its handlers are not written for mode 'atomic'"),
    ],
)
def test_bad_napt_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        Napt("napt", **{"inside": "left", "outside": "right"} | given)


@pytest.mark.parametrize(
    ("connections", "words"),
    [
        ([("ip", "napt", "left"), ("napt", "arp")], "napt does not stand on 'right'; connect.'ip', 'napt', 'right'."),
        ([("ip", "napt", "right"), ("napt", "arp")], "napt does not stand on 'left'"),
        ([("ip", "napt", "left"), ("ip", "napt", "right")], "napt requires service 'out' .* nothing is connected"),
    ],
)
def test_napt_in_the_wrong_place_is_refused(connections: list[Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        two_ports((Napt("napt", "left", "right"), *connections))
