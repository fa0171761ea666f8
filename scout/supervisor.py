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

import networkx as nx
import numpy as np

from scout.accounts import account, figures
from scout.domain import LEAVE, REST, RUN, compile_domain, is_ordered, is_sharded, keeps_state
from scout.io.host.process import Child, wait_for_any
from scout.io.packet import CONTROL_BIND, CONTROL_TICK
from scout.memory import Memory
from scout.paths.compiler.native import compile_path
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.stage import Table
from scout.ring.errors import ScoutError
from scout.ring.membership import MOST_REPLICAS
from scout.ring.schedule import scheduler
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
        self._shares = _shares(graph, paths)
        for index, name in enumerate(graph.ports):
            port = graph.router(name).port
            for other in graph.ports[:index]:
                same = graph.router(other).port
                if port is same or (hasattr(port, "number") and repr(port) == repr(same)):
                    raise ScoutError(f"{other} and {name} have one port, {port!r}: give each one of its own")
        self.graph, self.paths, self.restarts, self.share = graph, list(paths), restarts, share
        self.schedule = scheduler(schedule) if schedule else None
        self._report = report or (lambda line: print(f"scout: {line}", file=sys.stderr, flush=True))
        self._progress = progress or (lambda line: None)
        self.channels: list[tuple[Any, list[Path]]] = []
        """While it runs: what replicas receive from, each with the paths whose ports it serves, in the paths' order."""
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
        # Ports first: a missing interface or permission is reported at once, not after the compilation.
        for index, name in enumerate(self.graph.ports):
            self.port(name).open(index)
        compiled = []
        for path in self.paths:
            self._progress(f"path from {path.source}")
            compiled.append(compile_path(path))
        self._keeps = keeps_state(self.graph, self.paths)
        for paths in self._shares:
            self.channels.append((self._channel(paths), paths))
        self._progress("domain")
        domain = compile_domain(self.graph, self.channels, compiled, self.replicas, self.schedule)
        for router in self.graph.routers:
            router.start(self.graph)
        self.memory = Memory(self.graph, self.channels, compiled, domain, self._strategy)
        for replica in range(self.replicas):
            self.memory.enlist(replica)
            self.memory.snapshots.save(replica, 0)
        for replica in range(self.replicas):
            self._fork(replica)
        self._fork_spare()
        for channel, _ in self.channels:
            channel.feed()
        self._watcher = threading.Thread(target=self._watch, name="scout-supervisor", daemon=True)
        self._watcher.start()

    def _channel(self, paths: list[Path]) -> Any:
        """Make the channel of the ports that these paths begin at."""
        ports = {self.graph.ports.index(path.source): self.port(path.source) for path in paths}
        channel = self.port(paths[0].source).channel(ports, self.replicas, self._keeps)
        if any(is_sharded(path) for path in paths):
            channel.divide(self.replicas)
        return channel

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
        for channel, _ in self.channels:
            channel.close()
        for name in self.graph.ports:
            self.port(name).close()

    # Taking part.

    def add_replica(self) -> int:
        """Have one more replica take part, while packets flow; its number.

        It takes its state from another's newest snapshot.

        Raises
        ------
        ScoutError
            If there are too many already, flows are sharded, or the router does not run any more.
        """
        with self._lock:
            if any(is_sharded(path) for path in self.paths):
                raise ScoutError("flows are sharded among the replicas from the start; nobody can join")
            self._still_runs()
            replica = self._free_number()
            if not self.memory.knows(replica):
                # By the forker: it is in the network namespace where the run began, whoever calls this.
                self._forker.submit(self.memory.enlist, replica).result()
            try:
                if self._keeps:
                    while not self._adopt_and_join(replica):
                        time.sleep(0)
                else:
                    for channel, _ in self.channels:
                        while not channel.join(replica, *channel.foremost()):
                            pass
                self.memory.orders[replica, 0] = RUN
                self._fork(replica)
            except BaseException:
                for channel, _ in self.channels:  # or they would wait for one that does not run
                    channel.retire(replica, False)
                raise
            self._retired.discard(replica)
            self._fork_spare()  # the one before lacks this replica's memory
            self.replicas = max(self.replicas, replica + 1)
            return replica

    def _still_runs(self) -> None:
        if self._stopped.is_set() or not self.alive:
            raise ScoutError("the router does not run any more; start it anew")

    def _free_number(self) -> int:
        """A number that nobody has; not that of one who died while there is still something to see to in its place."""
        for number in range(MOST_REPLICAS):
            gone = number not in self.processes or number in self._retired
            if gone and not any(channel.takes_part(number) for channel, _ in self.channels):
                return number
        raise ScoutError(f"{MOST_REPLICAS} replicas take part already; remove one first")

    def _adopt_and_join(self, replica: int) -> bool:
        """Take the newest snapshot of another; False if the channel has gone past it meanwhile."""
        newest = self.memory.snapshots.newest()
        owners = [owner for owner in self.processes if owner not in self._retired and owner != replica]
        owner = max(owners, key=lambda each: newest[each])
        if self.memory.snapshots.adopt(replica, owner) < 0:
            return False  # it was being written
        # A snapshot of its own first: if it dies, its successor needs no other's, and no former holder's of its place.
        self.memory.snapshots.forget(replica)
        saved = self.memory.saved(replica)
        self.memory.snapshots.save(replica, sum(place for place, _ in saved))
        joined: list[Any] = []
        for (channel, _), (place, told) in zip(self.channels, saved, strict=True):
            if not channel.join(replica, place, told):
                for other in joined:
                    other.retire(replica, False)
                return False
            joined.append(channel)
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
            self._still_runs()
            if self.alive == 1:
                raise ScoutError(f"replica {replica} is the last one; stop the router instead")
            while True:
                self.memory.orders[replica, 0] = LEAVE
                if not self.processes[replica].join(GRACE):
                    self.processes[replica].kill()
                    self.processes[replica].join(GRACE)
                if self.processes[replica].exitcode:
                    self._deaths.setdefault(replica, (-1, 0))  # the accounts want to know
                # Killed, or a successor that has not done yet what its predecessor was primary of.
                if not any(channel.unfinished(replica) for channel, _ in self.channels):
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
        """Tell a service something, at the same place among the packets of a channel in every replica.

        Raises
        ------
        ScoutError
            If the service is on no path, or the channel stays full.
        """
        for channel, path, stage in self._controlled(service):
            if not channel.control(self._index(path), kind, stage, argument, time.time_ns(), timeout=1.0):
                raise ScoutError(f"{service.name}: the channel of {path.source} stays full; try again")
            return
        raise ScoutError(f"{service.name}: no path leads to it; it cannot be told")

    def _index(self, path: Path) -> int:
        """The index of the port that a path begins at."""
        return self.graph.ports.index(path.source)

    def bind(self, service: Service, *handlers: str) -> None:
        """Have just these handlers of a service bound, all replicas from the same packet on."""
        self.control(service, CONTROL_BIND, service.mask(handlers))

    def _controlled(self, service: Service | None = None) -> list[tuple[Any, Path, int]]:
        """Where control requests can begin: once a channel for each service, by default for those with timers.

        The channel, one of its paths, and the service's number there.
        """
        found: dict[tuple[int, str], tuple[Any, Path, int]] = {}
        for index, (channel, paths) in enumerate(self.channels):
            for path in paths:
                for _, data in path.nodes(data=True):
                    if data["kind"] != "stage" or not data["stage"].controlled:
                        continue
                    if data["router"] == service.name if service else "timers" in data["stage"].parameters:
                        found.setdefault((index, data["router"]), (channel, path, data["index"]))
        return list(found.values())

    def _tick(self) -> None:
        """Let time pass where services have timers, also if no packets come."""
        ticking = {id(channel) for channel, _ in self.channels if channel.ticks}
        for channel, path, stage in self._controlled():
            if id(channel) in ticking:
                # Without waiting for room: this thread may have to see to the dead, who keep the channel full.
                channel.control(self._index(path), CONTROL_TICK, stage, 0, time.time_ns(), timeout=0)

    def diverged(self) -> list[int]:
        """Places (numbers of requests) after which two replicas had different states; none, if all is well.

        Of a graph with one channel only: packets of several reach replicas in different orders.
        """
        return self.memory.snapshots.diverged() if len(self.channels) == 1 else []

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
            failed = [self.graph.ports[index] for channel, _ in self.channels for index in channel.failed]
            if failed and not self._finished.is_set():
                names = ", ".join(f"{name} ({self.port(name)!r})" for name in failed)
                self._report(f"port {names}: the process that brings its packets died; the run is at its end")
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
            place = sum(channel.place(replica) for channel, _ in self.channels)
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
        saved = self.memory.saved(replica)
        for (channel, _), (place, told) in zip(self.channels, saved, strict=True):
            if not self._keeps:
                place, told = channel.place(replica), channel.told(replica)
            channel.resume(replica, place, told)
        for name in self.graph.ports:
            self.port(name).resume(replica)
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
        self._retired.add(replica)
        self._release(replica)

    def _release(self, replica: int) -> None:
        for channel, paths in self.channels:
            channel.retire(replica, is_ordered(paths))

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
        """True if all input is at its end and all of it has been dealt with."""
        return all(channel.drained() for channel, _ in self.channels)

    # Accounts.

    def replica_figures(self) -> list[dict[str, int]]:
        """For each replica its core, the packets it has seen, been primary of, and replayed, and how far it lags.

        The lag is in requests that wait; of a kernel's ring, in requests behind the foremost replica.
        """
        channels = [channel for channel, _ in self.channels]
        return [figures(channels, replica) | {"core": self.core(replica)} for replica in self.processes]

    def flows(self, path: Path) -> dict[tuple[str, str], int]:
        """Packets along every edge of a path so far."""
        return path.flows(self.memory.counters[path.source].sum(axis=0))

    def account(self) -> dict[str, Any]:
        """What became of every packet.

        Returns
        -------
        dict
            `received` (packets, and control requests), `out` (by port), `ended` and `drops` (by reason); exact once
            stopped: what was received is the sum of the others.
        """
        with self._lock:
            return account(self.graph, self.channels, self.memory, self._finished.is_set(), bool(self._deaths))


