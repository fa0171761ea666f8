"""`scout bench tcp`: its segments, its bounds, and a small run of the real thing; no figure is judged."""

import socket
from contextlib import ExitStack
from pathlib import Path

import numba
import numpy as np
import pytest
from commands import report_of, scout
from numba.core import types
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from scout.io.channels.software import CALLER
from scout.io.endpoints.collect import APPLICATION_FEED
from scout.io.host.lab import Lab
from scout.io.host.process import usable_cores
from scout.ring.errors import ScoutError
from scout.ring.jit import entry
from scout.ring.producer import acquire, release
from scout.testing import await_until
from scout.tools.bench import tcp, tcp_application, tcp_live, tcp_replay
from scout.tools.bench.tcp import Group
from scout.tools.bench.tcp_application import ECHO, listening
from scout.tools.bench.tcp_live import contenders
from scout.tools.bench.tcp_replay import Case, Direction, Figures, Trial
from scout.tools.bench.tcp_segments import HEADERS, Segment

OPTIONS = b"\1\1\x08\x0a" + (7).to_bytes(4) + (9).to_bytes(4)


@pytest.mark.parametrize("size", [0, 8, 1447])
def test_a_segment_of_a_replay_has_its_numbers_and_a_right_checksum(size: int) -> None:
    segment = Segment((10 << 24 | 2, 10 << 24 | 1), (40000, 80), 0x10, 64, OPTIONS, size)
    frame = segment.numbered(0xFFFFFFFF, 0x80000001)
    assert len(frame) == HEADERS + size
    read = Ether(frame)
    assert (read[TCP].seq, read[TCP].ack, read[TCP].window) == (0xFFFFFFFF, 0x80000001, 64)
    assert ("Timestamp", (7, 9)) in read[TCP].options
    sums = read[IP].chksum, read[TCP].chksum
    del read[IP].chksum, read[TCP].chksum
    again = Ether(bytes(read))
    assert sums == (again[IP].chksum, again[TCP].chksum)


def test_checksums_of_many_segments_are_those_of_each() -> None:
    segment = Segment((10 << 24 | 2, 10 << 24 | 1), (40000, 80), 0x10, 64, OPTIONS, 100)
    sequences, acknowledgements = np.arange(0, 1 << 32, 1 << 28), np.arange(1 << 32, 0, -(1 << 28)) - 1
    windows = 64 + np.arange(len(sequences)) % 3
    checks, others = (segment.checksums(sequences, acknowledgements, None, told) for told in (None, windows))
    for index in range(len(sequences)):
        read = Ether(segment.numbered(int(sequences[index]), int(acknowledgements[index])))
        assert read[TCP].chksum == checks[index]
        read[TCP].window = int(windows[index])
        del read[TCP].chksum
        assert Ether(bytes(read))[TCP].chksum == others[index]


def figures(gbps: float, ns: float = 0.0, header_ns: float = 0.0, follow_ns: float = 0.0) -> Figures:
    return dict.fromkeys(tcp_replay.DIRECTIONS, Direction(gbps, ns, header_ns, follow_ns, 0.5))


def group(machine: float) -> tuple[Group, Case]:
    """One core takes 600 ns for a segment, 100 of them replicated; two rounds, of which the second is half as fast."""
    replicated = Case("replicated", "copy+checksum", 2)
    measured = {
        Case("sharded", "copy+checksum", 2): [figures(20, 600, 250), figures(10, 1200, 500)],
        Case("replicated", "copy+checksum", 1): [figures(19, 640, 260), figures(9.5, 1280, 520)],
        replicated: [figures(30, 400, 200, 100), figures(15, 800, 400, 200)],
        Case("independent", "copy+checksum", 2): [figures(20 * machine, 600), figures(10 * machine, 1200)],
    }
    return Group(measured), replicated


def test_the_bound_is_the_smaller_of_the_machines_and_the_models() -> None:
    fast, case = group(machine=1.95)
    assert fast.bound(case, "receive") == pytest.approx(600 / (100 + 250))
    slow, case = group(machine=1.6)
    assert slow.bound(case, "send") == pytest.approx(1.6)
    rows = {(row["mode"], row["replicas"], row["direction"]): row for row in slow.rows()}
    assert rows["replicated", 2, "receive"]["speedup"] == 1.5 and rows["replicated", 2, "receive"]["bound"] == 1.6
    assert rows["sharded", 2, "send"]["speedup"] == rows["replicated", 1, "send"]["bound"] == 1
    assert any("350 of per-byte work and 250 besides; 100" in sentence for sentence in fast_sentences(fast))


