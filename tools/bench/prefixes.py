"""A routing table of the Internet's size and mix of prefix lengths."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scout.paths.protocols.fib import ROUTE

__all__ = ["NEXT_HOPS", "internet"]

NEXT_HOPS = 64
"""Different next hops in the table, as of a router with many neighbours."""

_SHARES = {
    8: 0.002,
    9: 0.001,
    10: 0.004,
    11: 0.01,
    12: 0.03,
    13: 0.06,
    14: 0.13,
    15: 0.21,
    16: 1.4,
    17: 0.9,
    18: 1.5,
    19: 2.7,
    20: 4.8,
    21: 5.3,
    22: 11.8,
    23: 10.8,
    24: 60.1,
    25: 0.05,
    26: 0.05,
    27: 0.03,
    28: 0.03,
    29: 0.03,
    30: 0.02,
    32: 0.1,
}
"""Percent of the routes by length, rounded from tables that BGP routers publish (2023: 900,000 IPv4 prefixes, 538,000
of them /24, under 1,000 /32)."""

_FIRST, _LAST = 1 << 24, 224 << 24  # unicast


def internet(count: int, seed: int) -> NDArray[Any]:
    """`count` different routes as `ROUTE` rows in random order, with random next hops.

    The networks are anywhere in the unicast range with equal probability. In the Internet's own table neighbours often
    have one next hop, which makes a table smaller: so this is the harder case.
    """
    random = np.random.default_rng(seed)
    shares = np.array(list(_SHARES.values()))
    lengths = random.choice(list(_SHARES), 2 * count, p=shares / shares.sum())
    networks = random.integers(_FIRST, _LAST, 2 * count) >> 32 - lengths << 32 - lengths
    _, first = np.unique(networks << 6 | lengths, return_index=True)
    chosen = random.permutation(np.sort(first)[:count])
    routes = np.zeros(count, ROUTE)
    routes["network"], routes["length"] = networks[chosen], lengths[chosen]
    routes["next_hop"] = random.integers(0, NEXT_HOPS, count)
    return routes
