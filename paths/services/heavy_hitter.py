"""Heavy hitter: finds the flows that send more than a threshold.

Usage: HeavyHitter(name, threshold, capacity, mode, connects)
Requires and provides: one service, of the type `connects`.

Every replica counts the packets and bytes of each flow (addresses, protocol, L4 ports; the program of State-Compute
Replication, Xu et al., NSDI 2025). A GSO packet counts as the packets that the device will make of it, with a header
each. A flow that comes when the table is full is not watched; its packets are counted as `table-full`.

State
    `flows`, a row for each flow.
Events and handlers
    arrival: `count`, on every replica.
    `HEAVY`: a packet has taken its flow's bytes over the threshold, once a flow; the argument is the flow's row.
    `note`, on the primary, counts it.
Drops
    nothing.
Modes
    replicated, sharded, locked, atomic.
Example
    HeavyHitter("heavy", threshold=1_000_000)
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from scout.paths.framework.events import Event, Handler, raise_event
from scout.paths.framework.flow_table import claim, new_table
from scout.paths.framework.service import Service
from scout.paths.framework.state import add_to
from scout.paths.model.table import Table
from scout.paths.services.counter import Counts
from scout.paths.wire.flow import Flow, five_tuple
from scout.paths.wire.segments import segments

__all__ = ["HEAVY", "HeavyHitter", "count", "note"]

HEAVY = Event("heavy")
"""A flow has gone over the threshold; the argument is its row."""


def count(frame: Any, end: Any, packet: Any, flows: Any, counts: Any, events: Any, threshold: int) -> int:
    """Count the packet for its flow."""
    key, more = five_tuple(frame, end)
    if key == 0:
        return 0
    row = claim(flows, counts, key, more)
    if row >= 0:
        packets, size = segments(frame, end, packet)
        add_to(flows, row, "packets", packets)
        # One addition both reads and writes the sum: so in every mode exactly one packet takes the flow over.
        before = add_to(flows, row, "bytes", size)
        if before <= threshold < before + size:
            raise_event(events, HEAVY, row)
    return 0


def note(frame: Any, end: Any, argument: int, alerts: Any) -> int:
    """Count an alert."""
    alerts[0] += 1
    return 0


class HeavyHitter(Service):
    """Finds heavy flows.

    Parameters
    ----------
    name : str
    threshold : int
        Bytes, from the IPv4 header on, that a flow may send before it is heavy.
    capacity : int
        About how many flows are watched; a power of two.
    mode, connects : str
        As for `Service`; all modes are allowed.

    Attributes
    ----------
    alerts : Table
        int64[1], of each replica: how many heavy flows it noted as a primary.

    Examples
    --------
    ::

        graph.add(HeavyHitter("heavy", threshold=1_000_000))
        graph.connect("ip", "heavy", "left")
    """

    def __init__(
        self,
        name: str,
        threshold: int = 1_000_000,
        capacity: int = 1 << 14,
        mode: str = "replicated",
        connects: str = "ipv4",
    ) -> None:
        self.alerts = Table(np.zeros(1, np.int64), "private")
        super().__init__(
            name,
            {"flows": new_table(capacity, [("packets", "i8"), ("bytes", "i8")])},
            [Handler(count), Handler(note, HEAVY, run="primary")],
            connects,
            mode,
            atomic=True,
            threshold=threshold,
            alerts=self.alerts,
        )

    def read(self, flows: np.ndarray | None = None) -> dict[Flow, Counts]:
        """The packets and bytes that each flow has sent: in a replica's copy of the table, or in plain runs."""
        found = self.rows("flows", flows)
        return {
            Flow.from_five_tuple(int(row["key"]), int(row["more"])): Counts(int(row["packets"]), int(row["bytes"]))
            for row in found
        }

    def found(self, alerts: Iterable[np.ndarray] | None = None) -> int:
        """How many heavy flows were noted: by the replicas whose copies are given, or in plain runs."""
        return sum(int(array[0]) for array in ([self.alerts.initial] if alerts is None else alerts))
