"""Changes of a FIB: they make a new version, and leave the last one as it is.

A change copies what it changes (path copying): the root, and the blocks and nodes between the root and the leaves. A
piece that this change has taken itself is not copied again.
"""

from typing import Any

from scout.paths.protocols.fib.arena import LENGTHS, Memory, retire, take, units_of
from scout.paths.protocols.fib.layout import (
    BLOCK,
    BLOCK_UNITS,
    CHILD,
    DEFAULT,
    EMPTY_ROOT,
    LEVELS,
    NODE,
    PADDING,
    ROOT,
    ROOT_UNITS,
    SLOTS,
    STARTS,
    WIDTH_BITS,
    node_units,
    unit_of,
    width_of,
    word_of,
)
from scout.paths.protocols.fib.routes import Routes, covering, put

__all__ = ["change"]

_LENGTHS = LENGTHS // 2  # to a word


def change(memory: Memory, routes: Routes, changes: Any, before: Any, last: int) -> int:
    """Make a version in which routes are changed, and enter them into the table of routes.

    Parameters
    ----------
    memory : Memory
    routes : Routes
        With room for all of `changes`.
    changes : ROUTE[n]
        By network and then length, each prefix once. A next hop of -1 removes a route.
    before : int64[n]
        Gets the next hops that the routes had.
    last : int
        The root of the last version, or `EMPTY_ROOT`.

    Returns
    -------
    int
        The root of the new version; -1 if there is no room. Then `routes` is as it was, and the pieces that were taken
        are lost until `Arena.sweep`.
    """
    for index in range(len(changes)):
        each = changes[index]
        before[index] = put(routes, each.network, each.length, each.next_hop)
    root = take(memory, ROOT_UNITS)
    copied(memory, root, last, ROOT_UNITS)
    if last != EMPTY_ROOT:
        retire(memory, last, ROOT_UNITS)
    for index in range(len(changes)):
        each = changes[index]
        leaf, length = each.next_hop + 1, each.length
        if each.length == 0:
            memory.entries[2 * root + DEFAULT] = leaf
        elif memory.state[0].full == 0:
            if leaf == 0:
                leaf, length = covering(routes, each.network, each.length)
            paint(memory, root, each.network, each.length, leaf, length)
    if memory.state[0].full == 0:
        return root
    for index in range(len(changes)):
        put(routes, changes[index].network, changes[index].length, before[index])
    return -1


def copied(memory: Memory, unit: int, original: int, units: int) -> int:
    """Copy a root or a block to another piece; 0."""
    for each in range(units):
        memory.vectors[unit + each] = memory.vectors[original + each]
    for slot in range(2 * units):
        memory.lengths[LENGTHS * unit + slot] = memory.lengths[LENGTHS * original + slot]
    return 0


def paint(memory: Memory, root: int, network: int, length: int, leaf: int, leaf_length: int) -> int:
    """Replace the leaves of a prefix, but not those of longer prefixes within it, until there is no room; 0.

    The walk goes down from the root to all of them, and replaces pieces on its way up.
    """
    level, frames = ROOT, memory.frames
    enter(frames[ROOT], 0, 2 * root, ROOT, network, length)
    while memory.state[0].full == 0:
        frame = frames[level]
        if frame.slot > frame.last:
            if level == ROOT:
                break
            entry, own_length = closed(memory, frame, level)
            level -= 1
            replace(memory, frames[level], entry, own_length)
            continue
        word = frame.base + frame.slot
        if memory.entries[word] & CHILD or length > STARTS[level + 1]:
            level += 1
            opened(memory, level, network, length)
        elif memory.lengths[_LENGTHS * frame.base + frame.slot] <= length:
            replace(memory, frame, leaf, leaf_length)
        else:
            frame.slot += 1
    return 0


def enter(frame: Any, child: int, base: int, level: int, network: int, length: int) -> int:
    """Begin with a level: its slots that the prefix, or its way there, takes; 0."""
    frame.child, frame.base, frame.changed = child, base, 0
    frame.slot, frame.last = 0, SLOTS[level] - 1
    if length > STARTS[level]:
        below = STARTS[LEVELS] - STARTS[level + 1]
        frame.slot = network << PADDING >> below & SLOTS[level] - 1
        frame.last = frame.slot + (1 << max(0, STARTS[level + 1] - length)) - 1
    return 0


