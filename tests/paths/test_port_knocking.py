"""Port knocking against a sequential reference with Scapy's reading of the packets, in its modes."""

import random
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
import traces
from harness import NOW, Replicas, in_modes, one_port
from scapy.all import IP, TCP, UDP, Ether

from scout.paths.model.router import GraphError
from scout.paths.services.port_knocking import PortKnocking

PORT, KNOCKS, WITHIN, STAYS = 22, (7000, 8000, 9000), 50_000_000, 200_000_000
SECOND = 1_000_000_000
CLOSED, HIDDEN = "knock.receive drops port-closed", "knock.receive drops port-hidden"


class Reference:
    """For each source the knocks so far, when the first was, and until when its port is open."""

    def __init__(self, knocks: tuple[int, ...] = KNOCKS) -> None:
        self.knocks = knocks
        self.heard: dict[str, list[int]] = {}
        self.first: dict[str, int] = {}
        self.until: dict[str, int] = {}

    def leaf(self, data: bytes, now: int) -> str:
        ip = Ether(data)[IP]
        open_ = now < self.until.get(ip.src, 0)
        if ip.proto == 6 and (ip.flags.MF or ip.frag):
            return "end" if open_ else HIDDEN
        layer = ip.getlayer(TCP) or ip.getlayer(UDP)
        if layer is None or ip.flags.MF or ip.frag:
            return "end"
        if layer.name == "TCP" and layer.dport == PORT:
            if not open_:
                return CLOSED
            self.until[ip.src] = now + STAYS
        elif layer.name == "UDP" or (layer.flags.S and not layer.flags.A):
            self.knock(ip.src, layer.dport, now)
        return "end"

    def knock(self, source: str, port: int, now: int) -> None:
        heard = self.heard.setdefault(source, [])
        late = heard and now - self.first[source] > WITHIN
        if late or (*heard, port) != self.knocks[: len(heard) + 1]:
            heard.clear()
        if heard or port == self.knocks[0]:
            if not heard:
                self.first[source] = now
            heard.append(port)
        if tuple(heard) == self.knocks:
            self.until[source] = now + STAYS
            heard.clear()


def knock(source: int, port: int, protocol: int = 17, flags: int = traces.SYN, fragment: int = 0) -> bytes:
    return traces.frame((0x0A000002 + source, 0x0A090007, protocol, 1234, port), b"x" * 8, flags, fragment=fragment)


def knocking(seed: int, sources: int = 6, count: int = 1500, share: float = 0.0) -> traces.Trace:
    """Sources that knock, mostly in order, and use the port; with `share`, one has that part of all packets."""
    chance, now, trace = random.Random(seed), NOW, []
    at = [0] * sources
    for _ in range(count):
        now += chance.randrange(6_000_000)
        source = 0 if chance.random() < share else chance.randrange(sources)
        kind = chance.random()
        if kind < 0.45:
            port = KNOCKS[at[source] % 3] if chance.random() < 0.9 else chance.choice((*KNOCKS, 80))
            at[source] += 1
            protocol = chance.choice((6, 17))
            trace.append((knock(source, port, protocol, chance.choice((traces.SYN,) * 9 + (traces.ACK,))), now))
        elif kind < 0.9:
            trace.append((knock(source, PORT, 6, chance.choice((traces.SYN, traces.ACK))), now))
        else:
            trace.append((knock(source, PORT, chance.choice((6, 17, 1)), fragment=chance.choice((0x2000, 5))), now))
    return trace


TRACES = {
    "knocking": knocking(31),
    "one knocks most": knocking(32, share=0.9),
    "random": traces.random_trace(33, longest=60),
    "skewed": traces.skewed_trace(34, longest=60),
}


made = in_modes(
    lambda mode: PortKnocking("knock", PORT, KNOCKS, WITHIN / SECOND, STAYS / SECOND, 256, mode=mode),
    "replicated",
    "locked",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name == "one knocks most")) for name in TRACES]
)
def test_it_opens_as_the_reference_packet_for_packet(made: SimpleNamespace, name: str) -> None:
    made.twin.reset()
    reference, leaves = Reference(), set()
    for data, time in TRACES[name]:
        leaf = made.twin.both(data, timestamp=time).leaf
        assert leaf == reference.leaf(data, time)
        leaves.add(leaf)
    if "knock" in name:
        assert leaves == {"end", CLOSED, HIDDEN} and reference.until
    assert made.service.account() == {"events-lost": 0, "table-full": 0, "evicted": 0}


