"""The trace of a packet: it says what stages do, and changes nothing of it."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from scout.paths.compiler.trace import Step, trace
from scout.paths.model.table import Table
from scout.paths.stages.filter import Filter
from scout.paths.wire.decode import decode
from scout.testing import HOSTS, ROUTER, ipv4_router

NOW = 1_000_000_000


def frame(ttl: int = 64, destination: str = "10.0.1.2") -> bytes:
    return bytes(Ether(src=HOSTS["left"], dst=ROUTER["left"]) / IP(src="10.0.0.2", dst=destination, ttl=ttl) / UDP())


def steps_of(data: bytes) -> dict[str, Step]:
    return {step.stage: step for step in trace(ipv4_router().create_path("left"), data, timestamp=NOW)}


def test_a_trace_ends_where_the_plain_run_does() -> None:
    for data in (frame(), frame(ttl=1), frame(destination="10.9.9.9"), frame(destination="10.0.0.1"), b"", bytes(60)):
        leaf, after = ipv4_router().create_path("left").run(data, timestamp=NOW)
        last = list(trace(ipv4_router().create_path("left"), data, timestamp=NOW))[-1]
        assert (last.target, last.frame) == (leaf, after)


def test_a_forwarded_packet() -> None:
    steps = steps_of(frame())
    assert list(steps) == ["left.in", "left.ipv4", "ip.lookup", "ip.forward", "arp.resolve", "right.out"]
    assert steps["left.in"].reads == ("ethernet.*",)
    assert steps["ip.lookup"].reads == ("ipv4.destination",)
    forwarded = {change.name: (change.before, change.after) for change in steps["ip.forward"].changes}
    assert forwarded.keys() == {"ipv4.ttl", "ipv4.checksum"} and forwarded["ipv4.ttl"] == ("64", "63")
    sent = {change.name: (change.before, change.after) for change in steps["right.out"].changes}
    assert sent == {
        "ethernet.destination": (ROUTER["left"], HOSTS["right"]),
        "ethernet.source": (HOSTS["left"], ROUTER["right"]),
    }
    assert [change.name for change in steps["arp.resolve"].notes] == ["destination", "ethertype"]
    assert not any(step.is_drop for step in steps.values())


def test_a_pushed_header_is_new() -> None:
    error = steps_of(frame(ttl=1))["icmp.error"]
    changes = {change.name: change for change in error.changes}
    assert changes["ipv4.destination"].before == "" and changes["ipv4.destination"].after == "10.0.0.2"
    assert changes["icmp.type"].after == "11"
    assert [change.name for change in error.tables] == ["limit[0]"]
    (note,) = steps_of(frame(ttl=1))["ip.forward"].notes
    assert (note.name, note.after) == ("error", "TTL expired")


def counts(frame: Any, end: Any, seen: Any, flows: Any, grid: Any, many: Any) -> int:
    seen[0] += 1
    flows[2].packets += 1
    flows[2].last = 7
    grid[1, 2] = 5
    for index in range(5):
        many[index] = 1
    return 0


def test_a_state_is_shown_before_and_after() -> None:
    tables = {
        "seen": Table(np.array([99])),
        "flows": Table(np.zeros(4, [("packets", "i8"), ("idle", "i8"), ("last", "i4")])),
        "grid": Table(np.zeros((3, 3), np.int64)),
        "many": Table(np.zeros(9, np.int64)),
    }
    path = ipv4_router(Filter("counting", counts, **tables)).create_path("left")
    step = next(step for step in trace(path, frame(), timestamp=NOW) if step.stage == "counting.receive")
    assert [str(change) for change in step.tables] == [
        "seen[0] 99 → 100",
        "flows[2].packets 0 → 1",
        "flows[2].last 0 → 7",
        "grid[1][2] 0 → 5",
        "many 5 rows",
    ]


def test_a_function_is_named_with_its_file() -> None:
    steps = steps_of(frame())
    assert steps["arp.resolve"].function.startswith("protocols/arp.py:")


def test_a_drop_names_its_reason() -> None:
    *_, last = trace(ipv4_router().create_path("left"), frame(destination="224.0.0.5"), timestamp=NOW)
    assert last.is_drop and last.outcome == "multicast"


PACKETS = [
    (Ether() / ARP(op=2, psrc="10.0.0.1", pdst="10.0.0.2"), {"arp.operation": "reply", "arp.sender": "10.0.0.1"}),
    (Ether() / IP(ttl=7) / UDP(dport=53), {"ipv4.ttl": "7", "udp.destination-port": "53"}),
    (Ether() / IP(flags="DF") / TCP(flags="SA", seq=9), {"tcp.flags": "SYN+ACK", "tcp.sequence": "9"}),
    (Ether() / IP(options=[Raw(b"\1" * 4)]) / UDP(sport=5), {"udp.source-port": "5", "ipv4.options": "4 bytes"}),
    (Ether() / IP(frag=2) / Raw(bytes(16)), {"ipv4.fragment": "16", "data.bytes": "16"}),
    (Ether() / IP() / ICMP(type=3, code=1), {"icmp.type": "3", "icmp.code": "1"}),
]


@pytest.mark.parametrize("packet, said", PACKETS)
def test_headers_are_decoded_as_scapy_makes_them(packet: Packet, said: dict[str, str]) -> None:
    data = bytes(packet)
    found = {field.label: field.text(data) for field in decode(data)}
    assert said.items() <= found.items()
    spans = [(field.start, field.stop) for field in decode(data)]
    assert spans[-1][1] == len(data) and all(one[1] == two[0] for one, two in pairwise(spans))


def test_a_header_that_is_cut_off_is_decoded_as_far_as_it_goes() -> None:
    data = bytes(Ether() / IP() / UDP())
    for size in range(len(data)):
        assert all(field.stop <= size for field in decode(data[:size]))
