"""The builder: processes that compile while packets flow.

Each job has a process, which is forked for it, so that it has the functions that were written since the start. It
leaves the compiled code in the cache. It runs on cores that no domain is pinned to if there are any.

A job that somebody waits for begins at once, at a program's usual priority, and is done before its process has ended.
The others are done one after the other, at a low priority.
"""

import gc
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from scout.io.host.process import Child, Forker, usable_cores, wait_for_any
from scout.ring.errors import ScoutError

__all__ = ["Builder"]

_NICENESS = 10  # a tenth of a core, if the others have enough to do: nice(2); at 19 a job would take many minutes there
_GRACE = 3.0  # seconds that a killed process gets to end
_ENDED = "the router does not run any more"


class _Job(NamedTuple):
    work: Callable[[], None]
    done: Callable[[str], None]


class Builder:
    """Does each job in a process of its own.

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
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._processes: list[Child] = []
        self._closed = False
        self._thread: threading.Thread | None = (
            None  # a thread that was never started would refer to this object for ever
        )

    def do(self, work: Callable[[], None]) -> None:
        """Have `work` done at once, and wait for it.

        Raises
        ------
        ScoutError
            If it failed, or the run ends.
        """
        done = os.eventfd(0, os.EFD_NONBLOCK)
        try:
            process = self._start(_begin, partial(_work_and_tell, work, done), keep=(done,))
            wait_for_any([process], None, done)
            with suppress(BlockingIOError):
                os.eventfd_read(done)
                return
        finally:
            os.close(done)
        if error := self._end_of(process):
            raise ScoutError(error)

    def submit(self, work: Callable[[], None], done: Callable[[str], None]) -> None:
        """Have `work` done when its turn has come, and then call `done`, with a sentence if the work failed.

        `done` is called in the builder's thread.
        """
        with self._changed:
            if not self._closed:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="scout-builder", daemon=True)
                    self._thread.start()
                self._jobs.append(_Job(work, done))
                self._changed.notify()
                return
        done(_ENDED)

    @property
    def is_closed(self) -> bool:
        """True once the run ends."""
        return self._closed

    def close(self) -> None:
        """End the processes that work; jobs that are not done fail."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            processes = list(self._processes)
        for process in processes:
            process.kill()
        for process in processes:
            process.join(_GRACE)
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(_GRACE)

    def _run(self) -> None:
        while job := self._next():
            job.done(self._do(job.work))
            del job  # or it would live until the next one

    def _next(self) -> _Job | None:
        """Wait for a job; None if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            return self._jobs.popleft() if self._jobs else None

    def _do(self, work: Callable[[], None]) -> str:
        """Do a job when its turn has come; a sentence, which is empty if all went well."""
        try:
            process = self._start(_begin_quietly, work)
        except ScoutError as error:
            return str(error)
        process.join()
        return self._end_of(process)

    def _start(
        self, begin: Callable[[Sequence[int]], None], work: Callable[[], None], keep: Sequence[int] = ()
    ) -> Child:
        if self._closed:
            raise ScoutError(_ENDED)
        try:
            process = self._forker.fork(_work, begin, self._cores, work, quiet=True, keep=keep)
        except (ScoutError, OSError) as error:
            raise ScoutError(f"no process can be forked for the builder: {error}") from error
        with self._changed:
            self._processes = [each for each in self._processes if each.is_alive()] + [process]
            if self._closed:  # meanwhile
                process.kill()
        return process

    def _end_of(self, process: Child) -> str:
        """How a process ended: a sentence, which is empty if all went well."""
        with self._changed:
            self._processes = [each for each in self._processes if each.is_alive()]
        if not process.exitcode:
            return ""
        last = process.error.rstrip().rpartition("\n")[2]  # the end of a traceback: an exception's name and message
        return last.partition(": ")[2] or last or f"the builder ended with status {process.exitcode}"


def _work(begin: Callable[[Sequence[int]], None], cores: Sequence[int], work: Callable[[], None]) -> None:
    """The process."""
    gc.disable()  # a collection would touch, and so copy, all that the parent has
    begin(cores)
    work()


def _work_and_tell(work: Callable[[], None], done: int) -> None:
    work()
    os.eventfd_write(done, 1)


def _begin(cores: Sequence[int]) -> None:
    with suppress(OSError):  # not allowed: then it keeps what its parent has
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # the parent may have a real-time priority
    with suppress(OSError):
        os.sched_setaffinity(0, cores)


def _begin_quietly(cores: Sequence[int]) -> None:
    _begin(cores)
    os.nice(_NICENESS)
