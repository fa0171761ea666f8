"""The table of adjacencies: which MAC address a next hop has, in open addressing, and how orders change it."""

from typing import Any

import numpy as np

from scout.paths.wire.flow import mix

__all__ = [
    "ADJACENCY",
    "FLUSH",
    "FOREVER",
    "FORGET",
    "FREE",
    "LEARNT",
    "PROBES",
    "RESERVE",
    "RESERVED",
    "SET",
    "STATIC",
    "UNKNOWN",
    "amend",
    "find",
    "place",
]

PROBES = 16  # rows in which a key may stand
FOREVER = 1 << 62
UNKNOWN = 0
"""When a MAC address expires that is not known. No time of the supervisor's may stand there: its clock may be ahead of
the timestamps of packets that come behind a change, and they would be sent to whatever address the row had before."""

ADJACENCY = np.dtype([("key", "i8"), ("mac", "i8"), ("expires", "i8"), ("state", "i8")])
"""A next hop on a port: `key` is (port + 1) << 32 | address, or 0; the MAC address is known until `expires`, in
nanoseconds; `state` is one of LEARNT, RESERVED, STATIC."""

LEARNT, RESERVED, STATIC = 0, 1, 2
"""A row that another key may take once it has expired; one that keeps its key, a gateway's; one that never changes."""

SET, FORGET, RESERVE, FREE, FLUSH = range(5)
"""Operations of an order, on the adjacency whose key is `one`: give it the MAC address `two` for ever; let ARP ask for
it, and keep its row if `two` is 1; keep its row; let another key take its row when it has expired. The last one forgets
all MAC addresses that were learnt at a port: `one` is its index, plus 1."""


def find(adjacencies: Any, key: int) -> int:
    """Index of the row of `key`, -1 if there is none."""
    start = mix(key) & len(adjacencies) - 1
    for probe in range(PROBES):
        index = start + probe & len(adjacencies) - 1
        if adjacencies[index].key == key:
            return index
    return -1


def place(adjacencies: Any, key: int, now: int) -> int:
    """Index of the row of `key`, which takes an empty or expired row if it is new; -1 if there is no room."""
    index = find(adjacencies, key)
    if index >= 0:
        return index
    start = mix(key) & len(adjacencies) - 1
    for probe in range(PROBES):
        index = start + probe & len(adjacencies) - 1
        adjacency = adjacencies[index]
        if adjacency.state == LEARNT and adjacency.expires <= now:
            adjacency.key = key
            adjacency.expires = UNKNOWN
            return index
    return -1


def make_room(adjacencies: Any, key: int, now: int) -> int:
    """Index of the row of `key`, which takes the place of the learnt adjacency that expires first if none is free.

    -1 if all rows in which it may stand keep their keys.
    """
    index = place(adjacencies, key, now)
    if index >= 0:
        return index
    start, first = mix(key) & len(adjacencies) - 1, -1
    for probe in range(PROBES):
        other = start + probe & len(adjacencies) - 1
        is_learnt = adjacencies[other].state == LEARNT
        if is_learnt and (first < 0 or adjacencies[other].expires < adjacencies[first].expires):
            first = other
    if first >= 0:
        adjacencies[first].key = key
        adjacencies[first].expires = UNKNOWN
    return first


def amend(order: Any, now: int, adjacencies: Any, changes: Any) -> int:
    """Make an order in a replica's table."""
    if order.operation == FLUSH:
        for row in range(len(adjacencies)):
            if adjacencies[row].key >> 32 == order.one and adjacencies[row].state != STATIC:
                adjacencies[row].expires = UNKNOWN
        changes[0] += 1
        return 0
    if order.operation == SET or order.operation == RESERVE:
        index = make_room(adjacencies, order.one, now)
    else:
        index = find(adjacencies, order.one)
    if index < 0:
        return 0
    adjacency = adjacencies[index]
    if order.operation == SET:
        adjacency.mac = order.two
        adjacency.expires = FOREVER
        adjacency.state = STATIC
    elif order.operation == FORGET:
        adjacency.expires = UNKNOWN
        adjacency.state = RESERVED if order.two else LEARNT
    elif order.operation == RESERVE and adjacency.state == LEARNT:
        adjacency.state = RESERVED
    elif order.operation == FREE and adjacency.state == RESERVED:
        adjacency.state = LEARNT
    changes[0] += 1
    return 0
