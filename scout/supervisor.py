"""The supervisor: starts a domain on every core, watches them, has the dead succeeded, and keeps the accounts."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self

import numpy as np

from scout.accounts import account, figures
from scout.domain import LEAVE, REST, RUN, compile_domain, is_sharded
from scout.io.packet import CONTROL_BIND, CONTROL_TICK
from scout.io.process import Child, wait_for_any
from scout.memory import Memory
from scout.paths.compiler import compile_path
from scout.paths.graph import RouterGraph
from scout.paths.path import Path
from scout.paths.service import Service
from scout.paths.stage import Table
from scout.ring.errors import ScoutError
from scout.ring.membership import MOST_REPLICAS
from scout.ring.schedule import scheduler
from scout.ring.shared import address, shared
from scout.ring.turn import STOP
from scout.ring.wait import STRATEGIES

__all__ = ["Supervisor", "usable_cores"]

TICK = 0.02  # seconds between looks at the domains; a death is seen at once
PORT_TICKS = 25  # ticks between looks at the interfaces
GRACE = 3.0  # seconds that a domain gets to stop


def usable_cores() -> list[int]:
    """The cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))


class Supervisor:
    """Runs the paths of a router graph on a number of cores; a context manager.

    A replica that dies has a successor in its place: it takes the state from the dead one's newest snapshot, replays
    what came since, and does again what the dead was primary of and had not finished. The others never stop.

    Parameters
    ----------
    graph : RouterGraph
    paths : sequence of Path
        At most one from each port.
    replicas : int, optional
        How many domains; one per core by default.
    cores : sequence of int, optional
        Where to pin them, in turn; by default from the last core down, as the first ones serve more interrupts.
    report : callable, optional
        Is told what happens (a replica died, an interface went away), a line at a time; standard error by default.
    progress : callable, optional
        Is told what is being compiled.
    restarts : int
        Successors that a replica gets without getting any further: a packet that kills whoever is its primary would
        kill for ever.
    share : float
        Part of the time that the domains may run, all at the same time (a gang): 0.5 leaves every other 10 ms to
        other programs on these cores, and no domain waits for one that does not run.
    schedule : str or callable, optional
        From which port's channel a domain dequeues next, where packets wait at several: "round-robin", "priority",
        "deadline" or "weighted", by the `weight` and `deadline` of the paths; or a function of the channels' heads and
        the tables of services, as in `scout.ring.schedule`. By default each has its turn.
    wait : {"block", "yield", "spin"}
        How a domain waits for packets: it spins a little and then sleeps in the kernel; or lets others run, for less
        delay; or spins, for the least, on a core of its own.

    Raises
    ------
    ScoutError
        On entering, if something does not compile, or a port cannot be opened.

    Examples
    --------
    ::

        with Supervisor(graph, paths, replicas=2) as supervisor:
            supervisor.wait(10.0)
        print(supervisor.account())
    """

    def __init__(
        self,
        graph: RouterGraph,
        paths: Sequence[Path],
        replicas: int | None = None,
        cores: Sequence[int] | None = None,
        report: Callable[[str], None] | None = None,
        progress: Callable[[str], None] | None = None,
        restarts: int = 3,
        share: float = 1.0,
        schedule: str | Callable[..., int] | None = None,
        wait: str = "block",
    ) -> None:
        available = usable_cores()
        self.replicas = len(available) if replicas is None else replicas
        if not 1 <= self.replicas <= MOST_REPLICAS:
            raise ScoutError(f"{self.replicas} replicas: give 1 to {MOST_REPLICAS}")
        self._order = list(cores) if cores is not None else available[::-1]
        if not self._order or not set(self._order) <= set(available):
            raise ScoutError(f"cores {self._order}: this process may use {available}")
        if not 0 < share <= 1:
            raise ScoutError(f"share of {share}: give more than 0, at most 1")
        if wait not in STRATEGIES:
            raise ScoutError(f"wait {wait!r}: use one of {', '.join(STRATEGIES)}")
        self._strategy = STRATEGIES[wait]
        sources = [path.source for path in paths]
        for path in paths:
            if is_sharded(path) and path.order == "channel":
                raise ScoutError(f"path from {path.source}: flows that are sharded leave as completed; leave order out")
        for source in sources:
            if sources.count(source) > 1:
                raise ScoutError(f"two paths begin at {source}; a port has one path")
        for router in graph.routers:
            through = [
                path.source for path in paths if any(d["router"] == router.name for _, d in path.nodes(data=True))
            ]
            if isinstance(router, Service) and router.sequenced and len(through) > 1:
                raise ScoutError(
                    f"{router.name} wants one sequenced channel, but paths from {' and '.join(through)} lead to it: "
                    "have all its requests come by one port, or make it with sequenced=False"
                )
        self.graph, self.paths, self.restarts, self.share = graph, list(paths), restarts, share
        self.schedule = scheduler(schedule) if schedule else None
        self._report = report or (lambda line: print(f"scout: {line}", file=sys.stderr, flush=True))
        self._progress = progress or (lambda line: None)
        self.processes: dict[int, Child] = {}
        self.stalls: list[float] = []
        """For each death, the seconds from when it was seen until its successor was called."""
        self._spare: Child | None = None
        self._call = -1  # the pipe's end by which the spare is called
        self._retired: set[int] = set()
        self._deaths: dict[int, tuple[int, int]] = {}  # replica: where it stood when it died last, how often there
        self._watcher: threading.Thread | None = None
        # Children die with the thread that forked them: it has to be one that lives as long as the run.
        self._forker = ThreadPoolExecutor(1, "scout-forker")
        self._down: set[str] = set()
        self._lock = threading.RLock()
        self._finished = threading.Event()
        self._stopped = threading.Event()

    # Life.

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _start(self) -> None:
        compiled = []
        for path in self.paths:
            self._progress(f"path from {path.source}")
            compiled.append(compile_path(path))
        self._progress("domain")
        domain = compile_domain(self.graph, compiled, self.replicas, self.schedule)
        self._members = shared(1, np.int64)
        self._members[0] = (1 << self.replicas) - 1
        self._keeps = bool(domain.state)
        for index, name in enumerate(self.graph.ports):
            self.port(name).open(index, self.replicas, address(self._members), self._keeps)
        for path in self.paths:
            if is_sharded(path):
                self.port(path.source).divide(self.replicas)
        for router in self.graph.routers:
            router.start(self.graph)
        self.memory = Memory(self.graph, compiled, domain, self._strategy)
        for replica in range(self.replicas):
            self.memory.enlist(replica)
            self.memory.snapshots.save(replica, 0)
        for replica in range(self.replicas):
            self._fork(replica)
        self._fork_spare()
        for name in self.graph.ports:
            self.port(name).feed()
        self._watcher = threading.Thread(target=self._watch, name="scout-supervisor", daemon=True)
        self._watcher.start()

    def table(self, table: Table, replica: int) -> np.ndarray:
        """A replica's copy of a stage's table, to look at."""
        return self.memory.table(table, replica)

    def _fork(self, replica: int) -> None:
        self.processes[replica] = self._forker.submit(Child, self._serve, replica).result()

    def _serve(self, replica: int) -> None:
        self.memory.serve(replica, self.core(replica))

    def _fork_spare(self) -> None:
        """Fork a process that waits to be told whose successor it is: forking takes long enough to be felt."""
        if self._spare is not None:
            self._spare.kill()
            self._spare.join(GRACE)
            os.close(self._call)
        ear, self._call = os.pipe()
        self._spare = self._forker.submit(Child, self._wait_for_call, ear, self._call).result()
        os.close(ear)

    def _wait_for_call(self, ear: int, call: int) -> None:
        os.close(call)
        if said := os.read(ear, 1):  # nothing: the supervisor has closed its end
            self._serve(said[0])

    def core(self, replica: int) -> int:
        """The core that a replica is pinned to."""
        return self._order[replica % len(self._order)]

    def port(self, name: str) -> Any:
        """The port that router `name` drives."""
        return self.graph.router(name).port

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is nothing left to do (inputs at their end, or no replica alive); False if not yet."""
        return self._finished.wait(timeout)

    @property
    def alive(self) -> int:
        """How many replicas take part."""
        return len(self.processes) - len(self._retired)

    def stop(self) -> None:
        """Stop the domains and close the ports; the accounts stay."""
        self._stopped.set()
        self._finished.set()
        with self._lock:
            for replica in self.processes:
                self.memory.orders[replica, 0] = STOP
        for process in self.processes.values():
            if not process.join(GRACE):
                process.kill()
                process.join(GRACE)
        if self._watcher:
            self._watcher.join()
        if self._spare is not None:
            os.close(self._call)
            self._spare.join(GRACE)
            self._spare = None
        self._forker.shutdown()
        for name in self.graph.ports:
            self.port(name).close()

    # Taking part.

    def add_replica(self) -> int:
        """Have one more replica take part, while packets flow; its number.

        It takes its state from another's newest snapshot.

        Raises
        ------
        ScoutError
            If there are too many already, or a port is of a kind that nobody can join (those on interfaces).
        """
        with self._lock:
            if any(is_sharded(path) for path in self.paths):
                raise ScoutError("flows are sharded among the replicas from the start; nobody can join")
            free = [
                number for number in range(MOST_REPLICAS) if number not in self.processes or number in self._retired
            ]
            if not free:
                raise ScoutError(f"{MOST_REPLICAS} replicas take part already; remove one first")
            replica = free[0]
            if not self.memory.knows(replica):
                self.memory.enlist(replica)
            if self._keeps:
                while not self._adopt_and_join(replica):
                    time.sleep(0)
            else:
                for path in self.paths:
                    while not self.port(path.source).join(replica, self._foremost(path)):
                        pass
            self._members[0] |= 1 << replica
            self._retired.discard(replica)
            self.memory.orders[replica, 0] = RUN
            self._fork(replica)
            self._fork_spare()  # the one before lacks this replica's memory
            self.replicas = max(self.replicas, replica + 1)
            return replica

    def _foremost(self, path: Path) -> int:
        return self.port(path.source).foremost()

    def _adopt_and_join(self, replica: int) -> bool:
        """Take the newest snapshot of another; False if the channel has gone past it meanwhile."""
        newest = self.memory.snapshots.newest()
        owners = [owner for owner in self.processes if owner not in self._retired and owner != replica]
        owner = max(owners, key=lambda each: newest[each])
        if self.memory.snapshots.adopt(replica, owner) < 0:
            return False  # it was being written
        # A snapshot of its own first: if it dies, its successor needs no other's, and no former holder's of its place.
        self.memory.snapshots.forget(replica)
        self.memory.snapshots.save(replica, int(self.memory.places[replica].sum()))
        joined: list[str] = []
        for index, path in enumerate(self.paths):
            if not self.port(path.source).join(replica, int(self.memory.places[replica][index])):
                for other in joined:
                    self.port(other).retire(replica, False)
                return False
            joined.append(path.source)
        return True

    def remove_replica(self, replica: int) -> None:
        """Have a replica leave, between two batches, while packets flow.

        Raises
        ------
        ScoutError
            If it does not take part, or is the last one.
        """
        with self._lock:
            if replica not in self.processes or replica in self._retired:
                raise ScoutError(f"replica {replica} does not take part; those that do: {self.taking_part}")
            if self.alive == 1:
                raise ScoutError(f"replica {replica} is the last one; stop the router instead")
            while True:
                self.memory.orders[replica, 0] = LEAVE
                if not self.processes[replica].join(GRACE):
                    self.processes[replica].kill()
                    self.processes[replica].join(GRACE)
                # A successor may have stopped before it had done what its predecessor was primary of.
                if not any(self.port(path.source).unfinished(replica) for path in self.paths):
                    break
                self.memory.orders[replica, 0] = RUN
                self._succeed(replica)
                self._fork_spare()
            self._retire(replica)

    @property
    def taking_part(self) -> list[int]:
        """The numbers of the replicas that take part."""
        return [replica for replica in self.processes if replica not in self._retired]

    def control(self, service: Service, kind: int, argument: int = 0) -> None:
        """Tell a service something, at the same place among the packets in every replica.

        Raises
        ------
        ScoutError
            If the service is on no path, only on paths from interfaces, or the channel stays full.
        """
        for path, stage in self._controlled(service):
            port = self.port(path.source)
            if hasattr(port, "control"):
                if not port.control(kind, stage, argument, time.time_ns()):
                    raise ScoutError(f"{service.name}: the channel of {path.source} stays full; try again")
                return
        raise ScoutError(f"{service.name}: no path to it begins at a port in memory or on a file; it cannot be told")

    def bind(self, service: Service, *handlers: str) -> None:
        """Have just these handlers of a service bound, all replicas from the same packet on."""
        self.control(service, CONTROL_BIND, service.mask(handlers))

    def _controlled(self, service: Service | None = None) -> list[tuple[Path, int]]:
        """Where control requests can begin: paths, and the numbers of the stages; by default those with timers."""
        return [
            (path, data["index"])
            for path in self.paths
            for _, data in path.nodes(data=True)
            if data["kind"] == "stage" and data["stage"].controlled
            if (data["router"] == service.name if service else "timers" in data["stage"].parameters)
        ]

    def _tick(self) -> None:
        """Let time pass where services have timers, also if no packets come."""
        for path, stage in self._controlled():
            port = self.port(path.source)
            if getattr(port, "ticks", False):
                # Without waiting for room: this thread may have to see to the dead, who keep the channel full.
                port.control(CONTROL_TICK, stage, 0, time.time_ns(), timeout=0)

    def diverged(self) -> list[int]:
        """Places (numbers of requests) after which two replicas had different states; none, if all is well.

        Of a graph with one path only: packets of several ports reach replicas in different orders.
        """
        return self.memory.snapshots.diverged() if len(self.paths) == 1 else []

    # Watching.

    def _watch(self) -> None:
        tick, look = 0, time.monotonic()
        while not self._stopped.is_set():
            wait_for_any([self.processes[replica] for replica in self.taking_part], TICK)
            with self._lock:
                if self._stopped.is_set():
                    break
                self._see_to_the_dead()
                if self.share < 1:
                    self._tell_all(REST if (tick % 10) >= round(self.share * 10) else RUN)
                self._tick()
                if time.monotonic() - look > TICK * PORT_TICKS:
                    look = time.monotonic()
                    self._look_at_ports()
            tick += 1
            failed = [path.source for path in self.paths if self.port(path.source).failed]
            if failed and not self._finished.is_set():
                port = self.port(failed[0])
                self._report(
                    f"port {failed[0]} ({port!r}): the process that brings its packets died; the run is at its end"
                )
            if failed or self.alive == 0 or self._drained():
                self._finished.set()

    def _tell_all(self, order: int) -> None:
        for replica in self.taking_part:
            self.memory.orders[replica, 0] = order

    def _see_to_the_dead(self) -> None:
        """Fork successors for replicas that died; retire those that get no further."""
        for replica in self.taking_part:
            process = self.processes[replica]
            if process.is_alive():
                continue
            seen = time.monotonic()
            place = sum(self.port(path.source).place(replica) for path in self.paths)
            where, times = self._deaths.get(replica, (-1, 0))
            times = times + 1 if place == where else 1
            self._deaths[replica] = (place, times)
            if times > self.restarts:
                self._retire(replica)
                self._report(self._obituary(replica, process))
                continue
            self._succeed(replica)
            self.stalls.append(time.monotonic() - seen)
            self._report(self._obituary(replica, process))
            self._fork_spare()
        for replica in self._retired:
            self._release(replica)

    def _succeed(self, replica: int) -> None:
        """Fork a successor: from the dead one's newest snapshot, if there is state."""
        if self._keeps:
            self.memory.snapshots.adopt(replica, replica)
        for index, path in enumerate(self.paths):
            port = self.port(path.source)
            port.resume(replica, int(self.memory.places[replica][index]) if self._keeps else port.place(replica))
        self.memory.holds["count"][replica] = 0
        self._free_locks(replica)
        while True:
            with suppress(BrokenPipeError):  # the spare has died itself; also with the thread that forked it
                os.write(self._call, bytes([replica]))
                break
            self._fork_spare()
        assert self._spare
        self.processes[replica], self._spare = self._spare, None
        os.close(self._call)

    def _free_locks(self, replica: int) -> None:
        """Take from a dead replica the locks of services that all replicas share; they name their holder."""
        for router in self.graph.routers:
            if router.lock is not None:
                word = self.memory.table(router.lock, replica)
                if word[0] == replica + 1:
                    word[0] = 0

    def _retire(self, replica: int) -> None:
        """Take out a replica that runs no more and gets no successor, so that nothing waits for it."""
        self._free_locks(replica)
        self._members[0] &= ~(1 << replica)
        self._retired.add(replica)
        self._release(replica)

    def _release(self, replica: int) -> None:
        for path in self.paths:
            self.port(path.source).retire(replica, path.order == "channel")

    def _obituary(self, replica: int, process: Child) -> str:
        code = process.exitcode or 0
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if replica not in self._retired:
            rest = f"its successor is process {self.processes[replica].pid}"
        elif self.alive:
            rest = f"{self.alive} of {len(self.processes)} replicas go on"
        else:
            rest = "no replica is left"
        return f"replica {replica} (core {self.core(replica)}, process {process.pid}) died: {cause}; {rest}"

    def _look_at_ports(self) -> None:
        for name in self.graph.ports:
            up = self.port(name).is_up()
            if not up and name not in self._down:
                self._down.add(name)
                self._report(f"port {name}: interface {self.port(name).interface} is down or gone; the others go on")
            elif up and name in self._down:
                self._down.discard(name)
                self._report(f"port {name}: interface {self.port(name).interface} is up again")

    def _drained(self) -> bool:
        """True if every port's input is at its end and all of it has been dealt with."""
        return all(self.port(path.source).drained() for path in self.paths)

    # Accounts.

    def replica_figures(self) -> list[dict[str, int]]:
        """For each replica its core, the packets it has seen, been primary of, and replayed, and how far it lags.

        The lag is in requests of channels, and in blocks of kernel rings behind the foremost replica.
        """
        ports = [self.port(path.source) for path in self.paths]
        return [figures(ports, replica) | {"core": self.core(replica)} for replica in self.processes]

    def flows(self, path: Path) -> dict[tuple[str, str], int]:
        """Packets along every edge of a path so far."""
        return path.flows(self.memory.counters[path.source].sum(axis=0))

    def account(self) -> dict[str, Any]:
        """What became of every packet.

        Returns
        -------
        dict
            `received` (by the kernel's rings), `out` (by port), `ended` and `drops` (by reason); exact once
            stopped: what was received is the sum of the others.
        """
        with self._lock:
            return account(self.graph, self.paths, self.memory, self._finished.is_set(), bool(self._deaths))
