"""Membership: the processes that serve as replicas, how they join, leave and die, and how the dead are replaced.

What a replica that joins or leaves does to the shared memory of a channel is in `scout.ring.membership`.

The lock is held only for work that does not wait for another process: `join` and `leave` release it while they wait, so
that a death is handled at once. The reporter is called without the lock, so that its callback may call a method of the
supervisor.
"""

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from scout.changes import Changes
from scout.domain_arguments import Channels
from scout.domain_loop import LEAVE, RUN
from scout.domain_plan import is_ordered
from scout.io.channels.contract import PacketChannel
from scout.io.hold import HOLD_TIME
from scout.io.host.process import Child, Forker, wait_for_any
from scout.memory import Memory
from scout.obituary import obituary
from scout.plan import Plan
from scout.reports import Reporter
from scout.ring.errors import ScoutError
from scout.ring.membership import MOST_REPLICAS
from scout.ring.turn import STOP
from scout.spare import Spare

__all__ = ["Membership"]

_GRACE = 3.0  # seconds that a domain gets to stop before it is killed
_LEAVE_GRACE = _GRACE + HOLD_TIME / 1e9  # and to leave: it waits until it holds no packets
_CHECK_INTERVAL = 0.001  # seconds between two checks of a replica that leaves: channels keep packets for it so long


@dataclass
class _Leaving:
    """A replica that has been told to leave."""

    deadline: float  # it is killed if it still runs then; once only, since its successor has to finish its work
    starved: float  # seconds that the replicas had had no core when it was told; more of them extend the deadline
    owed: list[tuple[PacketChannel, int]] = field(default_factory=list)
    """Channels and positions that a successor has to get past, to finish its predecessor's work, before it leaves."""


