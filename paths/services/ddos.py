"""DDoS mitigator: drops the packets of sources that send more than so many in a window of time.

Usage: DdosMitigator(name, threshold, window, capacity, full, mode, service)
Requires and provides: one service, of the type that is given.
Drops: ddos.

Every replica counts the packets of each source address (the program of State-Compute Replication, Xu et al.,
NSDI 2025). A source's window begins with its first packet and lasts `window` seconds of the packets' own time; in
each, `threshold` packets pass and the rest are dropped; then counting begins anew. The first packet dropped in a
window raises `ATTACK`, whose primary counts it. A source that sends nothing for a window gives up its row.

Not in mode "atomic": a row that changes hands, as rows must when addresses are forged, is more than one word.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from scout.io.access import load32, require
from scout.paths.framework.events import Event, Handler, raise_event
from scout.paths.framework.service import Service
from scout.paths.framework.table import EVICT, REFUSE, new_table, place, rows
from scout.paths.model.graph import GraphError
from scout.paths.model.stage import Table, drop
from scout.paths.wire.flow import HEADER, KNOWN, SOURCE

__all__ = ["ATTACK", "DdosMitigator", "mitigate", "note"]

DDOS = drop("ddos")

ATTACK = Event("ddos-attack")
"""A source has gone over the threshold; the argument is its address."""

SECOND = 1_000_000_000


def mitigate(
    frame: Any, end: Any, packet: Any, sources: Any, counts: Any, events: Any, threshold: int, window: int, policy: int
) -> int:
    """Count the packet for its source; drop it if there were too many."""
    if not require(frame, end, HEADER):
        return 0
    address = load32(frame, SOURCE)
    row = place(sources, counts, KNOWN | address, 1, packet.timestamp, window, policy)
    if row < 0:
        return 0
    source = sources[row]
    if source.packets == 0 or packet.timestamp - source.since >= window:
        source.since = packet.timestamp
        source.packets = 0
    source.packets += 1
    if source.packets <= threshold:
        return 0
    if source.packets == threshold + 1:
        raise_event(events, ATTACK, address)
    return DDOS


def note(frame: Any, end: Any, argument: int, attacks: Any) -> int:
    """Count an attack."""
    attacks[0] += 1
    attacks[1] = argument
    return 0


class DdosMitigator(Service):
    """Drops what sources send too much of.

    Parameters
    ----------
    name : str
    threshold : int
        Packets of a source that pass in a window.
    window : float
        Seconds.
    capacity : int
        Sources that are counted at a time at most, about; a power of two.
    full : {"evict", "refuse"}
        What becomes of a new source when the table is full: it takes the row of the one that has sent nothing for
        longest (counted as `evicted`), or its packets pass uncounted (and the account has them as `table-full`).
    mode, service : str
        As for `Service`; all modes but "atomic". In mode "sharded" a source has its count in each replica
        that one of its flows goes to, so that as many times the threshold may pass.

    Attributes
    ----------
    attacks : Table
        int64[2]: windows in which a replica, as a primary, saw the threshold passed; the last source.
    """

    def __init__(
        self,
        name: str,
        threshold: int,
        window: float = 1.0,
        capacity: int = 1 << 14,
        full: str = "evict",
        mode: str = "replicated",
        service: str = "ipv4",
    ) -> None:
        if threshold < 1 or not 1e-6 <= window <= 86400:
            raise GraphError(
                f"{name}: {threshold} packets in {window} seconds; give 1 packet or more and a microsecond to a day"
            )
        if full not in ("evict", "refuse"):
            raise GraphError(f"{name}: full={full!r}; use evict or refuse")
        self.attacks = Table(np.zeros(2, np.int64), "private")
        super().__init__(
            name,
            {"sources": new_table(capacity, [("packets", "i8"), ("since", "i8")])},
            [Handler(mitigate), Handler(note, ATTACK, run="primary")],
            service,
            mode,
            attacks=self.attacks,
            threshold=threshold,
            window=int(window * SECOND),
            policy=EVICT if full == "evict" else REFUSE,
        )

    def read(self, sources: np.ndarray | None = None) -> dict[int, int]:
        """Packets in the window at hand, by source address: in a replica's copy of the table, or in plain runs."""
        found = rows(self.tables["sources"].initial if sources is None else sources)
        return {int(row["key"]) ^ KNOWN: int(row["packets"]) for row in found}

    def found(self, attacks: Iterable[np.ndarray] | None = None) -> int:
        """How many attacks were seen: by the replicas whose copies are given, or in plain runs."""
        return sum(int(array[0]) for array in ([self.attacks.initial] if attacks is None else attacks))
