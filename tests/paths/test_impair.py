"""An impaired link: what happens to each packet by seed, how often, and when it arrives; the same natively."""

import random
import struct
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import traces
from harness import NOW, Replicas, Twin, one_port, two_ports
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.all import IP, TCP, UDP, Ether

from scout.io.packet import NEEDS_CHECKSUM
from scout.paths.compiler.interpreter import walk
from scout.paths.compiler.plain import Record
from scout.paths.model.router import GraphError
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.paths.stages.impair import Impair
from scout.paths.stages.impairment import LOSS, MILLION, STATE, arrival, chance, draw, drops_in_burst, transmit

FLOW = (0x0A000002, 0x0A090007, 17, 5, 53)
EVERYTHING = {
    "loss": 0.05,
    "burst_begin": 0.02,
    "corrupt": 0.05,
    "duplicate": 0.05,
    "rate": 1_000_000,
    "limit": 20_000,
    "delay": 0.02,
    "jitter": 0.01,
    "reorder": 0.1,
}


def link_state():
    return Record(np.zeros(1, STATE)[0])


def served(link, frames):
    """What becomes of frames, each with its time, in the plain run: the leaf, and the time at which each gets there."""
    path = one_port(link).create_path("left")
    found = []
    for data, time in frames:
        leaf, _, packet = walk(path, data, {"timestamp": time})
        found.append((leaf.removeprefix("link.receive drops "), packet.timestamp - NOW))
    return found


def datagrams(count, gap, size=1000):
    """Datagrams of `size` bytes, IP header included, at equal distances."""
    return [(traces.frame(FLOW, bytes(size - 28)), NOW + number * gap) for number in range(count)]


# By seed.


def test_the_packets_that_are_lost_are_those_of_the_seed_whatever_else_happens():
    lost = [number for number in range(400) if chance(7, number, LOSS, 20_000)]
    assert lost == LOST_BY_7
    for more in ({}, {"corrupt": 0.5, "delay": 0.01, "reorder": 0.3, "duplicate": 0.1}):
        leaves = [leaf for leaf, _ in served(Impair("link", seed=7, loss=0.02, **more), datagrams(400, 1000))]
        assert [number for number, leaf in enumerate(leaves) if leaf != "end"] == lost
    assert [number for number in range(400) if chance(8, number, LOSS, 20_000)] != lost


LOST_BY_7 = [89, 107, 162, 179, 187, 257, 394]


def test_random_numbers_are_the_same_everywhere():
    assert [draw(7, number, LOSS) for number in (0, 1, 1 << 32, 1 << 40)] == DRAWN
    assert draw(7 | 1 << 40, 0, LOSS) != draw(7, 0, LOSS)


DRAWN = [904670394, 2358543456, 3915460452, 3899384663]


# How often. A seed's outcome never changes, so a bound that holds once holds always; it is five standard deviations.


@pytest.mark.parametrize("share", [0.001, 0.01, 0.25, 0.9])
def test_a_share_of_packets_is_that_share(share):
    count, wanted = 100_000, round(share * MILLION)
    hits = sum(chance(11, number, LOSS, wanted) for number in range(count))
    assert abs(hits - share * count) < 5 * (count * share * (1 - share)) ** 0.5


def test_no_packet_and_every_packet():
    assert not any(chance(3, number, LOSS, 0) for number in range(1000))
    assert all(chance(3, number, LOSS, MILLION) for number in range(1000))


def test_random_numbers_are_spread_evenly_and_independent_of_their_neighbours():
    count, cells = 64_000, 16
    values = [draw(5, number, LOSS) >> 28 for number in range(count)]
    pairs = [16 * one + other for one, other in pairwise(values)]
    for found, size in ((values, cells), (pairs, cells * cells)):
        expected = len(found) / size
        chi = sum((count - expected) ** 2 / expected for count in np.bincount(found, minlength=size))
        assert abs(chi - (size - 1)) < 5 * (2 * (size - 1)) ** 0.5


def test_losses_come_in_bursts_as_gilbert_and_elliott_have_it():
    link, count, begin, end = link_state(), 100_000, 0.01, 0.2
    lost = [drops_in_burst(link, 9, number, 10_000, 200_000, MILLION) for number in range(count)]
    bursts = sum(after and not before for before, after in zip([False, *lost], lost, strict=False))
    share = begin / (begin + end)
    # Of a chain with two states the variance of the mean is that of independent draws times (1 + r) / (1 - r).
    spread = 1 - begin - end
    assert abs(sum(lost) - share * count) < 5 * (count * share * (1 - share) * (1 + spread) / (1 - spread)) ** 0.5
    assert abs(sum(lost) / bursts - 1 / end) < 5 * ((1 - end) / end**2 / bursts) ** 0.5


def test_a_bad_link_may_lose_only_some_packets():
    link = link_state()
    link.bad = 1
    lost = sum(drops_in_burst(link, 9, number, 0, 0, 300_000) for number in range(10_000))
    assert abs(lost - 3000) < 5 * (10_000 * 0.3 * 0.7) ** 0.5


