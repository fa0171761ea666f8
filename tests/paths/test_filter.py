"""Filters, counters, drops and tees between the routers, plain and native."""

import os
import re
from ipaddress import IPv4Address
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from harness import HOST, LEFT, NOW, RIGHT, Twin, two_ports
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from scapy.utils import RawPcapReader, rdpcap

from scout.io.access import load8, load16, load32, require, store8
from scout.io.packet import REACH
from scout.io.ports.memory import MemoryPort
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.protocols.arp import STATIC
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.services.counter import Counter, Counts
from scout.paths.stages.drop import Drop
from scout.paths.stages.filter import Filter
from scout.paths.stages.tee import Tee
from scout.paths.wire.ipv4 import DESTINATION, PROTOCOL
from scout.supervisor import Supervisor

TELNET, SECRET, BLOCKED = drop("telnet"), drop("secret"), drop("blocked")


def no_telnet(frame: Any, end: Any, port: int) -> int:
    header = (load8(frame, 0) & 15) * 4
    if load8(frame, PROTOCOL) == 6 and require(frame, end, header + 4) and load16(frame, header + 2) == port:
        return TELNET
    return 0


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


def frame(layer: Any, to: str = "10.9.0.7", body: bytes = b"", ttl: int = 9) -> bytes:
    return bytes(Ether(src=HOST, dst=LEFT) / IP(src="10.0.0.2", dst=to, ttl=ttl) / layer / Raw(body))


def twin_with(*routers: Any) -> tuple[SimpleNamespace, Twin]:
    made = two_ports(*routers)
    return made, Twin(made.graph.create_path("left"))


@pytest.fixture(scope="module")
def filtered() -> SimpleNamespace:
    """A router with a filter in every service."""
    table = Table(np.array([int(IPv4Address("10.9.0.7")), int(IPv4Address("10.0.0.2"))]), "constant")
    hits = Table(np.zeros(2, np.int64), "private")
    made, twin = twin_with(
        (Filter("no_telnet", no_telnet, port=lambda: 23), ("ip", "no_telnet", "left")),
        (Filter("no_secret", no_secret, payload=True, secret=7), ("no_telnet", "no_secret", "left")),
        (
            Filter("only_to", send=only_to, service="adjacency", allowed=table, hits=hits),
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
            rf"f: no_telnet at {HERE}:\d+: parameter 'port' is not bound; give .*port=",
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
        (lambda: Filter("f", no_telnet, port=np.zeros(1)), "f: port=.* cannot be bound; .*a Table"),  # type: ignore[arg-type]
        (lambda: Filter("not a name", mark), "not a name"),
    ],
)
def test_a_bad_filter_is_refused_at_once(make: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("service", "direction", "connection", "mend"),
    [
        ("ipv4", "send", ("ip", "f", "left"), 'send=... and service="adjacency"'),
        ("adjacency", "receive", ("ip", "f", "arp"), 'receive=... and service="ipv4"'),
    ],
)
def test_a_function_that_never_sees_a_packet_is_refused(
    service: str, direction: str, connection: tuple[str, ...], mend: str
) -> None:
    idle = Filter("f", service=service, **{direction: mark})  # type: ignore[arg-type]
    with pytest.raises(GraphError, match=f"f: mark would never see a packet; ip uses .*{re.escape(mend)}"):
        two_ports((idle, connection))


def test_a_filter_of_the_wrong_service_cannot_be_connected() -> None:
    with pytest.raises(GraphError, match="ip cannot stand on f"):
        two_ports((Filter("f", mark, service="udp"), ("ip", "f", "left")))


# Counter, Drop and Tee.


def test_counts_packets_and_bytes() -> None:
    counter = Counter("counter")
    _, twin = twin_with((counter, ("ip", "counter", "left")))
    for size in (0, 1000):
        twin.both(frame(UDP(), body=bytes(size)) + bytes(4))
    # Counted from IP's header on, without the padding.
    assert counter.read() == Counts(2, 2 * (20 + 8) + 1000)
    assert counter.read(np.array([[1, 10], [2, 20]])) == Counts(3, 30)


def test_drops_everything_under_its_reason() -> None:
    made, twin = twin_with(
        (Drop("closed", "left-is-closed"), ("ip", "closed", "left")),
        (Drop("mute", "no-arp-here", "arp"), ("arp", "mute", "right")),
    )
    assert twin.both(frame(UDP())).leaf == "closed.receive drops left-is-closed"
    assert twin.both(frame(UDP(), "10.0.0.1")).leaf == "closed.receive drops left-is-closed"
    right = made.graph.create_path("right")
    other = bytes(Ether(dst="02:00:00:00:00:02") / IP(src="10.0.1.2", dst="10.0.0.2") / UDP())
    assert right.run(other, timestamp=NOW)[0] == "to left"
    back = bytes(Ether(dst="02:00:00:00:00:02") / IP(src="10.0.1.2", dst="10.0.1.2") / UDP())
    assert right.run(back, timestamp=NOW)[0] == "mute.send drops no-arp-here"


@pytest.fixture(scope="module")
def teed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("tee")
    tees = Tee("before", folder / "before.pcap"), Tee("after", folder / "after.pcap", "adjacency")
    made = two_ports((tees[0], ("ip", "before", "left")), (tees[1], ("ip", "after", "arp")))
    made.twin = Twin(made.graph.create_path("left"), *(tee.room for tee in tees))
    made.before, made.after = tees
    return made


