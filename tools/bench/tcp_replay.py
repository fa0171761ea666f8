"""The replays of `scout bench tcp`: one connection, in one mode, whose peer's segments lie in memory beforehand."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from statistics import median
from typing import Any, NamedTuple

from scout.io.host.process import usable_cores
from scout.io.ports.applications import ApplicationPort
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.protocols.applications import Applications
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.protocols.tcp.router import Tcp
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.tools.bench.placement import handoff_ns
from scout.tools.bench.tcp_locked import LockedTcp
from scout.tools.bench.tcp_peer import OURS, PEER, RECORD, SEGMENT, Connection
from scout.tools.bench.tcp_port import Replay, ReplayPort, run_together
from scout.tools.bench.trace_port import EVERYONE

__all__ = [
    "DIRECTIONS",
    "MODES",
    "SECURED",
    "WORKS",
    "Case",
    "Direction",
    "Figures",
    "Trial",
    "host_graph",
    "host_paths",
]

DIRECTIONS = ("receive", "send")
"""Of transfers. A replay `receive-apart` receives segments that differ in their windows, so that none can be joined
with the one before (`scout.paths.protocols.tcp.joining`): each becomes a request."""

COPIED, SECURED = "copy+checksum", "aes-128-gcm"
WORKS = (COPIED, SECURED)
"""Per-byte work: checksum and copy alone, and opening or sealing the records of a secured stream besides
(docs/records.md)."""

MODES = ("replicated", "sharded", "locked", "independent")
"""Modes: all replicas have the connection; each core has a stack of its own, and the connection is in one of them; all
replicas share one state under a lock; each core has a stack, a connection and a replay of its own, so nothing is
shared: what the machine can do."""

ENTRIES = 1 << 14  # of both channels
SEGMENTS = ENTRIES // 2  # of a replay: there is room for them wherever the last snapshot was
ACKNOWLEDGEMENTS = SEGMENTS // 2
SEALED = 130 * (RECORD // SEGMENT)  # acknowledgements, in a replay of sealing: the data of two fit into a ring
WARM_UP = 20
"""Replays that do not count. They warm caches and tables; and a replica has a page fault where it touches a page of the
rings or of a channel for the first time. Each of two replicas comes to half of the pages that are left in a replay."""
LAPS = 7  # of which the fastest counts: it was disturbed least by other processes
TRIES = 10  # times as many replays are made at most, if some do not go through
SENT_AT_ONCE = 2 * SEGMENT  # bytes that an acknowledgement is of: every second segment is acknowledged
STREAM = 1 << 24  # bytes of each ring of the socket: the data of a replay fit
LEAST = 8  # bytes of data in segments that are all header work

_numbers = count()


@dataclass(frozen=True)
class Case:
    """A measurement: the mode, the per-byte work and the number of cores."""

    mode: str
    work: str
    replicas: int


class Direction(NamedTuple):
    """The figures of one direction."""

    gbps: float  # of the data, all connections together
    ns: float  # from one request to the next: a segment received, or an acknowledgement of two segments sent
    header_ns: float  # the same with hardly any data (received), or without the work on them (sent); 0: not measured
    follow_ns: float  # a replica's time for a request of which another is the primary; 0 if there is no other
    requests: float  # requests in the channel of all state for each of these
    handoff_ns: float = 0.0  # how far apart two cores were (`scout.tools.bench.placement`)


Figures = dict[str, Direction]
"""The figures of one measurement, by direction."""


def host_graph(name: str, port: Any, address: str, tcp: Tcp, apps: ApplicationPort) -> RouterGraph:
    """A host with one interface and applications that use TCP."""
    graph = RouterGraph(name)
    graph.add(Ethernet("eth0", port))
    graph.add(Ip("ip", {"eth0": f"{address}/24"}))
    graph.add(Arp("arp", capacity=64))
    graph.add(Icmp("icmp"))
    graph.add(tcp)
    graph.add(Applications("apps", apps))
    graph.connect("icmp", "ip", "eth0")
    graph.connect("ip", "arp", "eth0")
    graph.connect("apps", "tcp", "ip")
    graph.connect("tcp", "icmp")
    return graph


def host_paths(graph: RouterGraph) -> list[Path]:
    """Its paths: the segments of a connection become requests in the order in which they came."""
    return [graph.create_path("eth0", order="channel"), graph.create_path("apps")]


class _Host:
    """A host with one connection's application above, and a peer in memory below."""

    def __init__(self, mode: str, secured: bool) -> None:
        self._secured = secured
        self.name = f"bench-tcp-{os.getpid()}-{next(_numbers)}"
        self.port = ReplayPort("02:00:00:00:00:01", ENTRIES)
        self.apps = ApplicationPort(self.name, stream_bytes=STREAM, entries=ENTRIES)
        tcp = LockedTcp("tcp") if mode == "locked" else Tcp("tcp")
        self.graph = host_graph("bench_tcp", self.port, OURS, tcp, self.apps)
        arp: Any = self.graph.router("arp")
        arp.pin(0, PEER, "02:00:00:00:00:02")
        self.paths = host_paths(self.graph)

    def supervisor(self, replicas: int, cores: Sequence[int]) -> Supervisor:
        return Supervisor(self.graph, self.paths, replicas, cores, report=lambda line: None)

    def connection(self) -> Connection:
        assert self.apps.feed
        return Connection(self.port, self.apps.feed.ring, self.name, self._secured)


