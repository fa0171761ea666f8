"""The mappings of a NAPT, the ports outside that they have, and the TCP connections that use them.

`mappings` is a table of flows by endpoint inside; `ports` has for each port outside its mapping's row plus 1, which
counts only while that mapping says so too; `sessions` has the TCP connections of mappings, and the hosts outside
that they have sent to. In mappings and sessions `used` says until when a row is.
"""

from typing import Any

import numpy as np

from scout.paths.framework.table import EVICT, find, place
from scout.paths.wire.flow import TCP, UDP, mix

__all__ = [
    "MAPPING_FIELDS",
    "POOLS",
    "SETTINGS",
    "WORD",
    "admit",
    "admitted",
    "allocate",
    "create",
    "follow",
    "mapped",
    "owner",
    "place_of",
]

FIN, SYN, RST, ACK = 1, 2, 4, 16

# What is known of a TCP connection: who has sent something and a FIN; and whether it is established now.
SENT_OUT, SENT_IN, FIN_OUT, FIN_IN, OPENED, RESET, ESTABLISHED = 1, 2, 4, 8, 16, 32, 64

TRIES = 64  # ports that are looked at for a new mapping
WELL_KNOWN = 1024  # ports below are the system's

# Bits of keys, so that none is 0 and none is another's.
MAPPING, SESSION, PEER = 1 << 40, 1 << 41, 1 << 42
WORD = 1 << 48

MAPPING_FIELDS = (("external", "i4"), ("at", "i4"), ("established", "i8"))
"""Of a mapping: its port outside, that port's row, and how many of its TCP connections are established."""

SETTINGS = np.dtype(
    [
        ("address", "i8"),  # the router's, outside
        ("outside", "i8"),  # index of the port
        ("inside", "i8"),  # mask of the ports
        ("low", "i8"),  # the first port of the pool
        ("high", "i8"),  # the last
        ("filters", "i8"),  # 1: only those pass that a mapping has sent to
        ("policy", "i8"),
        ("udp", "i8"),  # how long a mapping lasts, nanoseconds
        ("icmp", "i8"),
        ("transitory", "i8"),
        ("established", "i8"),
    ]
)
"""What does not change while packets flow."""

POOLS = (TCP, UDP, 1)  # the protocols, each with ports of its own


def pool_of(kind: int) -> int:
    """The number of the pool of ports."""
    if kind == TCP:
        return 0
    return 1 if kind == UDP else 2


def place_of(settings: Any, kind: int, external: int) -> int:
    """The row of the ports' table of a port outside, -1 if the pool does not have it."""
    low, high = settings[0].low, settings[0].high
    return pool_of(kind) * (high - low + 1) + external - low if low <= external <= high else -1


def owner(mappings: Any, ports: Any, at: int, now: int) -> int:
    """The mapping that has the port outside whose row is `at`; -1 if it is free."""
    row = ports[at].mapping - 1 if at >= 0 else -1
    # The row may have gone to another endpoint since.
    return row if row >= 0 and mappings[row].at == at and now < mappings[row].used else -1


def mapped(mappings: Any, kind: int, address: int, port: int, now: int) -> int:
    """The mapping of an endpoint inside, -1 if there is none."""
    return find(mappings, MAPPING | pool_of(kind) << 16 | port, WORD | address, now, 0)  # `used` says until when


def allocate(mappings: Any, ports: Any, settings: Any, kind: int, address: int, port: int, now: int) -> int:
    """A port outside for an endpoint, -1 if none of those looked at is free."""
    at = place_of(settings, kind, port)
    if at >= 0 and owner(mappings, ports, at, now) < 0:
        return port
    first, last = settings[0].low, settings[0].high
    if first < WELL_KNOWN <= last:
        if port < WELL_KNOWN:
            last = WELL_KNOWN - 1
        else:
            first = WELL_KNOWN
    first += (first ^ port) & 1
    choices = (last - first) // 2 + 1
    if choices <= 0:
        return -1
    start = mix(address << 16 | port) % choices
    for turn in range(min(choices, TRIES)):
        external = first + 2 * ((start + turn) % choices)
        if owner(mappings, ports, place_of(settings, kind, external), now) < 0:
            return external
    return -1


def create(
    mappings: Any,
    ports: Any,
    counts: Any,
    settings: Any,
    kind: int,
    address: int,
    port: int,
    external: int,
    now: int,
) -> int:
    """Map an endpoint to a port outside that is free; the mapping's row, -1 if the table is full.

    Its row's key has the port inside in its low 16 bits, `more` the address.
    """
    row = place(mappings, counts, MAPPING | pool_of(kind) << 16 | port, WORD | address, now, 0, settings[0].policy)
    if row >= 0:
        mappings[row].external = external
        mappings[row].at = place_of(settings, kind, external)
        ports[mappings[row].at].mapping = row + 1
    return row


def admit(sessions: Any, counts: Any, at: int, address: int, now: int, until: int) -> None:
    """Let a host outside send to a mapping, that of port `at`."""
    row = place(sessions, counts, PEER | at, WORD | address, now, 0, EVICT)
    sessions[row].used = until


def admitted(sessions: Any, at: int, address: int, now: int) -> bool:
    """True if a host outside may send to a mapping that filters."""
    return find(sessions, PEER | at, WORD | address, now, 0) >= 0


def follow(sessions: Any, counts: Any, settings: Any, at: int, remote: int, flags: int, outward: bool, now: int) -> int:
    """Follow a TCP connection of a mapping: what the number of its established ones changes by.

    `remote` is the address and port outside. A connection whose row was evicted, or expired, is established to the
    mapping until that expires.
    """
    key, more = SESSION | at, WORD | remote
    row = find(sessions, key, more, now, 0)
    if row < 0:
        if flags & RST:
            return 0
        row = place(sessions, counts, key, more, now, 0, EVICT)
    session = sessions[row]
    known = session.flags
    before = 1 if known & ESTABLISHED else 0
    if flags & RST:
        known |= RESET
    else:
        if flags & (SYN | ACK) == SYN and (known & RESET or (known & FIN_OUT and known & FIN_IN)):
            known = 0  # a new one between the same ports
        known &= ~RESET  # who goes on does not believe it
        known |= SENT_OUT if outward else SENT_IN
        if flags & FIN:
            known |= FIN_OUT if outward else FIN_IN
        if flags & (SYN | ACK) == ACK and known & SENT_OUT and known & SENT_IN:
            known |= OPENED
    now_established = known & OPENED and not known & RESET and not (known & FIN_OUT and known & FIN_IN)
    known = known | ESTABLISHED if now_established else known & ~ESTABLISHED
    session.flags = known
    session.used = now + (settings[0].established if now_established else settings[0].transitory)
    return (1 if now_established else 0) - before
