"""Changes of a FIB: they make a new version, and leave the last one as it is.

A change copies what it changes (path copying): the root, and the blocks and nodes between the root and the leaves. A
piece that this change has taken itself is not copied again.
"""

from typing import Any

from scout.paths.protocols.fib.arena import LENGTHS, Memory, retire, take
from scout.paths.protocols.fib.layout import (
    BLOCK,
    BLOCK_UNITS,
    CHILD,
    EMPTY_ROOT,
    ESCAPE,
    LEVELS,
    NODE,
    PADDING,
    ROOT,
    ROOT_UNITS,
    SLOTS,
    STARTS,
    WIDE,
)
from scout.paths.protocols.fib.pieces import node_units, packed, read, units_of, unpacked, write
from scout.paths.protocols.fib.routes import Routes, covering, put

__all__ = ["change"]

_WORKING_UNITS = SLOTS[NODE] // 2


def change(memory: Memory, routes: Routes, changes: Any, before: Any, last: int) -> int:
    """Make a version in which routes are changed, and enter them into the table of routes.

    Parameters
    ----------
    memory : Memory
    routes : Routes
        With room for all of `changes`.
    changes : ROUTE[n]
        By network and then length, each prefix once, with leaves (`pieces`) in place of next hops; -1 removes a route.
    before : int64[n]
        Gets the leaves that the routes had, -1 where there was none.
    last : int
        The root of the last version, or `EMPTY_ROOT`.

    Returns
    -------
    int
        The root of the new version, but for its next hops; -1 if there is no room. Then `routes` is as it was, and the
        pieces that were taken are lost until `Arena.sweep`.
    """
    for index in range(len(changes)):
        each = changes[index]
        before[index] = put(routes, each.network, each.length, each.next_hop)
    root = take(memory, ROOT_UNITS)
    copied(memory, root, last, SLOTS[ROOT], SLOTS[ROOT])
    if last != EMPTY_ROOT:
        retire(memory, last, ROOT_UNITS)
    for index in range(len(changes)):
        each = changes[index]
        leaf, length = each.next_hop, each.length
        if length > 0 and memory.state[0].full == 0:  # the default route is in no leaf
            if leaf < 0:
                leaf, length = covering(routes, each.network, each.length)
            paint(memory, root, each.network, each.length, leaf, length)
    if memory.state[0].full == 0:
        return root
    for index in range(len(changes)):
        put(routes, changes[index].network, changes[index].length, before[index])
    return -1


def copied(memory: Memory, unit: int, original: int, units: int, slots: int) -> int:
    """Copy units of a root or a block, and the lengths of its slots, to another piece; 0."""
    for each in range(units):
        memory.vectors[unit + each] = memory.vectors[original + each]
    for slot in range(slots):
        memory.lengths[LENGTHS * unit + slot] = memory.lengths[LENGTHS * original + slot]
    return 0


def paint(memory: Memory, root: int, network: int, length: int, leaf: int, leaf_length: int) -> int:
    """Replace the leaves of a prefix, but not those of longer prefixes within it, until there is no room; 0.

    The walk goes down from the root to all of them, and replaces pieces on its way up.
    """
    level, frames = ROOT, memory.frames
    enter(frames[ROOT], 0, root, ROOT, network, length)
    while memory.state[0].full == 0:
        frame = frames[level]
        if frame.slot > frame.last:
            if level == ROOT:
                break
            entry, own_length = closed(memory, frame, level)
            level -= 1
            replace(memory, frames[level], level, entry, own_length)
            continue
        is_child = read(memory, level, frame.unit, frame.slot) & CHILD != 0
        if is_child or length > STARTS[level + 1] or (leaf >= WIDE and level < NODE):
            level += 1
            opened(memory, level, network, length)
        elif memory.lengths[LENGTHS * frame.unit + frame.slot] <= length:
            replace(memory, frame, level, leaf, leaf_length)
        else:
            frame.slot += 1
    return 0


