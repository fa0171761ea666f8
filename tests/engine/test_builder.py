"""The builder: jobs that somebody waits for are done at once, and none is lost."""

import os
import queue
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scout.builder import Builder
from scout.io.host.process import Forker
from scout.ring.errors import ScoutError


@pytest.fixture
def forker() -> Iterator[Forker]:
    made = Forker()
    yield made
    made.close()


@pytest.fixture
def builder(forker: Forker) -> Iterator[Builder]:
    made = Builder(forker, [])
    yield made
    made.close()


def nothing() -> None:
    pass


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


def test_jobs_are_done_in_their_order_and_one_that_is_waited_for_at_once(builder: Builder, tmp_path: Path) -> None:
    begun, go_on, done = tmp_path / "begun", tmp_path / "go_on", queue.SimpleQueue()

    def first() -> None:
        begun.touch()
        wait_for(go_on)

    builder.submit(first, lambda error: done.put(("first", error)))
    builder.submit(nothing, lambda error: done.put(("second", error)))
    wait_for(begun)
    builder.do(go_on.touch)
    assert [done.get(timeout=600) for _ in range(2)] == [("first", ""), ("second", "")]


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
    with pytest.raises(ScoutError, match="no such stage"):
        builder.do(failing)


@pytest.mark.parametrize(
    ("error", "words"),
    [(MemoryError(), "MemoryError"), (ValueError("one: reason\nand a second line"), "and a second line")],
)
def test_an_error_of_any_form_is_told(builder: Builder, error: Exception, words: str) -> None:
    def failing() -> None:
        raise error

    with pytest.raises(ScoutError) as caught:
        builder.do(failing)
    assert str(caught.value) == words


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
    with pytest.raises(ScoutError, match="does not run any more"):
        builder.do(nothing)


def test_the_end_of_the_run_ends_a_job_that_is_waited_for(builder: Builder, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def long() -> None:
        begun.touch()
        signal.pause()

    with ThreadPoolExecutor() as thread:
        waiting = thread.submit(builder.do, long)
        wait_for(begun)
        builder.close()
        with pytest.raises(ScoutError, match="ended with status -9"):
            waiting.result(600)


def test_jobs_have_no_special_policy_and_those_that_nobody_waits_for_a_low_priority(
    forker: Forker, builder: Builder, tmp_path: Path
) -> None:
    priority, done = tmp_path / "priority", queue.SimpleQueue()
    niceness = os.nice(0)
    forker.call(os.sched_setscheduler, 0, os.SCHED_BATCH, os.sched_param(0))

    def look() -> None:
        priority.write_text(f"{os.sched_getscheduler(0)} {os.nice(0)}")

    builder.do(look)
    assert priority.read_text() == f"{os.SCHED_OTHER} {niceness}"
    builder.submit(look, done.put)
    assert done.get(timeout=600) == ""
    assert priority.read_text() == f"{os.SCHED_OTHER} {min(niceness + 10, 19)}"
