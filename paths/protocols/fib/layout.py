"""The format of a FIB in memory, and the lookup.

A FIB is a trie in one segment of 64-bit units, seen as such (`vectors`), as 32-bit words (`entries`) and as bytes
(`leaves`). On the way from the root each level takes some bits of the address, its *slot*:

- level 0, the *root*: a unit for each of 256 slots, which leads to a block; then the next hops by their codes;
- level 1, a *block*: a word for each of 1,024 slots, which leads to a node; with the root it takes the first 18 bits;
- the other levels, *nodes* of 64 slots: a unit of bits, and a *code*, one byte, for each run of equal entries.

Bit k of a node is set where a run ends with slot k. So the code of a slot is found by counting the bits from k on: the
codes stand in the order of the counts, the last run's first. A code is 0 for no route, or stands for a next hop, which
the root has: a lookup reads one word of a block, and one node, mostly within one cache line. The next hop of code 0 is
that of the default route, which is nowhere else: it would fill all leaves.

The code `ESCAPE` says that a byte is not enough. A node with such a code has a word for each run besides, in the same
order: a child, which has the bit `CHILD` and is the unit of a node of the next level, or a next hop plus `WIDE`, one of
those that found no code free.

All slots of a root lead to blocks, and all slots of a block to nodes, so that no branch depends on how short a route
is: a processor would often guess it wrong. Where all below a slot is alike, it leads to the uniform block or node of
that code, which all versions share. A root's unit has the block's first word less 1,024 times the slot, as then the
first 18 bits of an address have to be added; a block's word has the node's first byte.

The bits are those of Poptrie (Asai and Ohara, "Poptrie: A Compressed Trie with Population Count for Fast and Scalable
Software IP Routing Table Lookup", SIGCOMM '15) for its leaves, in the other direction. Poptrie has a second vector and
keeps the children of a node side by side, and the leaves of all nodes elsewhere. Here an entry of its own names each
child, so a child can be replaced by itself, and a node's leaves stand behind its bits.

Nothing in an entry or a piece depends on how long an address is. The machine has to be little-endian.
"""

from typing import Any

import numpy as np

from scout.ring.arithmetic import ones_from

__all__ = [
    "BLOCK",
    "BLOCK_UNITS",
    "CHILD",
    "CODES",
    "EMPTY_ROOT",
    "ESCAPE",
    "FIRST_UNIT",
    "HOPS",
    "LAST_NEXT_HOP",
    "LEVELS",
    "NODE",
    "NO_ROUTE",
    "PADDING",
    "ROOT",
    "ROOT_UNITS",
    "SLOTS",
    "SLOT_BITS",
    "STARTS",
    "UNIFORM_BLOCKS",
    "UNIFORM_NODES",
    "WIDE",
    "lookup",
    "words_of",
]

NO_ROUTE = -1

ESCAPE = 255
"""The code that leads to a word."""
CODES = 256
WIDE = 256
"""The first leaf that has no code: leaves below it are codes, others a next hop plus this."""
CHILD = -(2**31)
"""The bit of an entry that is a child, as an int32."""
LAST_NEXT_HOP = 2**31 - 1 - WIDE

ROOT, BLOCK, NODE = 0, 1, 2
"""Levels; `NODE` is the first one of nodes."""

SLOTS = (256, 1024, 64, 64, 64)
"""The slots of each level."""
STARTS = (0, 8, 18, 24, 30, 36)
"""The bits of an address that are taken above each level, and by all."""
SLOT_BITS = 10
"""The bits that a block takes."""
LEVELS = len(SLOTS)
PADDING = STARTS[LEVELS] - 32
"""The last level takes more bits than an address has left; the others are 0."""

HOPS = 2 * SLOTS[ROOT]
"""The word of a root at which the next hops by code begin."""
ROOT_UNITS, BLOCK_UNITS = SLOTS[ROOT] + CODES // 2, SLOTS[BLOCK] // 2

UNIFORM_NODES = BLOCK_UNITS
"""The unit of the uniform node of code 0; each takes two. The units before it are the writer's own."""
UNIFORM_BLOCKS = UNIFORM_NODES + 2 * ESCAPE
"""The unit of the uniform block of code 0. One that was never needed costs no memory."""
EMPTY_ROOT = UNIFORM_BLOCKS + BLOCK_UNITS * ESCAPE
"""The root of the version without routes, which all others come from."""
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
    word = int(vectors[np.uintp(root + (address >> 24))]) + (address >> 14)
    node = int(entries[np.uintp(word)])
    vector = int(vectors[np.uintp(node >> 3)])
    code = int(leaves[np.uintp(node + 7 + ones_from(vector, address >> 8 & 63))])
    if code == ESCAPE:
        return below(entries, vectors, leaves, root, node, address)
    return int(entries[np.uintp(2 * root + HOPS + code)])


def below(entries: Any, vectors: Any, leaves: Any, root: int, node: int, address: int) -> int:
    """Go on with a lookup in which the first node, of which `node` is the first byte, has no code for the address."""
    rest = address << 50  # the bits that are left, from bit 63 on
    while True:
        unit = node >> 3
        index = ones_from(int(vectors[np.uintp(unit)]), rest >> 58 & 63)
        code = int(leaves[np.uintp(node + 7 + index)])
        if code != ESCAPE:
            return int(entries[np.uintp(2 * root + HOPS + code)])
        entry = int(entries[np.uintp(words_of(vectors, unit) + index - 1)])
        if entry >= 0:
            return entry - WIDE
        node = (entry & ~CHILD) << 3
        rest <<= 6


def words_of(vectors: Any, unit: int) -> int:
    """The first word of a node behind its codes: that of the last run."""
    return 2 * (unit + 1 + (ones_from(int(vectors[np.uintp(unit)]), 0) + 7 >> 3))
