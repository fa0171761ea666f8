"""The format of a FIB in memory, and the lookup.

A FIB is a trie in one segment of 64-bit units, seen as such (`vectors`), as 32-bit words (`entries`) and as bytes
(`leaves`). On the way from the root each level takes some bits of the address, its *slot*:

- level 0, the *root*: a word for each of 1,024 slots, which leads to a block; then the next hops by their codes;
- level 1, a *block*: 256 nodes side by side, half a cache line each; with the root it takes the first 18 bits;
- the other levels, *nodes* of 64 slots: a unit of bits, and a *code*, one byte, for each run of equal entries.

Bit k of a node is set where a run ends with slot k. So the code of a slot is found by counting the bits from k on: the
codes stand in the order of the counts, the last run's first. A code is 0 for no route, or stands for a next hop, which
the root has: root and next hops are in the nearest cache, so a lookup waits for one line, that of the node in a block.
The next hop of code 0 is that of the default route, which is nowhere else: it would fill all leaves.

The code `ESCAPE` says that this is not enough. A node in a block has room for 24 codes. One that has more, or that has
slots without a code, is outside as a whole, and its last word in the block is the unit of that. Then it has in the
block up to 20 codes, `ESCAPE` for what has none; or one for all its slots, which is `ESCAPE`. A node outside that has
this code has a word for each run besides, in the same order: a child, which has the bit `CHILD` and is the unit of a
node of the next level, or a next hop plus `WIDE`, one of those that found no code free.

All slots of a root lead to blocks, so that no branch depends on how short a route is: a processor would often guess it
wrong. Where all below a slot is alike, it leads to the uniform block of that code, which all versions share. A root's
word is the block's first unit less 1,024 times the slot, as then the first 18 bits of an address have to be added.

A lookup has two steps, `place_of`, which asks for the line, and `next_hop_at`. A caller with several addresses takes
the first step for all of them, and then the second: so they wait for memory together.

The bits are those of Poptrie (Asai and Ohara, "Poptrie: A Compressed Trie with Population Count for Fast and Scalable
Software IP Routing Table Lookup", SIGCOMM '15) for its leaves, in the other direction. Poptrie has a second vector and
keeps the children of a node side by side, and the leaves of all nodes elsewhere. Here an entry of its own names each
child, so a child can be replaced by itself, and a node's leaves stand behind its bits.

Nothing in an entry or a piece depends on how long an address is. The machine has to be little-endian.
"""

from typing import Any

import numpy as np

from scout.ring.arithmetic import ones_from
from scout.ring.ranges import fetch

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
    "NODE_CODES",
    "NODE_UNITS",
    "NO_ROUTE",
    "ONE_RUN",
    "OUTSIDE",
    "OUTSIDE_CODES",
    "PADDING",
    "ROOT",
    "ROOT_UNITS",
    "SLOTS",
    "SLOT_BITS",
    "STARTS",
    "UNIFORM_BLOCKS",
    "WIDE",
    "lookup",
    "next_hop_at",
    "place_of",
    "words_behind",
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

SLOTS = (1024, 256, 64, 64, 64)
"""The slots of each level."""
STARTS = (0, 10, 18, 24, 30, 36)
"""The bits of an address that are taken above each level, and by all."""
LEVELS = len(SLOTS)
PADDING = STARTS[LEVELS] - 32
"""The last level takes more bits than an address has left; the others are 0."""

NODE_UNITS = 4
"""The units of a node in a block."""
NODE_CODES = 24
"""The codes that it has room for."""
OUTSIDE = 7
"""The word of a node in a block that has the code `ESCAPE` which is the unit of that node outside."""
OUTSIDE_CODES = 20
"""The codes that it has room for then."""
ONE_RUN = -(2**63)
"""The bits of a node of which all slots are alike."""

HOPS = SLOTS[ROOT]
"""The word of a root at which the next hops by code begin."""
ROOT_UNITS, BLOCK_UNITS = (SLOTS[ROOT] + CODES) // 2, NODE_UNITS * SLOTS[BLOCK]
SLOT_BITS = 10
"""The units of a block, as a power of two."""

UNIFORM_BLOCKS = BLOCK_UNITS
"""The unit of the uniform block of code 0. The units before it are the writer's own. One that was never needed costs no
memory."""
EMPTY_ROOT = UNIFORM_BLOCKS + BLOCK_UNITS * ESCAPE
"""The root of the version without routes, which all others come from."""
FIRST_UNIT = EMPTY_ROOT + ROOT_UNITS
"""The first unit that is given out."""


def lookup(entries: Any, vectors: Any, leaves: Any, root: int, address: int) -> int:
    """Find the next hop of a destination address.

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
    return next_hop_at(entries, vectors, leaves, root, place_of(entries, vectors, root, address))


def place_of(entries: Any, vectors: Any, root: int, address: int) -> int:
    """The first step of a lookup: find the node of an address, and ask for its line.

    Returns
    -------
    int
        The unit of the node << 32 | the address. It is not negative.
    """
    # An unsigned index has no code that counts from the array's end.
    unit = int(entries[np.uintp(2 * root + (address >> 22))]) + (address >> 14 << 2)
    fetch(vectors, unit)
    return unit << 32 | address


def next_hop_at(entries: Any, vectors: Any, leaves: Any, root: int, place: int) -> int:
    """The second step of a lookup: the next hop at a place that `place_of` found in the same version."""
    unit = place >> 32
    vector = int(vectors[np.uintp(unit)])
    code = int(leaves[np.uintp(8 * unit + 7 + ones_from(vector, place >> 8 & 63))])
    if code == ESCAPE:
        return below(entries, vectors, leaves, root, unit, place)
    return int(entries[np.uintp(2 * root + HOPS + code)])


def below(entries: Any, vectors: Any, leaves: Any, root: int, unit: int, address: int) -> int:
    """Go on with a lookup outside of the block, in which a node, its unit, has no code for the address."""
    rest = address << 50  # the bits that are left, from bit 63 on
    unit = int(entries[np.uintp(2 * unit + OUTSIDE)])
    while True:
        index = ones_from(int(vectors[np.uintp(unit)]), rest >> 58 & 63)
        code = int(leaves[np.uintp(8 * unit + 7 + index)])
        if code != ESCAPE:
            return int(entries[np.uintp(2 * root + HOPS + code)])
        entry = int(entries[np.uintp(words_of(vectors, unit) + index - 1)])
        if entry >= 0:
            return entry - WIDE
        unit = entry & ~CHILD
        rest <<= 6


def words_of(vectors: Any, unit: int) -> int:
    """The first word of a node outside behind its codes: that of the last run."""
    return words_behind(unit, ones_from(int(vectors[np.uintp(unit)]), 0))


def words_behind(unit: int, count: int) -> int:
    """The same of one that has so many codes."""
    return 2 * (unit + 1 + (count + 7 >> 3))
