"""Processes that work at the same time, each pinned to a core, for benchmarks.

They start together at a barrier in shared memory and take the time themselves, so that the figures do not include the
time of forking. If there are more processes than cores they share cores, and the figures say so.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scout.io.host.process import Child, wait_for_any
from scout.io.host.process import usable_cores as cores
from scout.ring.segment import LINE, shared
from scout.tools.bench.priority import come_first

__all__ = ["Timed", "Worker", "together", "undisturbed"]

_TIMEOUT = 120  # seconds until the kernel ends a worker that waits in vain
_GONE = -1  # in a worker's word of the barrier: it will not come
_TRIES = 5


@dataclass(frozen=True)
class Worker:
    """The two parts of a process's work: `prepare`, before the barrier and not timed, and `work`, after it."""

    prepare: Callable[[], object]
    work: Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """When a worker began and ended, in nanoseconds of the monotonic clock; how often it was preempted meanwhile."""

    start: int
    end: int
    switches: int

    @property
    def ns(self) -> int:
        """How long it worked, in nanoseconds."""
        return self.end - self.start


def together(workers: Sequence[Worker]) -> list[Timed]:
    """Fork a process for every worker, start them at once and wait for all; when each began and ended.

    Worker i runs on core i, modulo the cores there are.

    Raises
    ------
    RuntimeError
        If one of them failed; its traceback is on standard error.
    """
    ready = shared((len(workers), LINE // 8), np.int64)[:, 0]
    times = shared((len(workers), 3), np.int64)
    children: list[Child] = []
    try:
        for index, worker in enumerate(workers):
            children.append(Child(_serve, worker, index, ready, times))
        while running := [child for child in children if child.is_alive()]:
            _check(children)
            wait_for_any(running, None)
        _check(children)
    finally:
        for child in children:
            child.kill()
            child.join()
    return [Timed(*map(int, row)) for row in times]


def undisturbed(measure: Callable[[], list[Timed]]) -> list[Timed]:
    """Measure until no worker was preempted; the last measurement if that does not happen.

    Each worker has a core. On a machine with other work, the time slice of another process is longer than the whole
    measurement.
    """
    for _ in range(_TRIES):
        timed = measure()
        if not any(worker.switches for worker in timed):
            break
    return timed


def _check(children: Sequence[Child]) -> None:
    for child in children:
        if child.exitcode:
            raise RuntimeError(f"a worker of the benchmark ended with status {child.exitcode}")


def _serve(worker: Worker, index: int, ready: np.ndarray, times: np.ndarray) -> None:
    """The process of a worker."""
    try:
        # A compiled loop never returns to a Python handler, so the kernel has to end the process.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_TIMEOUT)
        available = cores()
        os.sched_setaffinity(0, [available[index % len(available)]])
        alone = len(ready) <= len(available)  # else workers have to give way to each other
        if alone:
            os.setsid()  # its session ends with it, so the priority of the caller's stays as it is
            come_first()
        worker.prepare()
        ready[index] = 1
        while not ready.all():
            if not alone:
                os.sched_yield()
        if ready.min() < 0:
            sys.exit(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        times[index, 0] = time.perf_counter_ns()
        worker.work()
        times[index, 1] = time.perf_counter_ns()
        times[index, 2] = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before
    except BaseException:
        ready[index] = _GONE  # those that wait at the barrier give up
        raise
