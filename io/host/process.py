"""Processes of this one's own: forked, tied to its life, watched without delay.

`multiprocessing` would do for starting them; but a supervisor has to see a death at once: a pidfd becomes readable.
"""

import ctypes
import os
import select
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Child", "wait_for_any"]

_PR_SET_PDEATHSIG = 1


class Child:
    """A forked process that runs one function; it dies with the process that started it.

    Parameters
    ----------
    function : callable
    *arguments

    Attributes
    ----------
    pid : int
    exitcode : int or None
        Exit status, or less than 0 the number of the signal that killed it; None while it runs.
    descriptor : int
        A pidfd: readable once it has ended.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.exitcode: int | None = None
        self._lock = threading.Lock()
        self.pid = os.fork()
        if self.pid == 0:
            _run(parent, function, arguments)
        self.descriptor = os.pidfd_open(self.pid)
        # Open as long as anybody may poll it, in whichever thread: one that has ended is readable.
        weakref.finalize(self, os.close, self.descriptor)

    def is_alive(self) -> bool:
        """False once it has ended; then its exit code is known."""
        with self._lock:  # several threads may ask; one of them gets to know
            if self.exitcode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.exitcode = os.waitstatus_to_exitcode(status)
            return self.exitcode is None

    def join(self, timeout: float) -> bool:
        """Wait for its end; False if `timeout` seconds were not enough."""
        deadline = time.monotonic() + timeout
        while self.is_alive():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            wait_for_any([self], remaining)
        return True

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)


def wait_for_any(children: Iterable[Child], timeout: float) -> None:
    """Wait until one of the `children` has ended, at most `timeout` seconds; not at all if one has already."""
    poll = select.poll()
    for child in children:
        poll.register(child.descriptor, select.POLLIN)
    poll.poll(max(0.0, timeout) * 1000)


def _run(parent: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who stops its children
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:  # else it died before the line above
            function(*arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # no clean-up of what is the parent's
