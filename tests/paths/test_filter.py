"""Filters between the routers, plain and native."""

import re
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filter_frames import TELNET, frame, no_telnet, twin_with
from harness import HOST, LEFT, Replicas, Twin, one_port, two_ports
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from scout.io.access import load8, load16, load32, require, store8
from scout.io.packet import REACH
from scout.paths.compiler.fingerprint import fingerprint
from scout.paths.framework.state import add_to
from scout.paths.limit import within
from scout.paths.model.references import everything
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.protocols.adjacencies import STATIC
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.services.counter import Counter
from scout.paths.stages.filter import Filter
from scout.paths.wire.ipv4 import DESTINATION

SECRET, BLOCKED = drop("secret"), drop("blocked")


def no_secret(frame: Any, end: Any, secret: int) -> int:
    """Needs the last byte of the packet."""
    size = load16(frame, 2)
    if not require(frame, end, size):
        return TELNET  # never, with `payload`
    return SECRET if load8(frame, size - 1) == secret else 0


def only_to(frame: Any, end: Any, allowed: Any, hits: Any) -> int:
    for index in range(len(allowed)):
        if load32(frame, DESTINATION) == allowed[index]:
            hits[index] += 1
            return 0
    return BLOCKED


def mark(frame: Any, end: Any) -> int:
    store8(frame, 8, 99)
    return 0


@pytest.fixture(scope="module")
def filtered() -> SimpleNamespace:
    """A router with a filter in every service."""
    table = Table(np.array([int(IPv4Address("10.9.0.7")), int(IPv4Address("10.0.0.2"))]), "constant")
    hits = Table(np.zeros(2, np.int64), "private")
    made, twin = twin_with(
        (Filter("no_telnet", no_telnet, port=lambda: 23), ("ip", "no_telnet", "left")),
        (Filter("no_secret", no_secret, payload=True, secret=7), ("no_telnet", "no_secret", "left")),
        (
            Filter("only_to", send=only_to, connects="adjacency", allowed=table, hits=hits),
            ("ip", "only_to", "arp"),
        ),
        (Counter("messages", "icmp"), ("icmp", "messages", "ip")),
        (Counter("errors", "icmp-error"), ("icmp", "errors", "ip")),
        (Counter("at_left", "arp"), ("arp", "at_left", "left")),
        (Counter("at_right", "arp"), ("arp", "at_right", "right")),
    )
    made.twin, made.hits = twin, hits
    return made


@pytest.fixture
def twin(filtered: SimpleNamespace) -> Twin:
    filtered.twin.reset()
    return filtered.twin


def counted(filtered: SimpleNamespace) -> dict[str, int]:
    names = ("messages", "errors", "at_left", "at_right")
    return {name: n for name in names if (n := filtered.graph.router(name).read().packets)}


def test_a_filter_drops_and_lets_pass(twin: Twin) -> None:
    assert twin.both(frame(TCP(dport=23))).leaf == "no_telnet.receive drops telnet"
    assert twin.both(frame(TCP(dport=80))).leaf == "to right"
    assert twin.both(frame(UDP(dport=23))).leaf == "to right"
    assert twin.both(frame(TCP(dport=23), body=b"\7")).leaf == "no_secret.receive drops secret"


@pytest.mark.parametrize("size", [1, REACH - 1, REACH, 1300])
def test_a_filter_sees_the_payload_if_it_asks(twin: Twin, size: int) -> None:
    for last, leaf in ((7, "no_secret.receive drops secret"), (8, "to right")):
        result = twin.both(frame(UDP(dport=9), body=bytes(size) + bytes([last])))
        assert result.leaf == leaf
        assert result.data[-size - 1 :] == bytes(size) + bytes([last])


