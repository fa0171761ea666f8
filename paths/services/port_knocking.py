"""Port knocking: a TCP port that is closed to who has not knocked at others before, in the right order.

Usage: PortKnocking(name, port, knocks, within, stays, capacity, full, mode, service)
Requires and provides: one service, of the type that is given.
Drops: port-closed, port-hidden.

Every replica runs an automaton for each source address (the program of State-Compute Replication, Xu et al.,
NSDI 2025). A knock is a TCP SYN or a UDP datagram to a port that `knocks` names; knocks pass on like all else. Who
knocks at all of them in order, within `within` seconds from the first to the last, has `port` open for `stays`
seconds after the last knock, or the last packet to it. A SYN or a datagram to any other port begins anew, so
that who scans all ports does not get in by chance. A fragment of a TCP segment may hide the port that it is for: it
passes only from who has the port open.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scout.io.access import load8, load16, load32, require
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.framework.table import EVICT, REFUSE, find, new_table, place, rows
from scout.paths.model.graph import GraphError
from scout.paths.model.stage import Table, drop
from scout.paths.wire.flow import HEADER, KNOWN, PROTOCOL, SOURCE, TCP, UDP, ports_at

__all__ = ["PortKnocking", "guard"]

CLOSED, HIDDEN = drop("port-closed"), drop("port-hidden")

FLAGS, SYN, ACK = 13, 0x02, 0x10  # offset in the TCP header (RFC 9293 section 3.1), and bits
MOST_KNOCKS = 16
SECOND = 1_000_000_000


def guard(
    frame: Any,
    end: Any,
    packet: Any,
    sources: Any,
    counts: Any,
    knocks: Any,
    port: int,
    within: int,
    stays: int,
    lifetime: int,
    policy: int,
) -> int:
    """Follow a source's knocks; drop what is for the port from who has not knocked."""
    if not require(frame, end, HEADER):
        return 0
    protocol = load8(frame, PROTOCOL)
    if protocol != TCP and protocol != UDP:
        return 0
    now = packet.timestamp
    key = KNOWN | load32(frame, SOURCE)
    row = find(sources, key, 1, now, lifetime)
    at = ports_at(frame, end)
    if at == 0 or (protocol == TCP and not require(frame, end, at + FLAGS + 1)):
        # Nothing is reassembled from datagrams that are for no port of TCP.
        return 0 if protocol == UDP or (row >= 0 and now < sources[row].until) else HIDDEN
    wanted = load16(frame, at + 2)
    if protocol == TCP and wanted == port:
        if row < 0 or now >= sources[row].until:
            return CLOSED
        sources[row].until = now + stays
        sources[row].used = now
        return 0
    if protocol == TCP and load8(frame, at + FLAGS) & (SYN | ACK) != SYN:
        return 0
    if row < 0:
        if wanted != knocks[0]:
            return 0
        row = place(sources, counts, key, 1, now, lifetime, policy)
        if row < 0:
            return 0
    source = sources[row]
    if source.knocked == 0 or wanted != knocks[source.knocked] or now - source.since > within:
        source.knocked = 0
        if wanted != knocks[0]:
            return 0
        source.since = now
        source.used = now
    source.knocked += 1
    if source.knocked == len(knocks):
        source.knocked = 0
        source.until = now + stays
        source.used = now
    return 0


class PortKnocking(Service):
    """Opens a TCP port to those who knock.

    Parameters
    ----------
    name : str
    port : int
        The port that is guarded.
    knocks : sequence of int
        The ports to knock at, in order: 1 to 16, none of them `port`.
    within : float
        Seconds that the knocks may take from the first to the last.
    stays : float
        Seconds that the port stays open without a packet to it.
    capacity : int
        Sources that are followed at most, about; a power of two.
    full : {"refuse", "evict"}
        What becomes of a new source's first knock when the table is full: it is ignored (and counted as
        `table-full`), or takes the row of the source that has done nothing for longest (counted as
        `evicted`), which has to knock again.
    mode : str
        "replicated" or "locked". Not "sharded": the knocks of one source are several flows.
    service : str
        As for `Service`.

    Examples
    --------
    ::

        graph.add(PortKnocking("knock", 22, (7000, 8000, 9000)))
        graph.connect("ip", "knock", "left")
    """

    def __init__(
        self,
        name: str,
        port: int,
        knocks: Sequence[int],
        within: float = 5.0,
        stays: float = 60.0,
        capacity: int = 1 << 14,
        full: str = "refuse",
        mode: str = "replicated",
        service: str = "ipv4",
    ) -> None:
        wrong = [each for each in (port, *knocks) if not 0 < each < 65536]
        if wrong or port in knocks or not 1 <= len(knocks) <= MOST_KNOCKS:
            raise GraphError(
                f"{name}: port {port} opened by knocks at {tuple(knocks)}; give 1 to {MOST_KNOCKS} others of 1 to 65535"
            )
        if not 0 < within <= 86400 or not 0 < stays <= 86400:
            raise GraphError(f"{name}: within {within}, stays {stays} seconds; give more than 0 and at most a day")
        if full not in ("evict", "refuse"):
            raise GraphError(f"{name}: full={full!r}; use evict or refuse")
        if mode == "sharded":
            raise GraphError(f"{name}: mode 'sharded' would part the knocks of one source; use replicated or locked")
        super().__init__(
            name,
            {"sources": new_table(capacity, [("until", "i8"), ("since", "i8"), ("knocked", "i8")])},
            [Handler(guard)],
            service,
            mode,
            knocks=Table(np.array(knocks, np.int64), "constant"),
            port=port,
            within=int(within * SECOND),
            stays=int(stays * SECOND),
            lifetime=int(max(within, stays) * SECOND) + 1,
            policy=EVICT if full == "evict" else REFUSE,
        )

    def open_to(self, now: int, sources: np.ndarray | None = None) -> set[int]:
        """The sources that have the port open at time `now`: by a replica's copy of the table, or in plain runs."""
        found = rows(self.tables["sources"].initial if sources is None else sources)
        return {int(row["key"]) ^ KNOWN for row in found if now < row["until"]}
