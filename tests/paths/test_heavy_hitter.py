"""The heavy hitter against a sequential reference, in all modes."""

import struct
from ipaddress import IPv4Address
from types import SimpleNamespace

import pytest
import traces
from harness import LEFT, Replicas, Twin, in_modes, one_port, two_ports

from scout.io.ports.memory import MemoryPort
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.supervisor import Supervisor

THRESHOLD = 20_000


class Reference:
    """A dict of flows, read from the frames by themselves."""

    def __init__(self) -> None:
        self.flows: dict[tuple[int, ...], list[int]] = {}
        self.alerts = 0

    def packet(self, data: bytes) -> None:
        ip = data[14:]
        source, destination = struct.unpack_from("!II", ip, 12)
        flow: tuple[int, ...] = (source, destination, ip[9])
        if ip[9] in (6, 17) and not struct.unpack_from("!H", ip, 6)[0] & 0x3FFF:
            flow += struct.unpack_from("!HH", ip, (ip[0] & 15) * 4)
        counted = self.flows.setdefault(flow, [0, 0])
        self.alerts += counted[1] <= THRESHOLD < counted[1] + len(ip)
        counted[0] += 1
        counted[1] += len(ip)


def expected(reference: Reference) -> dict[tuple[object, ...], tuple[int, ...]]:
    """The reference's flows as the service gives them."""
    return {
        (IPv4Address(source), IPv4Address(destination), protocol, *(ports or (0, 0))): tuple(counted)
        for (source, destination, protocol, *ports), counted in reference.flows.items()
    }


TRACES = {"random": traces.random_trace(1, count=800, flows=10), "skewed": traces.skewed_trace(2)}


heavy = in_modes(
    lambda mode: HeavyHitter("heavy", THRESHOLD, capacity=256, mode=mode), "replicated", "sharded", "locked", "atomic"
)


@pytest.mark.parametrize("name", TRACES)
def test_it_counts_as_the_reference_packet_for_packet(heavy: SimpleNamespace, name: str) -> None:
    heavy.twin.reset()
    reference = Reference()
    for data, time in TRACES[name]:
        assert heavy.twin.both(data, timestamp=time).leaf == "end"
        reference.packet(data)
        assert heavy.service.found() == reference.alerts
    assert heavy.service.read() == expected(reference)
    assert reference.alerts >= 1
    assert heavy.service.account()["table-full"] == 0


@pytest.mark.parametrize("heavy", ["replicated"], indirect=True)
def test_the_alert_is_the_primarys_and_the_counts_are_everyones(heavy: SimpleNamespace) -> None:
    heavy.twin.reset()
    replicas, reference = Replicas(heavy.twin.path, 3), Reference()
    replicas.serve_all(TRACES["skewed"], run=4)
    for data, _ in TRACES["skewed"]:
        reference.packet(data)
    flows = heavy.service.tables["flows"]
    for replica in range(3):
        assert heavy.service.read(replicas.table(flows, replica)) == expected(reference)
    alerts = [replicas.table(heavy.service.alerts, replica) for replica in range(3)]
    assert heavy.service.found(alerts) == reference.alerts
    assert replicas.leaves()["ended"] == {"end": len(TRACES["skewed"])}


def test_flows_that_do_not_fit_are_counted_and_pass() -> None:
    service = HeavyHitter("heavy", THRESHOLD, capacity=16)
    twin, reference = Twin(one_port(service).create_path("left")), Reference()
    for data, time in traces.random_trace(4):
        assert twin.both(data, timestamp=time).leaf == "end"
        reference.packet(data)
    counted = service.read()
    assert len(counted) == 16
    assert counted.items() <= expected(reference).items()
    missed = sum(count[0] for key, count in expected(reference).items() if key not in counted)
    assert service.account()["table-full"] == missed > 0


@pytest.mark.parametrize(
    "mode", ["replicated", *(pytest.param(each, marks=pytest.mark.long) for each in ("locked", "atomic"))]
)
def test_two_domains_count_as_the_reference(mode: str) -> None:
    sent = traces.skewed_trace(5, 4000, longest=200) + traces.random_trace(6, 2000, longest=200)
    service = HeavyHitter("heavy", THRESHOLD, capacity=256, mode=mode)
    graph = one_port(service, port=MemoryPort(LEFT, frames=sent))
    reference = Reference()
    for data, _ in sent:
        reference.packet(data)
    with Supervisor(graph, [graph.create_path("left")], 2) as supervisor:
        assert supervisor.wait(600)
        supervisor.stop()
        assert supervisor.account()["ended"] == {"end": len(sent)}
        tables = [supervisor.table(service.tables["flows"], replica) for replica in range(2)]
        alerts = [supervisor.table(service.alerts, replica) for replica in range(2)]
    for table in tables:
        assert service.read(table) == expected(reference)
    assert service.found(alerts) == reference.alerts


def test_a_gso_packet_counts_as_its_segments(heavy: SimpleNamespace) -> None:
    """14 segments of 1,460 bytes or less, each behind a header of 40 bytes."""
    heavy.twin.reset()
    data = traces.frame((0x0A000002, 0x0A090007, 6, 1, 80), bytes(20_000))
    assert heavy.twin.both(data, gso_type=1, gso_size=1460).leaf == "end"
    assert list(heavy.service.read().values()) == [(14, 20_000 + 14 * 40)]
    data = traces.frame((0x0A000002, 0x0A090007, 17, 1, 443), bytes(4_001))
    assert heavy.twin.both(data, gso_type=5, gso_size=1000).leaf == "end"
    assert sorted(heavy.service.read().values())[0] == (5, 4_001 + 5 * 28)


def test_what_the_link_has_padded_does_not_count(heavy: SimpleNamespace) -> None:
    heavy.twin.reset()
    data = traces.frame((0x0A000002, 0x0A090007, 17, 1, 53), b"x")
    assert heavy.twin.both(data + bytes(60 - len(data))).leaf == "end"
    assert list(heavy.service.read().values()) == [(1, 29)]


@pytest.mark.long
def test_it_stands_in_a_router() -> None:
    service = HeavyHitter("heavy", 100, capacity=16)
    twin = Twin(two_ports((service, ("ip", "heavy", "left"))).graph.create_path("left"))
    for data, time in traces.skewed_trace(3, 30):
        assert twin.both(data, timestamp=time).leaf == "to right"
    assert sum(flow.packets for flow in service.read().values()) == 30
