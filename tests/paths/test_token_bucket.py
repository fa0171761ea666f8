"""The policer against a sequential reference in exact fractions, in its modes."""

import struct
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import traces
from harness import NOW, Replicas, Twin, in_modes, one_port, two_ports
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scout.paths.model.router import GraphError
from scout.paths.services.token_bucket import TokenBucket

RATE, BURST = 60_000, 4_000
POLICED, FULL = "policer.receive drops policed", "policer.receive drops policer-full"


class Reference:
    """RFC 2697, section 3, colour-blind and without an excess burst, for every flow by itself."""

    def __init__(self, rate: int = RATE, burst: int = BURST) -> None:
        self.rate, self.burst = rate, burst
        self.buckets: dict[tuple[int, ...], list[Any]] = {}

    def passes(self, data: bytes, time: int) -> bool:
        ip = data[14:]
        flow: tuple[int, ...] = (*struct.unpack_from("!II", ip, 12), ip[9])
        if ip[9] in (6, 17) and not struct.unpack_from("!H", ip, 6)[0] & 0x3FFF:
            flow += struct.unpack_from("!HH", ip, (ip[0] & 15) * 4)
        bucket = self.buckets.setdefault(flow, [Fraction(self.burst), time])
        tokens, last = bucket
        tokens = min(tokens + Fraction(self.rate * max(time - last, 0), 10**9), Fraction(self.burst))
        fits = tokens >= len(ip)
        bucket[0], bucket[1] = tokens - len(ip) if fits else tokens, max(time, last)
        return fits


TRACES = {
    "random": traces.random_trace(11, count=800, flows=8, gap=1_000_000),
    "skewed": traces.skewed_trace(12, count=800),
}


policer = in_modes(
    lambda mode: TokenBucket("policer", RATE, BURST, capacity=256, mode=mode), "replicated", "sharded", "locked"
)


@pytest.mark.parametrize("name", TRACES)
def test_it_polices_as_the_reference_packet_for_packet(policer: SimpleNamespace, name: str) -> None:
    policer.twin.reset()
    reference, passed = Reference(), 0
    for data, time in TRACES[name]:
        expected = reference.passes(data, time)
        assert policer.twin.both(data, timestamp=time).leaf == ("end" if expected else POLICED)
        passed += expected
    assert 0.1 < passed / len(TRACES[name]) < 0.9
    assert policer.service.account() == {"events-lost": 0, "table-full": 0, "evicted": 0}


FLOW = (0x0A000002, 0x0A090007, 17, 5, 53)
STEP = st.tuples(st.integers(-5_000_000, 80_000_000), st.integers(0, 1400))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=25))
def test_any_timing_is_as_the_reference_has_it(policer: SimpleNamespace, steps: list[tuple[int, int]]) -> None:
    """Also packets a little out of order, and pauses after which the bucket is full and its row expires."""
    policer.twin.reset()
    reference, time = Reference(), NOW
    for passed, size in steps:
        time += passed
        data = traces.frame(FLOW, bytes(size))
        expected = "end" if reference.passes(data, time) else POLICED
        assert policer.twin.both(data, timestamp=time).leaf == expected


@pytest.mark.parametrize("policer", ["replicated"], indirect=True)
def test_every_replica_drops_the_same_and_each_packet_is_counted_once(policer: SimpleNamespace) -> None:
    policer.twin.reset()
    replicas, reference = Replicas(policer.twin.path), Reference()
    replicas.serve_all(TRACES["skewed"])
    passed = sum(reference.passes(data, time) for data, time in TRACES["skewed"])
    dropped = len(TRACES["skewed"]) - passed
    assert replicas.leaves() == {"out": {}, "drops": {"policed": dropped}, "ended": {"end": passed}}
    assert replicas.agree_in(policer.service.tables["buckets"])


def flows(count: int) -> list[bytes]:
    return [traces.frame((0x0A000002, 0x0A090007, 17, 1 + port, 53), bytes(1000)) for port in range(count)]


def test_a_full_table_evicts_who_has_sent_nothing_for_longest() -> None:
    service = TokenBucket("policer", RATE, BURST, capacity=16)
    twin = Twin(one_port(service).create_path("left"))
    for number, data in enumerate(flows(16)):
        for packet in range(4):
            time = NOW + 10 * number + packet
            assert twin.both(data, timestamp=time).leaf == ("end" if packet < 3 else POLICED)
    twin.both(flows(1)[0], timestamp=NOW + 200)  # the first has sent again: the second is the oldest
    assert twin.both(flows(17)[16], timestamp=NOW + 201).leaf == "end"
    assert service.account()["evicted"] == 1
    assert twin.both(flows(1)[0], timestamp=NOW + 202).leaf == POLICED
    assert twin.both(flows(2)[1], timestamp=NOW + 203).leaf == "end"  # begins anew


