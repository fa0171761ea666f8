"""Slow, obviously right longest-prefix match for the tests of the FIB, and lookups of many addresses in a FIB."""

from ipaddress import IPv4Network

import numpy as np
from numba import types

from scout.paths.compiler.inlining import native
from scout.paths.protocols.fib import NO_ROUTE, Fib, lookup
from scout.ring.jit import Entry, entry

_FIB = (types.int32[::1], types.int64[::1], types.uint8[::1], types.int64)
_lookup = native(lookup)
compiled = Entry(_lookup.py_func, types.int64(*_FIB, types.int64))
"""`lookup` as native code that Python can call."""


@entry(types.void(*_FIB, types.int64[::1], types.int64[::1]))
def lookup_all(entries, vectors, leaves, root, addresses, next_hops):
    for i in range(addresses.size):
        next_hops[i] = _lookup(entries, vectors, leaves, root, addresses[i])


def looked_up(fib: Fib, addresses: np.ndarray, version: int | None = None) -> np.ndarray:
    """The next hops of addresses by native lookups, -1 where there is none."""
    next_hops = np.empty_like(addresses)
    lookup_all(*fib.arrays, fib.version if version is None else version, addresses, next_hops)
    return next_hops


def expected(routes: list[tuple[IPv4Network, int]], addresses: np.ndarray) -> np.ndarray:
    """The same by comparing every address with every route."""
    next_hops = np.full_like(addresses, NO_ROUTE)
    for network, next_hop in sorted(routes, key=lambda route: route[0].prefixlen):
        within = addresses & int(network.netmask) == int(network.network_address)
        next_hops[within] = next_hop
    return next_hops


def edges(networks: list[IPv4Network]) -> np.ndarray:
    """The first and last address of each network and their neighbours outside."""
    first = np.array([int(network.network_address) for network in networks])
    last = np.array([int(network.broadcast_address) for network in networks])
    return np.concatenate([first - 1, first, last, last + 1]) % 2**32
