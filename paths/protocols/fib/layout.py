"""The format of a FIB in memory, and the lookup.

A FIB is a trie in one segment of 64-bit units, seen as such (`vectors`), as 32-bit words (`entries`) and as bytes
(`leaves`). On the way from the root each level takes some bits of the address, its *slot*:

- level 0, the *root*: 256 entries, one for each slot; then the next hop of the default route plus 1, or 0;
- level 1, a *block*: 1,024 entries, one for each slot; with the root it takes the first 18 bits;
- the other levels, *nodes* of 64 slots: one unit of bits, and then the entries, each of 1, 2 or 4 bytes (the node's
  *width* is the logarithm: 0, 1 or 2). Neighbouring slots with equal entries share one: bit k is set where slot k has
  another entry than slot k - 1, and always for k = 0. So the entry of a slot is found by counting bits.

The bits are those of Poptrie (Asai and Ohara, "Poptrie: A Compressed Trie with Population Count for Fast and Scalable
Software IP Routing Table Lookup", SIGCOMM '15) for its leaves. Poptrie has a second vector and keeps the children of a
node side by side. Here an entry of its own names each child, so a child can be replaced by itself. Most nodes have no
children, and their entries are as narrow as their next hops allow: a node with its entries then is mostly in one cache
line, and the nodes of a million routes in a processor's cache.

An entry is a leaf, the next hop plus 1 or 0 for no route, or a child, which has the bit `CHILD`: in the root with a
block's first word, elsewhere with a node's first unit and its width in the low 2 bits. Only entries of 4 bytes are
children. The default route is not in the leaves: it would fill all of them.

Nothing in an entry or a piece depends on how long an address is. Words are in the order of the machine, which has to be
little-endian: entry k of a node is in the bits of its units from k times its width on.
"""

from typing import Any

import numpy as np

from scout.ring.arithmetic import ones_up_to

__all__ = [
    "BLOCK",
    "BLOCK_UNITS",
    "CHILD",
    "DEFAULT",
    "EMPTY_ROOT",
    "FIRST_UNIT",
    "LAST_NEXT_HOP",
    "LEVELS",
    "NODE",
    "NO_ROUTE",
    "PADDING",
    "ROOT",
    "ROOT_UNITS",
    "SLOTS",
    "STARTS",
    "WIDTH_BITS",
    "WORDS",
    "lookup",
    "node_units",
    "runs",
    "unit_of",
    "width_of",
    "word_of",
]

NO_ROUTE = -1
LAST_NEXT_HOP = 2**31 - 2

CHILD = -(2**31)
"""The bit of an entry that is a child, as an int32."""
WIDTH_BITS = 2
BYTES, WORDS = 0, 2
"""Widths: of the narrowest entries, and of those that may be children."""

ROOT, BLOCK, NODE = 0, 1, 2
"""Levels; `NODE` is the first one of nodes."""

SLOTS = (256, 1024, 64, 64, 64)
"""The slots of each level."""
STARTS = (0, 8, 18, 24, 30, 36)
"""The bits of an address that are taken above each level, and by all."""
LEVELS = len(SLOTS)
PADDING = STARTS[LEVELS] - 32
"""The last level takes more bits than an address has left; the others are 0."""

DEFAULT = SLOTS[ROOT]
"""The word of a root that has the default route's next hop plus 1."""
ROOT_UNITS, BLOCK_UNITS = SLOTS[ROOT] // 2 + 1, SLOTS[BLOCK] // 2

EMPTY_ROOT = BLOCK_UNITS
"""The root of the version without routes, which all others come from. The units before it are the writer's own."""
FIRST_UNIT = EMPTY_ROOT + ROOT_UNITS
"""The first unit that is given out."""


def lookup(entries: Any, vectors: Any, leaves: Any, root: int, address: int) -> int:
    """Find the next hop of a destination address; the hot path, which paths compile in.

    Parameters
    ----------
    entries : int32[2 * n]
    vectors : int64[n]
    leaves : uint8[8 * n]
        The FIB as 32-bit words, as 64-bit units, and as bytes: the same memory.
    root : int
        The version of the FIB: the unit of its root.
    address : int
        Host order, 0 to 2**32 - 1; not checked.

    Returns
    -------
    int
        The next hop, or -1 if there is no route.
    """
    # An unsigned index has no code that counts from the array's end.
    default = int(entries[np.uintp(2 * root + DEFAULT)])
    entry = int(entries[np.uintp(2 * root + (address >> 24))])
    if entry & CHILD:
        entry = int(entries[np.uintp(word_of(entry) + (address >> 14 & 1023))])
        if entry & CHILD:
            if width_of(entry) == BYTES:
                unit = unit_of(entry)
                entry = int(leaves[np.uintp(8 * unit + 7 + ones_up_to(vectors[np.uintp(unit)], address >> 8 & 63))])
            else:
                entry = leaf_below(vectors, entry, address)
    # Without a branch: whether an address has a route is hard to predict. entry - 1 is below 0 where it has none.
    return (entry | default & entry - 1 >> 63) - 1


def leaf_below(vectors: Any, entry: int, address: int) -> int:
    """Follow the way of an address down from a block's entry that is a child, through nodes of any width."""
    rest = address << 50  # the bits that are left, from bit 63 on
    while entry & CHILD:
        unit, width = unit_of(entry), width_of(entry)
        bit = ones_up_to(vectors[np.uintp(unit)], rest >> 58 & 63) - 1 << width + 3
        entry = int(vectors[np.uintp(unit + 1 + (bit >> 6))]) >> (bit & 63) & (1 << (8 << width)) - 1
        rest <<= 6
    return entry


def word_of(entry: int) -> int:
    """The first word of a child that is a block."""
    return entry & ~CHILD


def unit_of(entry: int) -> int:
    """The first unit of a child that is a node."""
    return (entry & ~CHILD) >> WIDTH_BITS


def width_of(entry: int) -> int:
    """The width of a child that is a node."""
    return entry & (1 << WIDTH_BITS) - 1


def runs(vectors: Any, unit: int) -> int:
    """The number of entries of a node."""
    return ones_up_to(vectors[unit], 63)


def node_units(count: int, width: int) -> int:
    """The units of a node with `count` entries."""
    return 1 + ((count << width) + 7 >> 3)
