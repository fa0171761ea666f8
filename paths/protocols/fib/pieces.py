"""The pieces of a FIB as its writer works with them: entries that are leaves or children, whatever the level.

An entry is a leaf, which is a code, or a next hop plus `WIDE`, or a child, `CHILD` | its first unit. Only nodes have
leaves that are wide. A node of a block is a child of it, unless it is one leaf.
"""

from typing import TYPE_CHECKING

from scout.paths.protocols.fib.layout import (
    BLOCK,
    BLOCK_UNITS,
    CHILD,
    EMPTY_ROOT,
    ESCAPE,
    NODE_CODES,
    NODE_UNITS,
    ONE_RUN,
    OUTSIDE,
    OUTSIDE_CODES,
    ROOT,
    SLOT_BITS,
    SLOTS,
    UNIFORM_BLOCKS,
    words_of,
)
from scout.ring.arithmetic import ones_from

if TYPE_CHECKING:
    from scout.paths.protocols.fib.arena import Memory

__all__ = ["fits", "has_words", "node_units", "outside", "packed", "read", "runs", "units_of", "unpacked", "write"]


def read(memory: "Memory", level: int, unit: int, slot: int) -> int:
    """The entry of a slot: of a root, of a block, or of 64 words that a node was unpacked to."""
    if level == ROOT:
        block = memory.entries[2 * unit + slot] + (slot << SLOT_BITS)
        return (block - UNIFORM_BLOCKS) // BLOCK_UNITS if block < EMPTY_ROOT else CHILD | block
    if level == BLOCK:
        node = unit + NODE_UNITS * slot
        code = memory.leaves[8 * node + 8]
        return code if memory.vectors[node] == ONE_RUN and code != ESCAPE else CHILD | node
    return int(memory.entries[2 * unit + slot])


def write(memory: "Memory", level: int, unit: int, slot: int, entry: int) -> int:
    """Give a slot of such a piece an entry; of a block, a leaf; 0."""
    if level == ROOT:
        block = entry & ~CHILD if entry & CHILD else uniform_block(memory, entry)
        memory.entries[2 * unit + slot] = block - (slot << SLOT_BITS)
    elif level == BLOCK:
        write_uniform(memory, unit + NODE_UNITS * slot, entry)
    else:
        memory.entries[2 * unit + slot] = entry
    return 0


def write_uniform(memory: "Memory", node: int, code: int) -> int:
    """Make a node of a block one leaf; 0."""
    memory.vectors[node], memory.leaves[8 * node + 8] = ONE_RUN, code
    return 0


def uniform_block(memory: "Memory", code: int) -> int:
    """The unit of the block in which all slots have a code, which is made when it is first needed."""
    unit = UNIFORM_BLOCKS + BLOCK_UNITS * code
    if memory.vectors[unit] == 0:
        for slot in range(SLOTS[BLOCK]):
            write_uniform(memory, unit + NODE_UNITS * slot, code)
    return unit


def outside(memory: "Memory", node: int) -> int:
    """The unit of a node of a block outside of it, 0 if there is none."""
    return memory.entries[2 * node + OUTSIDE] if has_words(memory, node) else 0


def fits(count: int, wide: bool) -> bool:
    """True if a node in a block has room for so many codes, and for its unit outside if it is `wide`."""
    return count <= (OUTSIDE_CODES if wide else NODE_CODES)


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
    """The units of a node outside."""
    return node_units(runs(memory, unit), has_words(memory, unit))


def node_units(count: int, wide: bool) -> int:
    """The units of a node outside with `count` entries, and words if it is `wide`."""
    units = 1 + (count + 7 >> 3) + (count + 1 >> 1 if wide else 0)
    return max(units, NODE_UNITS)  # the lengths of 64 slots belong to it


def packed(memory: "Memory", unit: int, slots: int, words: int) -> int:
    """Write the bits and codes of a node, with the entries of `slots`, a piece of 64 words, to `unit` on; 0.

    Where a code is not enough, the entry is written to the words from `words` on, unless that is 0.
    """
    vector, index = 0, 0
    for place in range(64):
        slot = 63 - place
        entry = memory.entries[2 * slots + slot]
        if slot == 63 or entry != memory.entries[2 * slots + slot + 1]:
            vector |= 1 << slot
            index += 1
            is_code = 0 <= entry < ESCAPE
            memory.leaves[8 * unit + 7 + index] = entry if is_code else ESCAPE
            if not is_code and words > 0:
                memory.entries[words + index - 1] = entry
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