def enter(frame: Any, child: int, unit: int, level: int, network: int, length: int) -> int:
    """Begin with a level: its slots that the prefix, or its way there, takes; 0."""
    frame.child, frame.unit, frame.changed = child, unit, 0
    frame.slot, frame.last = 0, SLOTS[level] - 1
    if length > STARTS[level]:
        below = STARTS[LEVELS] - STARTS[level + 1]
        frame.slot = network << PADDING >> below & SLOTS[level] - 1
        frame.last = frame.slot + (1 << max(0, STARTS[level + 1] - length)) - 1
    return 0


def replace(memory: Memory, frame: Any, level: int, entry: int, length: int) -> int:
    """Give the current slot an entry, and go on to the next; 0."""
    at = LENGTHS * frame.unit + frame.slot
    if read(memory, level, frame.unit, frame.slot) != entry or memory.lengths[at] != length:
        write(memory, level, frame.unit, frame.slot, entry)
        memory.lengths[at] = length
        frame.changed = 1
    frame.slot += 1
    return 0


def opened(memory: Memory, level: int, network: int, length: int) -> int:
    """Go down to the level below the current slot, a child or a leaf: make its slots ready to be changed; 0."""
    above = memory.frames[level - 1]
    entry = read(memory, level - 1, above.unit, above.slot)
    child = entry if entry & CHILD else 0
    unit = own_block(memory, child & ~CHILD) if level == BLOCK else (level - NODE) * _WORKING_UNITS
    if child == 0:
        for slot in range(SLOTS[level]):
            write(memory, level, unit, slot, entry)
            memory.lengths[LENGTHS * unit + slot] = memory.lengths[LENGTHS * above.unit + above.slot]
    elif level >= NODE:
        unpacked(memory, child & ~CHILD, unit)
        for slot in range(SLOTS[level]):
            memory.lengths[LENGTHS * unit + slot] = memory.lengths[LENGTHS * (child & ~CHILD) + slot]
    return enter(memory.frames[level], child, unit, level, network, length)


def own_block(memory: Memory, block: int) -> int:
    """A block that this change may write to: a new one if it is 0, a copy, or one that it has taken before."""
    if block > 0 and memory.stamps[block] == memory.state[0].transaction:
        return block
    own = take(memory, BLOCK_UNITS)
    if block > 0:
        copied(memory, own, block, BLOCK_UNITS, SLOTS[BLOCK])
        retire(memory, block, BLOCK_UNITS)
    return own


def closed(memory: Memory, frame: Any, level: int) -> tuple[int, int]:
    """The entry for a level that is done, and its length: a leaf if all its slots are alike, else a child and 0."""
    first, length = read(memory, level, frame.unit, 0), memory.lengths[LENGTHS * frame.unit]
    alike = is_alike(memory, level, frame.unit)
    if level == BLOCK:
        if alike:
            retire(memory, frame.unit, BLOCK_UNITS)
            return first, length
        return CHILD | frame.unit, 0
    child = frame.child & ~CHILD
    if frame.changed == 0 and child != 0:
        return frame.child, 0
    if child != 0:
        retire(memory, child, units_of(memory, child))
    if alike and (first < WIDE or level > NODE):
        return first, length
    return CHILD | new_node(memory, frame.unit), 0


def is_alike(memory: Memory, level: int, unit: int) -> bool:
    """True if all slots of a piece are the same leaf."""
    first, length = read(memory, level, unit, 0), memory.lengths[LENGTHS * unit]
    if first & CHILD:
        return False
    slot = 1
    while (
        slot < SLOTS[level]
        and read(memory, level, unit, slot) == first
        and memory.lengths[LENGTHS * unit + slot] == length
    ):
        slot += 1
    return slot == SLOTS[level]


def new_node(memory: Memory, slots: int) -> int:
    """Make a node of the entries of 64 words; its unit."""
    count, wide = 1, False
    for slot in range(SLOTS[NODE]):
        entry = memory.entries[2 * slots + slot]
        wide |= not 0 <= entry < ESCAPE
        if slot > 0 and entry != memory.entries[2 * slots + slot - 1]:
            count += 1
    unit = take(memory, node_units(count, wide))
    packed(memory, unit, slots, count, wide)
    for slot in range(SLOTS[NODE]):
        memory.lengths[LENGTHS * unit + slot] = memory.lengths[LENGTHS * slots + slot]
    return unit