def start(teed: SimpleNamespace) -> tuple[Path, Path]:
    teed.before.start(teed.graph)
    teed.after.start(teed.graph)
    return teed.before.file, teed.after.file


@pytest.mark.parametrize("size", [0, REACH - 42, REACH - 41, 1300])
def test_tee_writes_whole_frames_with_their_times(teed: SimpleNamespace, size: int) -> None:
    before, after = start(teed)
    data = frame(UDP(), body=os.urandom(size))
    padded = data + bytes(5)
    result = teed.twin.both(padded, timestamp=NOW + 123_456_789)
    assert result.leaf == "to right"
    # Once by the plain run and once by the native one: two equal records.
    for file, written in ((before, data), (after, data[:14] + result.data[14:])):
        records = list(RawPcapReader(str(file)))
        assert [record for record, _ in records] == [written, written]
        for _, about in records:
            assert (about.sec * 1_000_000_000 + about.usec, about.wirelen) == (
                NOW + 123_456_789,
                len(written),
            )
    assert teed.before.missing.initial[0] == 0
    assert rdpcap(str(before))[0][UDP].dport == 53


def test_tee_gives_an_icmp_error_an_empty_link_header(teed: SimpleNamespace) -> None:
    _, after = start(teed)
    result = teed.twin.both(frame(UDP(), ttl=1))
    assert result.leaf == "to left"
    for packet in rdpcap(str(after)):
        assert bytes(packet) == bytes(12) + b"\x08\0" + result.data[14:]


def test_tee_counts_what_it_cannot_write(teed: SimpleNamespace) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    file, _ = start(teed)
    descriptor, original = os.open(full, os.O_WRONLY), teed.before._descriptor
    keep = os.dup(original)
    os.dup2(descriptor, original)
    try:
        teed.twin.native(frame(UDP()), timestamp=NOW)
    finally:
        os.dup2(keep, original)
        os.close(keep)
        os.close(descriptor)
    assert teed.before.missing.initial[0] == 1
    assert list(RawPcapReader(str(file))) == []


def test_tee_empties_the_file_of_the_run_before(teed: SimpleNamespace) -> None:
    before, _ = start(teed)
    teed.twin.native(frame(UDP()), timestamp=NOW)
    assert len(rdpcap(str(before))) == 1
    start(teed)
    assert before.stat().st_size == 24


def test_replicas_write_to_one_file(teed: SimpleNamespace) -> None:
    before, _ = start(teed)
    frames = {replica: [frame(UDP(), body=bytes([replica]) * size) for size in range(0, 1200, 3)] for replica in (1, 2)}

    def serve(replica: int) -> None:
        for data in frames[replica]:
            teed.twin.native(data, timestamp=NOW)

    replicas = [get_context("fork").Process(target=serve, args=(replica,)) for replica in frames]
    for process in replicas:
        process.start()
    for process in replicas:
        process.join()
        assert process.exitcode == 0
    written = [record for record, _ in RawPcapReader(str(before))]
    for replica, sent in frames.items():
        assert [record for record in written if record[42:43] == bytes([replica])] == sent[1:]
    assert len(written) == sum(map(len, frames.values()))


@pytest.mark.parametrize("replicas", [1, 2])
def test_each_packet_is_seen_once_however_many_replicas(replicas: int, tmp_path: Path) -> None:
    said = bytes(Ether(src=HOST, dst=LEFT) / ARP(hwsrc=HOST, psrc="10.0.0.2", pdst="10.0.0.1"))
    sent = [frame(UDP(), body=number.to_bytes(4, "big")) for number in range(2000)]
    sent += [frame(TCP(dport=23), body=number.to_bytes(4, "big")) for number in range(100)] + [said] * 30
    counter, arp, tee = Counter("counter"), Counter("arp_counter", "arp"), Tee("tee", tmp_path / "tee.pcap")
    left = MemoryPort(LEFT, frames=[(data, NOW + number) for number, data in enumerate(sent)])
    right = MemoryPort(RIGHT, frames=[])
    made = two_ports(
        (Filter("no_telnet", no_telnet, port=23), ("ip", "no_telnet", "left")),
        (counter, ("no_telnet", "counter", "left")),
        (tee, ("counter", "tee", "left")),
        (arp, ("arp", "arp_counter", "left")),
        ports={"left": left, "right": right},
    )
    paths = [made.graph.create_path(name) for name in ("left", "right")]
    with Supervisor(made.graph, paths, replicas) as supervisor:
        assert supervisor.wait(60.0)
        account = supervisor.account()
        assert account["drops"] == {"telnet": 100}
        assert account["out"] == {"left": 30, "right": 2000}
        copies = {
            router: [supervisor.table(router.counts, replica) for replica in range(replicas)]
            for router in (counter, arp)
        }
        assert counter.read(copies[counter]).packets == 2100
        assert arp.read(copies[arp]).packets == 60  # requests, and the answers
    written = [record for record, _ in RawPcapReader(str(tee.file))]
    assert sorted(written) == sorted(sent[:2100])


def test_tee_names_a_file_that_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"tap: .*nowhere/x\.pcap: No such file"):
        two_ports((Tee("tap", tmp_path / "nowhere" / "x.pcap"), ("ip", "tap", "left")))


def test_routers_that_own_a_port_are_no_filters() -> None:
    assert not Ethernet("left", SimpleNamespace(mac=1, mtu=1500)).through
