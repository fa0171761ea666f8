"""The builder: jobs that somebody waits for go first, and none is lost."""

import os
import queue
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scout.builder import Builder
from scout.io.host.process import Forker
from scout.ring.errors import ScoutError


@pytest.fixture
def builder() -> Iterator[Builder]:
    forker = Forker()
    made = Builder(forker, [])
    yield made
    made.close()
    forker.close()


def nothing() -> None:
    pass


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


def test_a_job_of_a_lower_rank_goes_first_and_the_one_in_work_begins_anew(builder: Builder, tmp_path: Path) -> None:
    begun, done = tmp_path / "begun", queue.SimpleQueue()

    def long() -> None:
        if not begun.exists():
            begun.touch()
            signal.pause()

    builder.submit(long, lambda error: done.put(("long", error)), rank=2)
    wait_for(begun)
    builder.submit(nothing, lambda error: done.put(("other", error)), rank=2)
    builder.submit(nothing, lambda error: done.put(("needed", error)), rank=1)
    assert [done.get(timeout=600) for _ in range(3)] == [("needed", ""), ("long", ""), ("other", "")]


def test_a_job_in_work_is_not_ended_for_one_of_its_own_rank_or_a_higher_one(builder: Builder, tmp_path: Path) -> None:
    begun, go_on, done = tmp_path / "begun", tmp_path / "go_on", queue.SimpleQueue()

    def first() -> None:
        begun.touch()
        wait_for(go_on)

    builder.submit(first, lambda error: done.put(("first", error)))
    wait_for(begun)
    builder.submit(nothing, lambda error: done.put(("third", error)), rank=1)
    builder.submit(nothing, lambda error: done.put(("second", error)))
    go_on.touch()
    assert [done.get(timeout=600) for _ in range(3)] == [("first", ""), ("second", ""), ("third", "")]


def test_what_fails_is_told_also_of_a_job_that_another_one_follows(builder: Builder, tmp_path: Path) -> None:
    begun, go_on, done = tmp_path / "begun", tmp_path / "go_on", queue.SimpleQueue()

    def failing() -> None:
        raise ScoutError("no such stage")

    def dying() -> None:
        begun.touch()
        wait_for(go_on)
        os.kill(os.getpid(), signal.SIGKILL)

    builder.submit(dying, done.put)
    wait_for(begun)
    builder.submit(failing, done.put)
    go_on.touch()
    assert [done.get(timeout=600) for _ in range(2)] == ["the builder ended with status -9", "no such stage"]


def test_jobs_that_are_not_done_at_the_end_fail(builder: Builder, tmp_path: Path) -> None:
    begun, done = tmp_path / "begun", queue.SimpleQueue()

    def long() -> None:
        begun.touch()
        signal.pause()

    for _ in range(2):
        builder.submit(long, done.put)
    wait_for(begun)
    builder.close()
    builder.submit(nothing, done.put)
    assert all(done.get(timeout=600) for _ in range(3))
