"""The watcher: a thread that notices deaths at once and looks after everything else every 20 ms, if there is anything.

It waits for the processes of replicas: the descriptor of a process (pidfd_open(2)) is readable once that has ended, and
`Ticker.wait` polls them all. `Membership.check_processes` deals with a death. Rounds are 20 ms apart while something
needs them: timers that need ticks, packets that other processes bring, a change that replicas have not passed yet, or a
replica that leaves. Otherwise the clock alone advances as often (`scout.ticker`), and only the interfaces of ports are
looked at between two rounds: on a core that is idle otherwise a round takes some 200 µs.

Nothing that it does waits for another process, and no error ends it: an error in one of its tasks is reported once,
and the task is tried again at the next round.
"""

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from scout.changes import Changes
from scout.control import Control
from scout.domain_arguments import Channels
from scout.health import PortHealth
from scout.membership import Membership
from scout.plan import Plan
from scout.reports import Reporter
from scout.ticker import STEP, Ticker

__all__ = ["Watcher"]

_PORTS = 0.1
"""Seconds between two checks of the interfaces: until ports know that they have lost the carrier, the kernel drops what
they send, unreported."""
_STEPS = round(_PORTS * 1e9 / STEP)  # of the clock, between two rounds while nothing needs more
_REST = 1.0  # seconds between two rounds while nothing needs them
_COUNTERS = 1.0  # seconds between two looks at the kernel's counters
_GRACE = 3.0  # seconds that `stop` waits for a report callback that does not return


class Watcher:
    """Watches a run from `start` until `stop`.

    Parameters
    ----------
    plan : Plan
    channels : sequence of tuple
        The channels, each with its paths.
    membership : Membership
    control : Control
    changes : Changes
    ticker : Ticker
    reporter : Reporter
    poll : callable
        Reads the kernel's counters, which are 32 bits wide and wrap if nobody reads them.

    Attributes
    ----------
    finished : threading.Event
        Set when the run is at its end: all input has been served, no replica is left, or a process that brings the
        packets of a port died.
    failures : list of str
        A sentence for each reason why the run ended before all input was dealt with.
    """

    def __init__(
        self,
        plan: Plan,
        channels: Channels,
        membership: Membership,
        control: Control,
        changes: Changes,
        ticker: Ticker,
        reporter: Reporter,
        poll: Callable[[], Any],
    ) -> None:
        self._plan, self._channels, self._membership, self._control = plan, channels, membership, control
        self._changes, self._ticker, self._reporter, self._poll = changes, ticker, reporter, poll
        # Packets that the kernel brings have no end, and no process that could die.
        self._may_end = any(channel.descriptor is None for channel, _ in channels)
        self._health = PortHealth(plan)
        self._next_check = self._next_counters = 0.0
        self.finished = threading.Event()
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scout-watcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._control.tell_time()  # before packets are sent: replicas would take them for those of a recording
        self._thread.start()

    def stop(self) -> None:
        """End the thread, unless it is the caller; then it ends when the caller returns."""
        self._stopped.set()
        self.finished.set()
        self._ticker.call()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_GRACE)

    def _run(self) -> None:
        tasks = (
            self._membership.check_processes,
            self._control.tick,
            self._changes.collect,
            self._check_ports,
            self._check_for_end,
        )
        while not self._stopped.is_set():
            for task in (self._await, *tasks):
                if not self._stopped.is_set():
                    self._attempt(task)

    def _await(self) -> None:
        """Wait until something is to be done or a process has ended, and look at the interfaces meanwhile."""
        needed = self._may_end or self._control.has_timers or self._changes.are_pending or self._membership.is_unsettled
        living, least = self._membership.living(), time.monotonic() + _REST
        steps = 1 if needed else _STEPS
        while not self._ticker.wait(living, steps) and not needed and time.monotonic() < least:
            self._check_ports()

    def _attempt(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            self._reporter.once(
                f"the watcher goes on after an error: {''.join(traceback.format_exception(error)).rstrip()}"
            )
            self._stopped.wait(STEP / 1e9)

    def _check_ports(self) -> None:
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + _PORTS
            if time.monotonic() >= self._next_counters:
                self._next_counters = time.monotonic() + _COUNTERS
                self._poll()
            for line in self._health.changes():
                self._reporter(line)

    def _check_for_end(self) -> None:
        failed = [self._plan.graph.ports[index] for channel, _ in self._channels for index in channel.release_failed()]
        if self.finished.is_set():
            return
        if failed:
            names = ", ".join(f"{name} ({self._plan.port(name)!r})" for name in failed)
            self.failures.append(f"port {names}: the process that brings its packets died; the run is at its end")
            self._reporter(self.failures[-1])
        elif not self._membership.taking_part:
            self.failures.append("no replica is left; the run is at its end")
        # Channels first: what was drained from them may be in a queue, or wait. A replica that has died meanwhile gets
        # a successor, which has to do again what came after its snapshot.
        if self.failures or (
            all(channel.drained() for channel, _ in self._channels)
            and not self._membership.has_waiting
            and not self._membership.has_dead
        ):
            self._membership.end()
            self.finished.set()
