"""Child processes: forked, bound to the life of their parent, and watched without polling.

`multiprocessing` could start them too, but the supervisor has to notice a death at once: the pidfd of a `Child`
becomes readable when the process ends, and a signal sent through it can never reach another process that was given
the same pid.
"""

import ctypes
import mmap
import os
import select
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from scout.ring.errors import ScoutError

__all__ = ["Child", "Forker", "usable_cores", "wait_for_any"]

_Result = TypeVar("_Result")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_ERROR_BYTES = 8192  # room for a child's traceback; of a longer one the end is kept

_libc = ctypes.CDLL(None)


def usable_cores() -> list[int]:
    """The cores that this process may run on, in ascending order."""
    return sorted(os.sched_getaffinity(0))


class Child:
    """A forked process that runs one function.

    The kernel kills the child when the thread that forked it ends (PR_SET_PDEATHSIG, prctl(2)). To fork children
    that outlive the calling thread use a `Forker`.

    Parameters
    ----------
    function : callable
        Its return ends the process with exit status 0, SystemExit with the status that it names, and any other
        exception with status 1.
    *arguments
        The function's arguments.
    quiet : bool
        Do not print the traceback of an exception to standard error; it is in `error` in either case.
    keep : iterable of int, optional
        The descriptors that the function uses, besides standard output and error. All others refer to /dev/null in the
        child, before this object is made: else a socket that the parent closes would stay open. By default the child
        has all descriptors of its parent.

    Attributes
    ----------
    pid : int
        The process's number.
    exitcode : int or None
        The exit status, or the negated number of the signal that killed it; None while it runs.
    descriptor : int
        A pidfd (pidfd_open(2)), readable once the process has ended.

    Raises
    ------
    OSError
        If the kernel forks no further process or opens no further file.
    """

    def __init__(
        self, function: Callable[..., Any], *arguments: Any, quiet: bool = False, keep: Iterable[int] | None = None
    ) -> None:
        parent = os.getpid()
        self.exitcode: int | None = None
        self._lock = threading.Lock()
        self._error = mmap.mmap(-1, _ERROR_BYTES)
        for stream in (sys.stdout, sys.stderr):  # or the child would write the parent's buffers a second time
            with suppress(OSError, ValueError, AttributeError):  # closed, or there is none
                stream.flush()
        bound = os.eventfd(0)
        try:
            with _no_compilation():
                self.pid = os.fork()
            if self.pid == 0:
                _run(parent, partial(function, *arguments), self._error, quiet, keep, bound)
            self._open(bound)
        finally:
            os.close(bound)
        # Another thread may poll the descriptor, so it stays open as long as this object.
        weakref.finalize(self, os.close, self.descriptor)

    def _open(self, bound: int) -> None:
        """Open the pidfd, and wait until the child is bound to the life of this thread, which may end at once."""
        try:
            self.descriptor = os.pidfd_open(self.pid)
        except OSError:
            os.kill(self.pid, signal.SIGKILL)  # nobody has waited for it yet, so the pid is still its own
            os.waitpid(self.pid, 0)
            raise
        poll = select.poll()
        for descriptor in (bound, self.descriptor):  # unless it has ended
            poll.register(descriptor, select.POLLIN)
        poll.poll()

    @property
    def error(self) -> str:
        """The traceback of the exception that ended the function; empty if there was none."""
        return self._error[:].rstrip(b"\0").decode(errors="replace")

    @property
    def starved(self) -> float:
        """Seconds in which it could have run and had no core, as the kernel counts them; 0 if it does not."""
        with suppress(OSError, IndexError):
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        return 0.0

    def is_alive(self) -> bool:
        """False once the process has ended; then `exitcode` is known."""
        with self._lock:  # waitpid returns the status of a process only once
            if self.exitcode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.exitcode = os.waitstatus_to_exitcode(status)
            return self.exitcode is None

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the process has ended; False if it still runs after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_alive():
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return False
            wait_for_any([self], remaining)
        return True

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM); nothing happens if it has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process (SIGKILL); nothing happens if it has ended."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens if the process has ended, even if its pid belongs to another process."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)


def _no_compilation() -> AbstractContextManager[Any]:
    """Keeps other threads from compiling: a child would inherit the lock of a thread that it does not have."""
    loaded = sys.modules.get("numba.core.compiler_lock")
    return loaded.global_compiler_lock if loaded else nullcontext()


class Forker:
    """A thread that forks children, which live as long as it does and not only as long as the thread that asks.

    The thread ends by `close`, or with the program. The children are in the network namespace in which the forker was
    first used.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        # A daemon: an executor's thread ends early in the exit of a program, while others still watch the children.
        self._thread = threading.Thread(target=self._run, name="scout-forker", daemon=True)
        self._lock = threading.Lock()
        self._closed = False

    def fork(
        self, function: Callable[..., Any], *arguments: Any, quiet: bool = False, keep: Iterable[int] | None = None
    ) -> Child:
        """Fork a `Child`; the arguments and errors are those of that class."""
        return self.call(partial(Child, function, *arguments, quiet=quiet, keep=keep))

    def call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call a function in the thread, for a function that forks or that depends on the network namespace.

        Raises
        ------
        ScoutError
            If the forker is closed.
        """
        result: Future[_Result] = Future()
        with self._lock:
            if self._closed:
                raise ScoutError("the forker is closed; make another one")
            if not self._thread.is_alive():
                self._thread.start()
            self._jobs.put((result, partial(function, *arguments)))
        return result.result()

    def close(self) -> None:
        """End the thread, and with it the children that still run."""
        with self._lock:
            self._closed = True
            self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while job := self._jobs.get():
            result, function = job
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)
            del job, result, function  # or they would live until the next job


def wait_for_any(children: Iterable[Child], timeout: float | None, *descriptors: int) -> None:
    """Wait until one of the `children` has ended or one of the `descriptors` is readable, or `timeout` seconds.

    It returns at once if that was so before.
    """
    poll = select.poll()
    for descriptor in (*(child.descriptor for child in children), *descriptors):
        poll.register(descriptor, select.POLLIN)
    poll.poll(None if timeout is None else max(0.0, timeout) * 1000)


def _release_others(keep: Iterable[int]) -> None:
    """Have all descriptors but standard output, standard error and those to keep refer to /dev/null, for reading.

    They are not closed: an object of the parent's that is collected here closes its descriptor once more, and the
    number could be one of the child's own by then. Writing to one fails, so that no data are lost unnoticed.
    """
    others = {int(name) for name in os.listdir("/proc/self/fd")}.difference((1, 2), keep)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor in others - {nothing}:  # that of the folder was among them
        os.dup2(nothing, descriptor, inheritable=False)


def _run(
    parent: int, function: Callable[[], Any], error: mmap.mmap, quiet: bool, keep: Iterable[int] | None, bound: int
) -> None:
    """The child: say that it is bound, run the function, and end the process without the parent's clean-up."""
    status = 1
    try:
        # A terminal sends these two to the parent as well, which then stops its children.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a compiled loop never returns to a Python handler
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if keep is not None:
            _release_others([*keep, bound])
        os.eventfd_write(bound, 1)
        os.close(bound)
        if os.getppid() == parent:  # else the parent ended before prctl could tell the kernel
            function()
        status = 0
    except SystemExit as request:
        status = request.code if isinstance(request.code, int) else int(request.code is not None)
    except BaseException:
        text = traceback.format_exc()
        data = text.encode(errors="replace")[-_ERROR_BYTES:]
        error[: len(data)] = data
        if not quiet:
            print(text, end="", file=sys.stderr)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(status)
