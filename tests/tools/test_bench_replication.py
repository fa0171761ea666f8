"""`scout bench replication`: the synthetic service does what it is said to do, and small runs of the benchmark."""

import json

import numpy as np
import pytest
from commands import report_of

from scout.io.host.process import usable_cores as cores
from scout.ring.channel import Channel
from scout.ring.errors import ScoutError
from scout.ring.segment import address, shared
from scout.tools.bench import replication as bench_replication
from scout.tools.bench.channel_loops import feed
from scout.tools.bench.crew import Worker, together
from scout.tools.bench.replication import RATIOS
from scout.tools.bench.synthetic import ATOMIC, LOCKED, PRIVATE_WORDS, REPLICATED, STATE_WORDS, WORK, sequential, serve

SHORTER = 256
FACTOR, MASK = 6364136223846793005, (1 << 64) - 1


def signed(value: int) -> int:
    return (value & MASK) - (1 << 64) * (value >> 63 & 1)


def reference(requests: int, shared_updates: int, private_updates: int) -> tuple[list[int], list[int]]:
    """State and private memory after requests with the seeds 0, 1, 2 …, in plain Python."""
    state, private = [0] * STATE_WORDS, [0] * PRIVATE_WORDS
    for seed in range(requests):
        chain = seed * FACTOR & MASK
        for memory, updates in ((state, shared_updates), (private, private_updates)):
            for _ in range(updates):
                at = chain >> 33 & len(memory) - 1
                chain = chain * FACTOR + memory[at] + 1 & MASK
                memory[at] = chain
    return [signed(word) for word in state], [signed(word) for word in private]


class Service:
    """Works for `replicas` replicas, and their memory."""

    def __init__(self, mode: int, replicas: int, shared_updates: int, private_updates: int) -> None:
        self.states, self.private = shared((replicas, STATE_WORDS), np.int64), shared((replicas, PRIVATE_WORDS), "i8")
        self.lock = shared(8, np.int64)
        self.works = shared(replicas, WORK)
        self.works["mode"], self.works["lock"] = mode, address(self.lock)
        self.works["shared_updates"], self.works["private_updates"] = shared_updates, private_updates
        for replica in range(replicas):
            self.works["state"][replica] = address(self.states[replica if mode == REPLICATED else 0])
            self.works["private"][replica] = address(self.private[replica])

    def run(self, requests: int) -> None:
        replicas = len(self.works)
        channel = Channel(requests, 8, replicas, batch=4)
        feed(channel.record, -1, 0, requests, requests, address(np.zeros(1, np.int64)), 8)

        def worker(replica: int) -> Worker:
            return Worker(lambda: None, lambda: serve(channel.record, channel.members, replica, self.works, requests))

        together([worker(replica) for replica in range(replicas)])
        assert self.works["primary"].sum() == requests


def test_sequential_updates_are_those_of_plain_python() -> None:
    service = Service(REPLICATED, 1, 5, 3)
    sequential(service.works, 100)
    state, private = reference(100, 5, 3)
    assert service.states[0].tolist() == state and service.private[0].tolist() == private


def test_replicas_have_the_same_state_as_the_sequential_loop() -> None:
    service = Service(REPLICATED, 3, 5, 3)
    service.run(1_024)
    for state in service.states:
        assert state.tolist() == reference(1_024, 5, 3)[0]


@pytest.mark.parametrize("mode", [LOCKED, ATOMIC])
def test_one_replica_with_a_lock_or_atomics_ends_in_a_state_of_its_own_making(mode: int) -> None:
    service = Service(mode, 1, 5, 3)
    service.run(256)
    if mode == LOCKED:
        assert service.states[0].tolist() == reference(256, 5, 3)[0]
    else:  # an addition where the others store
        assert service.states[0].any() and service.states[0].tolist() != reference(256, 5, 3)[0]


@pytest.mark.parametrize("mode", [ATOMIC, pytest.param(LOCKED, marks=pytest.mark.long)])
def test_private_work_is_done_once(mode: int) -> None:
    """Each request changes private words of its primary alone; the state is that of all."""
    service = Service(mode, 2, 2, 1)
    service.run(128)
    assert not service.states[1].any()
    changed = np.count_nonzero(service.private, axis=1)
    assert (changed > 0).tolist() == (service.works["primary"] > 0).tolist()


@pytest.mark.long
def test_rows_projections_and_plot(tmp_path, capsys) -> None:
    report, picture = tmp_path / "replication.json", tmp_path / "replication.svg"
    bench_replication.run(1, str(report), str(picture), shorter=SHORTER)
    written = report_of(report, "bench replication")
    rows = written["results"]
    keys = {"name", "ratio", "cores", "requests_per_s_median", "speedup", "ideal", "projected"}
    assert all(keys <= set(row) for row in rows)
    measured = [row for row in rows if not row["projected"]]
    assert {row["name"] for row in measured} == {"sequential", "replicated", "locked", "atomic"}
    assert {row["ratio"] for row in measured} == set(RATIOS)
    most = max(row["cores"] for row in measured)
    assert most == min(len(cores()), 31)
    for row in rows:
        assert row["ideal"] == pytest.approx((1 + row["ratio"]) / (1 + row["ratio"] / row["cores"]), abs=1e-3)
        if row["cores"] == 1:
            assert row["speedup"] == 1
    assert {row["cores"] for row in rows if row["projected"]} == {n for n in (8, 16, 64) if n > most}
    assert written["parameters"]["model_ns"]["private"] > 0
    assert picture.exists() and (tmp_path / "replication.png").read_bytes().startswith(b"\x89PNG")
    assert ("replicated, projected" in picture.read_text()) == (most < 64)
    out = capsys.readouterr().out
    if most > 1:
        assert "of the ideal" in out and "projected to 64 cores" in out


def test_json_on_standard_output_is_all_there_is(tmp_path, monkeypatch, capsys) -> None:
    """Nothing is plotted unless that is asked for."""
    monkeypatch.chdir(tmp_path)
    bench_replication.run(1, "-", None, shorter=SHORTER, most=1)
    assert json.loads(capsys.readouterr().out)["parameters"]["cores"] == 1
    assert not list(tmp_path.iterdir())


def test_no_updates_are_refused(tmp_path) -> None:
    with pytest.raises(ScoutError, match="--updates 0"):
        bench_replication.run(1, None, str(tmp_path / "r.svg"), updates=0)