def replace(memory: Memory, frame: Any, entry: int, length: int) -> int:
    """Give the current slot an entry, and go on to the next; 0."""
    word, at = frame.base + frame.slot, _LENGTHS * frame.base + frame.slot
    if memory.entries[word] != entry or memory.lengths[at] != length:
        memory.entries[word], memory.lengths[at] = entry, length
        frame.changed = 1
    frame.slot += 1
    return 0


def opened(memory: Memory, level: int, network: int, length: int) -> int:
    """Go down to the level below the current slot, a child or a leaf: make its slots ready to be changed; 0."""
    above = memory.frames[level - 1]
    entry = memory.entries[above.base + above.slot]
    child = entry if entry & CHILD else 0
    base = own_block(memory, child) if level == BLOCK else (level - NODE) * SLOTS[NODE]
    if child == 0:
        for slot in range(SLOTS[level]):
            memory.entries[base + slot] = entry
            memory.lengths[_LENGTHS * base + slot] = memory.lengths[_LENGTHS * above.base + above.slot]
    elif level >= NODE:
        unpack(memory, entry, base)
    return enter(memory.frames[level], child, base, level, network, length)


def own_block(memory: Memory, child: int) -> int:
    """The first word of a block that this change may write to: a new one, a copy, or one that it has copied before."""
    block = word_of(child) >> 1
    if block > 0 and memory.stamps[block] == memory.state[0].transaction:
        return 2 * block
    own = take(memory, BLOCK_UNITS)
    if block > 0:
        copied(memory, own, block, BLOCK_UNITS)
        retire(memory, block, BLOCK_UNITS)
    return 2 * own


def closed(memory: Memory, frame: Any, level: int) -> tuple[int, int]:
    """The entry for a level that is done, and its length: a leaf if all its slots are alike, else a child and 0."""
    first, length = memory.entries[frame.base], memory.lengths[_LENGTHS * frame.base]
    alike = is_alike(memory, frame.base, SLOTS[level])
    if level == BLOCK:
        if alike:
            retire(memory, frame.base >> 1, BLOCK_UNITS)
            return first, length
        return CHILD | frame.base, 0
    if frame.changed == 0 and frame.child != 0:
        return frame.child, 0
    if frame.child != 0:
        retire(memory, unit_of(frame.child), units_of(memory, frame.child))
    if alike:
        return first, length
    return packed(memory, frame.base), 0


def is_alike(memory: Memory, base: int, slots: int) -> bool:
    """True if all slots from a word on are the same leaf."""
    first, length = memory.entries[base], memory.lengths[_LENGTHS * base]
    if first & CHILD:
        return False
    slot = 1
    while slot < slots and memory.entries[base + slot] == first and memory.lengths[_LENGTHS * base + slot] == length:
        slot += 1
    return slot == slots


def packed(memory: Memory, base: int) -> int:
    """Make a node of the entries of its slots; the child that names it."""
    entries, lengths, slots = memory.entries, memory.lengths, SLOTS[NODE]
    vector, count, every = 1, 1, entries[base]
    for slot in range(1, slots):
        if entries[base + slot] != entries[base + slot - 1]:
            vector |= 1 << slot
            count += 1
            every |= entries[base + slot]
    width = (0 <= every < 256) ^ 1
    width += (0 <= every < 65536) ^ 1
    units = node_units(count, width)
    unit = take(memory, units)
    memory.vectors[unit] = vector
    for each in range(unit + 1, unit + units):
        memory.vectors[each] = 0
    bit = unit + 1 << 6
    for slot in range(slots):
        lengths[LENGTHS * unit + slot] = lengths[_LENGTHS * base + slot]
        if vector >> slot & 1:
            memory.vectors[bit >> 6] |= (entries[base + slot] & (1 << (8 << width)) - 1) << (bit & 63)
            bit += 8 << width
    return CHILD | unit << WIDTH_BITS | width


def unpack(memory: Memory, child: int, base: int) -> int:
    """Write the entries of a node's slots to the words from `base` on; 0."""
    unit, width = unit_of(child), width_of(child)
    vector, bit, entry = memory.vectors[unit], unit + 1 << 6, 0
    for slot in range(SLOTS[NODE]):
        if vector >> slot & 1:
            entry = memory.vectors[bit >> 6] >> (bit & 63) & (1 << (8 << width)) - 1
            bit += 8 << width
        memory.entries[base + slot] = entry
        memory.lengths[_LENGTHS * base + slot] = memory.lengths[LENGTHS * unit + slot]
    return 0