def test_a_filter_sees_what_ip_sends(filtered: SimpleNamespace, twin: Twin) -> None:
    assert twin.both(frame(UDP(), "10.9.0.8")).leaf == "only_to.send drops blocked"
    assert twin.both(frame(UDP())).leaf == "to right"
    assert twin.both(frame(ICMP(), "10.0.0.1")).leaf == "to left"
    assert list(filtered.hits.initial) == [1, 1]


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (frame(UDP()), {"at_left": 1, "at_right": 1}),
        (frame(ICMP(), "10.0.0.1"), {"messages": 2, "at_left": 1}),
        (frame(UDP(), ttl=1), {"errors": 1, "messages": 1, "at_left": 1}),
        (
            bytes(Ether(src=HOST, dst=LEFT) / ARP(hwsrc=HOST, psrc="10.0.0.2", pdst="10.0.0.1")),
            {"at_left": 2},
        ),
        (
            bytes(Ether(src=HOST, dst=LEFT) / ARP(op=2, hwsrc=HOST, psrc="10.0.0.2", pdst="10.0.0.1")),
            {"at_left": 1},
        ),
    ],
    ids=["forwarded", "echo", "expired", "arp-request", "arp-reply"],
)
def test_filters_stand_in_every_service(
    filtered: SimpleNamespace, twin: Twin, data: bytes, seen: dict[str, int]
) -> None:
    twin.both(data)
    # IPv4 comes to IP by its own service and leaves by ARP's: at_left sees what is sent there, and ARP.
    if data[12:14] == b"\x08\0" and seen.get("at_right"):
        seen = {name: n for name, n in seen.items() if name != "at_left"}
    assert counted(filtered) == seen


def test_a_filter_is_passed_by_where_it_has_no_function(filtered: SimpleNamespace) -> None:
    stages = set(filtered.twin.path.stages)
    assert {"no_telnet.receive", "no_secret.receive", "only_to.send"} <= stages
    assert not {"no_telnet.send", "no_secret.send", "only_to.receive"} & stages
    main = filtered.twin.path.main_line
    assert main[:4] == ["left.in", "left.ipv4", "no_secret.receive", "no_telnet.receive"]


def test_packets_held_too_long_pass_a_filter_on_their_way_back(filtered: SimpleNamespace) -> None:
    assert filtered.twin.path.nodes["arp.resolve"]["timeout"] == "errors.receive"


def test_one_filter_serves_several_ports() -> None:
    made = two_ports((Filter("mark", mark), ("ip", "mark", "left"), ("mark", "right")))
    for port in ("left", "right"):
        assert "mark.receive" in made.graph.create_path(port).stages


def test_filters_side_by_side_are_refused() -> None:
    made = two_ports((Filter("a", mark), ("ip", "a", "left")), (Filter("b", mark), ("ip", "b", "left")))
    with pytest.raises(GraphError, match="left: a and b are both connected to service 'ipv4'"):
        made.graph.create_path("left")


def test_a_gateway_is_reserved_through_a_filter(filtered: SimpleNamespace) -> None:
    assert filtered.graph.reached("ip", "resolve") == [("arp", "resolve")]
    assert filtered.graph.reached("arp", "resolve") == [("ip", "resolve")]
    assert filtered.graph.joined("ip", "resolve") == [("only_to", "up")]
    assert dict(filtered.graph.reached("arp", "net")) == {"left": "arp", "right": "arp"}
    hops = filtered.ip.next_hops.initial
    assert filtered.arp.adjacencies.initial[hops["slot"].max()]["state"] == STATIC


# Errors in a filter are reported at once.


def no_frame(packet: Any, end: Any) -> int:
    return 0


def too_few(frame: Any) -> int:
    return 0


def starred(frame: Any, end: Any, *rest: Any) -> int:
    return 0


