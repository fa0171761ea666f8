"""Changes of a FIB: they make a new version, and leave the last one as it is.

A change copies what it changes (path copying): the root, and the blocks and nodes between the root and the leaves. A
piece that this change has taken itself is not copied again.
"""

from typing import Any

from scout.paths.protocols.fib.arena import LENGTHS, Memory, retire, take, units_of
from scout.paths.protocols.fib.layout import (
    BLOCK_UNITS,
    CHILD,
    DEFAULT,
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
        The root of the last version; 0 if there is none.

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
    if last > 0:
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
    """Copy a root or a block, or nothing but zeros if the original is 0; 0."""
    for each in range(units):
        memory.vectors[unit + each] = memory.vectors[original + each] if original > 0 else 0
    for slot in range(2 * units):
        length = memory.lengths[LENGTHS * original + slot] if original > 0 else 0
        memory.lengths[LENGTHS * unit + slot] = length
    return 0


def paint(memory: Memory, root: int, network: int, length: int, leaf: int, leaf_length: int) -> int:
    """Replace the leaves of a prefix, but not those of longer prefixes within it, until there is no room; 0.

    The walk goes down from the root to all of them, and replaces pieces on its way up.
    """
    level, frames = ROOT, memory.frames
    enter(frames[ROOT], root << WIDTH_BITS, 2 * root, ROOT, network, length)
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
    above, frame = memory.frames[level - 1], memory.frames[level]
    entry = memory.entries[above.base + above.slot]
    child = entry if entry & CHILD else 0
    unit = unit_of(child)
    base = (level - NODE) * SLOTS[NODE]
    if level < NODE:
        if unit == 0 or memory.stamps[unit] != memory.state[0].transaction:
            block = take(memory, BLOCK_UNITS)
            copied(memory, block, unit, BLOCK_UNITS)
            if unit > 0:
                retire(memory, unit, BLOCK_UNITS)
            unit, child = block, CHILD | block << WIDTH_BITS
        base = 2 * unit
    elif unit > 0:
        unpack(memory, child, base)
    if entry & CHILD == 0:
        for slot in range(SLOTS[level]):
            memory.entries[base + slot] = entry
            memory.lengths[_LENGTHS * base + slot] = memory.lengths[_LENGTHS * above.base + above.slot]
    return enter(frame, child, base, level, network, length)


def closed(memory: Memory, frame: Any, level: int) -> tuple[int, int]:
    """The entry for a level that is done, and its length: a leaf if all its slots are alike, else a child and 0."""
    entries, lengths, base = memory.entries, memory.lengths, frame.base
    first, first_length, alike = entries[base], lengths[_LENGTHS * base], 0
    if first & CHILD == 0:
        while (
            alike < SLOTS[level] and entries[base + alike] == first and lengths[_LENGTHS * base + alike] == first_length
        ):
            alike += 1
    if alike < SLOTS[level] and (level < NODE or (frame.changed == 0 and frame.child != 0)):
        return frame.child, 0
    if frame.child != 0:
        retire(memory, unit_of(frame.child), units_of(memory, frame.child, level))
    if alike == SLOTS[level]:
        return first, first_length
    return packed(memory, base), 0


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
