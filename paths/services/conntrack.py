"""Connection tracking: follows TCP connections in both directions, and drops what belongs to none.

Usage: ConnectionTracking(name, strict, timeouts, capacity, full, mode, service, sequenced)
Requires and provides: one service, of the type that is given.
Drops: tcp-no-connection, tcp-bad-flags, tcp-bad-header, tcp-fragment, tcp-out-of-window, tcp-table-full; all only if
strict.

Every replica keeps each connection's state (the program of State-Compute Replication, Xu et al., NSDI 2025), as
a middle box sees it (RFC 9293 section 3.3.2): SYN_SENT, SYN_RECEIVED (both have sent a SYN, also at once: section
3.5), ESTABLISHED, FIN_WAIT (one side has closed), CLOSE_WAIT (and the other has acknowledged that), LAST_ACK (both have
closed), TIME_WAIT (and both were acknowledged), CLOSED (reset). A connection begins with a SYN; one may take the
place of another in TIME_WAIT or CLOSED (section 3.6.1, MAY-2). It ends when nothing is seen for its state's time.

Sequence numbers are looked at as far as windows need not be known: what is acknowledged was sent (section
3.10.7.4), and data is within 2^30, the largest window (RFC 7323 section 2.3), of what was last acknowledged. A
reset counts if it has the exact number (section 3.10.7.4, RFC 5961); others pass, for the end to challenge. So
does a SYN within a connection, which finds half-open ones (section 3.5.1). Checksums are left to the ends.

Its ports share one channel (`sequenced`), so that no replica sees the answer to a segment before the segment. With
sequenced=False each has its own, without an order between them: what comes first in a replica may fit nothing there.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any, NamedTuple

import numpy as np

from scout.io.access import load8, load16, load32, require
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.framework.state import clear
from scout.paths.framework.table import EVICT, REFUSE, find, new_table, place, rows
from scout.paths.model.graph import GraphError
from scout.paths.model.stage import Table, drop
from scout.paths.wire.flow import DESTINATION, FRAGMENT, FRAGMENTED, HEADER, LENGTHS, PROTOCOL, SOURCE, TCP, ports_at

__all__ = ["STATES", "TIMEOUTS", "Connection", "ConnectionTracking", "track"]

STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECEIVED",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSED",
)
"""The states, by their number in the table."""

NONE, SYN_SENT, SYN_RECEIVED, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSED = range(9)

TIMEOUTS = {
    "SYN_SENT": 240.0,  # RFC 5382 section 5, REQ-5: four minutes for what is not established
    "SYN_RECEIVED": 240.0,
    "ESTABLISHED": 7440.0,  # the same: two hours and four minutes
    "FIN_WAIT": 240.0,
    "CLOSE_WAIT": 7440.0,  # half-closed connections live on: RFC 9293 section 3.6.1
    "LAST_ACK": 240.0,
    "TIME_WAIT": 240.0,  # 2 MSL: RFC 9293 section 3.4.2
    "CLOSED": 10.0,
}
"""Seconds without a packet after which a connection is forgotten, by state."""

NO_CONNECTION, BAD_FLAGS, BAD_HEADER = drop("tcp-no-connection"), drop("tcp-bad-flags"), drop("tcp-bad-header")
A_FRAGMENT, OUT_OF_WINDOW, TABLE_FULL = drop("tcp-fragment"), drop("tcp-out-of-window"), drop("tcp-table-full")

# The TCP header, RFC 9293 section 3.1: offsets, and bits of the flags.
SEQUENCE, ACKNOWLEDGED, DATA_OFFSET, FLAGS, TCP_HEADER = 4, 8, 12, 13, 20
FIN, SYN, RST, ACK = 1, 2, 4, 16

# What is known of a side.
SENT_SYN, OPEN, SENT_FIN, DONE, ACKS = 1, 2, 4, 8, 16  # OPEN, DONE: its SYN, its FIN was acknowledged

MODULUS = 0xFFFFFFFF
LARGEST_WINDOW = 1 << 30
ENDPOINT = 1 << 48  # in both words of a key, so that neither is 0: above an address and a port
SECOND = 1_000_000_000

SIDE = np.dtype(
    [
        ("flags", "i8"),
        ("start", "i8"),  # the number after its SYN
        ("next", "i8"),  # the number after the last it has sent
        ("fin", "i8"),  # the number after its FIN
        ("ack", "i8"),  # what it has acknowledged
    ]
)
"""One side of a connection: rows 2 i and 2 i + 1 belong to row i of the connections, the lesser endpoint first."""

MISFITS = np.dtype(
    [
        ("no_connection", "i8"),
        ("bad_flags", "i8"),
        ("bad_header", "i8"),
        ("fragment", "i8"),
        ("out_of_window", "i8"),
        ("table_full", "i8"),
    ]
)
"""How many packets fitted no connection, and why."""


class Connection(NamedTuple):
    """A connection as it is followed: its state, who opened it, and when it was last seen (nanoseconds)."""

    state: str
    opener: tuple[str, int]
    other: tuple[str, int]
    seen: int


def reached(number: int, mark: int) -> bool:
    """True if a sequence number is `mark` or after it (RFC 9293 section 3.4)."""
    return (number - mark) & MODULUS <= MODULUS >> 1


def state_of(mine: int, other: int) -> int:
    """The state that follows from the flags of both sides."""
    both, either = mine & other, mine | other
    if both & DONE:
        return TIME_WAIT
    if both & SENT_FIN:
        return LAST_ACK
    if either & DONE:
        return CLOSE_WAIT
    if either & SENT_FIN:
        return FIN_WAIT
    if both & OPEN:
        return ESTABLISHED
    return SYN_RECEIVED if both & SENT_SYN else SYN_SENT


def wrong(flags: int) -> bool:
    """True if no TCP sends these flags together."""
    if flags & SYN:
        return flags & (FIN | RST) != 0
    if flags & RST:
        return flags & FIN != 0
    return flags & ACK == 0  # RFC 9293 section 3.10.7.4: dropped by every end


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
    """Follow the connection that the packet belongs to."""
    if not require(frame, end, HEADER) or load8(frame, PROTOCOL) != TCP:
        return 0
    if load16(frame, FRAGMENT) & FRAGMENTED:
        misfits[0].fragment += 1
        return A_FRAGMENT if strict else 0
    at = ports_at(frame, end)
    if at == 0 or not require(frame, end, at + TCP_HEADER):
        misfits[0].bad_header += 1
        return BAD_HEADER if strict else 0
    offset = (load8(frame, at + DATA_OFFSET) >> 4) * 4
    size = (load32(frame, LENGTHS) & 0xFFFF) - at - offset
    if offset < TCP_HEADER or size < 0:
        misfits[0].bad_header += 1
        return BAD_HEADER if strict else 0
    flags = load8(frame, at + FLAGS) & (FIN | SYN | RST | ACK)
    if wrong(flags):
        misfits[0].bad_flags += 1
        return BAD_FLAGS if strict else 0

    now = packet.timestamp
    source = load32(frame, SOURCE) << 16 | load16(frame, at)
    destination = load32(frame, DESTINATION) << 16 | load16(frame, at + 2)
    side = 1 if source > destination else 0
    key, more = ENDPOINT | min(source, destination), ENDPOINT | max(source, destination)
    sequence = load32(frame, at + SEQUENCE)
    row = find(connections, key, more, now, 0)  # `used` says until when a row is
    if flags == SYN and (row < 0 or connections[row].state >= TIME_WAIT):
        row = place(connections, counts, key, more, now, 0, policy)
        if row < 0:
            misfits[0].table_full += 1
            return TABLE_FULL if strict else 0
        clear(sides, 2 * row)
        clear(sides, 2 * row + 1)
        connections[row].state = SYN_SENT
        connections[row].opener = side
    elif row < 0:
        misfits[0].no_connection += 1
        return NO_CONNECTION if strict else 0
    acknowledged = load32(frame, at + ACKNOWLEDGED)
    fits = follow(
        connections[row], sides[2 * row + side], sides[2 * row + 1 - side], flags, sequence, acknowledged, size
    )
    if fits < 0:
        misfits[0].out_of_window += 1
        return OUT_OF_WINDOW if strict else 0
    if fits:
        connections[row].used = now + lifetimes[connections[row].state]
    return 0


def follow(connection: Any, mine: Any, other: Any, flags: int, sequence: int, acknowledged: int, size: int) -> int:
    """Let a segment change its connection: 1 if it did, 0 if it is none of ours to judge, -1 if it is out of window."""
    state = connection.state
    if state == CLOSED:
        return 0
    unanswered = state == SYN_SENT and mine.flags & SENT_SYN == 0
    if flags & RST:
        exact = (other.flags & ACKS and sequence == other.ack) or (mine.flags & SENT_SYN and sequence == mine.next)
        # RFC 9293 section 3.10.7.3: a SYN is refused by an acknowledgement.
        if exact or (unanswered and flags & ACK and acknowledged == other.next):
            connection.state = CLOSED
            return 1
        return 0
    if flags & SYN:
        first = mine.flags & SENT_SYN == 0 or (state == SYN_SENT and flags & ACK == 0)
        if not first and (sequence + 1) & MODULUS != mine.start:
            return 0  # the other end challenges it
        if not first and state > SYN_RECEIVED:
            return 0  # a copy from long ago
    elif unanswered:
        return 0  # the opener resets it, if the other end is half open: RFC 9293 section 3.5.1
    if other.flags & ACKS and (sequence - other.ack + LARGEST_WINDOW) & MODULUS > 2 * LARGEST_WINDOW:
        return -1
    if flags & ACK:
        behind = (other.next - acknowledged) & MODULUS
        if other.flags & SENT_SYN == 0 or behind > LARGEST_WINDOW:
            return -1
        if reached(acknowledged, other.start):
            other.flags |= OPEN
        if other.flags & SENT_FIN and reached(acknowledged, other.fin):
            other.flags |= DONE
        if mine.flags & ACKS == 0 or reached(acknowledged, mine.ack):
            mine.ack = acknowledged
        mine.flags |= ACKS
    last = (sequence + size + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)) & MODULUS
    if flags & SYN:
        mine.flags |= SENT_SYN
        mine.start = (sequence + 1) & MODULUS
        mine.next = last
    elif reached(last, mine.next):
        mine.next = last
    if flags & FIN:
        mine.flags |= SENT_FIN
        mine.fin = last
    connection.state = state_of(mine.flags, other.flags)
    return 1


class ConnectionTracking(Service):
    """Follows TCP connections.

    It has to see both directions: connect it below all ports that connections go through, or between IP and
    who resolves.

    Parameters
    ----------
    name : str
    strict : bool
        Drop what fits no connection; or only count it.
    timeouts : mapping of str to float, optional
        Seconds by state, in place of those in `TIMEOUTS`.
    capacity : int
        Connections at most, about; a power of two.
    full : {"refuse", "evict"}
        What becomes of a new connection when the table is full: it fits none (`tcp-table-full`), or takes the place of
        the one that would be forgotten soonest (counted as `evicted`).
    mode, service : str
        As for `Service`; all modes but "atomic".
    sequenced : bool
        True: replicas see the packets of all ports in one order (see `Service`).

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
        service: str = "ipv4",
        sequenced: bool = True,
    ) -> None:
        for state, seconds in (timeouts or {}).items():
            if state not in TIMEOUTS or not 0 < seconds <= 86400 * 365:
                raise GraphError(
                    f"{name}: timeout {state}={seconds}; give more than 0 seconds for {', '.join(TIMEOUTS)}"
                )
        if full not in ("evict", "refuse"):
            raise GraphError(f"{name}: full={full!r}; use evict or refuse")
        chosen = {"NONE": 0.0} | TIMEOUTS | dict(timeouts or {})
        self.lifetimes = np.array([int(chosen[state] * SECOND) for state in STATES])
        super().__init__(
            name,
            {
                "connections": new_table(capacity, [("state", "i4"), ("opener", "i4")]),
                "sides": np.zeros(2 * capacity, SIDE),
                "misfits": np.zeros(1, MISFITS),
            },
            [Handler(track)],
            service,
            mode,
            sequenced=sequenced,
            lifetimes=Table(self.lifetimes, "constant"),
            strict=int(strict),
            policy=EVICT if full == "evict" else REFUSE,
        )

    def read(self, now: int, connections: np.ndarray | None = None) -> list[Connection]:
        """The connections at time `now`: in a replica's copy of the table, or in plain runs."""
        found = rows(self.tables["connections"].initial if connections is None else connections)
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
        """Packets that fitted no connection, by why: in a replica's copy of the table, or in plain runs."""
        found = (self.tables["misfits"].initial if misfits is None else misfits)[0]
        return {f"tcp-{name.replace('_', '-')}": int(found[name]) for name in found.dtype.names}


def _endpoint(word: int) -> tuple[str, int]:
    return str(IPv4Address(word >> 16 & MODULUS)), word & 0xFFFF
