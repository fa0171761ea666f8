"""The priority of a benchmark's processes: other programs then take little of their cores, and it takes none itself."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from scout.tools.sleeping import end_sleeps_on_time

__all__ = ["come_first", "on_idle_cores", "preferred"]

Result = TypeVar("Result")

_HIGHEST = -20  # sched(7)
_SESSION = Path("/proc/self/autogroup")  # "/autogroup-15970 nice 0"; empty in a cgroup that has its own share


def come_first() -> None:
    """Have this process, and those that it forks, come before others; only root may, else nothing happens.

    The kernel divides a core among sessions first, by their own nice values (`CONFIG_SCHED_AUTOGROUP`, sched(7)): a
    process's nice value counts only among those of its session.
    """
    with suppress(OSError):
        _SESSION.write_text(str(_HIGHEST))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _HIGHEST)


@contextmanager
def preferred() -> Iterator[None]:
    """Have this process and its children come first; the session, that of the caller's terminal, only meanwhile."""
    before = ""
    with suppress(OSError):
        before = _SESSION.read_text().rpartition(" ")[2]
    come_first()
    try:
        yield
    finally:
        if before:
            with suppress(OSError):
                _SESSION.write_text(before)


def on_idle_cores(function: Callable[[], Result]) -> Result:
    """Call a function in a thread that runs only on cores that nobody else wants, and sleeps as exactly as it can.

    So a benchmark may look again and again whether the processes that it measures have come to the end: it takes none
    of their time, and a process that it has woken takes its core at once.
    """
    with ThreadPoolExecutor(1, initializer=_come_last) as thread:
        return thread.submit(function).result()


def _come_last() -> None:
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    end_sleeps_on_time()
