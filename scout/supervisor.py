"""The supervisor: runs the paths of a router graph on a number of cores.

It makes a plan (`scout.plan`), applies it, and leaves the rest to its parts: the processes of the replicas
(`scout.membership`), the thread that watches them (`scout.watcher`), control requests (`scout.control`) and the
accounts (`scout.accounts`).
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from scout.accounts import account, figures
from scout.builder import Builder
from scout.changes import Changes
from scout.control import Control
from scout.domain import compile_domain
from scout.domain_arguments import Channels
from scout.domain_plan import is_sharded
from scout.endpoints.registry import Registry, registries
from scout.io.channels.contract import PacketChannel
from scout.io.hold import MOST_HELD
from scout.io.host.process import Child, Forker
from scout.io.ports.contract import Port
from scout.live_paths import LivePaths
from scout.live_ports import LivePorts
from scout.live_shapes import LiveShapes
from scout.membership import Membership
from scout.memory import Memory
from scout.path_figures import PathFigures
from scout.path_keeper import PathKeeper
from scout.path_table import PathTable
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.table import Table
from scout.plan import make_plan
from scout.reports import Reporter, show_compiling
from scout.ring.errors import ScoutError
from scout.ring.jit import compile_entries
from scout.shape_memory import ShapeMemory
from scout.shapes import Shapes
from scout.steering import Parts, Steering
from scout.tables import find_table, named_tables
from scout.watcher import Watcher

__all__ = ["Supervisor"]


class Supervisor(Steering, PathFigures):
    """Runs the paths of a router graph on a number of cores; a context manager.

    A replica that dies gets a successor, which takes the state from the dead replica's newest snapshot, replays the
    requests since, and does again the batch that the dead replica was primary of and had not finished. The other
    replicas never stop.

    Parameters
    ----------
    graph : RouterGraph
        The routers.
    paths : sequence of Path
        Several of one port have different traffic; at most one of them takes all that the others do not take. Without
        it those packets are dropped as no-path.
    replicas : int, optional
        How many domains to start; one per core by default.
    cores : sequence of int, optional
        The cores to pin them to, in turn; by default from the last core down, as the first ones serve more interrupts.
    report : callable, optional
        Called with a sentence about each event (a replica died, an interface went away) and once with each traceback;
        they go to standard error by default. It may be called from several threads.
    progress : callable, optional
        Called with the name of each part before it is compiled, if it is not in the cache. By default a line for
        each part goes to standard error if that is a terminal.
    restarts : int
        Successors that a replica gets without making progress. A packet that kills its primary would otherwise kill
        successors for ever.
    schedule : str or callable, optional
        Which channel a domain dequeues from next, if packets wait in several: "round-robin", "priority", "deadline",
        "weighted" or "bottleneck", by the `weight` and `deadline` of the paths; or a function of the channels' heads
        and the tables of services, as in `scout.ring.schedule`. By default the channels take turns.
    wait : {"block", "yield", "spin"}
        How a domain waits for packets: "block" spins briefly and then sleeps in the kernel; where packets come soon
        after each other it first lets others have its core for a tenth of a millisecond. "yield" gives the core to
        other processes, which costs less delay; "spin" keeps a core of its own busy, for the least delay.
    held : int
        Packets that a replica holds at most while their next hops are asked for, 64 of them for one next hop. When
        there is no room, a packet for a next hop that a later packet is held for too is dropped, so that the latest
        packet for each is kept (RFC 1122 section 2.3.2.2).
    most_paths : int, optional
        Paths that there may be at a time, those that are created while packets flow with the others. By default those
        that are given; then, if each port has one path for all packets, nothing looks for the path of a packet.
    path_schedule : str or callable, optional
        Which path is served next, if packets wait in the queues of several (`create_path(..., queue=...)`): one of the
        names of `schedule`, or a function of the queues' heads, which are in the order of their paths, and of tables.
        By default they take turns. To be given if no path has a queue at the start, and others may have.
    queue_memory : int, optional
        Bytes for the queues of paths in each replica. A path whose queue would exceed it is refused. By default as many
        as the queues of the given paths take, and 256 MiB more if there may be other paths.

    Attributes
    ----------
    failures : list of str
        A sentence for each reason why the run ended before all input was dealt with: the process that brings a
        port's packets died, or no replica is left. Empty after a run that is whole.

    Raises
    ------
    ScoutError
        If the arguments do not fit together; on entering, if something does not compile, or a port cannot be opened.

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
        schedule: str | Callable[..., int] | None = None,
        wait: str = "block",
        held: int = MOST_HELD,
        most_paths: int | None = None,
        path_schedule: str | Callable[..., int] | None = None,
        queue_memory: int | None = None,
    ) -> None:
        wishes = schedule, wait, held, most_paths, path_schedule, queue_memory
        self.plan = make_plan(graph, paths, replicas, cores, restarts, *wishes)
        self.graph, self.given_paths = self.plan.graph, list(self.plan.paths)
        self.channels: list[tuple[PacketChannel, list[Path]]] = []
        """While it runs: what replicas receive from, each with the paths whose ports it serves, in the paths' order."""
        self._say = Reporter(report)
        self._progress = progress or show_compiling
        self._entered = False
        self._forker = Forker()
        self._parts: Parts | None = None
        self._registries: list[Registry] = []
        self._accounts = threading.Lock()  # reading the kernel's counters resets them

    # Life.

    def __enter__(self) -> Self:
        if self._entered:
            raise ScoutError("this Supervisor has run already; make another one for another run")
        self._entered = True
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _start(self) -> None:
        """Apply the plan."""
        plan = self.plan
        # Ports first: a missing interface or permission is reported at once, not after the compilation.
        for index, name in enumerate(plan.graph.ports):
            plan.open_port(index, name)
            for warning in plan.port(name).warnings():
                self._say(f"port {name}: {warning}")
        shapes = Shapes(plan.demuxes, self._progress)
        for path in plan.paths:
            shapes.add(path)
        for paths in plan.shares:
            self.channels.append((self._channel(paths), paths))
        schedulers = plan.schedule, plan.path_schedule
        kinds = plan.demuxes, plan.accounts, plan.grows, plan.delays
        progress = partial(self._progress, "the loop of the replicas")
        domain = compile_domain(plan.graph, self.channels, shapes, plan.replicas, *schedulers, *kinds, progress)
        for router in plan.graph.routers:
            router.start(plan.graph)
        of_shapes = [at for shape in shapes for at, (_, paths) in enumerate(self.channels) if shape.path in paths]
        shape_memory = ShapeMemory(shapes, of_shapes, plan.room, plan.grows)
        paths_by_number = PathTable(plan, shapes, shape_memory)
        waiting = plan.strategy, plan.held, plan.delays
        self.memory = Memory(plan.graph, self.channels, paths_by_number, domain, *waiting, shape_memory)
        for replica in range(plan.replicas):
            self.memory.enlist(replica)
            self.memory.snapshots.save(replica, 0)
        self.memory.warm_up()
        changes = Changes(plan, self.channels, self.memory, domain.settings)
        membership = Membership(plan, self.channels, self.memory, changes, self._forker, self._say)
        control = Control(plan, self.channels, self.memory)
        # Not a method of this object: a cycle of references would keep the memory of a run that is over.
        poll = partial(_read_counters, self._accounts, self.channels)
        watcher = Watcher(plan, self.channels, membership, control, changes, self.memory.ticker, self._say, poll)
        builder = Builder(self._forker, [plan.core(replica) for replica in range(plan.replicas)])
        live_shapes = None
        if plan.grows:
            live_shapes = LiveShapes(
                plan, self.channels, paths_by_number, shape_memory, domain, changes, builder, self._say
            )
        live_paths = LivePaths(plan, paths_by_number, changes, live_shapes)
        keeper = PathKeeper(plan, self.channels, self.memory, live_paths, self._say)
        live_ports = LivePorts(plan, self.channels, self.memory, membership, changes, self._forker, self._say)
        self._parts = Parts(membership, watcher, control, changes, live_paths, keeper, builder, live_ports)
        membership.start()
        for channel, _ in self.channels:
            self._forker.call(channel.feed)  # it may fork processes that bring packets
        watcher.start()
        keeper.start()
        if live_shapes:
            live_shapes.prepare()
        for registry in registries(plan.graph):
            registry.start()
            self._registries.append(registry)
        # Deaths, joins and control requests call functions that are compiled while the first packets flow.
        packages = ("scout.ring", "scout.io")
        threading.Thread(target=compile_entries, args=packages, name="scout-compile", daemon=True).start()

    def _channel(self, paths: list[Path]) -> PacketChannel:
        """Make the channel of the ports that these paths begin at."""
        ports = {self.plan.index(path): self.port(path.source) for path in paths}
        channel = self.port(paths[0].source).channel(ports, self.plan.replicas, self.plan.keeps_state)
        if any(is_sharded(path) for path in paths):
            channel.divide(self.plan.replicas)
        return channel

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is nothing left to do; False if there still is after `timeout` seconds.

        There is nothing left to do when every replica, or its successor, has done all input, or cannot: see `failures`.
        """
        return self._running.watcher.finished.wait(timeout)

    def stop(self) -> None:
        """Stop the domains and close the ports; the accounts and tables stay readable."""
        for registry in self._registries:
            registry.stop()
        if self._parts:
            self._parts.stop()
            self.memory.bell.close()
        self._forker.close()
        with self._accounts:
            for channel, _ in self.channels:
                channel.close()
            for name in self.graph.ports:
                self.port(name).close()

    @property
    def paths(self) -> list[Path]:
        """The paths, at present."""
        return list(self.memory.paths) if self._parts else self.plan.paths

    @property
    def failures(self) -> list[str]:
        """Why the run ended before all input was dealt with, a sentence each."""
        return list(self._parts.watcher.failures) if self._parts else []

    # Replicas.

    def add_replica(self) -> int:
        """Have one more replica take part, while packets flow; its number.

        It takes its state from the newest snapshot of another replica.

        Raises
        ------
        ScoutError
            If there are too many already, flows are sharded, no process can be forked, or the router does not run any
            more.
        """
        return self._running.membership.join()

    def remove_replica(self, replica: int) -> None:
        """Have a replica leave, between two batches, while packets flow; return when it has left.

        It goes on until it holds no packets. A replica that does not leave within 6 seconds is killed; the time in
        which the machine had no core for the replicas does not count. A successor then finishes what it was primary of,
        and leaves. Deaths of other replicas are handled meanwhile, and `stop` ends
        the wait.

        Raises
        ------
        ScoutError
            If it does not take part, or is the last one.
        """
        self._running.membership.leave(replica)

    @property
    def replicas(self) -> int:
        """One more than the highest number that a replica has had; at least as many as the run began with."""
        return max([self.plan.replicas, *(replica + 1 for replica in list(self.processes))])

    @property
    def taking_part(self) -> list[int]:
        """The numbers of the replicas that take part."""
        return self._parts.membership.taking_part if self._parts else []

    @property
    def alive(self) -> int:
        """How many replicas take part."""
        return len(self.taking_part)

    @property
    def processes(self) -> dict[int, Child]:
        """The process of each replica, also of those that left."""
        return self._parts.membership.processes if self._parts else {}

    @property
    def stalls(self) -> list[float]:
        """For each death the seconds from when it was seen until a successor was at work."""
        return self._running.membership.stalls

    def core(self, replica: int) -> int:
        """The core that a replica is pinned to."""
        return self.plan.core(replica)

    def port(self, name: str) -> Port:
        """The port that router `name` drives."""
        return self.plan.port(name)

    # Reading.

    @property
    def tables(self) -> dict[str, Table]:
        """The tables that `table` reads, by name: `router.parameter`, as in "napt.sessions"."""
        return named_tables(self.graph, self.plan.paths)

    def table(self, table: str | Table, replica: int | None = None) -> np.ndarray:
        """The rows of a table, as one replica has them: a view of shared memory that changes while packets flow.

        Parameters
        ----------
        table : str or Table
            Its name, one of `tables`; or the object that a stage was given.
        replica : int, optional
            Whose copy; by default that of the first replica that takes part. Tables that are constant or shared are
            the same for all.

        Returns
        -------
        numpy.ndarray
            Of the shape and dtype of the table's `initial`. Only a copy, `table(...).copy()`, keeps its values.

        Raises
        ------
        ScoutError
            If there is no such table, or no such replica.

        Examples
        --------
        ::

            print(supervisor.table("heavy.flows", replica=0))
        """
        found = find_table(self.tables, table) if isinstance(table, str) else table
        membership = self._running.membership
        if replica is None:
            replica = min(membership.taking_part or membership.processes)
        return self.memory.table(found, replica)

    def replica_figures(self) -> list[dict[str, int]]:
        """For each replica its core, the packets it has seen, been primary of, and replayed, and its lag.

        The lag is in requests that wait; on a kernel's ring, in requests behind the foremost replica.
        """
        channels = [channel for channel, _ in self.channels]
        return [figures(channels, replica) | {"core": self.core(replica)} for replica in list(self.processes)]

    def diverged(self) -> list[int]:
        """Positions (numbers of requests) after which two replicas had different states; none if all is well.

        Only of a graph with one channel: the packets of several channels reach replicas in different orders.
        """
        return self.memory.snapshots.diverged() if len(self.channels) == 1 else []

    def account(self) -> dict[str, Any]:
        """The fate of every packet.

        Returns
        -------
        dict
            `received` (packets, and control requests), `made` (packets that stages made besides, if they made any),
            `out` (by port), `ended` and `drops` (by reason). Once the supervisor is stopped it is exact: `received`
            and `made` are the sum of the others.
        """
        membership, watcher = self._running.membership, self._running.watcher
        with self._accounts:
            return account(self.graph, self.channels, self.memory, watcher.finished.is_set(), membership.deaths)


def _read_counters(lock: threading.Lock, channels: Channels) -> None:
    """Read the kernel's 32-bit counters, which wrap after an hour at a million packets a second."""
    with lock:
        for channel, _ in channels:
            channel.counters()
