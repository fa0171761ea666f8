"""The mappings of a NAPT, and the L4 ports outside that they have.

`mappings` is a table by endpoint inside; `used` is when a mapping expires, `FOREVER` if it is static. `ports` has for
each port outside the row of its mapping plus 1, which counts only while that mapping has the port.
"""

from typing import Any

import numpy as np

from scout.paths.framework.flow_table import FOREVER, find, place, put
from scout.paths.wire import ipv4
from scout.paths.wire.flow import mix
from scout.ring.jit import outline

__all__ = [
    "MAPPING",
    "POOLS",
    "PORTS",
    "SETTINGS",
    "WORD",
    "add_static",
    "address_of",
    "allocate",
    "create",
    "mapped",
    "owner",
    "place_of",
    "port_of",
]

TRIES = 64  # ports that are looked at for a new mapping
WELL_KNOWN = 1024  # ports below are the system's (RFC 6335)

ENDPOINT, WORD = 1 << 40, 1 << 48  # bits of keys, so that no word is 0

MAPPING = (
    ("at", "i8"),  # the row in `ports` of its port outside
    ("established", "i8"),  # how many of its TCP connections are established
    ("serial", "i8"),  # its number: no two mappings have one, not even of one endpoint or port
)
"""Fields of a mapping, beside its key: the low 16 bits of `key` are the port inside, those of `more` the address."""

SETTINGS = np.dtype(
    [
        ("address", "i8"),  # the router's, outside; host order
        ("outside", "i8"),  # index of the port
        ("inside", "i8"),  # mask of the ports
        ("low", "i8"),  # the first port that a mapping may get
        ("high", "i8"),  # the last
        ("filters", "i8"),  # 1: only addresses that a mapping has sent to may send to it
        ("policy", "i8"),
        ("udp", "i8"),  # how long a mapping lasts, nanoseconds
        ("icmp", "i8"),
        ("transitory", "i8"),
        ("established", "i8"),
    ]
)
"""The settings, which do not change while packets flow."""

POOLS = (ipv4.TCP, ipv4.UDP, ipv4.ICMP)
"""The protocols; each has a pool of ports of its own (of ICMP: identifiers)."""

PORTS = len(POOLS) << 16
"""Rows of `ports`."""


def place_of(kind: int, external: int) -> int:
    """The row in `ports` of a port outside; `kind` is one of `kind_of`."""
    pool = 2
    if kind == ipv4.TCP:
        pool = 0
    elif kind == ipv4.UDP:
        pool = 1
    return pool << 16 | external


def address_of(mapping: Any) -> int:
    """The address inside of a mapping."""
    return mapping.more ^ WORD


def port_of(mapping: Any) -> int:
    """The port inside of a mapping."""
    return mapping.key & 0xFFFF


def owner(mappings: Any, ports: Any, at: int, now: int) -> int:
    """The mapping that has the port outside whose row is `at`; -1 if it is free."""
    row = ports[at].mapping - 1
    # The row may have gone to another endpoint since.
    return row if row >= 0 and mappings[row].at == at and now < mappings[row].used else -1


def mapped(mappings: Any, kind: int, address: int, port: int, now: int) -> int:
    """The mapping of an endpoint inside; -1 if it has none."""
    return find(mappings, ENDPOINT | place_of(kind, port), WORD | address, now, 0)  # `used` is when it expires


@outline
def allocate(mappings: Any, ports: Any, settings: Any, kind: int, address: int, port: int, now: int) -> int:
    """A free port outside for an endpoint; -1 if none of the ports looked at is free."""
    first, last = settings[0].low, settings[0].high
    if first <= port <= last and owner(mappings, ports, place_of(kind, port), now) < 0:
        return port
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
        if owner(mappings, ports, place_of(kind, external), now) < 0:
            return external
    return -1


@outline
def create(
    mappings: Any,
    ports: Any,
    created: Any,
    counts: Any,
    settings: Any,
    kind: int,
    address: int,
    port: int,
    external: int,
    now: int,
) -> int:
    """Map an endpoint to a free port outside; the mapping's row, -1 if the table is full."""
    row = place(mappings, counts, ENDPOINT | place_of(kind, port), WORD | address, now, 0, settings[0].policy)
    if row >= 0:
        created[0].mappings += 1
        mapping = mappings[row]
        mapping.serial = created[0].mappings
        mapping.at = place_of(kind, external)
        ports[mapping.at].mapping = row + 1
    return row


def add_static(
    tables: tuple[np.ndarray, np.ndarray, np.ndarray], kind: int, address: int, port: int, external: int
) -> None:
    """Map an endpoint to a port outside for ever, before the first packet.

    `tables` are `mappings`, `ports` and `created`.
    """
    mappings, ports, created = tables
    at, key = place_of(kind, external), ENDPOINT | place_of(kind, port)
    created[0]["mappings"] += 1
    row = put(mappings, key, WORD | address, used=FOREVER, at=at, serial=created[0]["mappings"])
    ports[at]["mapping"] = row + 1
