"""Connection tracking: follows TCP connections in both directions, and drops segments that belong to none.

Usage: ConnectionTracking(name, strict, timeouts, capacity, full, mode, connects, sequenced)
Requires and provides: one service, of the type `connects`.

Every replica keeps each connection's state (the program of State-Compute Replication, Xu et al., NSDI 2025), as a
middle box sees it (`scout.paths.services.tcp_states`). A connection begins with a SYN; a SYN may also replace a
connection in CLOSED, or, with a greater number, in TIME_WAIT (RFC 9293 section 3.6.1, MAY-2). Any other SYN within a
connection passes and changes nothing, unless the other end answers it with a SYN: then both ends have lost the old
connection, and the new one takes its place. A connection ends when no segment of it is seen for its state's time.

Sequence numbers are checked as far as windows need not be known: what is acknowledged was sent (section 3.10.7.4), and
data is within 2^30, the largest window (RFC 7323 section 2.3), of what was last acknowledged. A reset closes the
connection if it has the exact number (section 3.10.7.4, RFC 5961). Other resets pass and change nothing: the end that
receives them answers with a challenge. Checksums are not verified; the ends do that.

Its ports share one channel (`sequenced`), so that no replica sees the answer to a segment before the segment. With
sequenced=False each port has a channel of its own: a replica may then see an answer first, and treats it as a segment
of no connection.

State
    `connections`, a row for each connection, and `sides`, two rows for each. `misfits`, the segments that belong to no
    connection, by reason; of a GSO packet all segments count.
Events and handlers
    arrival: `track`, on every replica.
Drops
    All only if `strict`; else such packets pass and are counted.
    tcp-no-connection: no connection, and no SYN.
    tcp-bad-flags: no TCP sends these flags together.
    tcp-bad-header: the TCP header is not whole, or longer than the packet.
    tcp-fragment: a fragment, which does not show its connection.
    tcp-out-of-window: its sequence or acknowledgement number is not possible in the connection.
    tcp-table-full: a new connection finds the table full, and `full` is "refuse".
Modes
    replicated, sharded, locked.
Example
    ConnectionTracking("tracking")
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any, NamedTuple

import numpy as np

from scout.io.access import load8, load16, load32, require
from scout.io.packet import SECOND
from scout.paths.framework.events import Handler
from scout.paths.framework.flow_table import find, new_table, place, policy_of
from scout.paths.framework.service import Service
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.services.endpoint import Endpoint
from scout.paths.services.tcp_states import SIDE, STATES, begin, follow, is_possible, may_replace
from scout.paths.wire import ipv4, tcp
from scout.paths.wire.flow import ports_at
from scout.paths.wire.segments import segments
from scout.paths.wire.tcp import ACK, FIN, RST, SYN, tcp_header_length

__all__ = ["TIMEOUTS", "Connection", "ConnectionTracking", "track"]

TIMEOUTS = {
    "SYN_SENT": 240.0,  # RFC 5382 section 5, REQ-5: four minutes for a connection that is not established
    "SYN_RECEIVED": 240.0,
    "ESTABLISHED": 7440.0,  # the same: two hours and four minutes
    "FIN_WAIT": 240.0,
    "CLOSE_WAIT": 7440.0,  # a half-closed connection may go on: RFC 9293 section 3.6.1
    "LAST_ACK": 240.0,
    "TIME_WAIT": 240.0,  # 2 MSL: RFC 9293 section 3.4.2
    "CLOSED": 10.0,
}
"""Seconds without a packet after which a connection is forgotten, by state."""

NO_CONNECTION, BAD_FLAGS, BAD_HEADER = drop("tcp-no-connection"), drop("tcp-bad-flags"), drop("tcp-bad-header")
A_FRAGMENT, OUT_OF_WINDOW, TABLE_FULL = drop("tcp-fragment"), drop("tcp-out-of-window"), drop("tcp-table-full")

REASONS = (NO_CONNECTION, BAD_FLAGS, BAD_HEADER, A_FRAGMENT, OUT_OF_WINDOW, TABLE_FULL)
"""Why a segment belongs to no connection, by the row of `misfits` that counts it."""

_VERDICTS = tuple(int(reason) for reason in REASONS)  # numba takes a tuple of plain ints alone

MODULUS = 0xFFFFFFFF
ENDPOINT = 1 << 48  # in both words of a key, so that neither is 0: above an address and a port


class Connection(NamedTuple):
    """A connection as it is followed.

    `seen` is when its last segment came, in nanoseconds of the service's time.
    """

    state: str
    opener: Endpoint
    other: Endpoint
    seen: int


def track(
    frame: Any,
    end: Any,
    packet: Any,
    connections: Any,
    sides: Any,
    misfits: Any,
    counts: Any,
    lifetimes: Any,
    strict: int,
    policy: int,
) -> int:
    """Follow the connection that the segment belongs to; count the segment if it belongs to none."""
    verdict = judge(frame, end, packet, connections, sides, counts, lifetimes, policy)
    if verdict == 0:
        return 0
    row = 0
    while _VERDICTS[row] != verdict:
        row += 1
    misfits[row].packets += segments(frame, end, packet)[0]
    return verdict if strict else 0


def judge(
    frame: Any, end: Any, packet: Any, connections: Any, sides: Any, counts: Any, lifetimes: Any, policy: int
) -> int:
    """Let the segment change its connection; why it belongs to none, or 0."""
    if not require(frame, end, ipv4.HEADER) or load8(frame, ipv4.PROTOCOL) != ipv4.TCP:
        return 0
    if load16(frame, ipv4.FRAGMENT) & ipv4.FRAGMENTED:
        return A_FRAGMENT
    at, header = ports_at(frame, end), 0
    if at != 0 and require(frame, end, at + tcp.HEADER):
        header = tcp_header_length(frame, at)
    size = load16(frame, ipv4.TOTAL_LENGTH) - at - header
    if header < tcp.HEADER or size < 0:
        return BAD_HEADER
    flags = load8(frame, at + tcp.FLAGS) & (FIN | SYN | RST | ACK)
    if not is_possible(flags):
        return BAD_FLAGS

    now = packet.timestamp
    source = load32(frame, ipv4.SOURCE) << 16 | load16(frame, at)
    destination = load32(frame, ipv4.DESTINATION) << 16 | load16(frame, at + 2)
    side = 1 if source > destination else 0
    key, more = ENDPOINT | min(source, destination), ENDPOINT | max(source, destination)
    sequence, acknowledged = load32(frame, at + tcp.SEQUENCE), load32(frame, at + tcp.ACKNOWLEDGEMENT)
    row = find(connections, key, more, now, 0)  # `used` is when the row expires
    if flags == SYN and (row < 0 or may_replace(connections[row], sides[2 * row + side], sequence)):
        row = place(connections, counts, key, more, now, 0, policy)
        if row < 0:
            return TABLE_FULL
        begin(connections[row], sides, 2 * row, side)
    elif row < 0:
        return NO_CONNECTION
    fits = follow(connections[row], sides, 2 * row, side, flags, sequence, acknowledged, size)
    if fits < 0:
        return OUT_OF_WINDOW
    if fits:
        connections[row].used = now + lifetimes[connections[row].state]
    return 0


class ConnectionTracking(Service):
    """Follows TCP connections.

    It has to see both directions: connect it below all ports that connections go through, or between IP and the router
    that resolves next hops.

    Parameters
    ----------
    name : str
    strict : bool
        True: drop segments that belong to no connection. False: only count them.
    timeouts : mapping of str to float, optional
        Seconds by state, in place of those in `TIMEOUTS`.
    capacity : int
        About how many connections are followed; a power of two.
    full : {"refuse", "evict"}
        The treatment of a new connection when the table is full. "refuse": it is not followed (`tcp-table-full`).
        "evict": it takes the place of the connection that would be forgotten soonest (counted as `evicted`).
    mode, connects : str
        As for `Service`; all modes but "atomic".
    sequenced : bool
        True: replicas see the packets of all ports in one order (see `Service`).

    Raises
    ------
    GraphError
        If a time or `full` makes no sense.

    Examples
    --------
    ::

        graph.add(ConnectionTracking("tracking"))
        for port in ("left", "right"):
            graph.connect("ip", "tracking", port)
    """

    def __init__(
        self,
        name: str,
        strict: bool = True,
        timeouts: Mapping[str, float] | None = None,
        capacity: int = 1 << 14,
        full: str = "refuse",
        mode: str = "replicated",
        connects: str = "ipv4",
        sequenced: bool = True,
    ) -> None:
        for state, seconds in (timeouts or {}).items():
            if state not in TIMEOUTS or not 0 < seconds <= 86400 * 365:
                raise GraphError(
                    f"{name}: timeout {state}={seconds}; give more than 0 seconds for {', '.join(TIMEOUTS)}"
                )
        chosen = {"NONE": 0.0} | TIMEOUTS | dict(timeouts or {})
        self.lifetimes = np.array([int(chosen[state] * SECOND) for state in STATES])
        super().__init__(
            name,
            {
                # Row i's sides are in rows 2 i and 2 i + 1, the lesser endpoint's first.
                "connections": new_table(capacity, [("state", "i4"), ("opener", "i4")]),
                "sides": np.zeros(2 * capacity, SIDE),
                "misfits": np.zeros(len(REASONS), [("packets", "i8")]),
            },
            [Handler(track)],
            connects,
            mode,
            sequenced=sequenced,
            lifetimes=Table(self.lifetimes, "constant"),
            strict=int(strict),
            policy=policy_of(name, full),
        )

    def read(self, now: int, connections: np.ndarray | None = None) -> list[Connection]:
        """The connections at time `now` (the service's): in a replica's copy of the table, or in plain runs."""
        found = self.rows("connections", connections)
        return [
            Connection(
                STATES[row["state"]],
                _endpoint(int(row["more" if row["opener"] else "key"])),
                _endpoint(int(row["key" if row["opener"] else "more"])),
                int(row["used"] - self.lifetimes[row["state"]]),
            )
            for row in found
            if now < row["used"]
        ]

    def misfits(self, misfits: np.ndarray | None = None) -> dict[str, int]:
        """Segments that belonged to no connection, by reason: in a replica's copy of the table, or in plain runs."""
        found = self.tables["misfits"].initial if misfits is None else misfits
        return {reason.name: int(row["packets"]) for reason, row in zip(REASONS, found, strict=True)}


def _endpoint(word: int) -> Endpoint:
    return Endpoint(IPv4Address(word >> 16 & MODULUS), word & 0xFFFF)
