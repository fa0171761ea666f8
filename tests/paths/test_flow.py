"""The flow hash and the key of a flow."""

import random
import struct
from collections import Counter as Tally
from typing import Any

import numpy as np
import pytest
import traces
from harness import Twin
from hypothesis import given, settings
from hypothesis import strategies as st

from scout.io.access import Frame
from scout.io.ports.memory import MemoryPort
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.stages.requests import End, Requests
from scout.paths.wire.flow import five_tuple, flow_hash, mix, mix_two

SEEN = np.dtype([("hash", "i8"), ("key", "i8"), ("more", "i8"), ("mixed", "i8")])


def look(frame: Any, end: Any, seen: Any) -> int:
    seen[0].hash = flow_hash(frame, end)
    key, more = five_tuple(frame, end)
    seen[0].key = key
    seen[0].more = more
    seen[0].mixed = mix_two(key, more)
    return 0


@pytest.fixture(scope="module")
def twin() -> Twin:
    # Requests are any bytes: an interface would drop headers that are wrong.
    service = Service("look", {"seen": np.zeros(1, SEEN)}, [Handler(look)], connects="request")
    graph = RouterGraph("flows")
    for router in (Requests("requests", MemoryPort("02:00:00:00:00:01")), service, End("end", "request")):
        graph.add(router)
    graph.connect("end", "look", "requests")
    made = Twin(graph.create_path("requests"))
    made.seen = service.tables["seen"].initial  # type: ignore[attr-defined]
    return made


def seen_of(twin: Any, data: bytes) -> tuple[int, int, int]:
    twin.both(data[14:])
    *found, mixed = (int(value) for value in twin.seen[0])
    assert mixed == mix_two(*found[1:])
    return tuple(found)  # type: ignore[return-value]


def swapped(flow: traces.Flow) -> traces.Flow:
    source, destination, protocol, sport, dport = flow
    return destination, source, protocol, dport, sport


ADDRESS, PORT = st.integers(0, (1 << 32) - 1), st.integers(0, 65535)
FLOW = st.tuples(ADDRESS, ADDRESS, st.sampled_from([1, 6, 17, 33, 47, 132, 136, 255]), PORT, PORT)


def headed(flow: traces.Flow, fragment: int = 0, options: int = 0) -> bytes:
    """A frame of a flow whose ports stand behind the IPv4 header, whatever the protocol."""
    source, destination, protocol, sport, dport = flow
    ip = struct.pack(
        "!BBHHHBBHII", 0x45 + options, 0, 24 + 4 * options, 1, fragment, 64, protocol, 0, source, destination
    )
    return traces.frame(flow)[:14] + ip + bytes(4 * options) + struct.pack("!HH", sport, dport)


@settings(max_examples=100, deadline=None)
@given(flow=FLOW, fragment=st.sampled_from([0, 0, 0x2000, 1, 0x4000]), options=st.integers(0, 10))
def test_both_directions_have_one_hash_and_each_its_key(
    twin: Twin, flow: traces.Flow, fragment: int, options: int
) -> None:
    one = seen_of(twin, headed(flow, fragment, options))
    other = seen_of(twin, headed(swapped(flow), fragment, options))
    assert one[0] == other[0] >= 0
    source, destination, protocol, sport, dport = flow
    if source == destination == 0:
        assert one[1:] == (0, 0)
        return
    with_ports = protocol in (6, 17, 33, 132, 136) and not fragment & 0x3FFF
    assert one[1] == 1 << 40 | protocol << 32 | (sport << 16 | dport if with_ports else 0)
    assert one[2] % (1 << 64) == source << 32 | destination


@pytest.mark.parametrize("size", range(24))
def test_what_is_cut_short_has_no_ports_or_no_flow(twin: Twin, size: int) -> None:
    flow = (0x0A000002, 0x0A090007, 17, 5, 53)
    hashed, key, _ = seen_of(twin, headed(flow)[: 14 + size])
    assert key == (0 if size < 20 else 1 << 40 | 17 << 32)
    assert (hashed == 0) == (size < 20)


def test_a_header_that_claims_to_be_short_has_no_ports(twin: Twin) -> None:
    data = bytearray(headed((0x0A000002, 0x0A090007, 17, 5, 53)))
    data[14] = 0x44
    assert seen_of(twin, bytes(data))[1] == 1 << 40 | 17 << 32


def test_flows_are_spread_evenly() -> None:
    """Flows that differ in one port only, and random ones, over 16 buckets by the lowest and the highest bits."""
    chance = random.Random(2)
    for flows in (
        [(0x0A000002, 0x0A090007, 6, port, 80) for port in range(2000)],
        [(0x0A000000 + host, 0x0A090007, 17, 5, 53) for host in range(2000)],
        [traces.random_flow(chance) for _ in range(2000)],
    ):
        hashes = [flow_hash(Frame(traces.frame(flow)[14:]), None) for flow in flows]
        for shift in (0, 59):
            tally = Tally(each >> shift & 15 for each in hashes)
            # 125 expected in each; five standard deviations.
            assert all(70 < tally[bucket] < 180 for bucket in range(16)), (flows[0], shift, tally)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_mixing_stays_in_63_bits(value: int) -> None:
    assert 0 <= mix(value) < 1 << 63


def test_two_words_are_mixed_as_well_as_random_ones_are() -> None:
    """Keys that count up in one field or in two, in 4,096 buckets: how many pairs of them have a bucket in common."""
    count, buckets = 2500, 4096
    for one, other in (
        (1, 0),
        (0, 1),
        (1 << 32, 0),
        (1 << 32, 1),
        (1 << 40, 1 << 16),
        (0, 1 << 16),
        (1 << 32, 1 << 16),
    ):
        for group in (1, 10, 50):
            keys = [(0x0A000002_0A090007 + index // group * one, 53 + index % group * other) for index in range(count)]
            keys = list(dict.fromkeys(keys))
            tally = Tally(mix_two(*key) % buckets for key in keys)
            pairs = sum(each * (each - 1) // 2 for each in tally.values())
            assert pairs < 1.5 * len(keys) ** 2 / 2 / buckets + 20, (one, other, group, pairs)
