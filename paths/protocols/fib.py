"""The forwarding information base: which next hop a destination address has.

Longest prefix match for IPv4 as DIR-24-8 (Gupta, Lin, McKeown, "Routing Lookups in Hardware at Memory
Access Speeds", INFOCOM '98): one entry for each /24, and for each /24 that holds longer prefixes a group
of 256 entries, one for each address. So a lookup is one memory access, or two below /24, however many
routes there are.

An entry is an int32: 0 is no route, k > 0 is next hop k - 1, k < 0 is group ~k (in `table` alone). The default route
has a place of its own, `default`, because it would fill all 16 M entries.
"""

import mmap
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from itertools import pairwise
from socket import AF_INET, inet_pton
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scout.ring.errors import ScoutError

__all__ = ["NO_ROUTE", "Fib", "lookup"]

NO_ROUTE = -1
TABLE_BITS = 24
GROUP_BITS = 8
LAST_NEXT_HOP = 2**31 - 2  # an entry is an int32 and holds the next hop plus 1
LENGTHS = {"": 32} | {f"/{length}": length for length in range(33)}  # an address alone is a /32

ROUTE = np.dtype([("network", np.int64), ("length", np.int64), ("next_hop", np.int64)])


def lookup(table: NDArray[np.int32], groups: NDArray[np.int32], default: NDArray[np.int64], address: int) -> int:
    """Find the next hop of a destination address; the hot path, which paths compile in.

    Parameters
    ----------
    table : int32[2**24]
        The entries of the /24s.
    groups : int32[n * 256]
        The entries of the addresses in /24s that hold longer prefixes.
    default : int64[1]
        The next hop of the default route, or -1.
    address : int
        Host order, 0 to 2**32 - 1; not checked.

    Returns
    -------
    int
        The next hop, or -1 if there is no route.
    """
    # An unsigned index has no code that counts from the array's end.
    entry = int(table[np.uint32(address >> GROUP_BITS)])
    if entry < 0:
        entry = int(groups[np.uint32(~entry << GROUP_BITS | address & 255)])
    return entry - 1 if entry else int(default[0])


class Fib:
    """A forwarding information base for IPv4.

    It is built before the domains are forked: they inherit the arrays and only read them.

    Parameters
    ----------
    routes : iterable of (prefix, next hop)
        A prefix is text as in `"10.0.0.0/8"`, where no length means /32, or an `IPv4Network`; a next hop is
        an index, 0 to 2**31 - 2.

    Attributes
    ----------
    table, groups, default : ndarray
        The arrays that `lookup` reads: int32[2**24], int32[n * 256] and int64[1].

    Raises
    ------
    ScoutError
        If a prefix is malformed, has host bits set or is there twice, or a next hop is out of range.

    Examples
    --------
    >>> fib = Fib([("0.0.0.0/0", 0), ("10.0.0.0/8", 1), ("10.1.2.128/25", 2)])
    >>> fib.lookup("10.1.2.127"), fib.lookup("10.1.2.129"), fib.lookup("192.0.2.1")
    (1, 2, 0)
    >>> lookup(*fib.arrays, 0x0A010281)
    2
    """

    def __init__(self, routes: Iterable[tuple[str | IPv4Network, int]] = ()) -> None:
        self._routes = _sorted(np.fromiter((_route(*route) for route in routes), ROUTE))
        self.table = _empty_table()
        self.default = np.full(1, NO_ROUTE, np.int64)

        # Shorter prefixes first, so that longer ones overwrite them; those of one length never overlap.
        networks, lengths = self._routes["network"], self._routes["length"]
        first_of = np.searchsorted(lengths, np.arange(34))
        of_length = [slice(*bounds) for bounds in pairwise(first_of)]
        entries = (self._routes["next_hop"] + 1).astype(np.int32)

        if first_of[1]:
            self.default[0] = self._routes["next_hop"][0]
        positions = networks >> GROUP_BITS
        for length in range(1, TABLE_BITS + 1):
            at = of_length[length]
            _fill(self.table, 1 << TABLE_BITS - length, positions[at], entries[at])

        # A group starts as 256 copies of what its /24 had, and then takes the /24's place.
        grouped = np.unique(positions[first_of[TABLE_BITS + 1] :])
        self.groups = np.repeat(self.table[grouped], 1 << GROUP_BITS)
        self.table[grouped] = ~np.arange(len(grouped))
        positions = np.searchsorted(grouped, positions) << GROUP_BITS | networks & 255
        for length in range(TABLE_BITS + 1, 33):
            at = of_length[length]
            _fill(self.groups, 1 << 32 - length, positions[at], entries[at])

    def __len__(self) -> int:
        return len(self._routes)

    @property
    def routes(self) -> list[tuple[IPv4Network, int]]:
        """The prefixes and their next hops, by length and then by network."""
        return [(IPv4Network((network, length)), hop) for network, length, hop in self._routes.tolist()]

    @property
    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """The first arguments of the function `lookup`: table, groups, default."""
        return self.table, self.groups, self.default

    def lookup(self, address: str | int) -> int:
        """Find the next hop of one address, given as text or as an int in host order; -1 if there is none.

        Raises
        ------
        ScoutError
            If `address` is not an IPv4 address.
        """
        try:
            return lookup(*self.arrays, int(IPv4Address(address)))
        except AddressValueError as error:
            raise ScoutError(f"{address!r} is not an IPv4 address; write it as 192.0.2.1") from error


