"""The format of a FIB in memory, and the lookup.

A FIB is a trie in one segment of 64-bit units, seen both as such (`vectors`) and as 32-bit words (`entries`). A node is
named by the number of its first unit. On the way from the root each level takes some bits of the address, its *slot*:

- level 0, the *root*: 256 entries, one for each slot; then the next hop of the default route plus 1, or 0;
- level 1, a *block*: 1,024 entries, one for each slot; with the root it takes the first 18 bits;
- the other levels, *nodes* of 64 slots: one unit of bits, then the entries. Neighbouring slots with equal entries
  share one: bit k is set where slot k has another entry than slot k - 1, and always for k = 0. So the entry of a slot
  is found by counting bits, and a node takes 2 to 33 units.

The bits are those of Poptrie (Asai and Ohara, "Poptrie: A Compressed Trie with Population Count for Fast and Scalable
Software IP Routing Table Lookup", SIGCOMM '15) for its leaves. Poptrie has a second vector and keeps the children of a
node side by side. Here an entry of its own names each child, so a child can be replaced by itself.

An entry is an int32. One below 0 is the child ~entry. Others are leaves: the next hop plus 1 in the low `HOP_BITS`
bits, and the length of its prefix above; 0 is no route. The length is not needed for lookups. By it a change of a route
finds the leaves that belong to longer prefixes. The default route is not in the leaves: it would fill all of them.

Nothing in an entry or a node depends on how long an address is.
"""

from typing import Any

import numpy as np

from scout.ring.arithmetic import ones_up_to

__all__ = [
    "BLOCK",
    "BLOCK_UNITS",
    "DEFAULT",
    "HOP_BITS",
    "HOP_MASK",
    "LAST_NEXT_HOP",
    "LEVELS",
    "NODE",
    "NO_ROUTE",
    "PADDING",
    "ROOT_UNITS",
    "SLOTS",
    "STARTS",
    "lookup",
    "runs",
    "size",
]

NO_ROUTE = -1
HOP_BITS = 23
HOP_MASK = (1 << HOP_BITS) - 1
LAST_NEXT_HOP = HOP_MASK - 1

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


def lookup(entries: Any, vectors: Any, root: int, address: int) -> int:
    """Find the next hop of a destination address; the hot path, which paths compile in.

    Parameters
    ----------
    entries : int32[2 * n]
        The FIB as 32-bit words.
    vectors : int64[n]
        The same memory as 64-bit units.
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
    entry = int(entries[np.uintp(2 * root + (address >> 24))])
    if entry < 0:
        entry = int(entries[np.uintp(2 * ~entry + (address >> 14 & 1023))])
        rest = address << 50  # the bits that are left, from bit 63 on
        while entry < 0:
            ones = ones_up_to(vectors[np.uintp(~entry)], rest >> 58 & 63)
            entry = int(entries[np.uintp(2 * ~entry + 1 + ones)])
            rest <<= 6
    hop = entry & HOP_MASK
    if hop == 0:
        hop = int(entries[np.uintp(2 * root + DEFAULT)])
    return hop - 1


def runs(vectors: Any, node: int) -> int:
    """The number of entries of a node."""
    return ones_up_to(vectors[node], 63)


def size(vectors: Any, unit: int, level: int) -> int:
    """The units of a block or a node."""
    return BLOCK_UNITS if level == BLOCK else 1 + (runs(vectors, unit) + 1) // 2
