"""`scout bench paths`: a small run of the real thing, and the parts of its trials."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from demux_frames import fields_in

from scout.ring.errors import ScoutError
from scout.testing import await_until
from scout.tools.bench import path_under_load, paths
from scout.tools.bench.path_pauses import Watch, late_anyway, latest, machine, pauses_in, union
from scout.tools.bench.path_trials import CLOSED, Kind, datagram, running, spread_evenly
from scout.tools.bench.path_work import FIGURES, NOTED, meter, rounds_for, spin, work


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "ENTRIES": 1024,
        "FLOOD_ENTRIES": 1024,
        "SECONDS": 0.1,
        "TIMES": 0.1,
        "LENGTHS": (16, 64),
        "PLACES": 64,
        "BURSTS": 2,
    }
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
    monkeypatch.setattr(path_under_load, "NEW_SHAPES", 2)
    rows = path_under_load.rows(1)
    assert [row["variant"] for row in rows] == ["created", "first packet", "deleted", "new shape, first packet"]
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
    chain, figures = np.ones(NOTED, np.int64), np.zeros(FIGURES + 6, np.int64)
    assert spin(None, None, chain, 3) == 0 and chain[0] == ((1 * 5 + 1) * 5 + 1) * 5 + 1
    for timestamp in (1, 2, 1 << 62):
        assert work(None, None, chain, 3) == 0
        assert meter(None, None, SimpleNamespace(timestamp=timestamp), figures, 10**9, chain) == 0
    assert figures[:2].tolist() == [3, 2]  # two of 1970, and one of the future
    noted = latest(figures, 5)  # of the latest two, as there is room for no more
    assert noted[:, 0].tolist() == [2, 1 << 62] and (noted[:, 1] <= noted[:, 2]).all()
    assert latest(figures, 1).tolist() == noted[1:].tolist()


def test_more_time_is_more_rounds() -> None:
    assert rounds_for(1e6) > rounds_for(1e3) >= 1


def late(packets: list[tuple[int, int, int]], pauses: list[tuple[int, int]] = []) -> list[bool]:  # noqa: B006
    """Of packets (received, work, time until the deadline): which are late if the core stands still in the pauses."""
    received, work, limit = np.array(packets, np.int64).T
    return late_anyway(received, work, received + limit, np.array(pauses, np.int64).reshape(-1, 2)).tolist()


def test_the_best_schedule_misses_what_nobody_can_meet() -> None:
    paced = [(20 * number, 14, 100) for number in range(5)]
    assert late(paced) == [False] * 5
    assert late(paced, [(0, 85)]) == [False] * 5
    assert late(paced, [(0, 87)]) == [True, False, False, False, False]
    assert late(paced, [(0, 50), (60, 110)]) == [True, True, True, False, False]  # they wait for one another


def test_the_packet_with_the_earliest_deadline_goes_first_in_the_best_schedule() -> None:
    assert late([(0, 100, 1000), (10, 5, 6)]) == [False, False]
    assert late([(0, 100, 104), (10, 5, 6)]) == [True, False]
    assert late([(0, 100, 1000), (10, 5, 6)], [(12, 14)]) == [False, True]


def test_a_machine_that_stands_still_is_told_from_a_scheduler_that_serves_too_late() -> None:
    def served(begins: list[int], pauses: list[tuple[int, int]]) -> tuple[int, float, float]:
        """Packets come every 20 ms, take 10 and have 30: what became of those whose work began at these times."""
        packets = np.array([[20 * number, begin, begin + 10] for number, begin in enumerate(begins)], np.int64)
        found = machine([(packets * 1_000_000, 0.030)], np.array(pauses, np.int64).reshape(-1, 2) * 1_000_000)
        return found.late_anyway, round(found.busy, 2), found.longest

    assert served([0, 20, 40, 60], []) == (0, 0.57, 0.0)
    assert served([25, 40, 60, 80], []) == (0, 0.44, 0.0)  # the first is late, and nothing stood in its way
    assert served([25, 40, 60, 80], [(0, 25)]) == (1, 0.44, 0.025)
    assert served([25, 40, 60, 80], [(0, 15), (12, 25)]) == (1, 0.44, 0.025)


def test_pauses_are_found_as_they_were_noted() -> None:
    chain = np.array([*range(NOTED - 1), 3, 50, 60, 30, 40], np.int64)  # three, and room for two
    assert pauses_in(chain).tolist() == [[30, 40], [50, 60]]
    assert union(np.array([[5, 7], [0, 2], [6, 9], [1, 2]])).tolist() == [[0, 2], [5, 9]]


def test_a_watch_notes_when_a_process_has_no_core() -> None:
    starved = 0.5
    watch = Watch(lambda: starved)
    with watch:
        starved = 0.75
        await_until(lambda: len(watch.pauses) > 0)
    assert [end - start for start, end in watch.pauses.tolist()] == [250_000_000]
