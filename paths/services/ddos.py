"""DDoS mitigator: drops packets of sources that send more than a threshold in a window of time.

Usage: DdosMitigator(name, threshold, window, capacity, full, mode, connects)
Requires and provides: one service, of the type `connects`.

Every replica counts the packets of each source address (the program of State-Compute Replication, Xu et al.,
NSDI 2025). A source's window begins with its first packet and lasts `window` seconds of the packets' own time. In each
window `threshold` packets pass and the rest are dropped; then counting begins anew. Packets other than IPv4 pass.

A GSO packet counts as the packets that the device will make of it. It passes as a whole if the first of them does.

State
    `sources`, a row for each source address. A source that sends nothing for a window gives up its row.
Events and handlers
    arrival: `mitigate`, on every replica.
    `ATTACK`: a source has gone over the threshold, once in a window; the argument is its address. `note`, on the
    primary, counts it.
Drops
    ddos: the source is over the threshold.
Modes
    replicated, sharded, locked. Not atomic: forged addresses make sources take the rows of others, and a row has more
    words than one atomic instruction can change.
Example
    DdosMitigator("mitigator", threshold=1000, window=1.0)
"""

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

import numpy as np

from scout.io.access import load32, require
from scout.io.packet import SECOND
from scout.paths.framework.events import Event, Handler, raise_event
from scout.paths.framework.flow_table import new_table, place, policy_of
from scout.paths.framework.service import Service
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.wire import ipv4
from scout.paths.wire.address import Address
from scout.paths.wire.flow import KNOWN
from scout.paths.wire.segments import segments

__all__ = ["ATTACK", "DdosMitigator", "mitigate", "note"]

DDOS = drop("ddos")

ATTACK = Event("ddos-attack")
"""A source has gone over the threshold; the argument is its address."""


def mitigate(
    frame: Any, end: Any, packet: Any, sources: Any, counts: Any, events: Any, threshold: int, window: int, policy: int
) -> int:
    """Count the packet for its source; drop it if there were too many."""
    if not require(frame, end, ipv4.HEADER):
        return 0
    address = load32(frame, ipv4.SOURCE)
    row = place(sources, counts, KNOWN | address, 1, packet.timestamp, window, policy)
    if row < 0:
        return 0
    source = sources[row]
    if source.packets == 0 or packet.timestamp - source.since >= window:
        source.since = packet.timestamp
        source.packets = 0
    before = source.packets
    source.packets += segments(frame, end, packet)[0]
    if before <= threshold < source.packets:
        raise_event(events, ATTACK, address)
    return 0 if before < threshold else DDOS


def note(frame: Any, end: Any, argument: int, attacks: Any) -> int:
    """Count an attack."""
    attacks[0] += 1
    attacks[1] = argument
    return 0


class DdosMitigator(Service):
    """Drops packets of sources that send too many.

    Parameters
    ----------
    name : str
    threshold : int
        Packets of a source that pass in a window.
    window : float
        Seconds.
    capacity : int
        About how many sources are counted at a time; a power of two.
    full : {"evict", "refuse"}
        The treatment of a new source when the table is full. "evict": it takes the row of the source that has sent
        nothing for longest (counted as `evicted`). "refuse": its packets pass uncounted (counted as `table-full`).
    mode, connects : str
        As for `Service`; all modes but "atomic". In mode "sharded" each replica counts a source's packets for itself,
        so that a source with flows in several replicas may send as many times the threshold.

    Attributes
    ----------
    attacks : Table
        int64[2], of each replica: how many attacks it noted as a primary; the address of the last source (host order).

    Raises
    ------
    GraphError
        If the threshold, the window or `full` makes no sense.

    Examples
    --------
    ::

        graph.add(DdosMitigator("mitigator", threshold=1000))
        graph.connect("ip", "mitigator", "left")
    """

    def __init__(
        self,
        name: str,
        threshold: int,
        window: float = 1.0,
        capacity: int = 1 << 14,
        full: str = "evict",
        mode: str = "replicated",
        connects: str = "ipv4",
    ) -> None:
        if threshold < 1 or not 1e-6 <= window <= 86400:
            raise GraphError(
                f"{name}: {threshold} packets in {window} seconds; give 1 packet or more and a microsecond to a day"
            )
        self.attacks = Table(np.zeros(2, np.int64), "private")
        super().__init__(
            name,
            {"sources": new_table(capacity, [("packets", "i8"), ("since", "i8")])},
            [Handler(mitigate), Handler(note, ATTACK, run="primary")],
            connects,
            mode,
            attacks=self.attacks,
            threshold=threshold,
            window=int(window * SECOND),
            policy=policy_of(name, full),
        )

    def read(self, sources: np.ndarray | None = None) -> dict[Address, int]:
        """Packets in the present window, by source address: in a replica's copy of the table, or in plain runs."""
        found = self.rows("sources", sources)
        return {IPv4Address(int(row["key"]) ^ KNOWN): int(row["packets"]) for row in found}

    def found(self, attacks: Iterable[np.ndarray] | None = None) -> int:
        """How many attacks were noted: by the replicas whose copies are given, or in plain runs."""
        return sum(int(array[0]) for array in ([self.attacks.initial] if attacks is None else attacks))