HERE = re.escape(__file__)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Filter("f", no_telnet),
            r"f: no_telnet at .*filter_frames\.py:\d+: parameter 'port' is not bound; give .*port=",
        ),
        (
            lambda: Filter("f", no_frame),
            rf"f: no_frame at {HERE}:\d+ is no stage function; .*no_frame\(frame, end",
        ),
        (lambda: Filter("f", too_few), rf"f: too_few at {HERE}:\d+ is no stage function"),
        (lambda: Filter("f", starred), rf"f: starred at {HERE}:\d+ is no stage function"),
        (lambda: Filter("f", 7), "f: 7 is no plain function"),  # type: ignore[arg-type]
        (lambda: Filter("f"), "f: a filter without a function; give receive"),
        (lambda: Filter("f", mark, typo=1), "f: no function has a parameter 'typo'"),
        (lambda: Filter("f", no_telnet, port=2.5), r"f: port=2\.5 cannot be bound"),  # type: ignore[arg-type]
        (lambda: Filter("f", no_telnet, port=np.zeros(1)), r"f: port=.* cannot be bound; write port=Table\(array\)"),  # type: ignore[arg-type]
        (
            lambda: Filter("f", no_telnet, prt=23),
            r"'port' is not bound; .* port=\.\.\.\) in place of prt=\.\.\., which is no",
        ),
        (lambda: Filter("not a name", mark), "not a name"),
    ],
)
def test_a_bad_filter_is_refused_at_once(make: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


PACKETS = np.dtype([("packets", "i8")])


def counts_by_assignment(frame: Any, end: Any, seen: Any) -> int:
    seen[0].packets += 1
    return 0


def counts_in_a_helper(frame: Any, end: Any, seen: Any) -> int:
    count_in(seen[0])
    return 0


def count_in(row: Any) -> None:
    row.packets += 1


def counts_by_accessor(frame: Any, end: Any, seen: Any) -> int:
    return 0 if add_to(seen, 0, "packets", 1) < 5 else BLOCKED


def reads(frame: Any, end: Any, seen: Any) -> int:
    return BLOCKED if seen[0].packets else 0


def keeps_a_rate(frame: Any, end: Any, packet: Any, words: Any) -> int:
    return 0 if within(words, 0, packet.timestamp, 1000, 0) else BLOCKED


@pytest.mark.parametrize(
    ("kind", "function", "line", "words"),
    [
        (
            "constant",
            counts_by_assignment,
            (counts_by_assignment, 1),
            "changes seen, a constant table: give it another",
        ),
        ("constant", counts_in_a_helper, (count_in, 1), "changes seen, a constant table"),
        ("constant", counts_by_accessor, (counts_by_accessor, 1), "changes seen, a constant table"),
        ("shared", counts_by_assignment, (counts_by_assignment, 1), "assigns to seen, a shared table .* use add_to"),
        ("shared", counts_in_a_helper, (count_in, 1), "assigns to seen, a shared table .* use add_to"),
    ],
)
def test_a_table_is_changed_as_its_kind_says(kind: str, function: Any, line: Any, words: str) -> None:
    at = line[0].__code__.co_firstlineno + line[1]
    with pytest.raises(GraphError, match=f"f: {function.__name__} at {HERE}:{at} {words}"):
        Filter("f", function, seen=Table(np.zeros(1, PACKETS), kind))


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("constant", reads),
        ("shared", reads),
        ("shared", counts_by_accessor),
        ("private", counts_by_assignment),
        ("replicated", counts_by_assignment),
    ],
)
def test_a_table_of_a_kind_that_fits_is_accepted(kind: str, function: Any) -> None:
    Filter("f", function, seen=Table(np.zeros(1, PACKETS), kind))


def test_a_rate_limit_may_change_a_shared_table() -> None:
    Filter("f", keeps_a_rate, words=Table(np.zeros(1, np.int64), "shared"))


def test_the_accessors_of_a_shared_table_are_atomic_and_cached_apart_from_plain_ones() -> None:
    found = {}
    for kind in ("shared", "private"):
        made = Filter("f", counts_by_accessor, seen=Table(np.zeros(1, PACKETS), kind))
        path = one_port(made).create_path("left")
        found[kind] = path.stages["f.receive"].function
        replicas = Replicas(path, 2)
        for number in range(8):
            replicas.serve(frame(UDP()), number % 2)
        assert replicas.leaves()["drops"].get("blocked", 0) == (3 if kind == "shared" else 0)
    assert add_to.atomic in everything(found["shared"]) and add_to not in everything(found["shared"])  # type: ignore[attr-defined]
    assert found["private"] is counts_by_accessor
    assert fingerprint(found["shared"]) != fingerprint(found["private"])


@pytest.mark.parametrize(
    ("service", "direction", "connection", "mend"),
    [
        ("ipv4", "send", ("ip", "f", "left"), 'send=... and connects="adjacency"'),
        ("adjacency", "receive", ("ip", "f", "arp"), 'receive=... and connects="ipv4"'),
    ],
)
def test_a_function_that_never_sees_a_packet_is_refused(
    service: str, direction: str, connection: tuple[str, ...], mend: str
) -> None:
    idle = Filter("f", connects=service, **{direction: mark})  # type: ignore[arg-type]
    with pytest.raises(GraphError, match=f"f: mark would never see a packet; ip uses .*{re.escape(mend)}"):
        two_ports((idle, connection))


def test_a_filter_of_the_wrong_service_cannot_be_connected() -> None:
    with pytest.raises(GraphError, match="ip cannot stand on f"):
        two_ports((Filter("f", mark, connects="udp"), ("ip", "f", "left")))


def test_routers_that_own_a_port_are_no_filters() -> None:
    assert not Ethernet("left", SimpleNamespace(mac=1, mtu=1500)).through