def test_a_full_table_may_refuse_new_flows_until_a_bucket_is_full_again() -> None:
    service = TokenBucket("policer", RATE, BURST, capacity=16, full="refuse")
    twin = Twin(one_port(service).create_path("left"))
    for data in flows(16):
        assert twin.both(data, timestamp=NOW).leaf == "end"
    assert twin.both(flows(17)[16], timestamp=NOW + 1).leaf == FULL
    assert service.account()["table-full"] == 1
    refill = BURST * 10**9 // RATE + 1
    assert twin.both(flows(17)[16], timestamp=NOW + refill - 1).leaf == FULL
    assert twin.both(flows(17)[16], timestamp=NOW + refill).leaf == "end"


def test_the_largest_rate_and_burst_do_not_overflow() -> None:
    service = TokenBucket("policer", 10**12, 4 * 10**9, capacity=16)
    twin = Twin(one_port(service).create_path("left"))
    reference = Reference(10**12, 4 * 10**9)
    for time in (NOW, NOW + 1, NOW + 3_999_999, NOW + 10**9, NOW + 10**15):
        data = traces.frame(FLOW, bytes(1400))
        assert reference.passes(data, time)
        assert twin.both(data, timestamp=time).leaf == "end"
        assert 0 < service.tables["buckets"].initial["spent"].max() <= 4 * 10**18


def test_zero_is_a_time(policer: SimpleNamespace) -> None:
    policer.twin.reset()
    data = traces.frame(FLOW, bytes(1300))
    assert [policer.twin.both(data, timestamp=0).leaf for _ in range(5)] == ["end"] * 3 + [POLICED] * 2


def test_a_clock_that_is_set_back_starves_nobody(policer: SimpleNamespace) -> None:
    policer.twin.reset()
    data = traces.frame(FLOW, bytes(1300))
    assert policer.twin.both(data, timestamp=NOW).leaf == "end"
    hour = 3600 * 10**9
    # 1,328 bytes every 30 ms are less than the rate of 1,800 bytes in that time.
    leaves = {policer.twin.both(data, timestamp=NOW - hour + turn * 30_000_000).leaf for turn in range(100)}
    assert leaves == {"end"}


def gso(size: int, segment: int) -> tuple[bytes, dict[str, int]]:
    """A GSO packet of TCP with `size` bytes of payload, to be cut into segments of `segment` bytes."""
    return traces.frame((*FLOW[:2], 6, *FLOW[3:]), bytes(size)), {"gso_type": 1, "gso_size": segment}


def test_a_gso_packet_costs_what_its_segments_do(policer: SimpleNamespace) -> None:
    """Two segments of 1,460 bytes: 3,000 bytes with their headers, of a burst of 4,000."""
    policer.twin.reset()
    data, fields = gso(2920, 1460)
    small = traces.frame((*FLOW[:2], 6, *FLOW[3:]), bytes(960))
    assert policer.twin.both(data, timestamp=NOW, **fields).leaf == "end"
    assert policer.twin.both(small, timestamp=NOW).leaf == "end"
    assert policer.twin.both(traces.frame((*FLOW[:2], 6, *FLOW[3:])), timestamp=NOW).leaf == POLICED


def test_a_gso_packet_longer_than_the_burst_passes_at_the_rate(policer: SimpleNamespace) -> None:
    """45 segments of 1,340 bytes are 60,300 bytes: of 100 in as many seconds, 60,000 bytes a second let 99 pass."""
    policer.twin.reset()
    data, fields = gso(45 * 1300, 1300)
    second = 10**9
    assert policer.twin.both(data, timestamp=NOW, **fields).leaf == "end"
    assert policer.twin.both(data, timestamp=NOW + second, **fields).leaf == POLICED
    policer.twin.reset()
    leaves = [policer.twin.both(data, timestamp=NOW + turn * 1_006_000_000, **fields).leaf for turn in range(10)]
    assert leaves == ["end"] * 10
    # A segment alone must fit the burst.
    data, fields = gso(9000, 4500)
    assert policer.twin.both(data, timestamp=NOW + 3600 * second, **fields).leaf == POLICED


@pytest.mark.long
def test_it_polices_what_a_router_sends() -> None:
    service = TokenBucket("policer", RATE, BURST, capacity=16, connects="adjacency")
    twin = Twin(two_ports((service, ("ip", "policer", "arp"))).graph.create_path("left"))
    leaves = [twin.both(traces.frame(FLOW, bytes(1300)), timestamp=NOW).leaf for _ in range(4)]
    assert leaves == ["to right"] * 3 + ["policer.send drops policed"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rate": 0, "burst": 1}, "policer: rate 0, burst 1; give 1 to"),
        ({"rate": 1, "burst": 1 << 40}, "policer: rate 1, burst"),
        ({"rate": 1, "burst": 1, "full": "wait"}, "policer: full='wait'; use evict or refuse"),
        ({"rate": 1, "burst": 1, "mode": "atomic"}, "policer: its handlers are not written for mode 'atomic'"),
    ],
)
def test_a_bad_policer_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        TokenBucket("policer", **given)
