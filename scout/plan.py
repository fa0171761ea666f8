"""The plan of a run: what a supervisor will build, decided and checked before anything is built.

Planning is pure: it opens no port, compiles nothing, forks nothing and changes nothing, so a plan can be made and
inspected anywhere. `scout.supervisor` applies it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeGuard

import networkx as nx

from scout.admission import Admission, queue_bytes
from scout.domain import keeps_state
from scout.domain_plan import is_sharded
from scout.io.hold import MOST_HELD, MOST_TO_HOLD
from scout.io.host.process import usable_cores
from scout.io.packet import NO_PATH
from scout.io.ports.applications import ApplicationPort
from scout.io.ports.contract import Port, PortError
from scout.paths.demux.pattern import patterns, rank
from scout.paths.demux.walk import fields_of, steps
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.router import Router
from scout.ring.errors import ScoutError
from scout.ring.membership import MOST_REPLICAS
from scout.ring.schedule import scheduler
from scout.ring.wait import STRATEGIES

__all__ = ["Plan", "make_plan"]

_TIMES = 2  # room for paths that stages ask for: those that were deleted have theirs until all replicas have passed
_MOST_MEMORY = 1 << 40
_LATER_MEMORY = 1 << 28  # by default, for queues of paths that are created later; untouched pages cost nothing


@dataclass(frozen=True)
class Plan:
    """The plan of a run, which a supervisor applies.

    Attributes
    ----------
    graph : RouterGraph
    paths : list of Path
    numbers : dict of Path to int
        The number of each path: that of its port for a path that takes all packets, and others behind the ports'.
    most_paths : int
        How many paths there may be at a time.
    demuxes : bool
        True if packets are told apart: a port has, or can get, a path for some of its packets.
    replicas : int
        Domains at the start.
    cores : list of int
        Replica n is pinned to core `cores[n % len(cores)]`.
    shares : list of list of Path
        One channel is built for each list; the paths in it begin at the ports of that channel.
    schedule : callable or None
        Which channel a domain dequeues from next (`scout.ring.schedule`); None takes turns.
    path_schedule : callable or None
        Which path's queue a domain serves next; None if no path has, or can get, a queue.
    accounts : bool
        True if a path without a queue is, or can be, accounted for.
    most_queues : int
        How many paths with queues there may be at a time.
    queue_memory : int
        Bytes for queues in each replica.
    strategy : int
        How a domain waits for packets (`scout.ring.wait`).
    restarts : int
        Successors that a replica gets without making progress.
    held : int
        Packets that a replica holds at most while their next hops are asked for.
    """

    graph: RouterGraph
    paths: list[Path]
    numbers: dict[Path, int]
    most_paths: int
    demuxes: bool
    replicas: int
    cores: list[int]
    shares: list[list[Path]]
    schedule: Callable[..., int] | None
    path_schedule: Callable[..., int] | None
    accounts: bool
    most_queues: int
    queue_memory: int
    strategy: int
    restarts: int
    held: int

    @property
    def room(self) -> int:
        """How many numbers there are for paths: those of the ports, and as many as there may be paths."""
        return len(self.graph.ports) + self.most_paths

    @property
    def delays(self) -> bool:
        """True if packets may wait until a time, on a path of the start."""
        return any(path.waits for path in self.paths)

    @property
    def grows(self) -> bool:
        """True if there is room for more paths than those of the start, which may be of new shapes."""
        return self.demuxes and self.most_paths > len(self.paths)

    @property
    def is_sharded(self) -> bool:
        """True if some flows are divided among the replicas."""
        return any(is_sharded(path) for path in self.paths)

    @property
    def keeps_state(self) -> bool:
        """True if replicas have equal state, so that they save snapshots of it."""
        return keeps_state(self.graph, self.paths)

    @property
    def sequenced(self) -> list[str]:
        """The services of which all paths share a channel."""
        return [router.name for router in self.graph.routers if _is_sequenced(router)]

    def core(self, replica: int) -> int:
        """The core that a replica is pinned to."""
        return self.cores[replica % len(self.cores)]

    def port(self, name: str) -> Port:
        """The port that router `name` drives."""
        port: Port = self.graph.router(name).port
        return port

    def open_port(self, index: int, name: str) -> None:
        """Open the port that router `name` drives; an error says which router that is."""
        try:
            self.port(name).open(index)
        except PortError as error:
            _, names_it, fault = str(error).partition(f"port {self.port(name).interface}: ")
            what = f"{self.port(name).interface}: {fault}" if names_it else str(error)
            raise type(error)(f"port {name}: {what}") from error

    def index(self, path: Path) -> int:
        """The index of the port that a path begins at."""
        return self.graph.ports.index(path.source)


def make_plan(
    graph: RouterGraph,
    paths: Sequence[Path],
    replicas: int | None = None,
    cores: Sequence[int] | None = None,
    restarts: int = 3,
    schedule: str | Callable[..., int] | None = None,
    wait: str = "block",
    held: int = MOST_HELD,
    most_paths: int | None = None,
    path_schedule: str | Callable[..., int] | None = None,
    queue_memory: int | None = None,
) -> Plan:
    """Check what is to be run and plan it; the parameters are those of `scout.Supervisor`.

    Raises
    ------
    ScoutError
        If these paths cannot run together, or there is no such core, scheduler or way to wait.
    """
    available = usable_cores()
    number = len(available) if replicas is None else replicas
    if not isinstance(number, int) or not 1 <= number <= MOST_REPLICAS:
        raise ScoutError(f"{number!r} replicas: give 1 to {MOST_REPLICAS}")
    # The first cores serve more interrupts than the last.
    pinned = list(cores) if cores is not None else available[::-1]
    if not pinned or not set(pinned) <= set(available):
        raise ScoutError(f"cores {pinned}: this process may use {available}")
    if restarts < 0:
        raise ScoutError(f"restarts of {restarts}: give 0 or more")
    if wait not in STRATEGIES:
        raise ScoutError(f"wait {wait!r}: use one of {', '.join(STRATEGIES)}")
    if not 1 <= held <= MOST_TO_HOLD:
        raise ScoutError(f"{held} held packets: give 1 to {MOST_TO_HOLD}")
    asked = sum(_TIMES * router.path_requests.most for router in graph.routers if router.path_requests)
    if most_paths is None and asked:
        most_paths = len(paths) + asked
    _check_ports(graph)
    _check_paths(graph, paths)
    chosen = scheduler(schedule) if schedule else None
    shares = _shares(graph, paths)
    numbers = _numbers(graph, paths)
    most = len(paths) if most_paths is None else most_paths
    if not len(paths) <= most <= NO_PATH - len(graph.ports):
        raise ScoutError(f"most_paths of {most}: give {len(paths)} to {NO_PATH - len(graph.ports)}")
    queued = [path for path in paths if path.queue]
    if path_schedule and not queued and most_paths is None:
        raise ScoutError(
            f"path_schedule={path_schedule!r}: no path has a queue; give one of them queue=256, or leave it out"
        )
    return Plan(
        graph,
        list(paths),
        numbers,
        most,
        demuxes=most_paths is not None or any(path.attributes.traffic or path.is_accounted for path in paths),
        replicas=number,
        cores=pinned,
        shares=shares,
        schedule=chosen,
        path_schedule=scheduler(path_schedule or "round-robin") if queued or path_schedule else None,
        accounts=most_paths is not None or any(path.is_accounted for path in paths),
        most_queues=len(queued) + (most - len(paths)) if queued or path_schedule else 0,
        queue_memory=_queue_memory(paths, queue_memory, most > len(paths)),
        strategy=STRATEGIES[wait],
        restarts=restarts,
        held=held,
    )


def _queue_memory(paths: Sequence[Path], given: int | None, room: bool) -> int:
    """Bytes for the queues of these paths in each replica, and of paths that are created later if there is `room`.

    Raises
    ------
    ScoutError
        If these paths want more CPU or memory than there is.
    """
    if given is not None and not 0 <= given <= _MOST_MEMORY:
        raise ScoutError(f"queue_memory of {given:,} bytes: give 0 to {_MOST_MEMORY:,}")
    wanted = sum(queue_bytes(path)[0] for path in paths) + (_LATER_MEMORY if room else 0)
    memory = wanted if given is None else given
    admission = Admission(memory)
    for path in paths:
        admission.admit(path)
    return memory


def _numbers(graph: RouterGraph, paths: Sequence[Path]) -> dict[Path, int]:
    """Give each path its number."""
    fresh = count(len(graph.ports))
    return {path: next(fresh) if path.attributes.traffic else graph.ports.index(path.source) for path in paths}


def _check_paths(graph: RouterGraph, paths: Sequence[Path]) -> None:
    if isinstance(paths, Path):
        raise ScoutError(f"the paths are one path, from {paths.source}; give a list, as in Supervisor(graph, [path])")
    if not paths:
        raise ScoutError(f"no path to run; give at least one, as in [graph.create_path(port)]; ports: {graph.ports}")
    for path in paths:
        if path.router_graph is not graph:
            raise ScoutError(
                f"path from {path.source}: it belongs to another graph, called {path.router_graph.name!r}; give paths "
                f"that this graph, called {graph.name!r}, has created"
            )
        if is_sharded(path) and path.release_order == "channel":
            raise ScoutError(f"path from {path.source}: flows that are sharded leave as completed; leave order out")
    for name in graph.ports:
        _check_port(graph, name, [path for path in paths if path.source == name])


def _check_port(graph: RouterGraph, name: str, paths: Sequence[Path]) -> None:
    """Refuse paths that cannot begin at one port."""
    fields = fields_of(steps(graph, name))
    taking: dict[Any, Path] = {}
    for path in paths:
        for pattern in patterns(path.attributes, fields) if path.attributes.traffic else []:
            other = taking.setdefault((rank(path.attributes, fields), pattern), path)
            if other is not path:
                raise ScoutError(
                    f"{other.name!r} and {path.name!r} take the same packets; leave one out, or narrow one of them"
                )
    if sum(not path.attributes.traffic for path in paths) > 1:
        raise ScoutError(
            f"two paths take all packets from {name}; say which packets one of them takes, as in "
            f'create_path({name!r}, protocol="tcp")'
        )
    sharded = {is_sharded(path): path.name for path in paths}
    if len(sharded) > 1:
        raise ScoutError(
            f"paths from {name}: the flows of {sharded[True]!r} are sharded among the replicas, and those of "
            f"{sharded[False]!r} are not; have services in mode 'sharded' on all paths of a port, or on none"
        )


def _check_ports(graph: RouterGraph) -> None:
    """Refuse a graph in which two routers drive the same port."""
    for index, name in enumerate(graph.ports):
        port = graph.router(name).port
        for other in graph.ports[:index]:
            same = graph.router(other).port
            # Only ports on interfaces have a number; two objects for one interface look alike.
            if port is same or (hasattr(port, "number") and port.interface and repr(port) == repr(same)):
                raise ScoutError(f"{other} and {name} have one port, {port!r}: give each one of its own")


def _shares(graph: RouterGraph, paths: Sequence[Path]) -> list[list[Path]]:
    """Which paths share a channel: those that lead to the same sequenced service, and the others each have their own.

    Channels of applications come first: replicas look at them first in each round, so they rarely miss what a local
    request has just changed for the packets of other channels.

    Raises
    ------
    ScoutError
        If paths that have to share a channel cannot.
    """
    together = nx.Graph()
    together.add_nodes_from(range(len(paths)))
    for name in graph.ports:
        nx.add_path(together, [index for index, path in enumerate(paths) if path.source == name])
    for router in graph.routers:
        if _is_sequenced(router):
            through = [index for index, path in enumerate(paths) if router.name in path.routers]
            _check_share(graph, router, [paths[index] for index in through])
            nx.add_path(together, through)
    shares = [[paths[index] for index in sorted(each)] for each in nx.connected_components(together)]
    return sorted(shares, key=lambda share: not isinstance(graph.router(share[0].source).port, ApplicationPort))


def _is_sequenced(router: Router) -> TypeGuard[Service]:
    """True if all paths through a router have to share a channel."""
    return isinstance(router, Service) and router.sequenced and router.mode == "replicated"


def _check_share(graph: RouterGraph, service: Service, paths: Sequence[Path]) -> None:
    """Refuse a sequenced service if the paths that lead to it cannot share a channel."""
    ports = [graph.router(path.source).port for path in paths]
    if len({type(port) for port in ports}) > 1:
        kinds = ", ".join(f"{path.source} is a {type(port).__name__}" for path, port in zip(paths, ports, strict=True))
        raise ScoutError(
            f"{service.name} wants one sequenced channel of the ports that lead to it, but {kinds}: "
            "give it ports of one kind, or make it with sequenced=False"
        )
    empty = [path.source for path in paths if not graph.router(path.source).port.interface]
    if empty and len({path.source for path in paths}) > 1:
        raise ScoutError(
            f"{service.name} wants one sequenced channel of the ports that lead to it, and {empty[0]} has no "
            "interface: give it one, or make the service with sequenced=False"
        )
    sharded = [path.source for path in paths if is_sharded(path)]
    if sharded and len(paths) > 1:
        raise ScoutError(
            f"{service.name} wants one sequenced channel in every replica, but flows of the path from {sharded[0]} are "
            "sharded among them: make it with sequenced=False"
        )
