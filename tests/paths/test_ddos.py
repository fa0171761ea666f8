"""The DDoS mitigator against a sequential reference, in its modes."""

from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
import traces
from harness import NOW, Replicas, Twin, in_modes, one_port

from scout.paths.model.router import GraphError
from scout.paths.services.ddos import DdosMitigator

THRESHOLD, WINDOW = 10, 50_000_000
DROPPED = "ddos.receive drops ddos"


class Reference:
    """For each source when its window began, and how many packets came in it."""

    def __init__(self) -> None:
        self.windows: dict[bytes, tuple[int, int]] = {}
        self.attacks = 0

    def passes(self, data: bytes, time: int) -> bool:
        source = data[26:30]
        since, count = self.windows.get(source, (time, 0))
        if time - since >= WINDOW:
            since, count = time, 0
        self.windows[source] = since, count + 1
        self.attacks += count == THRESHOLD
        return count < THRESHOLD


TRACES = {
    "random": traces.random_trace(21, count=1000, flows=12, gap=1_000_000),
    "skewed": traces.skewed_trace(22, count=1000),
}


made = in_modes(
    lambda mode: DdosMitigator("ddos", THRESHOLD, WINDOW / 1e9, capacity=256, mode=mode),
    "replicated",
    "sharded",
    "locked",
)


@pytest.mark.parametrize("name", TRACES)
def test_it_drops_as_the_reference_packet_for_packet(made: SimpleNamespace, name: str) -> None:
    made.twin.reset()
    reference, passed = Reference(), 0
    for data, time in TRACES[name]:
        expected = reference.passes(data, time)
        result = made.twin.both(data, timestamp=time)
        assert result.leaf == ("end" if expected else DROPPED)
        passed += expected
    assert 0.1 < passed / len(TRACES[name]) < 0.95 and reference.attacks > 3
    assert made.service.found() == reference.attacks
    last = TRACES[name][-1][1]
    counted = made.service.read()
    for source, (since, count) in reference.windows.items():
        if last - since < WINDOW:
            assert counted[IPv4Address(source)] == count
    assert made.service.account() == {"events-lost": 0, "table-full": 0, "evicted": 0}


@pytest.mark.parametrize("made", ["replicated"], indirect=True)
def test_replicas_have_equal_tables_and_one_notes_an_attack(made: SimpleNamespace) -> None:
    made.twin.reset()
    replicas, reference = Replicas(made.twin.path), Reference()
    replicas.serve_all(TRACES["skewed"])
    for data, time in TRACES["skewed"]:
        reference.passes(data, time)
    assert replicas.agree_in(made.service.tables["sources"])
    own = [replicas.table(made.service.attacks, replica) for replica in range(2)]
    assert made.service.found(own) == reference.attacks and own[0][0] and own[1][0]


def packet(source: int) -> bytes:
    return traces.frame((0x0A000002 + source, 0x0A090007, 17, 1, 53))


@pytest.mark.parametrize(("full", "key"), [("evict", "evicted"), ("refuse", "table-full")])
def test_a_full_table_evicts_or_refuses_and_counts_it(full: str, key: str) -> None:
    service = DdosMitigator("ddos", 1, 1.0, capacity=16, full=full)
    path = one_port(service).create_path("left")
    for source in range(16):
        assert path.run(packet(source), timestamp=NOW + source)[0] == "end"
        assert path.run(packet(source), timestamp=NOW + source)[0] == DROPPED
    assert path.run(packet(16), timestamp=NOW + 20)[0] == "end"
    assert path.run(packet(16), timestamp=NOW + 21)[0] == (DROPPED if full == "evict" else "end")
    assert service.account()[key] == (1 if full == "evict" else 2)
    assert path.run(packet(0), timestamp=NOW + 22)[0] == ("end" if full == "evict" else DROPPED)
    assert path.run(packet(17), timestamp=NOW + 2_000_000_000)[0] == "end"
    assert path.run(packet(17), timestamp=NOW + 2_000_000_000)[0] == DROPPED


def test_a_gso_packet_counts_as_its_segments() -> None:
    service = DdosMitigator("ddos", 30)
    twin = Twin(one_port(service).create_path("left"))
    data = traces.frame((0x0A000002, 0x0A090007, 6, 1, 80), bytes(20 * 500 - 1))
    leaves = [twin.both(data, timestamp=NOW, gso_type=1, gso_size=500).leaf for _ in range(3)]
    assert leaves == ["end", "end", DROPPED]
    assert service.read() == {IPv4Address("10.0.0.2"): 60}
    assert service.found() == 1


def test_windows_go_on_after_the_clock_was_set_back() -> None:
    twin = Twin(one_port(DdosMitigator("ddos", 1, 1.0)).create_path("left"))
    hour = 3600 * 10**9
    stamps = [NOW, NOW, NOW - hour, NOW - hour + 10**9, NOW - hour + 10**9]
    assert [twin.both(packet(0), timestamp=time).leaf for time in stamps] == ["end", DROPPED, DROPPED, "end", DROPPED]


def test_zero_is_a_time() -> None:
    path = one_port(DdosMitigator("ddos", 1, 1.0)).create_path("left")
    assert [path.run(packet(0), timestamp=time)[0] for time in (0, 0, 10**9)] == ["end", DROPPED, "end"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"threshold": 0}, "ddos: 0 packets in 1.0 seconds; give 1 packet or more"),
        ({"threshold": 1, "window": 0.0}, "ddos: 1 packets in 0.0 seconds"),
        ({"threshold": 1, "full": "wait"}, "ddos: full='wait'; use evict or refuse"),
        ({"threshold": 1, "mode": "atomic"}, "ddos: its handlers are not written for mode 'atomic'"),
    ],
)
def test_a_bad_mitigator_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        DdosMitigator("ddos", **given)
