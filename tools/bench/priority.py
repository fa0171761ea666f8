"""The priority of a benchmark's processes: other programs then take little of their cores."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["come_first", "preferred"]

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
