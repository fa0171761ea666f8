"""The next hops of a whole prefix, from a FIB: level by level, all entries of a level at once."""

from typing import Any

import numpy as np

from scout.paths.protocols.fib.layout import (
    DEFAULT,
    LEVELS,
    NODE,
    PADDING,
    SLOTS,
    STARTS,
    unit_of,
    width_of,
    word_of,
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
    found: set[int] = set()
    words, children = np.array([2 * root]), np.zeros(0, np.int64)
    for level in range(LEVELS):
        first, last = _slots(network, length, level)
        if level < NODE:
            read = entries[words[:, None] + np.arange(first, last + 1)].ravel()
        else:
            views = (leaves, leaves.view("u2"), entries)
            found_in = (_of_nodes(view, vectors, children, width, first, last) for width, view in enumerate(views))
            read = np.concatenate(list(found_in))
        found.update(np.unique(read[read >= 0]).tolist())
        children = read[read < 0].astype(np.int64)  # the bit `CHILD` is the sign of a word
        if not len(children):
            break
        words = word_of(children)  # type: ignore[arg-type, assignment]
    default = int(entries[2 * root + DEFAULT])
    return frozenset((leaf or default) - 1 for leaf in found)


def _slots(network: int, length: int, level: int) -> tuple[int, int]:
    """The first and the last slot of a prefix at a level."""
    start, end = STARTS[level], STARTS[level + 1]
    if length <= start:
        return 0, SLOTS[level] - 1
    first = network << PADDING >> STARTS[LEVELS] - end & SLOTS[level] - 1
    return first, first + (1 << max(end - length, 0)) - 1


def _of_nodes(view: Any, vectors: Any, children: Any, width: int, first: int, last: int) -> Any:
    """The entries of some slots of those children that are nodes of a width; `view` is the memory in that width."""
    units = unit_of(children[width_of(children) == width])
    bits = vectors[units].view(np.uint64)
    # The entry of a slot is found by counting the bits up to the slot's.
    low, high = (np.bitwise_count(bits & np.uint64((2 << slot) - 1)).astype(np.int64) for slot in (first, last))
    counts = high - low + 1
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = (units + 1 << 3 - width) + low - 1  # behind the unit of bits
    return view[np.repeat(begins, counts) + within].astype(np.int64)
