"""Network namespaces by name: how a lab's are called, made, and removed, also after their owner was killed.

A name holds the pid and the start time of the process that made it, so that a later lab can tell whether that process
still runs.
"""

import ctypes
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pyroute2 import netns

from scout.io.host.sandbox import CLONE_NEWNET

__all__ = ["LAB_NETNS", "create", "netns_name", "remove", "remove_leftovers"]

LAB_NETNS = re.compile(r"scout-(?P<pid>\d+)\.(?P<start>\d+)-")
"""The beginning of the kernel's names of all labs' namespaces."""

_START_TIME = 22  # number of the field in /proc/PID/stat, counted from 1 (proc_pid_stat(5))

_libc = ctypes.CDLL(None, use_errno=True)


def netns_name(owner: int, lab: str, name: str) -> str:
    """The kernel's name of a namespace of a lab that process `owner` made."""
    return f"scout-{owner}.{_start_time(owner)}-{lab}-{name}"


def create(name: str) -> None:
    """Make a network namespace without moving the calling thread there.

    A thread that then ends is moved there instead. pyroute2's `netns.create` forks for that, and on Ctrl-C the copy of
    this process would run all clean-up of its callers.

    Raises
    ------
    OSError
        If the kernel refuses.
    """

    def make() -> None:
        if _libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        netns.attach(name, threading.get_native_id())

    with ThreadPoolExecutor(1) as thread:
        thread.submit(make).result()


def remove(name: str) -> None:
    """Remove a namespace; nothing happens if there is none, or if it is another user's."""
    with suppress(FileNotFoundError, PermissionError):
        netns.remove(name)


def remove_leftovers() -> None:
    """Remove the namespaces of labs whose process has ended."""
    for name in netns.listnetns():
        owner = LAB_NETNS.match(name)
        if owner and _start_time(int(owner["pid"])) != int(owner["start"]):
            remove(name)


def _start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot: no other process ever has the same pid and start time."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in brackets, which may itself hold spaces and brackets.
    return int(text.rpartition(")")[2].split()[_START_TIME - 3])