def fast_sentences(of: Group) -> list[str]:
    """The sentences of the first round alone: medians of two rounds lie between them."""
    return list(Group({case: own[:1] for case, own in of._measured.items()}).sentences())


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ScoutError, match="--measure rate"):
        tcp.run(1, 0.1, ["rate"], [], True, None, None)
    with pytest.raises(ScoutError, match="--work none"):
        tcp.run(1, 0.1, [], ["none"], True, None, None)


@pytest.mark.long
@pytest.mark.parametrize("mode", tcp_replay.MODES)
def test_a_replay_in_every_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_replay, "LAPS", 1)
    measured = Trial(Case(mode, "copy+checksum", min(len(usable_cores()), 2))).measure()
    for direction in tcp_replay.DIRECTIONS:
        assert measured[direction].gbps > 0 and measured[direction].header_ns > 0
    assert measured["receive"].requests < 0.1 and 1 <= measured["receive-apart"].requests < 1.1  # and of timers


@pytest.mark.long
def test_a_replay_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_replay, "LAPS", 1)
    measured = Trial(Case("replicated", tcp_replay.SECURED, min(len(usable_cores()), 2))).measure()
    assert all(measured[direction].gbps > 0 for direction in tcp_replay.DIRECTIONS)


REQUESTS = types.Array(numba.from_dtype(APPLICATION_FEED), 1, "C")


@entry(types.void(REQUESTS))
def hold(requests: np.ndarray) -> None:
    acquire(requests[0], CALLER)


@entry(types.void(REQUESTS))
def let_go(requests: np.ndarray) -> None:
    release(requests[0])


@pytest.mark.long
@pytest.mark.parametrize("work", tcp_replay.WORKS)
def test_a_segment_that_is_lost_is_sent_again(work: str) -> None:
    """Replicas have no room for the requests of a replay while whoever brings them into the channel is not running."""
    trial = Trial(Case("replicated", work, min(len(usable_cores()), 2)))
    with trial._running() as ((connection,), _):
        apps, segments = trial._hosts[0].apps, tcp_replay._RECEIVE_RECORDS.segments
        assert apps.feed
        for _ in range(2):
            replay = connection.arriving(segments, tcp_replay.SEGMENT, windows=2)
            replay.settle()
            before = apps.transmitted()["requests-full"]
            hold(apps.feed.ring)
            replay.publish()
            await_until(lambda before=before: apps.transmitted()["requests-full"] > before)  # type: ignore[misc]
            let_go(apps.feed.ring)
            replay.finish()
            assert not connection.read()


@pytest.mark.needs_namespaces
def test_both_ends_on_the_kernel_have_the_congestion_control_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tcp_live, tcp_application):
        monkeypatch.setattr(module, "CONTROL", "reno")  # no host's default
    with ExitStack() as stack, Lab("control") as lab:
        (host,) = contenders(stack, lab, [], offloads=True)
        with host.client(ECHO) as client, lab.namespace("other").entered(), listening("kernel", "") as listener:
            for each in (client, listener):
                assert each.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"


@pytest.mark.long
@pytest.mark.needs_namespaces
@pytest.mark.parametrize("offloads", ["--offloads", "--no-offloads"])
def test_rows_and_plot(offloads: str, tmp_path: Path) -> None:
    report, picture = tmp_path / "tcp.json", tmp_path / "tcp.svg"
    arguments = ["--measure", "live", "--rounds", "1", "--seconds", "0.05", offloads]
    scout("bench", "tcp", *arguments, "--json", str(report), "--plot", str(picture))
    rows = report_of(report, "bench tcp")["results"]
    assert {row["name"] for row in rows} == {"kernel", "scout"}
    assert {row["direction"] for row in rows} == {"receive", "send", "round-trip"}
    for row in rows:
        keys = ("us_p50", "us_p99") if row["direction"] == "round-trip" else ("gbps_min", "gbps_median", "gbps_max")
        assert row["live"] is True and all(row[key] > 0 for key in keys)
    assert picture.exists()
