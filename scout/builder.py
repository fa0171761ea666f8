"""The builder: one process at a time that compiles while packets flow.

It is forked for each job, so that it has the functions that were written since the start. It leaves the compiled code
in the cache. It runs at a low priority, and on cores that no domain is pinned to if there are any.
"""

import heapq
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from scout.io.host.process import Child, Forker, usable_cores
from scout.ring.errors import ScoutError

__all__ = ["Builder"]

_NICENESS = 10  # a tenth of a core, if the others have enough to do: nice(2); at 19 a job would take many minutes there
_GRACE = 3.0  # seconds that a killed process gets to end


class _Job(NamedTuple):
    rank: int
    number: int
    work: Callable[[], None]
    done: Callable[[str], None]


class Builder:
    """Does one job after the other, each in a process of its own.

    Parameters
    ----------
    forker : Forker
    busy : sequence of int
        The cores of the domains.
    """

    def __init__(self, forker: Forker, busy: Sequence[int]) -> None:
        self._forker = forker
        free = [core for core in usable_cores() if core not in busy]
        self._cores = free or usable_cores()
        self._jobs: list[_Job] = []  # a heap
        self._numbers = count()
        self._changed = threading.Condition()
        self._rank = 0  # of the job in work
        self._process: Child | None = None
        self._closed = False
        self._thread: threading.Thread | None = (
            None  # a thread that was never started would refer to this object for ever
        )

    def submit(self, work: Callable[[], None], done: Callable[[str], None], rank: int = 0) -> None:
        """Have `work` done in a process, and then call `done` in this one, with a sentence if the work failed.

        `done` is called in the builder's thread. Jobs of a lower rank go first: one that is in work and has a higher
        rank is ended, and begins anew afterwards.
        """
        with self._changed:
            if not self._closed:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="scout-builder", daemon=True)
                    self._thread.start()
                heapq.heappush(self._jobs, _Job(rank, next(self._numbers), work, done))
                if self._process and self._rank > rank:
                    self._process.kill()
                self._changed.notify()
                return
        done("the router does not run any more")

    @property
    def is_closed(self) -> bool:
        """True once the run ends."""
        return self._closed

    def close(self) -> None:
        """End the process that works; jobs that are not done fail."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            if self._process:
                self._process.kill()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(_GRACE)

    def _run(self) -> None:
        while job := self._next():
            if (error := self._do(job)) is not None:
                job.done(error)
            del job  # or it would live until the next one

    def _next(self) -> _Job | None:
        """Wait for a job; None if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            return heapq.heappop(self._jobs) if self._jobs else None

    def _do(self, job: _Job) -> str | None:
        """Do a job in a process; a sentence, empty if all went well, or None if it has to begin anew."""
        try:
            with self._changed:
                if self._closed:
                    return "the router does not run any more"
                self._rank = job.rank
                self._process = process = self._forker.fork(_work, self._cores, job.work, quiet=True, keep=())
            process.join()
        except (ScoutError, OSError) as error:
            return f"no process can be forked for the builder: {error}"
        with self._changed:
            self._process = None
            if process.exitcode and self._jobs and self._jobs[0].rank < job.rank and not self._closed:
                heapq.heappush(self._jobs, job)  # it was ended for the sake of another one
                return None
        if process.error:
            return process.error.rstrip().rpartition("\n")[2].partition(": ")[2]
        return f"the builder ended with status {process.exitcode}" if process.exitcode else ""


def _work(cores: Sequence[int], work: Callable[[], None]) -> None:
    """The process."""
    with suppress(OSError):
        os.sched_setaffinity(0, cores)
    os.nice(_NICENESS)
    work()
