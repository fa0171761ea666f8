"""The kernel's ring under real contention, with a kernel that is as fast as the replicas (`stress.kernel`)."""

import os
import random
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scout.io.batch import new_batch
from scout.io.host.process import Child, wait_for_any
from scout.ring.segment import address, shared
from stress.kernel import FOUND, SimulatedRing, fill, serve
from stress.pace import Events, Pace

REQUESTS = int(float(os.environ.get("SCOUT_STRESS", "4e4")))
EVENTS = min(1000, REQUESTS // 20_000)  # deaths or joins; each step of the traffic has control requests, too
PATIENCE = 60 + REQUESTS / 100_000  # seconds: a tenth of what a busy machine does
REPLICAS, FRAMES, MOST, SHARE = 2, 60, 3, 8
CORES = sorted(os.sched_getaffinity(0))


class Bench:
    """A ring, its kernel and replicas, and what they found; one control request comes for SHARE frames."""

    def __init__(self, keeps: bool) -> None:
        port = SimpleNamespace(frames=FRAMES, longest=1 << 16, interface="simulated", number=1)
        self.ring = SimulatedRing({0: port}, REPLICAS, keeps)
        self.batch = int(self.ring.ring["batch"][0])
        self.found = shared(MOST, FOUND)
        self.primaries = shared(REQUESTS, np.uint8)
        self.tellers, self.heard = shared(REQUESTS, np.int64), shared(REQUESTS, np.int64)
        self.orders = shared((MOST, 8), np.int64)
        self.pace = Pace(REQUESTS, limits=2)
        self.tellings = Events(self.pace, EVENTS, owner=1)
        self.controls = 0
        self.living: dict[int, Child] = {}
        self.batches = [new_batch(self.batch) for _ in range(MOST)]
        self.kernel = Child(fill, self.ring.ring, 0, REQUESTS, *self.pace.words)  # waits for replicas, in the full ring

    def start(self, replica: int) -> None:
        self.living[replica] = Child(self._serve, replica)

    def _serve(self, replica: int) -> None:
        os.sched_setaffinity(0, [CORES[replica % len(CORES)]])
        cursor, batch = self.ring.cursors[replica : replica + 1], self.batches[replica][0]
        seen = (self.found, self.primaries, self.tellers, self.heard)
        serve(self.ring.ring, cursor, replica, batch, *seen, address(self.orders[replica]), REQUESTS)

    def tell(self) -> None:
        """Publish control requests while there is room, up to their share of what the foremost has seen."""
        before = self.controls
        while self.controls < int(self.ring.cursors["head"].max()) // SHARE:
            if not self.ring.control(0, 1, 1, self.controls, 0, timeout=0):
                break
            self.controls += 1
        if self.controls > before and not self.tellings.over:
            self.tellings.happen()

    def stop(self, replica: int) -> None:
        """Kill a replica, wherever it is."""
        self.living[replica].kill()
        assert self.living[replica].join(PATIENCE)

    def succeed(self, replica: int) -> None:
        at = self.ring.position(replica), self.ring.controls_done(replica)
        if self.ring.ring["keeps"][0]:
            at = self.saved(replica)
        self.ring.resume(replica, *at)
        self.start(replica)

    def saved(self, replica: int) -> tuple[int, int]:
        """The position of a replica's newest snapshot, and how many control requests are before it."""
        head, controls = divmod(int(self.found["saved"][replica]), 1 << 32)
        return head + controls, controls

    def running(self) -> bool:
        """False at the end; waits a moment."""
        wait_for_any([child for child in self.living.values() if child.is_alive()], 0.0005)
        self.tell()
        return self.kernel.is_alive() or any(child.is_alive() for child in self.living.values())

    def finish(self, deaths: int = 0, lost: int = 0) -> None:
        """See that nothing is wrong with what each saw, and that no death made more than a batch be done again."""
        for child in (*self.living.values(), self.kernel):
            assert child.join(PATIENCE), "it hangs"
            assert child.exitcode in (0, -signal.SIGKILL)
        assert not self.found["torn"].any()
        assert not self.found["disputed"].any()
        assert np.count_nonzero(self.primaries == 0) <= lost * self.batch
        if not lost:
            assert REQUESTS <= self.found["handled"].sum() <= REQUESTS + deaths * self.batch
        heard = int(np.count_nonzero(self.heard))
        assert EVENTS <= heard <= self.controls
        assert np.count_nonzero(self.tellers[:heard] == 0) <= lost


@pytest.fixture
def bench() -> Iterator[Any]:
    made: list[Bench] = []

    def make(keeps: bool) -> Bench:
        made.append(Bench(keeps))
        return made[-1]

    yield make
    for each in made:
        for child in (*each.living.values(), each.kernel):
            child.kill()


@pytest.mark.parametrize("keeps", [True, pytest.param(False, marks=pytest.mark.long)])
def test_all_replicas_see_all_frames_and_control_requests_in_one_order(bench: Any, keeps: bool) -> None:
    run = bench(keeps)
    for replica in range(REPLICAS):
        run.start(replica)
    while run.running():
        pass
    run.finish()
    assert (run.found["frames"][:REPLICAS] == REQUESTS).all()
    assert run.found["handled"].sum() == REQUESTS


@pytest.mark.parametrize("keeps", [True, pytest.param(False, marks=pytest.mark.long)])
def test_what_killed_replicas_had_begun_their_successors_finish(bench: Any, keeps: bool) -> None:
    run = bench(keeps)
    kills = Events(run.pace, EVENTS)
    for replica in range(REPLICAS):
        run.start(replica)
    targets = [kills.soon(0)] * REPLICAS
    while run.running():
        for replica in range(REPLICAS):
            head = int(run.ring.cursors["head"][replica])
            if not kills.over and head >= targets[replica]:
                run.stop(replica)
                run.succeed(replica)
                kills.happen()
                targets[replica] = kills.soon(head)
    run.finish(deaths=EVENTS)


@pytest.mark.parametrize("keeps", [True, pytest.param(False, marks=pytest.mark.long)])
def test_replicas_that_join_and_leave_all_the_time_take_their_part(bench: Any, keeps: bool) -> None:
    run = bench(keeps)
    joins, generator = Events(run.pace, EVENTS), random.Random(2)
    for replica in range(REPLICAS):
        run.start(replica)
    while run.running():
        for replica in (1, 2):
            if replica in run.living and run.living[replica].is_alive():
                if not joins.over and generator.random() < 0.1:
                    run.orders[replica, 0] = 1
                    assert run.living[replica].join(PATIENCE)
            elif run.ring.is_member(replica):
                if run.ring.unfinished(replica):  # it ended with something to do
                    run.orders[replica, 0] = 0
                    run.succeed(replica)
                else:
                    run.ring.retire(replica, False)
            elif not joins.over and _join(run, replica):
                joins.happen()
    run.finish(deaths=EVENTS)
    assert run.found["frames"][0] == REQUESTS


def _join(run: Bench, replica: int) -> bool:
    """Let a replica take part from another's position, or snapshot, on; False if that was too late."""
    position, controls = run.saved(0) if run.ring.ring["keeps"][0] else run.ring.foremost()
    if not run.ring.join(replica, position, controls):
        return False
    run.found["saved"][replica] = (position - controls) << 32 | controls
    run.orders[replica, 0] = 0
    run.start(replica)
    return True


def test_of_a_dead_replica_without_a_successor_no_more_is_lost_than_it_had_at_hand(bench: Any) -> None:
    run = bench(False)
    deaths = Events(run.pace, EVENTS)
    for replica in range(REPLICAS):
        run.start(replica)
    target = deaths.soon(0)
    while run.running():
        head = int(run.ring.cursors["head"][1])
        if not deaths.over and head >= target:
            run.stop(1)
            run.ring.retire(1, False)
            while not _join(run, 1):
                time.sleep(0)
            deaths.happen()
            target = deaths.soon(head)
    run.finish(lost=EVENTS)
    assert run.found["frames"][0] == REQUESTS