# When.


def test_a_packet_is_delayed():
    assert served(Impair("link", delay=0.02), datagrams(3, 1000)) == [("end", 20_000_000 + 1000 * n) for n in range(3)]


def test_with_jitter_packets_keep_their_order_and_come_within_its_bounds():
    for gap in (1_000_000, 10_000_000):
        sent = datagrams(500, gap)
        times = [time for _, time in served(Impair("link", seed=1, delay=0.02, jitter=0.005), sent)]
        waits = [time - number * gap for number, time in enumerate(times)]
        assert times == sorted(times)
        assert min(waits) >= 15_000_000 and max(waits) <= 25_000_000
    assert min(waits) < 16_000_000 and max(waits) > 24_000_000  # of packets that do not meet


def test_a_late_packet_is_overtaken_and_no_other_one():
    sent = datagrams(1000, 1_000_000)
    times = [time for _, time in served(Impair("link", seed=2, delay=0.01, reorder=0.05, late=0.003), sent)]
    late = [number for number, time in enumerate(times) if time - number * 1_000_000 == 13_000_000]
    assert abs(len(late) - 50) < 5 * (1000 * 0.05 * 0.95) ** 0.5
    assert all(time - number * 1_000_000 == 10_000_000 for number, time in enumerate(times) if number not in late)


def test_a_bottleneck_sends_at_its_rate_and_drops_what_finds_its_queue_full():
    # 1,000 bytes take 1 ms; five packets come at once, then one a millisecond.
    sent = [(traces.frame(FLOW, bytes(972)), NOW + max(0, number - 4) * 1_000_000) for number in range(8)]
    found = served(Impair("link", rate=8_000_000, limit=3000), sent)
    assert found == [
        *(("end", number * 1_000_000) for number in (1, 2, 3)),
        *[("impair-queue-full", 0)] * 2,
        *(("end", number * 1_000_000) for number in (4, 5, 6)),
    ]


@settings(max_examples=100, deadline=None)
@given(
    rate=st.integers(1, 10**10),
    limit=st.integers(0, 10**6),
    steps=st.lists(st.tuples(st.integers(0, 10**7), st.integers(20, 1500)), max_size=40),
)
def test_a_bottleneck_is_as_a_queue_in_exact_fractions(rate, limit, steps):
    link, now, free = link_state(), NOW, Fraction(0)
    for passed, size in steps:
        now += passed
        done = transmit(link, now, 1, size, rate, limit)
        sent = max(free, Fraction(now)) + Fraction(size * 8 * 10**9, rate)
        longest = Fraction(limit * 8 * 10**9, rate)
        if abs(sent - now - longest) > 2:  # else nanoseconds that are rounded decide
            assert (done >= 0) == (sent - now <= longest)
        if done >= 0:
            free = sent
            assert done == int(sent)


def test_a_gso_packet_takes_the_time_of_its_segments():
    link = link_state()
    assert transmit(link, NOW, 44, 66_000, 8_000_000, 1500) == NOW + 66_000_000
    assert transmit(link, NOW, 1, 1500, 8_000_000, 1500) == -1


def test_time_that_is_set_back_lets_no_packet_wait_for_what_is_over():
    sent = [(traces.frame(FLOW, bytes(10)), time) for time in (NOW, NOW - 100 * 10**9)]
    assert served(Impair("link", delay=0.02), sent) == [("end", 20_000_000), ("end", -100 * 10**9 + 20_000_000)]
    assert arrival(link_state(), 0, 0, False, 5, 0, 0, 0, 0) == 5


# Natively.


@pytest.fixture(scope="module")
def impaired():
    link = Impair("link", seed=7, **EVERYTHING)
    path = two_ports((link, ("ip", "link", "left"))).graph.create_path("left")
    return SimpleNamespace(link=link, path=path, twin=Twin(path, link._copies["copies"]))


def traffic(count, seed=1):
    generator, time = random.Random(seed), NOW
    for number in range(count):
        time += generator.randrange(0, 8_000_000)
        yield traces.frame(FLOW, struct.pack("!I", number) + bytes(generator.randrange(0, 1350))), time


def test_native_code_decides_as_plain_python_does(impaired):
    impaired.twin.reset()
    leaves = {impaired.twin.both(data, timestamp=time).leaf for data, time in traffic(600)}
    drops = {f"link.receive drops impair-{reason}" for reason in ("lost", "burst-lost", "queue-full")}
    assert leaves == {"to right", *drops}
    state = impaired.link.state.initial[0]
    assert state["packets"] == 600
    assert min(state[name] for name in ("lost", "burst_lost", "overflowed", "duplicated", "corrupted", "reordered")) > 0


def test_replicas_agree(impaired):
    impaired.twin.reset()
    replicas = Replicas(impaired.path)
    replicas.serve_all(traffic(300))
    assert replicas.agree_in(impaired.link.state)
    assert replicas.table(impaired.link.state, 0)["packets"] == 300


# Corruption.


