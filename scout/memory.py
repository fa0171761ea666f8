"""What domains work on: memory that the supervisor makes, before it forks them, and shares with them.

It outlives them: a successor goes on with what a dead replica had.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scout.domain import PATIENCE, CompiledDomain, run_domain
from scout.io.batch import new_batch
from scout.io.hold import HOLD, MOST_HELD, new_hold
from scout.io.packet import PACKET
from scout.io.system import WAITER
from scout.paths.compiler import CompiledPath, configuration
from scout.paths.graph import RouterGraph
from scout.paths.stage import Table
from scout.ring.membership import MOST_REPLICAS
from scout.ring.schedule import HEAD
from scout.ring.shared import LINE, address, private, shared
from scout.ring.snapshot import Snapshots

__all__ = ["Memory"]

_NAP = 1_000_000  # nanoseconds that a domain which rests sleeps before it looks at its orders


class Memory:
    """The memory of all replicas of a run.

    Parameters
    ----------
    graph : RouterGraph
    compiled : sequence of CompiledPath
    domain : CompiledDomain
    strategy : int
        How replicas wait for packets (`scout.ring.wait`).

    Attributes
    ----------
    counters : dict of str to numpy.ndarray
        For each path, by its source, what each replica counted: int64[replica, counter].
    holds : numpy.ndarray
        What each replica holds (`scout.io.hold`).
    orders : numpy.ndarray
        int64[replica, 8]: the first word tells a domain to run, to rest or to stop.
    places : dict of int to numpy.ndarray
        For each replica how far it was in each path's channel when it saved its newest snapshot.
    snapshots : Snapshots
    """

    def __init__(
        self, graph: RouterGraph, compiled: Sequence[CompiledPath], domain: CompiledDomain, strategy: int
    ) -> None:
        self._graph, self._compiled, self._domain, self._strategy = graph, compiled, domain, strategy
        lines = LINE // 8
        self.counters = {
            each.path.source: shared((MOST_REPLICAS, -(-len(each.path.counter_names) // lines) * lines), np.int64)
            for each in compiled
        }
        self.holds = shared(MOST_REPLICAS, HOLD)
        self.orders = shared((MOST_REPLICAS, lines), np.int64)
        self.orders[:, PATIENCE // 8 + 1] = _NAP
        self.snapshots = Snapshots()
        self.places: dict[int, np.ndarray] = {}
        self._heads = shared((MOST_REPLICAS, max(1, len(compiled))), HEAD)
        for index, each in enumerate(compiled):
            self._heads["weight"][:, index] = each.path.weight
            self._heads["deadline"][:, index] = each.path.deadline
        self._common = {
            id(table): table.initial if table.kind == "constant" else _copied(table.initial)
            for table in domain.tables
            if table.kind in ("constant", "shared")
        }
        self._tables: dict[int, dict[int, np.ndarray]] = {}
        self._kept: dict[int, list[Any]] = {}  # what arguments refer to by address
        self._arguments: dict[int, tuple[Any, ...]] = {}

    def table(self, table: Table, replica: int) -> np.ndarray:
        """A replica's copy of a stage's table."""
        return self._tables[replica][id(table)]

    def knows(self, replica: int) -> bool:
        """True if a replica of this number has its memory."""
        return replica in self._arguments

    def enlist(self, replica: int) -> None:
        """Give a replica its memory, and its end of every port."""
        tables = dict(self._common)
        for table in self._domain.tables:
            if id(table) not in tables:
                tables[id(table)] = _copied(table.initial)
                if table.kind == "number":
                    tables[id(table)][:] = replica + 1
        self._tables[replica] = tables
        self.places[replica] = places = shared(max(1, len(self._compiled)), np.int64)
        self.snapshots.enlist(replica, [*(tables[id(table)] for table in self._domain.state), places])
        batch, slots = new_batch()
        made, room = new_batch(1)
        hold = self.holds[replica : replica + 1]
        waiter, descriptors = self._waiter()
        self._kept[replica] = [slots, room, new_hold(hold), descriptors]
        ports: list[np.ndarray] = []
        for name in self._graph.ports:
            port, own = self._graph.router(name).port, slice(replica, replica + 1)
            port.enlist(replica)
            ports += [port.ring, port.cursors[own], port.transmits[own]]
        paths: list[np.ndarray] = []
        for each in self._compiled:
            paths += [self.counters[each.path.source][replica], configuration(each.path)]
        self._arguments[replica] = (
            replica,
            address(self.orders[replica]),
            waiter,
            batch,
            private(MOST_HELD, PACKET),
            made,
            hold,
            max((each.whole() for each in self._compiled), key=len),
            self.snapshots.parts[replica],
            places,
            self.snapshots.notes[replica],
            self.snapshots.buffers(replica),
            self.snapshots.size,
            self._heads[replica],
            *ports,
            *paths,
            *(tables[id(table)] for table in self._domain.tables),
        )

    def serve(self, replica: int, core: int | None) -> None:
        """Be the domain of a replica, pinned to a core; for a process of its own."""
        run_domain(core, self._domain.serve, self._arguments[replica])

    def _waiter(self) -> tuple[np.ndarray, np.ndarray]:
        ports = [self._graph.router(name).port for name in self._graph.ports]
        files = [port.descriptor for port in ports if port.descriptor is not None]
        descriptors = private((max(1, len(files)), 2), np.int32)
        for index, file in enumerate(files):
            descriptors[index] = (file, 1)  # POLLIN
        waiter = private(1, WAITER)
        waiter["descriptors"], waiter["count"] = address(descriptors), len(files)
        waiter["strategy"] = self._strategy
        waiter["timeout"] = 10 if len(files) == len(ports) else 0
        return waiter, descriptors


def _copied(initial: np.ndarray) -> np.ndarray:
    array = shared(initial.shape, initial.dtype)
    array[:] = initial
    return array
