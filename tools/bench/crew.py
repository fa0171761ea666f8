"""Processes that work at the same time, each pinned to a core, for benchmarks.

They start together at a barrier in shared memory and take the time themselves, so what forking costs is not in
the figures. Where there are more of them than cores they share cores, and the figures say so.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scout.ring.segment import LINE, shared

__all__ = ["Timed", "Worker", "cores", "together", "undisturbed"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PATIENCE = 120  # seconds until a worker that waits in vain is ended by the kernel
_GONE = -1
_TRIES = 5
_PRIORITY = -20
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Worker:
    """What one process does: `prepare` before the barrier, where nothing is timed, and `work` after it."""

    prepare: Callable[[], object]
    work: Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """When a worker began and ended, in nanoseconds of the monotonic clock; how often another had its core."""

    start: int
    end: int
    switches: int

    @property
    def ns(self) -> int:
        """How long it worked."""
        return self.end - self.start


def cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def together(workers: Sequence[Worker]) -> list[Timed]:
    """Fork a process for every worker, start them at once and wait for all; when each began and ended.

    Worker i runs on core i, modulo the cores there are.

    Raises
    ------
    RuntimeError
        If one of them failed.
    """
    ready = shared((len(workers), LINE // 8), np.int64)[:, 0]
    times = shared((len(workers), 3), np.int64)
    parent, available = os.getpid(), cores()
    alive: dict[int, int] = {}  # processes by descriptor: whoever ends first is seen first
    try:
        for index, worker in enumerate(workers):
            child = os.fork()
            if child == 0:
                _child(worker, index, available, ready, times, parent)
            alive[os.pidfd_open(child)] = child
        while alive:
            for ended in select.select(alive, [], [])[0]:
                child = alive.pop(ended)
                os.close(ended)
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if status:
                    raise RuntimeError(f"a worker of the benchmark ended with status {status}")
    finally:
        for descriptor, child in alive.items():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(descriptor)
    return [Timed(*map(int, row)) for row in times]


def undisturbed(measure: Callable[[], list[Timed]]) -> list[Timed]:
    """Measure until no worker had to share its core with another process; the last if that does not happen.

    What is measured has a core for each worker: on a machine that is not ours alone, a time slice lost to
    another is longer than the whole measurement.
    """
    for _ in range(_TRIES):
        timed = measure()
        if not any(worker.switches for worker in timed):
            break
    return timed


def _child(worker: Worker, index: int, available: list[int], ready: np.ndarray, times: np.ndarray, parent: int) -> None:
    status = 1
    try:
        # Compiled loops never come back to Python's handlers, so signals end the process as the kernel does it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(_PATIENCE)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            os.sched_setaffinity(0, [available[index % len(available)]])
            alone = len(ready) <= len(available)  # else workers have to give way to each other
            if alone:
                _come_first()
            worker.prepare()
            ready[index] = 1
            while not ready.all():
                if not alone:
                    os.sched_yield()
            if ready.min() > 0:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
                times[index, 0] = time.perf_counter_ns()
                worker.work()
                times[index, 1] = time.perf_counter_ns()
                times[index, 2] = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before
                status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        ready[index] = _GONE if status else ready[index]
        os._exit(status)


def _come_first() -> None:
    """Have other processes take little of our core for the time of a measurement, as far as we may."""
    os.setsid()  # the kernel may share cores out by sessions; within one, priorities count
    with contextlib.suppress(OSError):  # root's to do, and not every kernel has it
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
        Path("/proc/self/autogroup").write_text(str(_PRIORITY))