def _route(prefix: str | IPv4Network, next_hop: int) -> tuple[int, int, int]:
    """Check one route; its network, length and next hop."""
    # `ipaddress` would take ten times as long: seconds for the Internet's million routes.
    address, slash, length = str(prefix).partition("/")
    try:
        network, bits = int.from_bytes(inet_pton(AF_INET, address)), LENGTHS[slash + length]
    except (OSError, ValueError, KeyError) as error:
        raise ScoutError(f"route {prefix!r}: not an IPv4 prefix; write it as 192.0.2.0/24") from error
    if network & (1 << 32 - bits) - 1:
        right = IPv4Network((network, bits), strict=False)
        raise ScoutError(f"route {prefix}: the address has bits set beyond /{bits}; write {right}")
    if not 0 <= next_hop <= LAST_NEXT_HOP:
        raise ScoutError(f"route {prefix}: next hop {next_hop} is out of range; use 0 to {LAST_NEXT_HOP}")
    return network, bits, next_hop


def _sorted(routes: NDArray[Any]) -> NDArray[Any]:
    """Order `routes` by length and network, and refuse a prefix that is there twice."""
    routes = routes[np.lexsort((routes["network"], routes["length"]))]
    prefixes = routes[["network", "length"]]
    (twice,) = np.nonzero(prefixes[1:] == prefixes[:-1])
    if twice.size:
        network, length, next_hop = routes[twice[0]].tolist()
        raise ScoutError(
            f"route {IPv4Network((network, length))} is given twice, with next hops {next_hop} and "
            f"{routes['next_hop'][twice[0] + 1]}; keep one"
        )
    return routes


def _empty_table() -> NDArray[np.int32]:
    """Map a table of zeros: parts never written cost no memory, and huge pages save most TLB misses."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, np.dtype(np.int32).itemsize << TABLE_BITS, flags=private)
    with suppress(OSError):  # a kernel without huge pages; they only make it faster
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.int32)


def _fill(array: NDArray[np.int32], width: int, positions: NDArray[np.int64], entries: NDArray[np.int32]) -> None:
    """Write `entries` to prefixes of one length: `width` entries of `array` each, from `positions` on."""
    # Prefixes are aligned to their size, so seen in rows of that size each is exactly one row.
    array.reshape(-1, width)[positions // width] = entries[:, np.newaxis]
