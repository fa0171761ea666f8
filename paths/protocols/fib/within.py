"""The next hops of a whole prefix, from a FIB: level by level, all entries of a level at once."""

from typing import Any

import numpy as np

from scout.paths.protocols.fib.layout import (
    BLOCK,
    CHILD,
    CODES,
    ESCAPE,
    HOPS,
    LEVELS,
    NODE,
    NODE_CODES,
    NODE_UNITS,
    OUTSIDE,
    PADDING,
    ROOT,
    SLOT_BITS,
    SLOTS,
    STARTS,
    WIDE,
)

__all__ = ["next_hops_within"]


def next_hops_within(entries: Any, vectors: Any, leaves: Any, root: int, network: int, length: int) -> frozenset[int]:
    """The next hops that the addresses of a prefix have, and no others; -1 stands for no route.

    Parameters
    ----------
    entries, vectors, leaves, root
        As for `scout.paths.protocols.fib.layout.lookup`.
    network : int
        The prefix's first address, host order.
    length : int
        Its length in bits.
    """
    slots = np.arange(SLOTS[ROOT])[slice(*_slots(network, length, ROOT))]
    blocks = np.unique(entries[2 * root + slots] + (slots << SLOT_BITS))
    slots = np.arange(SLOTS[BLOCK])[slice(*_slots(network, length, BLOCK))]
    units = _whole(entries, vectors, leaves, (blocks[:, None] + NODE_UNITS * slots).ravel())
    next_hops, found = entries[2 * root + HOPS : 2 * root + HOPS + CODES], set[int]()
    for level in range(NODE, LEVELS):
        codes, words = _of_nodes(entries, vectors, leaves, units, *_slots(network, length, level))
        found.update(next_hops[np.unique(codes[codes != ESCAPE])].tolist())
        words = np.unique(words).astype(np.int64)
        found.update((words[words >= 0] - WIDE).tolist())
        units = words[words < 0] - CHILD  # the bit `CHILD` is the sign of a word
        if not len(units):
            break
    return frozenset(found)


def _slots(network: int, length: int, level: int) -> tuple[int, int]:
    """The first slot of a prefix at a level, and the one behind its last."""
    start, end = STARTS[level], STARTS[level + 1]
    if length <= start:
        return 0, SLOTS[level]
    first = network << PADDING >> STARTS[LEVELS] - end & SLOTS[level] - 1
    return first, first + (1 << max(end - length, 0))


def _whole(entries: Any, vectors: Any, leaves: Any, nodes: Any) -> Any:
    """The units of nodes of blocks, or of these nodes outside of them where there are such."""
    places = np.arange(NODE_CODES)
    is_used = places < np.bitwise_count(vectors[nodes].view(np.uint64))[:, None]
    is_outside = (is_used & (leaves[8 * nodes[:, None] + 8 + places] == ESCAPE)).any(axis=1)
    return np.where(is_outside, entries[2 * nodes + OUTSIDE], nodes)


def _of_nodes(entries: Any, vectors: Any, leaves: Any, units: Any, first: int, end: int) -> tuple[Any, Any]:
    """The codes of some slots of nodes, and the words of those that are `ESCAPE`."""
    bits = vectors[units].view(np.uint64)
    # The entry of a slot is found by counting the bits from the slot's on.
    total, high, low = (np.bitwise_count(bits >> np.uint64(slot)).astype(np.int64) for slot in (0, first, end - 1))
    counts = high - low + 1
    index = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - low, counts)
    codes = leaves[np.repeat(8 * units + 7, counts) + index]
    words = np.repeat(2 * (units + 1 + (total + 7 >> 3)) - 1, counts) + index
    return codes, entries[words[codes == ESCAPE]]
