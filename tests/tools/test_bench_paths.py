"""`scout bench paths`: a small run of the real thing, and the parts of its trials."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from demux_frames import fields_in

from scout.ring.errors import ScoutError
from scout.tools.bench import path_under_load, paths
from scout.tools.bench.path_trials import CLOSED, Kind, datagram, running, spread_evenly
from scout.tools.bench.path_work import FIGURES, meter, rounds_for, spin


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"ENTRIES": 1024, "SECONDS": 0.1, "TIMES": 0.1, "LENGTHS": (16, 64), "PLACES": 64, "BURSTS": 2}
    for name, value in values.items():
        monkeypatch.setattr(paths, name, value)


@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_rows_and_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Of two measures and one scheduler: each compiles for some seconds."""
    monkeypatch.setattr(paths, "SCHEDULES", {"deadline": "earliest deadline first"})
    report, picture = tmp_path / "paths.json", tmp_path / "paths.svg"
    paths.run(1, ["flood", "streams"], str(picture), str(report))
    rows = json.loads(report.read_text())["results"]
    assert [(row["name"], row["variant"]) for row in rows] == [
        *(("flood", variant) for variant in (paths.BY_PATH, paths.ONE_QUEUE) for _ in range(2)),
        *(("streams", "earliest deadline first") for _ in range(2)),
    ]
    for row in rows:
        assert row["rate"] >= 0
        assert 0 <= row["misses"] <= row["packets"] and row["misses_max"] == row["misses"]
    assert picture.exists()
    assert f"under a flood, {paths.BY_PATH}: " in capsys.readouterr().out


def test_a_measure_that_is_not_there_is_named() -> None:
    with pytest.raises(
        ScoutError, match=r"--measure latency: give one of flood, streams, discard, creation, under-load, accounting"
    ):
        paths.run(1, ["latency"], None, None)


@pytest.mark.long
def test_paths_come_while_frames_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_under_load, "TIMES", 3)
    rows = path_under_load.rows(1)
    assert [row["variant"] for row in rows] == ["created", "first packet", "deleted"]
    assert all(0 < row["p50_us"] <= row["max_us"] and row["frames"] > 0 <= row["lost"] for row in rows)


@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_a_burst_of_packets_to_be_dropped_takes_the_room_of_others_only_in_their_queue() -> None:
    row = {
        variant: paths._Discard(variant).measure()  # more of them than a queue of 64 holds come at a time
        for variant in (paths.DEMUX, paths.SHARED)
    }
    assert row[paths.DEMUX]["others_lost_percent"] == 0 < row[paths.SHARED]["others_lost_percent"]
    assert all(each["rate"] > 0 and each["ns_per_packet"] > 0 for each in row.values())


@pytest.mark.long
def test_packets_that_are_offered_slowly_all_come_and_their_paths_are_served() -> None:
    kind = Kind("voice", range(5000, 5001), 1e-6, 60.0)
    trace = spread_evenly(256, datagram(5000), 64, datagram(CLOSED))
    with running(trace, [kind], [{**kind.only, "queue": 256}], "deadline", closed=True) as router:
        offered, (came, late) = router.offer(10_000.0, 0.1, kind)
        (row,) = router.supervisor.queue_figures()
    assert offered == 1000 and late == 0
    assert came == row["served"] == 250
    assert router.supervisor.account()["drops"] == {"closed": 750, "tx-full": 250}


def test_frames_are_datagrams_to_their_ports() -> None:
    found = fields_in(datagram(5060))
    assert found and (found["protocol"], found["destination_port"], str(found["destination"])) == (17, 5060, "10.0.1.2")
    assert len(datagram(5060)) == 60


def test_a_trace_has_some_frames_as_far_apart_as_can_be() -> None:
    trace = spread_evenly(16, b"a", 3, b"b")
    assert [index for index, each in enumerate(trace) if each == b"a"] == [0, 5, 10]


def test_the_stages_as_plain_python() -> None:
    chain, figures = np.ones(1, np.int64), np.zeros(FIGURES, np.int64)
    assert spin(None, None, chain, 3) == 0 and chain[0] == ((1 * 5 + 1) * 5 + 1) * 5 + 1
    assert meter(None, None, SimpleNamespace(timestamp=1), figures, 10**9) == 0
    assert meter(None, None, SimpleNamespace(timestamp=1 << 62), figures, 10**9) == 0
    assert figures[:2].tolist() == [2, 1]  # one of 1970, and one of the future


def test_more_time_is_more_rounds() -> None:
    assert rounds_for(1e6) > rounds_for(1e3) >= 1
