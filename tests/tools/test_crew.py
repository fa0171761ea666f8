"""Processes that a benchmark forks: together, pinned, and none of them left."""

import os
import time

import numpy as np
import psutil
import pytest

from scout.io.host.process import usable_cores as cores
from scout.ring.segment import shared
from scout.tools.bench.crew import Timed, Worker, together, undisturbed


def nothing() -> None:
    pass


def test_all_prepare_before_any_works_each_on_its_core() -> None:
    number = 3
    prepared, seen, core = (shared(number, np.int64) for _ in range(3))

    def worker(index: int) -> Worker:
        def prepare() -> None:
            prepared[index] = 1

        def work() -> None:
            seen[index], core[index] = prepared.sum(), min(os.sched_getaffinity(0))

        return Worker(prepare, work)

    timed = together([worker(index) for index in range(number)])
    assert seen.tolist() == [number] * number
    available = cores()
    assert core.tolist() == [available[index % len(available)] for index in range(number)]
    assert max(one.start for one in timed) > 0 and all(one.ns >= 0 for one in timed)


@pytest.mark.parametrize("stage", ["prepare", "work"])
def test_one_that_fails_ends_all(stage: str, capfd) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    before = psutil.Process().children()
    failing = Worker(fail, nothing) if stage == "prepare" else Worker(nothing, fail)
    with pytest.raises(RuntimeError, match="ended with status"):
        together([Worker(nothing, nothing), failing, Worker(nothing, nothing)])
    assert "on purpose" in capfd.readouterr().err
    assert psutil.Process().children() == before


def test_one_that_fails_ends_those_that_wait_for_it() -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    def wait() -> None:
        while True:
            time.sleep(1)

    with pytest.raises(RuntimeError, match="ended with status"):
        together([Worker(nothing, wait), Worker(nothing, fail)])


def test_measures_again_while_others_had_the_core() -> None:
    runs = [[Timed(0, 1, 0), Timed(0, 1, 2)], [Timed(0, 2, 0), Timed(0, 2, 0)], [Timed(0, 3, 0), Timed(0, 3, 0)]]
    left = iter(runs)
    assert undisturbed(lambda: next(left)) == runs[1]


def test_gives_up_waiting_for_a_quiet_machine() -> None:
    count = 0

    def disturbed() -> list[Timed]:
        nonlocal count
        count += 1
        return [Timed(0, count, 1)]

    assert undisturbed(disturbed)[0].ns == count > 1
