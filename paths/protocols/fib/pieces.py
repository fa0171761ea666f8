"""The pieces of a FIB as its writer works with them: entries that are leaves or children, whatever the level.

An entry is a leaf, which is a code, or a next hop plus `WIDE`, or a child, `CHILD` | its first unit. Only nodes have
leaves that are wide.
"""

from typing import TYPE_CHECKING

from scout.paths.protocols.fib.layout import (
    BLOCK,
    BLOCK_UNITS,
    CHILD,
    EMPTY_ROOT,
    ESCAPE,
    ROOT,
    SLOT_BITS,
    UNIFORM_BLOCKS,
    UNIFORM_NODES,
    words_of,
)
from scout.ring.arithmetic import ones_from

if TYPE_CHECKING:
    from scout.paths.protocols.fib.arena import Memory

__all__ = ["has_words", "node_units", "packed", "read", "runs", "units_of", "unpacked", "write"]


def read(memory: "Memory", level: int, unit: int, slot: int) -> int:
    """The entry of a slot: of a root, of a block, or of 64 words that a node was unpacked to."""
    if level == ROOT:
        block = memory.vectors[unit + slot] + (slot << SLOT_BITS) >> 1
        return (block - UNIFORM_BLOCKS) // BLOCK_UNITS if block < EMPTY_ROOT else CHILD | block
    entry = memory.entries[2 * unit + slot]
    if level == BLOCK:
        node = entry >> 3
        return node - UNIFORM_NODES >> 1 if node < UNIFORM_BLOCKS else CHILD | node
    return int(entry)


def write(memory: "Memory", level: int, unit: int, slot: int, entry: int) -> int:
    """Give a slot of such a piece an entry; 0."""
    below = entry & ~CHILD
    if level == ROOT:
        block = below if entry & CHILD else uniform_block(memory, entry)
        memory.vectors[unit + slot] = 2 * block - (slot << SLOT_BITS)
    elif level == BLOCK:
        memory.entries[2 * unit + slot] = (below if entry & CHILD else UNIFORM_NODES + 2 * entry) << 3
    else:
        memory.entries[2 * unit + slot] = entry
    return 0


def uniform_block(memory: "Memory", code: int) -> int:
    """The unit of the block in which all slots have a code, which is made when it is first needed."""
    unit = UNIFORM_BLOCKS + BLOCK_UNITS * code
    if memory.vectors[unit] == 0:
        word = UNIFORM_NODES + 2 * code << 3
        for each in range(unit, unit + BLOCK_UNITS):
            memory.vectors[each] = word << 32 | word
    return unit


def runs(memory: "Memory", unit: int) -> int:
    """The number of entries of a node."""
    return int(ones_from(memory.vectors[unit], 0))


def has_words(memory: "Memory", unit: int) -> bool:
    """True if a code of a node is not enough."""
    index = runs(memory, unit)
    while index > 0 and memory.leaves[8 * unit + 7 + index] != ESCAPE:
        index -= 1
    return index > 0


def units_of(memory: "Memory", unit: int) -> int:
    """The units of a node."""
    return node_units(runs(memory, unit), has_words(memory, unit))


def node_units(count: int, wide: bool) -> int:
    """The units of a node with `count` entries, and words if it is `wide`."""
    units = 1 + (count + 7 >> 3)
    return units + (count + 1 >> 1) if wide else units


def packed(memory: "Memory", unit: int, slots: int, count: int, wide: bool) -> int:
    """Write a node to `unit` on, with the entries of `slots`, a piece of 64 words; 0."""
    for each in range(unit, unit + node_units(count, wide)):
        memory.vectors[each] = 0
    vector, index = 0, 0
    for place in range(64):
        slot = 63 - place
        entry = memory.entries[2 * slots + slot]
        if slot == 63 or entry != memory.entries[2 * slots + slot + 1]:
            vector |= 1 << slot
            index += 1
            is_code = 0 <= entry < ESCAPE
            memory.leaves[8 * unit + 7 + index] = entry if is_code else ESCAPE
            if not is_code:
                memory.entries[2 * (unit + 1 + (count + 7 >> 3)) + index - 1] = entry
    memory.vectors[unit] = vector
    return 0


def unpacked(memory: "Memory", unit: int, slots: int) -> int:
    """Write the entries of a node to `slots`, a piece of 64 words; 0."""
    vector, index, words = memory.vectors[unit], runs(memory, unit), words_of(memory.vectors, unit)
    for slot in range(64):
        code = memory.leaves[8 * unit + 7 + index]
        memory.entries[2 * slots + slot] = code if code != ESCAPE else memory.entries[words + index - 1]
        index -= vector >> slot & 1
    return 0