@pytest.mark.parametrize("made", ["replicated"], indirect=True)
def test_replicas_have_equal_tables(made: SimpleNamespace) -> None:
    made.twin.reset()
    replicas, reference = Replicas(made.twin.path), Reference()
    replicas.serve_all(TRACES["one knocks most"])
    for data, time in TRACES["one knocks most"]:
        reference.leaf(data, time)
    sources = made.service.tables["sources"]
    assert replicas.agree_in(sources)
    now = TRACES["one knocks most"][-1][1]
    expected = {source for source, until in reference.until.items() if now < until}
    found = made.service.open_to(now, replicas.table(sources, 0))
    assert {str(source) for source in found} == expected


def test_the_port_closes_although_the_clock_was_set_back() -> None:
    service = PortKnocking("knock", PORT, (5,), stays=60.0)
    path = one_port(service).create_path("left")
    hour = 3600 * SECOND
    path.run(knock(0, 5), timestamp=NOW)
    leaves = [path.run(knock(0, PORT, 6), timestamp=NOW - hour + after * SECOND)[0] for after in (0, 59, 119, 180)]
    assert leaves == ["end", "end", CLOSED, CLOSED]


def test_zero_is_a_time() -> None:
    service = PortKnocking("knock", PORT, (5, 6), within=1.0)
    path = one_port(service).create_path("left")
    for port in (5, 6):
        path.run(knock(0, port), timestamp=0)
    assert path.run(knock(0, PORT, 6), timestamp=0)[0] == "end"


def test_a_scan_of_all_ports_does_not_open() -> None:
    service = PortKnocking("knock", PORT, KNOCKS)
    path = one_port(service).create_path("left")
    for port in range(6990, 9010, 5):
        assert path.run(knock(0, port), timestamp=NOW)[0] == "end"
    assert path.run(knock(0, PORT, 6), timestamp=NOW)[0] == CLOSED
    assert service.open_to(NOW) == set()


@pytest.mark.parametrize("ports", [(5, 5, 6), (5, 5, 5, 6), (5, 6, 5, 5, 6), (6, 5, 5, 6)])
def test_a_knock_may_be_repeated(ports: tuple[int, ...]) -> None:
    service, reference = PortKnocking("knock", PORT, (5, 5, 6)), Reference((5, 5, 6))
    path = one_port(service).create_path("left")
    for port in ports:
        path.run(knock(0, port), timestamp=NOW)
        reference.knock("10.0.0.2", port, NOW)
    assert bool(service.open_to(NOW)) == bool(reference.until)


@pytest.mark.parametrize(("full", "key"), [("evict", "evicted"), ("refuse", "table-full")])
def test_a_full_table_evicts_or_refuses_and_counts_it(full: str, key: str) -> None:
    service = PortKnocking("knock", PORT, (5,), stays=60.0, capacity=16, full=full)
    path = one_port(service).create_path("left")
    for source in range(17):
        path.run(knock(source, 5), timestamp=NOW + source)
    open_ = {int(source) - 0x0A000002 for source in service.open_to(NOW + 20)}
    assert open_ == set(range(1, 17) if full == "evict" else range(16))
    assert service.account()[key] == 1
    path.run(knock(40, 5), timestamp=NOW + 61 * SECOND)
    assert service.open_to(NOW + 61 * SECOND) == {IPv4Address(0x0A000002 + 40)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"port": 22, "knocks": ()}, r"knock: port 22 opened by knocks at \(\); give 1 to 16 others"),
        ({"port": 22, "knocks": (22,)}, "knock: port 22 opened by knocks at"),
        ({"port": 22, "knocks": (70000,)}, "knock: port 22 opened by knocks at"),
        ({"port": 22, "knocks": (1,), "within": 0.0}, "knock: within 0.0, stays 60.0 seconds"),
        ({"port": 22, "knocks": (1,), "full": "wait"}, "knock: full='wait'; use evict or refuse"),
        (
            {"port": 22, "knocks": (1,), "mode": "sharded"},
            "knock: mode 'sharded' would separate the knocks of one source",
        ),
    ],
)
def test_bad_knocking_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        PortKnocking("knock", **given)
