"""IPv4: which addresses a router takes, the MTU, and what services below it see."""

from typing import Any

import numpy as np
import pytest
from harness import HOST, LEFT, MTU, NOW, one_port, two_ports
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from scout.io.access import length
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError
from scout.paths.protocols.ipv4 import Ip
from scout.paths.protocols.ipv4_check import suspect_hash


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        ({"left": "10.0.0.1"}, "ip: address 10.0.0.1 of 'left' has no prefix length; write it as 10.0.0.1/24"),
        ({"left": "10.0.0.0/24"}, "ip: 10.0.0.0/24 of 'left' is a broadcast address of its network"),
        ({"left": "10.0.0.255/24"}, "ip: 10.0.0.255/24 of 'left' is a broadcast address of its network"),
        ({"left": "10.0.0.1/24", "right": "10.0.0.254/24"}, "'left', 10.0.0.1/24, and of 'right', 10.0.0.254/24"),
        ({"left": "10.0.0.1/24", "right": "10.0.0.1/24"}, "'left', 10.0.0.1/24, and of 'right', 10.0.0.1/24"),
        ({"left": "10.0.0.1/8", "right": "10.9.0.1/24"}, "'left', 10.0.0.1/8, and of 'right', 10.9.0.1/24"),
        ({"left": "10.0.0.1/24", "right": "10.0.0.9/32"}, "'left', 10.0.0.1/24, and of 'right', 10.0.0.9/32"),
        ({"left": "10.0.0.1/33"}, "ip: .*10.0.0.1/33"),
    ],
)
def test_addresses_that_make_no_sense_are_refused(addresses: dict[str, str], words: str) -> None:
    with pytest.raises(GraphError, match=words) as caught:
        Ip("ip", addresses).configure(RouterGraph("any"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["10.0.0.0/31", "10.0.0.1/31", "10.0.0.0/32"])
def test_point_to_point_networks_have_no_broadcast_address(prefix: str) -> None:
    assert str(Ip("ip", {"left": prefix}).addresses["left"][0]) == prefix


def frame(layer: Any, destination: str = "10.9.0.1", body: bytes = b"", **fields: Any) -> bytes:
    given = {"src": "10.0.0.2", "dst": destination} | fields
    return bytes(Ether(src=HOST, dst=LEFT) / IP(**given) / layer / Raw(body))


def test_a_source_with_the_hash_of_an_own_address_is_forwarded() -> None:
    path = two_ports().graph.create_path("left")
    own = suspect_hash(0x0A000001)
    others = [address for address in range(0x0A090000, 0x0A0A0000) if suspect_hash(address) == own]
    assert others, "the hash has fewer bits than an address"
    for address in others[:20]:
        assert path.run(frame(UDP(), src=str(ipv4_text(address))), timestamp=NOW)[0] == "to right"


def ipv4_text(address: int) -> str:
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def test_a_link_local_source_reaches_the_router_alone() -> None:
    """RFC 3927 section 7: such packets are not forwarded; on its own link the router is an ordinary host."""
    path = two_ports().graph.create_path("left")
    echo = frame(ICMP(), "10.0.0.1", src="169.254.1.2")
    assert path.run(echo, timestamp=NOW)[0] == "ip.route drops no-route-back"
    assert path.run(frame(UDP(), src="169.254.1.2"), timestamp=NOW)[0] == "left.ipv4 drops link-local-source"


def test_the_mtu_is_that_of_the_moment() -> None:
    made = two_ports()
    path = made.graph.create_path("left")
    assert made.ip.mtus.initial[:2].tolist() == [MTU["left"], MTU["right"]]
    data = frame(UDP(), body=bytes(1000), flags="DF")
    assert path.run(data, timestamp=NOW)[0] == "to right"
    made.ip.mtus.initial[1] = 1000
    leaf, answer = path.run(data, timestamp=NOW)
    assert leaf == "to left"
    assert (Ether(answer)[ICMP].type, Ether(answer)[ICMP].code, Ether(answer)[ICMP].nexthopmtu) == (3, 4, 1000)


# Packets that a service below IP sees.

SEEN = np.dtype([("packets", "i8"), ("bytes", "i8")])


def look(frame: Any, end: Any, packet: Any, seen: Any) -> int:
    seen[0].packets += 1
    seen[0].bytes = length(frame, end, packet)
    return 0


GOOD = frame(UDP(), body=b"x" * 30)
BAD = {
    "a wrong checksum": frame(UDP(), chksum=1),
    "a longer total length": frame(UDP(), len=200),
    "a total length within the header": frame(UDP(), len=19),
    "a short header": frame(UDP(), ihl=4),
    "another version": frame(UDP(), version=6),
    "a cut frame": GOOD[:40],
    "less than a header": GOOD[:30],
}


@pytest.mark.parametrize("with_ip", [True, False])
@pytest.mark.parametrize("name", BAD)
def test_a_service_sees_no_bad_header(with_ip: bool, name: str) -> None:
    service = Service("look", {"seen": np.zeros(1, SEEN)}, [Handler(look)])
    if with_ip:
        path = two_ports((service, ("ip", "look", "left"))).graph.create_path("left")
    else:
        path = one_port(service).create_path("left")
    leaf, _ = path.run(BAD[name], timestamp=NOW)
    assert leaf.startswith("left.ipv4 drops")
    seen = service.tables["seen"].initial
    assert seen["packets"][0] == 0
    path.run(GOOD + b"\xee" * 20, timestamp=NOW)
    assert seen[0].tolist() == (1, 20 + 8 + 30), "what the link added is gone"


@pytest.mark.parametrize("source", ["127.0.0.1", "10.0.0.1", "10.0.0.255"])
def test_a_service_sees_no_source_that_ip_refuses(source: str) -> None:
    service = Service("look", {"seen": np.zeros(1, SEEN)}, [Handler(look)])
    path = two_ports((service, ("ip", "look", "left"))).graph.create_path("left")
    path.run(frame(UDP(), src=source), timestamp=NOW)
    assert service.tables["seen"].initial["packets"][0] == 0
