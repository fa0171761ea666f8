"""The FIB as an object: its routes, its versions, and changes of them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scout.paths.protocols.fib import routes as table
from scout.paths.protocols.fib.arena import Arena
from scout.paths.protocols.fib.codes import Codes
from scout.paths.protocols.fib.layout import CODES, EMPTY_ROOT, HOPS, NO_ROUTE, lookup
from scout.paths.protocols.fib.prefixes import Prefix, network, ordered, removals, routes_of
from scout.paths.protocols.fib.tier import Tier
from scout.paths.protocols.fib.update import change
from scout.paths.protocols.fib.within import next_hops_within
from scout.ring.errors import ScoutError

__all__ = ["ROOM", "Fib"]

ROOM = 64 << 20
"""Bytes that a FIB reserves by default. Unused parts of them cost no memory."""


@dataclass
class _Version:
    root: int
    released: bool = False
    retired: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """The pieces that the next version did without."""


class Fib:
    """A forwarding information base for IPv4: longest prefix match, in versions.

    A *version* never changes. `change` makes the next one beside it, which shares with it all that is equal, and
    readers go over to it when they are given its number: so no lookup sees a part of a change. A version's memory is
    returned when it and all older ones were released.

    The memory is shared with processes that are forked after the FIB was made. One process changes it; others only look
    up. They may use a version as soon as they have read its number with acquire order from where the writer stored it
    with release order after `change`: for Scout's replicas that is a request on a channel.

    Parameters
    ----------
    routes : iterable of (prefix, next hop), or ndarray
        A prefix is text as in `"10.0.0.0/8"`, where no length means /32, or an `IPv4Network`; a next hop is an index, 0
        to 2**31 - 257. An array has the fields `network` (host order), `length` and `next_hop` (`ROUTE`).
    room : int
        Bytes that are reserved for all versions that are alive at one time.

    Raises
    ------
    ScoutError
        If a prefix is malformed, has host bits set or is there twice, a next hop is out of range, or there is no room.

    Examples
    --------
    >>> fib = Fib([("0.0.0.0/0", 0), ("10.0.0.0/8", 1), ("10.1.2.128/25", 2)])
    >>> fib.lookup("10.1.2.127"), fib.lookup("10.1.2.129"), fib.lookup("192.0.2.1")
    (1, 2, 0)
    >>> lookup(*fib.arrays, fib.version, 0x0A010281)
    2
    >>> before = fib.version
    >>> after = fib.change(add=[("192.0.2.0/24", 3)], remove=["10.0.0.0/8"])
    >>> fib.lookup("10.1.2.127"), fib.lookup("192.0.2.1"), fib.lookup("192.0.2.1", before)
    (0, 3, 0)
    >>> fib.release(before)
    """

    def __init__(self, routes: Iterable[tuple[Prefix, int]] | NDArray[Any] = (), room: int = ROOM) -> None:
        rows = ordered(routes_of(routes))
        self._tier = Tier()
        self._arena = Arena(room // 8, self._tier)
        self._routes, self._count, self._codes = table.new_routes(len(rows)), 0, Codes()
        self._versions: deque[_Version] = deque()
        self._make(rows)

    def __len__(self) -> int:
        return self._count

    @property
    def version(self) -> int:
        """The number of the newest version: where its root is in the arrays."""
        return self._versions[-1].root

    @property
    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
        """The first arguments of the function `lookup`: entries, vectors, leaves; the same for all versions."""
        memory = self._arena.memory
        return memory.entries, memory.vectors, memory.leaves

    @property
    def routes(self) -> list[tuple[IPv4Network, int]]:
        """The prefixes and their next hops in the newest version, by length and then by network."""
        return self.listed(0, len(self))

    def listed(self, start: int, stop: int) -> list[tuple[IPv4Network, int]]:
        """A part of `routes`, without making the rest."""
        rows = table.listed(self._routes)[start:stop]
        next_hops = self._codes.of_leaves(rows["next_hop"])
        return [(network(row), next_hop) for row, next_hop in zip(rows, next_hops.tolist(), strict=True)]

    @property
    def used(self) -> int:
        """Bytes of all versions that have not been released: the memory that lookups read."""
        return self._arena.used

    @property
    def writer_bytes(self) -> int:
        """Bytes of what only the writer has, for changes."""
        return sum(array.nbytes for array in self._routes) + self._arena.writer_bytes

    def lookup(self, address: str | int, version: int | None = None) -> int:
        """Find the next hop of one address, given as text or as an int in host order; -1 if there is none.

        Raises
        ------
        ScoutError
            If `address` is not an IPv4 address, or there is no such version.
        """
        root = self.version if version is None else self._find(version).root
        try:
            return int(lookup(*self.arrays, root, int(IPv4Address(address))))
        except AddressValueError as error:
            raise ScoutError(f"{address!r} is not an IPv4 address; write it as 192.0.2.1") from error

    def next_hops(self, prefix: IPv4Network, version: int | None = None) -> frozenset[int]:
        """The next hops that the addresses of a prefix have; -1 among them if some have none."""
        root = self.version if version is None else self._find(version).root
        return next_hops_within(*self.arrays, root, int(prefix.network_address), prefix.prefixlen)

    def change(self, add: Iterable[tuple[Prefix, int]] | NDArray[Any] = (), remove: Iterable[Prefix] = ()) -> int:
        """Make a version in which routes are added, given other next hops, and removed: all of them, or none.

        Parameters
        ----------
        add : iterable of (prefix, next hop), or ndarray
            As for `Fib`. A route that is there already gets the next hop.
        remove : iterable of prefix

        Returns
        -------
        int
            The number of the new version. The version before it stays until it is released.

        Raises
        ------
        ScoutError
            If a prefix or next hop is wrong as for `Fib`, a prefix is given twice, a route to be removed is not there,
            or there is no room.
        """
        rows = ordered(np.concatenate([routes_of(add), removals(remove)]))
        missing = self._tier.call(len(rows), table.first_missing, self._routes, rows)
        if missing >= 0:
            raise ScoutError(f"route {network(rows[missing])} cannot be removed: there is none; leave it out")
        if self._count + len(rows) > table.room(self._routes):
            larger = table.new_routes(2 * (self._count + len(rows)))
            self._tier.call(self._count, table.refill, larger, self._routes)
            self._routes = larger
        return self._make(rows)

    def release(self, version: int) -> None:
        """Say that no reader uses a version any more.

        Raises
        ------
        ScoutError
            If there is no such version, or it is the newest.
        """
        found = self._find(version)
        if found is self._versions[-1]:
            raise ScoutError(f"version {version} is the newest of the FIB; release it after a change")
        found.released = True
        while self._versions[0].released:
            self._arena.reclaim(self._versions.popleft().retired)

    def _find(self, version: int) -> _Version:
        for found in self._versions:
            if found.root == version and not found.released:
                return found
        raise ScoutError(f"the FIB has no version {version}; the newest is {self.version}")

    def _make(self, rows: NDArray[Any]) -> int:
        """Make the next version."""
        arena, codes = self._arena, self._codes
        leaves, before = codes.leaves(rows["next_hop"]), np.full(len(rows), NO_ROUTE)
        last = self.version if self._versions else EMPTY_ROOT
        changes = rows.copy()
        changes["next_hop"] = leaves
        for _ in range(2):
            arena.begin()
            root = self._tier.call(len(rows), change, arena.memory, self._routes, changes, before, last)
            if root > 0:
                break
            arena.sweep(each.root for each in self._versions)
        codes.count(leaves, before if root > 0 else leaves)
        if root < 0:
            raise ScoutError(
                f"the FIB has no room for {len(rows)} changes: {arena.used >> 20} of {arena.size >> 20} MiB are in "
                f"use by {len(self._versions)} versions; release old ones, or make it with more room=..."
            )
        if len(rows) and rows["length"][0] == 0:
            codes.next_hops[0] = rows["next_hop"][0]  # of the default route, which is the first in order
        arena.memory.entries[2 * root + HOPS : 2 * root + HOPS + CODES] = codes.next_hops
        self._count += int(np.count_nonzero(leaves >= 0)) - int(np.count_nonzero(before >= 0))
        if self._versions:
            self._versions[-1].retired = arena.retired
        self._versions.append(_Version(root))
        return root
