"""Port knocking: closes a TCP port to all sources but those that knocked at other ports before, in the right order.

Usage: PortKnocking(name, port, knocks, within, stays, capacity, full, mode, connects)
Requires and provides: one service, of the type `connects`.

Every replica runs an automaton for each source address (the program of State-Compute Replication, Xu et al.,
NSDI 2025). A knock is a TCP SYN or a UDP datagram to a port of `knocks`; knocks pass on like all other packets. If a
source knocks at all of them in order, within `within` seconds from the first knock to the last, it has `port` open for
`stays` seconds after the last knock, or after the last packet to the port. A SYN or a datagram to any other port makes
it begin again, so that a scan of all ports does not open the port. A fragment of a TCP segment may not show its port:
it passes only from a source that has the port open.

State
    `sources`, a row for each source address that has begun to knock.
Events and handlers
    arrival: `guard`, on every replica.
Drops
    port-closed: a packet to the port, from a source that has not knocked.
    port-hidden: a TCP segment that does not show its port, from such a source.
Modes
    replicated, locked.
Example
    PortKnocking("knock", 22, (7000, 8000, 9000))
"""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import numpy as np

from scout.io.access import load8, load16, load32, require
from scout.io.packet import SECOND
from scout.paths.framework.check import refuse_sharded
from scout.paths.framework.events import Handler
from scout.paths.framework.flow_table import find, new_table, place, policy_of
from scout.paths.framework.service import Service
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.wire import ipv4, tcp
from scout.paths.wire.address import Address
from scout.paths.wire.flow import KNOWN, ports_at

__all__ = ["PortKnocking", "guard"]

CLOSED, HIDDEN = drop("port-closed"), drop("port-hidden")

MOST_KNOCKS = 16


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
    """Follow the knocks of the packet's source; drop a packet to the port from a source that has not knocked."""
    if not require(frame, end, ipv4.HEADER):
        return 0
    protocol = load8(frame, ipv4.PROTOCOL)
    if protocol != ipv4.TCP and protocol != ipv4.UDP:
        return 0
    now = packet.timestamp
    key = KNOWN | load32(frame, ipv4.SOURCE)
    row = find(sources, key, 1, now, lifetime)
    at = ports_at(frame, end)
    if at == 0 or (protocol == ipv4.TCP and not require(frame, end, at + tcp.FLAGS + 1)):
        # A fragment of UDP cannot become a segment of TCP.
        return 0 if protocol == ipv4.UDP or (row >= 0 and now < sources[row].until) else HIDDEN
    wanted = load16(frame, at + tcp.DESTINATION)
    if protocol == ipv4.TCP and wanted == port:
        if row < 0 or now >= sources[row].until:
            return CLOSED
        sources[row].until = now + stays
        sources[row].used = now
        return 0
    if protocol == ipv4.TCP and load8(frame, at + tcp.FLAGS) & (tcp.SYN | tcp.ACK) != tcp.SYN:
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
    """Opens a TCP port to sources that knock.

    Parameters
    ----------
    name : str
    port : int
        The L4 port that is guarded.
    knocks : sequence of int
        The L4 ports to knock at, in order: 1 to 16 of them, none of them `port`.
    within : float
        Seconds that the knocks may take from the first to the last.
    stays : float
        Seconds that the port stays open without a packet to it.
    capacity : int
        About how many sources are followed; a power of two.
    full : {"refuse", "evict"}
        The treatment of a new source's first knock when the table is full. "refuse": it is ignored (counted as
        `table-full`). "evict": it takes the row of the source that has been idle for longest (counted as `evicted`),
        which then has to knock again.
    mode : str
        "replicated" or "locked". Not "sharded": the knocks of one source are several flows.
    connects : str
        As for `Service`.

    Raises
    ------
    GraphError
        If a port, a time or another parameter makes no sense.

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
        connects: str = "ipv4",
    ) -> None:
        wrong = [each for each in (port, *knocks) if not 0 < each < 65536]
        if wrong or port in knocks or not 1 <= len(knocks) <= MOST_KNOCKS:
            raise GraphError(
                f"{name}: port {port} opened by knocks at {tuple(knocks)}; give 1 to {MOST_KNOCKS} others of 1 to 65535"
            )
        if not 0 < within <= 86400 or not 0 < stays <= 86400:
            raise GraphError(f"{name}: within {within}, stays {stays} seconds; give more than 0 and at most a day")
        refuse_sharded(name, mode, "the knocks of one source")
        super().__init__(
            name,
            {"sources": new_table(capacity, [("until", "i8"), ("since", "i8"), ("knocked", "i8")])},
            [Handler(guard)],
            connects,
            mode,
            knocks=Table(np.array(knocks, np.int64), "constant"),
            port=port,
            within=int(within * SECOND),
            stays=int(stays * SECOND),
            lifetime=int(max(within, stays) * SECOND) + 1,
            policy=policy_of(name, full),
        )

    def open_to(self, now: int, sources: np.ndarray | None = None) -> set[Address]:
        """The addresses that have the port open at time `now` (the service's), in nanoseconds.

        `sources` is a replica's copy of the table; by default that of plain runs.
        """
        found = self.rows("sources", sources)
        return {IPv4Address(int(row["key"]) ^ KNOWN) for row in found if now < row["until"]}
