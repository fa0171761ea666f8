"""Slow, obviously right longest-prefix match: what `scout bench fib` compares all that was looked up with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scout.paths.protocols.fib import NO_ROUTE

__all__ = ["longest_matches"]


def longest_matches(routes: NDArray[Any], addresses: NDArray[np.int64]) -> NDArray[np.int64]:
    """The next hops of addresses, -1 where there is none, by a search among the networks of each length.

    Parameters
    ----------
    routes : ROUTE[n]
        Each prefix once.
    addresses : int64[m]
        Host order.
    """
    next_hops = np.full(len(addresses), NO_ROUTE, np.int64)
    for length in np.unique(routes["length"]).tolist():  # a longer one replaces what a shorter one has given
        of_length = routes[routes["length"] == length]
        of_length = of_length[np.argsort(of_length["network"])]
        known, wanted = of_length["network"].copy(), addresses >> 32 - length << 32 - length
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        found = known[places] == wanted
        next_hops[found] = of_length["next_hop"][places[found]]
    return next_hops