class Membership:
    """The replicas of a run.

    Parameters
    ----------
    plan : Plan
    channels : sequence of tuple
        The channels, each with its paths.
    memory : Memory
    changes : Changes
        Paused while a replica joins: it begins with the values that held at its position.
    forker : Forker
    reporter : Reporter
        Receives a sentence about each death.

    Attributes
    ----------
    processes : dict of int to Child
        The newest process of each replica, also of replicas that have left.
    stalls : list of float
        For each death the seconds from when it was seen until a successor was at work.
    """

    def __init__(
        self, plan: Plan, channels: Channels, memory: Memory, changes: Changes, forker: Forker, reporter: Reporter
    ) -> None:
        self._plan, self._channels, self._memory, self._changes = plan, channels, memory, changes
        self._forker, self._reporter = forker, reporter
        self._keeps = plan.keeps_state
        self.processes: dict[int, Child] = {}
        self.stalls: list[float] = []
        # Not a method of this object: a cycle of references would keep the memory of a run that is over.
        self._serve = partial(_serve, plan, memory)
        self._spare = Spare(forker, self._serve, plan.core, memory.descriptors)
        self._retired_replicas: set[int] = set()  # they have left, or died and got no successor
        self._leaving: dict[int, _Leaving] = {}
        self._counted_ends: dict[int, Child] = {}  # by replica: its newest process of which the end was counted
        # By replica: the position of its newest death, and the number of its deaths at that position.
        self._death_counts: dict[int, tuple[int, int]] = {}
        self._lock = threading.RLock()
        self._joining = threading.Lock()  # held by one `join` at a time
        self._ended = self._stopped = False

    # Reading.

    @property
    def taking_part(self) -> list[int]:
        """The numbers of the replicas that take part."""
        return [replica for replica in list(self.processes) if replica not in self._retired_replicas]

    @property
    def deaths(self) -> bool:
        """True if a replica has died."""
        return bool(self._death_counts)

    @property
    def has_dead(self) -> bool:
        """True if the process of a replica that takes part has ended."""
        return not all(self.processes[each].is_alive() for each in self.taking_part)

    def living(self) -> list[Child]:
        """The processes that run: those of the replicas that take part, and the spare process."""
        processes = [*(self.processes[each] for each in self.taking_part), self._spare.process]
        return [process for process in processes if process and process.is_alive()]

    @property
    def is_unsettled(self) -> bool:
        """True if a replica leaves, has no process, or is still to be taken out of a channel, or if no spare waits."""
        if self._leaving or len(self.living()) <= len(self.taking_part):
            return True
        retired = list(self._retired_replicas)  # other threads change it
        return any(channel.is_member(replica) for replica in retired for channel, _ in self._channels)

    # Starting and stopping.

    def start(self) -> None:
        """Fork the replicas of the plan and the spare process.

        Raises
        ------
        ScoutError
            If the kernel does not allow that many processes.
        """
        with self._lock:
            for replica in range(self._plan.replicas):
                fork = partial(self._forker.fork, self._serve, replica, quiet=True, keep=self._memory.descriptors())
                self.processes[replica] = self._forked(fork)
            self._forked(self._spare.prepare)

    def end(self) -> None:
        """From now on a dead replica gets no successor: all is done, and that one would begin at an older state."""
        self._ended = True

    def stop(self) -> None:
        """Stop all replicas, and kill those that do not stop."""
        with self._lock:
            self._stopped = True
            for replica in self.processes:
                self._memory.order(replica, STOP)
        deadline = time.monotonic() + _GRACE
        for replica in self.taking_part:
            process = self.processes[replica]
            if not process.join(max(0.0, deadline - time.monotonic())):
                process.kill()
                process.join(_GRACE)
            if process.exitcode and self._counted_ends.get(replica) is not process:
                self._count_death(replica)  # its packets are missing from the accounts
        with self._lock:
            self._spare.discard()

    def _forked(self, fork: Any) -> Any:
        try:
            return fork()
        except OSError as error:
            raise ScoutError(
                f"no process can be forked for a replica: {error.strerror or error}; allow this user more processes "
                "(ulimit -u) or memory"
            ) from error

    @property
    def has_waiting(self) -> bool:
        """True if packets wait in the queue of a path, or until a time, in a replica that takes part."""
        replicas = self.taking_part
        return self._memory.paths.queues.waiting(replicas) > 0 or self._memory.delayed(replicas) > 0

    # Joining.

    def join(self) -> int:
        """Have one more replica take part; see `Supervisor.add_replica`."""
        if self._plan.is_sharded:
            raise ScoutError("flows are sharded among the replicas from the start; no replica can join")
        with self._joining, self._changes.paused():
            with self._lock:
                self._check_runs()
                replica = self._free_number()
                if not self._memory.has(replica):
                    # In the forker's thread, which is in the network namespace of the run; the caller need not be.
                    self._forker.call(self._memory.enlist, replica)
                # Before it takes part, as a channel fills up while others wait for it: it has the replica's memory.
                self._forked(partial(self._spare.prepare, replica))
            while not self._try_to_join(replica):
                time.sleep(0)  # the channel has gone past the snapshot: take a newer one
            with self._lock, suppress(OSError):  # as in `check_processes`, but before another one is told to leave
                self._spare.ensure()
        return replica

    def _try_to_join(self, replica: int) -> bool:
        """Enter all channels and start the replica; False if a channel has gone past the state at hand."""
        with self._lock:
            self._check_runs()
            entered: list[PacketChannel] = []
            try:
                for channel, position in self._joinable(replica):
                    if not channel.join(replica, *position):
                        return False
                    entered.append(channel)
                if len(entered) < len(self._channels):
                    return False
                self._memory.order(replica, RUN)
                self.processes[replica] = self._forked(lambda: self._spare.call(replica))
                entered.clear()
            finally:
                for channel in entered:  # no process serves this replica, and the other replicas would wait for it
                    channel.retire(replica, False)
            self._retired_replicas.discard(replica)
            self._memory.ticker.call()  # so that the watcher waits for the new process too
            return True

    def _joinable(self, replica: int) -> list[tuple[PacketChannel, tuple[int, int]]]:
        """Give the replica a state; each channel with the position of that state. Empty if there is no state now."""
        if not self._keeps:
            if not self._changes.is_current():
                return []  # it could join before the newest change, with the values behind it
            self._memory.renew(replica, self._changes.epoch)
            return [(channel, channel.foremost()) for channel, _ in self._channels]
        newest = self._memory.snapshots.newest()
        owner = max((other for other in self.taking_part if other != replica), key=lambda each: newest[each])
        if self._memory.snapshots.adopt(replica, owner) < 0:
            return []  # the owner was writing it
        # The replica saves a snapshot of its own before it joins: if it dies, its successor goes on from that one, and
        # never from one that a former replica of this number left.
        self._memory.snapshots.forget(replica)
        saved = self._memory.saved(replica)
        self._memory.snapshots.save(replica, sum(position for position, _ in saved))
        return [(channel, position) for (channel, _), position in zip(self._channels, saved, strict=True)]

    def _check_runs(self) -> None:
        if self._stopped or not self.taking_part:
            raise ScoutError("the router does not run any more; start it anew")

    def _free_number(self) -> int:
        """A number that no replica has; not that of a dead one while a channel still waits for its turn."""
        for number in range(MOST_REPLICAS):
            gone = number not in self.processes or (
                number in self._retired_replicas and not self.processes[number].is_alive()
            )
            if gone and not any(channel.is_member(number) for channel, _ in self._channels):
                return number
        raise ScoutError(f"{MOST_REPLICAS} replicas take part already; remove one first")

    # Leaving.

    def leave(self, replica: int) -> None:
        """Have a replica leave, and wait until it has left or the run is stopped; see `Supervisor.remove_replica`."""
        with self._lock:
            if replica not in self.taking_part:
                raise ScoutError(f"replica {replica} does not take part; those that do: {self.taking_part}")
            self._check_runs()
            if not any(other not in self._leaving for other in self.taking_part if other != replica):
                raise ScoutError(f"replica {replica} is the last one; stop the router instead")
            if replica not in self._leaving:
                self._leaving[replica] = _Leaving(time.monotonic() + _LEAVE_GRACE, self._starved())
                self._memory.order(replica, LEAVE)
        while replica in self._leaving and not self._stopped:
            wait_for_any([self.processes[replica]], _CHECK_INTERVAL)
            self.check_processes()  # so that it ends also if the watcher's thread is the caller
        if replica in self._retired_replicas:
            self.processes[replica].join(_GRACE)

    def _handle_leaving(self, replica: int, process: Child) -> None:
        """Tell a successor to leave once it has finished its predecessor's work; kill a replica that does not leave."""
        leaving = self._leaving.get(replica)
        if leaving is None:
            return
        if leaving.owed:
            if all(channel.position(replica) > position for channel, position in leaving.owed):
                leaving.owed = []
                self._memory.order(replica, LEAVE)
        elif (late := time.monotonic() - leaving.deadline) > 0 and late > self._starved() - leaving.starved:
            leaving.deadline = float("inf")
            process.kill()

    def _has_left(self, replica: int) -> bool:
        """True if a replica has left as it was told, though its process may still have to end."""
        leaving = self._leaving.get(replica)
        return leaving is not None and not leaving.owed and self._memory.has_ended(replica)

    def _starved(self) -> float:
        """Seconds in which replicas had no core: also one that another one waits for."""
        return sum(self.processes[replica].starved for replica in self.taking_part)

    # Dying.

    def check_processes(self) -> None:
        """Handle deaths and departures without waiting for any process, and report them."""
        messages: list[str] = []
        with self._lock:
            if self._stopped:
                return
            for replica in self.taking_part:
                process = self.processes[replica]
                if process.is_alive() and not self._has_left(replica):
                    self._handle_leaving(replica, process)
                else:
                    messages += self._replace_or_retire(replica, process)
            for replica in self._retired_replicas:
                self._release(replica)  # in channel order its turn may come only now
            if self.taking_part:
                with suppress(OSError):  # tried again at the next check, and reported if a successor is needed
                    self._spare.ensure()
        for line in messages:
            self._reporter(line)

    def _replace_or_retire(self, replica: int, process: Child) -> list[str]:
        """Give a replica whose process has ended a successor, or retire it; return the messages to report."""
        seen = time.monotonic()
        if others := [each for each in self.taking_part if each != replica and self.processes[each].is_alive()]:
            self._memory.bell.replace(replica, others[0])
        leaving = self._leaving.get(replica)
        died = bool(process.exitcode) or leaving is None
        if self._counted_ends.get(replica) is not process:
            self._counted_ends[replica] = process
            if died:
                self._count_death(replica)
        owed = [(channel, channel.position(replica)) for channel, _ in self._channels if channel.unfinished(replica)]
        if leaving and not owed:
            return self._retire(replica, process, "it was leaving") if died else self._retire(replica)
        no_further = died and self._death_counts[replica][1] > self._plan.restarts
        cannot = "the run is at its end" if self._ended else "it got no further" if no_further else ""
        try:
            if not cannot and not self._succeed(replica):
                cannot = "its snapshot cannot be read"
        except OSError as error:
            text = f"replica {replica} waits for a successor: no process can be forked: {error.strerror or error}"
            return [text] if self._reporter.is_new(text) else []
        if cannot:
            return self._retire(replica, process, cannot)
        if leaving:
            leaving.owed = owed
        if not died:
            return []
        self.stalls.append(time.monotonic() - seen)
        return obituary(
            self._plan, self._reporter, replica, process, f"its successor is process {self.processes[replica].pid}"
        )

    def _count_death(self, replica: int) -> None:
        position = sum(channel.position(replica) for channel, _ in self._channels)
        before, times = self._death_counts.get(replica, (-1, 0))
        self._death_counts[replica] = (position, times + 1 if position == before else 1)

    def _succeed(self, replica: int) -> bool:
        """Have the spare process take a dead replica's place; False if the dead one left no snapshot to go on from.

        After an OSError the next check calls this again, so every step before `call` may be done twice.
        """
        self._spare.ensure()
        if self._keeps and self._memory.snapshots.adopt(replica, replica) < 0:
            return False
        saved = self._memory.saved(replica)
        for (channel, _), (position, controls) in zip(self._channels, saved, strict=True):
            if not self._keeps:
                position, controls = channel.position(replica), channel.controls_done(replica)
            channel.resume(replica, position, controls)
        for name in self._plan.graph.ports:
            self._plan.port(name).resume(replica)
        self._memory.holds["held"][replica] = 0  # what it held is gone with its memory
        self._memory.release(replica)
        self._memory.order(replica, RUN)  # also if it was leaving: first it finishes its predecessor's work
        self.processes[replica] = self._spare.call(replica)
        self._memory.ticker.call()  # as in `_try_to_join`, if this is not the watcher's thread
        return True

    def _retire(self, replica: int, process: Child | None = None, why: str = "") -> list[str]:
        """Remove a replica that gets no successor, so that nothing waits for it; the messages to report if it died."""
        self._memory.release(replica)
        self._retired_replicas.add(replica)
        self._leaving.pop(replica, None)
        self._release(replica)
        if process is None:
            return []
        alive = len(self.taking_part)
        rest = f"{alive} of {len(self.processes)} replicas go on" if alive else "no replica is left"
        return obituary(self._plan, self._reporter, replica, process, f"no successor, since {why}; {rest}")

    def _release(self, replica: int) -> None:
        for channel, paths in self._channels:
            channel.retire(replica, is_ordered(paths))


def _serve(plan: Plan, memory: Memory, replica: int) -> None:
    """The process of a replica."""
    os.sched_setaffinity(0, [plan.core(replica)])
    memory.serve(replica)