def corrupted(data, **fields):
    """A frame that came through a link that corrupts every packet."""
    path = one_port(Impair("link", seed=4, corrupt=1)).create_path("left")
    leaf, frame, _ = walk(path, data, {"timestamp": NOW} | fields)
    return leaf, bytes(frame.data[frame.origin :])


@pytest.mark.parametrize("size", [1, 100, 1400])
def test_a_corrupted_packet_differs_in_one_bit_behind_the_ip_header(size):
    data = traces.frame(FLOW, bytes(size))
    leaf, changed = corrupted(data)
    differences = [(at, one ^ other) for at, (one, other) in enumerate(zip(data, changed, strict=True)) if one != other]
    assert leaf == "end" and len(differences) == 1
    ((at, bits),) = differences
    assert at >= 34 and bits & bits - 1 == 0


def test_a_checksum_that_was_left_to_a_device_does_not_hide_the_change():
    whole = Ether(dst="02:00:00:00:00:01") / IP(src="10.0.0.2", dst="10.9.0.7") / UDP(sport=5, dport=53) / bytes(600)
    data = bytearray(bytes(whole))
    data[40:42] = struct.pack("!H", sum_of_pseudo_header(data))
    leaf, changed = corrupted(bytes(data), flags=NEEDS_CHECKSUM, checksum_start=34, checksum_offset=6)
    assert leaf == "end"
    # With the checksum of the unchanged data; the change may be of the checksum itself.
    assert sum(bin(one ^ other).count("1") for one, other in zip(bytes(whole), changed, strict=True)) == 1


def sum_of_pseudo_header(data):
    words = [*struct.unpack("!4H", data[26:34]), 17, len(data) - 34]
    total = sum(words)
    return (total & 0xFFFF) + (total >> 16)


def test_a_gso_packet_is_not_corrupted_but_dropped():
    data = bytes(Ether(dst="02:00:00:00:00:01") / IP(src="10.0.0.2", dst="10.9.0.7") / TCP() / bytes(3000))
    leaf, _ = corrupted(data, gso_type=1, gso_size=1000, flags=NEEDS_CHECKSUM, checksum_start=34, checksum_offset=16)
    assert leaf == "link.receive drops impair-corrupted-gso"


# Duplication.


def test_a_copy_is_the_packet_as_it_came_and_follows_it():
    link = Impair("link", seed=3, duplicate=1, delay=0.01, rate=8_000_000)
    path = two_ports((link, ("ip", "link", "left"))).graph.create_path("left")
    data = traces.frame(FLOW, bytes(range(256)) * 5)
    first = path.run(data, timestamp=NOW)
    assert path.emit(timestamp=NOW + 5) == [first]
    assert path.emit() == []
    size = len(data) - 14
    assert link.state.initial["latest"][0] == NOW + 10_000_000 + 2 * size * 1000


# Bad input.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": 1.5}, "link: loss=1.5; give 0 to 1"),
        ({"delay": -1}, "link: delay=-1; give 0 to 30"),
        ({"rate": "fast"}, "link: rate='fast'; give 0 to 1e.12"),
        ({"speed": 1}, "link: no impairment 'speed'; there are loss, burst_begin"),
        ({"seed": -1}, r"link: seed=-1; give an int of 0 to 2\*\*63 - 1"),
        ({"connects": "arp"}, "link: connects='arp'; give 'ipv4' for what IP receives"),
    ],
)
def test_values_that_make_no_sense_are_refused(given, message):
    with pytest.raises(GraphError, match=message):
        Impair("link", **given)


def test_a_service_with_state_stands_before_it():
    hitter = HeavyHitter("hitter")
    refused = two_ports((Impair("link"),), (hitter, ("ip", "hitter", "link", "left"))).graph
    with pytest.raises(GraphError, match=r"link.receive lets packets wait.*put hitter.receive before link.receive"):
        refused.create_path("left")
    good = two_ports((Impair("link"),), (HeavyHitter("hitter"), ("ip", "link", "hitter", "left"))).graph
    assert "link.receive" in good.create_path("left").replicated


def test_a_path_with_a_queue_is_refused():
    graph = two_ports((Impair("link"), ("ip", "link", "left"))).graph
    with pytest.raises(GraphError, match=r"queue=64, but link.receive lets packets wait until a time"):
        graph.create_path("left", queue=64)


def test_what_ip_sends_can_be_impaired():
    link = Impair("link", connects="adjacency", delay=0.02)
    path = two_ports((link, ("ip", "link", "arp"))).graph.create_path("left")
    leaf, _, packet = walk(path, traces.frame(FLOW, bytes(10)), {"timestamp": NOW})
    assert (leaf, packet.timestamp) == ("to right", NOW + 20_000_000)


def test_packets_of_a_pattern_alone_are_impaired():
    link = Impair("link", loss=1, only={"protocol": "udp", "destination_port": 53})
    path = two_ports((link, ("ip", "link", "left"))).graph.create_path("left")
    assert path.run(traces.frame(FLOW, b""))[0] == "link.receive drops impair-lost"
    assert path.run(traces.frame((*FLOW[:4], 54), b""))[0] == "to right"
