"""The next hops of a whole prefix, from a FIB: level by level, all entries of a level at once."""

from typing import Any

import numpy as np

from scout.paths.protocols.fib.layout import DEFAULT, HOP_MASK, LEVELS, NODE, PADDING, SLOTS, STARTS

__all__ = ["next_hops_within"]


def next_hops_within(entries: Any, vectors: Any, root: int, network: int, length: int) -> frozenset[int]:
    """The next hops that the addresses of a prefix have, each address and no other; -1 stands for no route.

    Parameters
    ----------
    entries, vectors, root
        As for `scout.paths.protocols.fib.layout.lookup`.
    network : int
        The prefix's first address, host order.
    length : int
        Its length in bits.
    """
    found: set[int] = set()
    units = np.array([root])
    for level in range(LEVELS):
        first, last = _slots(network, length, level)
        read = entries[_words(vectors, units, level, first, last)]
        found.update(np.unique(read[read >= 0] & HOP_MASK).tolist())
        units = ~read[read < 0].astype(np.int64)
    default = int(entries[2 * root + DEFAULT])
    return frozenset((hop or default) - 1 for hop in found)


def _slots(network: int, length: int, level: int) -> tuple[int, int]:
    """The first and the last slot of a prefix at a level."""
    start, end = STARTS[level], STARTS[level + 1]
    if length <= start:
        return 0, SLOTS[level] - 1
    first = network << PADDING >> STARTS[LEVELS] - end & SLOTS[level] - 1
    return first, first + (1 << max(end - length, 0)) - 1


def _words(vectors: Any, units: Any, level: int, first: int, last: int) -> Any:
    """The words of the entries of some slots, in all units of a level."""
    if level < NODE:
        return (2 * units[:, None] + np.arange(first, last + 1)).ravel()
    bits = vectors[units].view(np.uint64)
    # Behind the unit of bits, the entry of a slot is found by counting the bits up to the slot's.
    low, high = (np.bitwise_count(bits & np.uint64((2 << slot) - 1)).astype(np.int64) for slot in (first, last))
    counts = high - low + 1
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(2 * units + 1 + low, counts) + within