def _shares(graph: RouterGraph, paths: Sequence[Path]) -> list[list[Path]]:
    """Which paths share a channel: those that lead to one service which wants one order of all its requests.

    Raises
    ------
    ScoutError
        If they cannot.
    """
    together = nx.Graph()
    together.add_nodes_from(range(len(paths)))
    for router in graph.routers:
        if isinstance(router, Service) and router.sequenced and router.mode == "replicated":
            through = [
                index
                for index, path in enumerate(paths)
                if any(data["router"] == router.name for _, data in path.nodes(data=True))
            ]
            _check_share(graph, router, [paths[index] for index in through])
            nx.add_path(together, through)
    return [[paths[index] for index in sorted(each)] for each in nx.connected_components(together)]


def _check_share(graph: RouterGraph, service: Service, paths: Sequence[Path]) -> None:
    """Refuse a service's one channel if these paths that lead to it cannot share one."""
    ports = [graph.router(path.source).port for path in paths]
    if len({type(port) for port in ports}) > 1:
        kinds = ", ".join(f"{path.source} is a {type(port).__name__}" for path, port in zip(paths, ports, strict=True))
        raise ScoutError(
            f"{service.name} wants one sequenced channel of the ports that lead to it, but {kinds}: "
            "give it ports of one kind, or make it with sequenced=False"
        )
    sharded = [path.source for path in paths if is_sharded(path)]
    if sharded and len(paths) > 1:
        raise ScoutError(
            f"{service.name} wants one sequenced channel in every replica, but flows of the path from {sharded[0]} are "
            "sharded among them: make it with sequenced=False"
        )
