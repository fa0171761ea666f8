"""ICMP: which packets are answered, with which TOS, how often, and alike in all replicas."""

from typing import Any

import pytest
from harness import HOST, LEFT, NOW, RIGHT, Replicas, two_ports
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from scout.io.packet import NEEDS_CHECKSUM
from scout.paths.framework.flow_table import rows
from scout.paths.services.token_bucket import TokenBucket

SECOND = 1_000_000_000
LIMITED = "icmp.error drops icmp-rate-limited"


def frame(layer: Any, destination: str = "10.0.0.1", body: bytes = b"", **fields: Any) -> bytes:
    return bytes(Ether(src=HOST, dst=LEFT) / IP(src="10.0.0.2", dst=destination, **fields) / layer / Raw(body))


EXPIRED = frame(UDP(dport=9), "10.9.0.1", ttl=1)


@pytest.fixture
def path() -> Any:
    return two_ports(errors_per_second=1.0, burst=1).graph.create_path("left")


@pytest.mark.parametrize(
    ("tos", "expected"),
    [(0x00, 0xC0), (0x1E, 0xDE), (0x10, 0xD0), (0xB8, 0xD8), (0x20, 0xC0), (0xFF, 0xDE), (0x01, 0xC0)],
)
def test_an_error_has_the_tos_of_its_cause_and_precedence_6(path: Any, tos: int, expected: int) -> None:
    """RFC 1812 section 4.3.2.5; Linux does the same (RT_TOS | IPTOS_PREC_INTERNETCONTROL in icmp_send)."""
    for cause in (frame(UDP(dport=9), ttl=1, tos=tos), frame(UDP(dport=9), "10.9.0.1", ttl=1, tos=tos)):
        made = two_ports().graph.create_path("left")
        leaf, data = made.run(cause, timestamp=NOW)
        assert (leaf, Ether(data)[IP].tos) == ("to left", expected)


def test_an_echo_reply_keeps_the_tos(path: Any) -> None:
    assert Ether(path.run(frame(ICMP(), tos=0xB8), timestamp=NOW)[1])[IP].tos == 0xB8


# A broken packet is not answered. A checksum that the sender has left to its device is not broken.


@pytest.mark.parametrize("layer", [UDP(dport=9), TCP(dport=9)], ids=["udp", "tcp"])
def test_a_partial_checksum_is_no_bad_one(path: Any, layer: Any) -> None:
    data = frame(layer, body=b"odd")
    at = 14 + 20 + {UDP: 6, TCP: 16}[type(layer)]
    partial = data[:at] + b"\x12\x34" + data[at + 2 :]
    assert path.run(partial, timestamp=NOW)[0].endswith("bad-checksum")
    leaf, answer = path.run(partial, timestamp=NOW, flags=NEEDS_CHECKSUM)
    assert leaf == "to left"
    assert Ether(answer)[ICMP].type == 3


def test_an_echo_request_with_a_partial_checksum_gets_a_whole_reply(path: Any) -> None:
    data = frame(ICMP(id=7, chksum=0), body=b"12345")
    leaf, answer = path.run(data, timestamp=NOW, flags=NEEDS_CHECKSUM)
    reply = Ether(src=LEFT, dst=HOST) / IP(src="10.0.0.1", dst="10.0.0.2", id=1) / ICMP(type=0, id=7) / Raw(b"12345")
    assert (leaf, answer) == ("to left", bytes(reply))


@pytest.mark.parametrize(
    "layer",
    [UDP(dport=9), UDP(dport=9, chksum=0), UDP(dport=9, len=9), TCP(dport=9), TCP(dport=9, options=[("MSS", 9)])],
)
@pytest.mark.parametrize("size", [3, 4, 1000])
def test_what_is_right_is_answered(path: Any, layer: Any, size: int) -> None:
    data = frame(layer, body=bytes(range(256)) * 4)[: 14 + 20 + len(layer) + size]
    layer = layer.copy()
    body = (bytes(range(256)) * 4)[:size]
    if isinstance(layer, UDP) and layer.len is not None:
        # A datagram may be shorter than its packet (RFC 768): its checksum covers no more than its length says.
        short = IP(bytes(IP(src="10.0.0.2", dst="10.0.0.1") / UDP(dport=9) / Raw(body[:1])))
        layer.chksum = short[UDP].chksum
    data = frame(layer, body=body)
    assert path.run(data, timestamp=NOW)[0] == "to left"


# The rate of errors.


@pytest.mark.parametrize("start", [0, NOW])
def test_errors_are_limited_from_the_first_on(path: Any, start: int) -> None:
    leaves = [path.run(EXPIRED, timestamp=start + at)[0] for at in (0, 1, SECOND - 1, SECOND, SECOND + 1)]
    assert leaves == ["to left", LIMITED, LIMITED, "to left", LIMITED]


@pytest.mark.parametrize("back", [1, 2, 3600, 86400 * 365])
def test_errors_go_on_after_the_clock_was_set_back(path: Any, back: int) -> None:
    assert path.run(EXPIRED, timestamp=NOW)[0] == "to left"
    steps = [NOW - back * SECOND + at * SECOND // 4 for at in range(9)]
    leaves = [path.run(EXPIRED, timestamp=at)[0] for at in steps]
    assert "to left" in leaves, "within one interval, and the second that packets may be out of order"


def test_packets_out_of_order_gain_nothing(path: Any) -> None:
    """Two ports' packets that come in turn, those of one 200 ms late, get no more errors than one port's."""
    times = [NOW + at * SECOND // 100 - (at % 2) * SECOND // 5 for at in range(1000)]
    leaves = [path.run(EXPIRED, timestamp=at)[0] for at in times]
    assert 9 <= leaves.count("to left") <= 11


def test_the_limit_keeps_replicated_state_below_alike() -> None:
    """An error that the limit drops takes no tokens from a bucket below: in no replica."""
    bucket = TokenBucket("bucket", 1000, 100_000, connects="adjacency")
    made = two_ports((bucket, ("ip", "bucket", "arp")), errors_per_second=1, burst=1)
    path = made.graph.create_path("left")
    assert "icmp.error" in path.replicated
    replicas = Replicas(path, 2)
    for turn in range(6):
        replicas.serve(EXPIRED, turn % 2, timestamp=NOW + turn)
    assert replicas.leaves()["out"] == {"left": 1}
    tables = [rows(replicas.table(bucket.tables["buckets"], replica)) for replica in (0, 1)]
    assert len(tables[0]) and (tables[0] == tables[1]).all()


def test_one_limit_for_all_replicas_where_nothing_is_replicated_below() -> None:
    made = two_ports(errors_per_second=1, burst=1)
    path = made.graph.create_path("left")
    assert "icmp.error" not in path.replicated
    replicas = Replicas(path, 2)
    for turn in range(6):
        replicas.serve(EXPIRED, turn % 2, timestamp=NOW + turn)
    assert replicas.leaves()["out"] == {"left": 1}


def test_each_port_has_its_own_rate() -> None:
    made = two_ports(errors_per_second=1, burst=1)
    other = bytes(Ether(dst=RIGHT) / IP(src="10.0.1.2", dst="10.0.0.2", ttl=1) / UDP())
    assert made.graph.create_path("left").run(EXPIRED, timestamp=NOW)[0] == "to left"
    assert made.graph.create_path("right").run(other, timestamp=NOW)[0] == "to right"
