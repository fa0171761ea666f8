"""TCP whose replicas share one state under a lock: a baseline of `scout bench tcp`."""

from typing import Any

import numpy as np

from scout.paths.framework.state import acquire, release
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.stage import Emission, Stage
from scout.paths.model.table import Table
from scout.paths.protocols.tcp.router import Tcp
from scout.paths.protocols.tcp.serving import serve

__all__ = ["LockedTcp"]


def serve_locked(
    frame: Any,
    end: Any,
    packet: Any,
    primary: Any,
    lock: Any,
    holder: Any,
    hosts: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    deadlines: Any,
    outbox: Any,
    waiting: Any,
    sent: Any,
    secured: Any,
) -> int:
    """Serve a local request under the lock."""
    acquire(lock, holder)
    verdict = serve(
        frame, end, packet, primary, hosts, rows, bindings, connections, deadlines, outbox, waiting, sent, secured
    )
    release(lock)
    return verdict


class LockedTcp(Tcp):
    """`Tcp` whose state all replicas share: only the primary of a request serves it, and holds the lock meanwhile.

    Requests are served in the order in which their primaries take the lock, which need not be that of the channel. It
    is for benchmarks: a replica that dies takes state with it.
    """

    def configure(self, graph: RouterGraph) -> None:
        super().configure(graph)
        tables: Any = (self.hosts, self.rows, self.bindings, self.connections, self.deadline, self.secured)
        for table in tables:
            table.kind = "shared"
        self._lock, self._holder = Table(np.zeros(1, np.int64), "shared"), Table(np.zeros(1, np.int64), "number")

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        stage = super().stage(key, graph, attributes)
        if key != "serve":
            return stage
        bound = dict(stage.bindings) | {"lock": self._lock, "holder": self._holder}
        return Stage(serve_locked, stage.outcomes, bound, emits=Emission("transmit", self.waiting))
