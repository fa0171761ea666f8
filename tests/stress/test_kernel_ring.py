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
from stress.kernel import FOUND, SimulatedRing, fill, packets_in, serve, steps

REQUESTS = int(float(os.environ.get("SCOUT_STRESS", "1e5")))
PATIENCE = 60 + REQUESTS / 100_000  # seconds: a tenth of what a busy machine does
REPLICAS, BLOCKS, MOST, SHARE, BATCH = 2, 16, 3, 8, 4
CORES = sorted(os.sched_getaffinity(0))


class Bench:
    """A ring, its kernel and replicas, and what they found; control requests come in between, one of SHARE."""

    def __init__(self, keeps: bool) -> None:
        port = SimpleNamespace(blocks=BLOCKS, interface="simulated", number=1)
        self.ring = SimulatedRing({0: port}, REPLICAS, keeps)
        self.found = shared(MOST, FOUND)
        self.primaries, self.handled = shared(REQUESTS, np.uint8), shared(REQUESTS, np.uint16)
        self.tellers, self.heard = shared(REQUESTS, np.int64), shared(REQUESTS, np.int64)
        self.orders = shared((MOST, 8), np.int64)
        self.controls = 0
        self.living: dict[int, Child] = {}
        self.batches = [new_batch(BATCH) for _ in range(MOST)]
        self.kernel = Child(fill, self.ring.ring, 0, REQUESTS)

    def start(self, replica: int) -> None:
        self.living[replica] = Child(self._serve, replica)

    def _serve(self, replica: int) -> None:
        os.sched_setaffinity(0, [CORES[replica % len(CORES)]])
        cursor, batch = self.ring.cursors[replica : replica + 1], self.batches[replica][0]
        seen = (self.found, self.primaries, self.handled, self.tellers, self.heard)
        serve(self.ring.ring, cursor, replica, batch, *seen, address(self.orders[replica]), REQUESTS)

    def tell(self) -> None:
        """Publish control requests while there is room, up to their share of what the foremost has seen."""
        while self.controls < int(self.ring.cursors["sequence"].max()) // SHARE:
            if not self.ring.control(0, 1, 1, self.controls, 0, timeout=0):
                break
            self.controls += 1

    def stop(self, replica: int) -> None:
        """Kill a replica, wherever it is."""
        self.living[replica].kill()
        assert self.living[replica].join(PATIENCE)

    def succeed(self, replica: int) -> None:
        place, told = self.ring.position(replica), self.ring.controls_done(replica)
        if self.ring.ring["keeps"][0]:
            place, told = self.saved(replica)
        self.ring.resume(replica, place, told)
        self.start(replica)

    def saved(self, replica: int) -> tuple[int, int]:
        """Where a replica would have its newest snapshot of: the place, and how many control requests came before."""
        sequence, told = divmod(int(self.found["saved"][replica]), 1 << 32)
        return sequence + told, told

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
        assert np.count_nonzero(self.primaries == 0) <= lost
        if not lost:
            total = packets_in(self.handled)
            assert total > 0, "a packet was not handled"
            assert total <= self.found["packets"].sum() <= total + deaths * BATCH
        heard = int(np.count_nonzero(self.heard))
        assert heard > 0
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


@pytest.mark.parametrize("keeps", [False, True])
def test_all_replicas_see_all_blocks_and_control_requests_in_one_order(bench: Any, keeps: bool) -> None:
    run = bench(keeps)
    for replica in range(REPLICAS):
        run.start(replica)
    while run.running():
        pass
    run.finish()
    assert (run.found["blocks"][:REPLICAS] == REQUESTS).all()
    assert run.found["claimed"].sum() == REQUESTS
    # Those published last may come after the last block.
    assert run.found["told"].sum() == np.count_nonzero(run.tellers)


@pytest.mark.parametrize("keeps", [False, True])
def test_what_killed_replicas_had_begun_their_successors_finish(bench: Any, keeps: bool) -> None:
    run = bench(keeps)
    for replica in range(REPLICAS):
        run.start(replica)
    generator, gap, kills = random.Random(1), max(20_000, REQUESTS // 500), 0
    targets = [0] * REPLICAS
    while run.running():
        for replica in range(REPLICAS):
            sequence = int(run.ring.cursors["sequence"][replica])
            if run.living[replica].is_alive() and targets[replica] <= sequence < REQUESTS:
                targets[replica] = sequence + generator.randrange(gap)
                run.stop(replica)
                kills += 1
                run.succeed(replica)
    run.finish(deaths=kills)
    assert kills > 1


@pytest.mark.parametrize("keeps", [False, True])
def test_replicas_that_join_and_leave_all_the_time_take_their_part(bench: Any, keeps: bool) -> None:
    run = bench(keeps)
    for replica in range(REPLICAS):
        run.start(replica)
    generator, rounds = random.Random(2), 0
    while run.running():
        sequence = int(run.ring.cursors["sequence"][0])
        if sequence >= REQUESTS - 10_000:
            continue
        for replica in (1, 2):
            if replica in run.living and run.living[replica].is_alive():
                if generator.random() < 0.1:
                    run.orders[replica, 0] = 1
                    assert run.living[replica].join(PATIENCE)
            elif replica in run.living and replica in run.ring._members():
                if run.ring.unfinished(replica):  # it ended with something to do
                    run.orders[replica, 0] = 0
                    run.succeed(replica)
                else:
                    run.ring.retire(replica, False)
            elif _join(run, replica):
                rounds += 1
    run.finish(deaths=rounds)
    assert rounds > 1
    assert run.found["blocks"][0] == REQUESTS


def _join(run: Bench, replica: int) -> bool:
    """Have a replica take part from another's place, or what that has kept, on; False if that was too late."""
    place, told = run.saved(0) if run.ring.ring["keeps"][0] else run.ring.foremost()
    if not run.ring.join(replica, place, told):
        return False
    run.found["saved"][replica] = (place - told) << 32 | told
    run.orders[replica, 0] = 0
    run.start(replica)
    return True


def test_of_a_dead_replica_without_a_successor_no_more_is_lost_than_it_had_at_hand(bench: Any) -> None:
    run = bench(False)
    for replica in range(REPLICAS):
        run.start(replica)
    generator, deaths = random.Random(3), 0
    target = 5_000
    while run.running():
        sequence = int(run.ring.cursors["sequence"][0])
        if sequence < target or sequence >= REQUESTS - 10_000:
            continue
        target = sequence + generator.randrange(REQUESTS // 20)
        run.stop(1)
        run.ring.retire(1, False)
        deaths += 1
        while not _join(run, 1):
            time.sleep(0)
    run.finish(lost=deaths)
    assert deaths > 1
    assert run.found["blocks"][0] == REQUESTS


def test_who_dies_again_while_it_skips_what_was_done_does_none_of_it_again() -> None:
    port = SimpleNamespace(blocks=BLOCKS, interface="simulated", number=1)
    ring, batch = SimulatedRing({0: port}, 1, False), new_batch(BATCH)
    handled, generator, packets = shared(100 * BLOCKS, np.uint16), random.Random(4), 0
    for first in range(0, len(handled), BLOCKS):
        fill(ring.ring, first, first + BLOCKS)
        while ring.position(0) < first + BLOCKS:
            packets += int(steps(ring.ring, ring.cursors[:1], 0, batch[0], handled, generator.randrange(1, 5)))
            ring.resume(0, ring.position(0), 0)  # it died between two batches
    assert packets == packets_in(handled)