class Trial:
    """The measurement of one case, as often as it is wanted."""

    def __init__(self, case: Case) -> None:
        self.case = case
        alone = case.mode in ("sharded", "independent")
        self._handoff_ns = 0.0
        self._each = 1 if alone else case.replicas
        self._hosts = [_Host(case.mode, case.work == SECURED) for _ in range(case.replicas if alone else 1)]

    @contextmanager
    def _running(self) -> Iterator[tuple[list[Connection], list[Supervisor]]]:
        """Run the hosts, with the connections that take part."""
        cores = usable_cores()[::-1]
        with ExitStack() as stack:
            supervisors = [
                stack.enter_context(host.supervisor(self._each, cores[index:] + cores[:index]))
                for index, host in enumerate(self._hosts)
            ]
            taking_part = self._hosts[:1] if self.case.mode == "sharded" else self._hosts
            connections = [host.connection() for host in taking_part]
            for connection in connections:
                stack.callback(connection.close)
            yield connections, supervisors

    def measure(self) -> Figures:
        """Measure once."""
        self._handoff_ns = handoff_ns()
        with self._running() as (connections, supervisors):
            if self.case.work == SECURED:
                return {
                    "receive": self._direction(connections, supervisors[0], _RECEIVE_RECORDS, None),
                    "send": self._direction(connections, supervisors[0], _SEND_RECORDS, None),
                }
            return {
                "receive-apart": self._direction(connections, supervisors[0], _RECEIVE_APART, _RECEIVE_LITTLE_APART),
                "receive": self._direction(connections, supervisors[0], _RECEIVE, _RECEIVE_LITTLE),
                "send": self._direction(connections, supervisors[0], _SEND, None),
            }

    def _direction(
        self, connections: Sequence[Connection], supervisor: Supervisor, whole: "_Lap", little: "_Lap | None"
    ) -> Direction:
        (ns, requests), header = _fastest(connections, whole), 0.0
        if self.case.work != SECURED:
            self._bare(little is None)
            header, _ = _fastest(connections, little or whole)
            self._bare(False)
        following = 0.0
        if self.case.mode == "replicated" and self._each > 1:
            following = _least(_followed(connections[0], supervisor, whole) for _ in range(TRIES * LAPS))
        gbps = 8 * whole.size * len(connections) / ns
        return Direction(gbps, ns, header, following, requests, self._handoff_ns)

    def _bare(self, is_bare: bool) -> None:
        for host in self._hosts:
            host.port.bare(is_bare)


class _Lap(NamedTuple):
    """A replay that is done again and again."""

    segments: int
    size: int  # bytes of data of each
    make: Callable[[Connection, int, int], Replay]
    settle: Callable[[Connection], bool]

    def made(self, connection: Connection) -> Replay:
        return self.make(connection, self.segments, self.size)


_RECEIVE = _Lap(SEGMENTS, SEGMENT, Connection.arriving, Connection.read)
_RECEIVE_LITTLE = _RECEIVE._replace(size=LEAST)
_RECEIVE_APART, _RECEIVE_LITTLE_APART = (
    lap._replace(make=partial(Connection.arriving, windows=2)) for lap in (_RECEIVE, _RECEIVE_LITTLE)
)
_RECEIVE_RECORDS = _RECEIVE._replace(segments=SEGMENTS // (RECORD // SEGMENT) * (RECORD // SEGMENT))
_SEND = _Lap(ACKNOWLEDGEMENTS, SENT_AT_ONCE, Connection.acknowledging, Connection.finish)
_SEND_RECORDS = _Lap(SEALED, SENT_AT_ONCE, Connection.sealing, Connection.finish)


def _fastest(connections: Sequence[Connection], lap: _Lap) -> tuple[float, float]:
    """Nanoseconds from one segment to the next, each connection having its own; requests that a segment becomes."""
    times: list[int] = []
    made: list[int] = []
    for lap_number in range(WARM_UP + TRIES * LAPS):
        expected = min(times, default=0) * 4 // 5  # a sleep that is too long would count
        replays = [lap.made(each) for each in connections]
        time = run_together(replays, expected)
        whole = [lap.settle(each) for each in connections]
        if all(whole) and lap_number >= WARM_UP:
            times.append(time)
            made += [replay.requests for replay in replays]
        if len(times) == LAPS:
            break
    return _least(times) / lap.segments, median(made) / lap.segments


def _least(times: Iterable[float | None]) -> float:
    """The least time of the first replays that went through undisturbed; the others have none."""
    undisturbed = list(islice((time for time in times if time is not None), LAPS))
    if not undisturbed:
        raise ScoutError("no replay went through undisturbed; is the machine busy?")
    return min(undisturbed)


def _followed(connection: Connection, supervisor: Supervisor, lap: _Lap) -> float | None:
    """Nanoseconds that the last replica takes for a segment of which another one was the primary.

    None if the replay was disturbed.
    """
    last = max(supervisor.processes)
    replay, process = lap.made(connection), supervisor.processes[last]
    replay.settle()  # one that is stopped at work would keep the others from the end
    os.kill(process.pid, signal.SIGSTOP)
    try:
        replay.publish()
        replay.finish(EVERYONE & ~(1 << last))
        start = replay.now()
    finally:
        os.kill(process.pid, signal.SIGCONT)
    time = replay.finish() - start
    return time / lap.segments if lap.settle(connection) else None
