"""The spare process: forked in advance, it becomes the successor of whichever replica dies first, or the next to join.

Forking a process with much memory takes milliseconds, during which packets would wait. So does moving a process that
runs to a core where others are at work: it is moved while it sleeps.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from scout.io.host.process import Child, Forker

__all__ = ["Spare"]

_GRACE = 3.0  # seconds that a killed process gets to end


class Spare:
    """One process that waits to be told which replica it shall be.

    Parameters
    ----------
    forker : Forker
    serve : callable
        Called in the process with the number of the replica; returns when the replica ends.
    core : callable
        Gives the core of the replica of a number.
    descriptors : callable
        Gives the descriptors that `serve` uses.
    """

    def __init__(
        self,
        forker: Forker,
        serve: Callable[[int], None],
        core: Callable[[int], int],
        descriptors: Callable[[], Sequence[int]],
    ) -> None:
        self._forker, self._serve, self._core, self._descriptors = forker, serve, core, descriptors
        self.process: Child | None = None
        self._call = -1  # the end of a pipe by which the process is told its number

    def prepare(self, replica: int | None = None) -> None:
        """Fork the process, in place of one that waits: a process has only the memory that was mapped before it.

        Parameters
        ----------
        replica : int, optional
            The replica that it is going to be.

        Raises
        ------
        OSError
            If no process can be forked; then none waits.
        """
        self.discard()
        listen, call = os.pipe()
        try:
            self.process = self._forker.fork(self._wait, listen, quiet=True, keep=[listen, *self._descriptors()])
            self._call = call
        except BaseException:
            os.close(call)
            raise
        finally:
            os.close(listen)
        if replica is not None:
            self._pin(replica)

    def ensure(self) -> None:
        """Fork the process unless one waits; errors as of `prepare`."""
        if self.process is None or not self.process.is_alive():
            self.prepare()

    def call(self, replica: int) -> Child:
        """Have the process serve as a replica; it is no spare any more. One is forked if none waits.

        Raises
        ------
        OSError
            If no process can be forked, or the one that waited has just died.
        """
        self.ensure()
        assert self.process
        try:
            self._pin(replica)
            os.write(self._call, bytes([replica]))
            called, self.process = self.process, None
            return called
        finally:
            self.discard()

    def _pin(self, replica: int) -> None:
        """Have the process run on the core of a replica, if it can: it goes there by itself when it begins to serve."""
        assert self.process
        with suppress(OSError):  # it has just died, or the core is not this container's any more
            os.sched_setaffinity(self.process.pid, [self._core(replica)])

    def discard(self) -> None:
        """End the process that waits, if there is one."""
        if self._call >= 0:
            os.close(self._call)
            self._call = -1
        if self.process:
            self.process.kill()
            self.process.join(_GRACE)
            self.process = None

    def _wait(self, listen: int) -> None:
        """The process: wait for a number, and serve as that replica."""
        if number := os.read(listen, 1):  # nothing: the supervisor has closed its end
            self._serve(number[0])
