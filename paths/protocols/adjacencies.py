"""The table of adjacencies: which MAC address a next hop has, in open addressing, and how orders change it."""

from typing import Any

import numpy as np

from scout.paths.model.router import GraphError
from scout.paths.wire.flow import mix

__all__ = [
    "ADJACENCY",
    "BY_HAND",
    "FOREVER",
    "FORGET",
    "FREE",
    "GATEWAY",
    "LEARNT",
    "PROBES",
    "RESERVE",
    "RESERVED",
    "SET",
    "STATIC",
    "Kept",
    "amend",
    "find",
    "place",
]

PROBES = 16  # rows in which a key may stand
FOREVER = 1 << 62

ADJACENCY = np.dtype([("key", "i8"), ("mac", "i8"), ("expires", "i8"), ("state", "i8")])
"""A next hop on a port: `key` is (port + 1) << 32 | address, or 0; the MAC address is known until `expires`, in
nanoseconds; `state` is one of LEARNT, RESERVED, STATIC."""

LEARNT, RESERVED, STATIC = 0, 1, 2
"""A row that another key may take once it has expired; one that keeps its key, a gateway's; one that never changes."""

SET, FORGET, RESERVE, FREE = range(4)
"""Operations of an order, on the adjacency whose key is `one`: give it the MAC address `two` for ever; let ARP ask for
it, and keep its row if `two` is 1; keep its row; let another key take its row when it has expired."""


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
            adjacency.expires = now  # its MAC address is not known yet
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
        adjacencies[first].expires = now  # its MAC address is not known yet
    return first


def amend(order: Any, now: int, adjacencies: Any, changes: Any) -> int:
    """Make an order in a replica's table."""
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
        adjacency.expires = now
        adjacency.state = RESERVED if order.two else LEARNT
    elif order.operation == RESERVE and adjacency.state == LEARNT:
        adjacency.state = RESERVED
    elif order.operation == FREE and adjacency.state == RESERVED:
        adjacency.state = LEARNT
    changes[0] += 1
    return 0


GATEWAY, BY_HAND = 1, 2
"""Reasons why a row keeps its key: it is a gateway's; its neighbour was set by hand."""


class Kept:
    """The keys that keep their rows, as the supervisor knows them. Each of them has a row in every replica.

    A replica finds a row for a new one whatever it has learnt, as long as fewer others than `PROBES` keep rows that are
    among those where it may stand.

    Parameters
    ----------
    name : str
        The router's, for errors.
    capacity : int
        Rows of the table.
    """

    def __init__(self, name: str, capacity: int) -> None:
        self._name = name
        self._reasons: dict[int, int] = {}
        self._starts = np.zeros(capacity, np.int64)  # how many of them may stand in each row and the next ones

    def reasons(self, key: int) -> int:
        """Why a key keeps its row; 0 if it does not."""
        return self._reasons.get(key, 0)

    def require(self, key: int, reasons: int) -> None:
        """Let a key keep its row for these reasons, as `put`.

        Raises
        ------
        GraphError
            If a replica may have no row for it.
        """
        if reasons and not self.reasons(key):
            near = np.arange(1 - PROBES, PROBES) + mix(key) & len(self._starts) - 1
            if self._starts[np.unique(near)].sum() >= PROBES:
                raise GraphError(
                    f"{self._name}: {len(self._reasons)} gateways and static neighbours leave no row for another one; "
                    f"give more capacity than {len(self._starts)}"
                )
        self.put(key, reasons)

    def put(self, key: int, reasons: int) -> None:
        """Let a key keep its row for these reasons; for none if they are 0."""
        self._starts[mix(key) & len(self._starts) - 1] += bool(reasons) - bool(self.reasons(key))
        self._reasons[key] = reasons
        if not reasons:
            del self._reasons[key]
