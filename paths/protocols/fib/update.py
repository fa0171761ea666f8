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
    NODE_UNITS,
    OUTSIDE,
    PADDING,
    ROOT,
    ROOT_UNITS,
    SLOTS,
    STARTS,
    WIDE,
    words_behind,
)
from scout.paths.protocols.fib.pieces import fits, node_units, outside, packed, read, units_of, unpacked, write
from scout.paths.protocols.fib.routes import Routes, covering, put
from scout.ring.ranges import copy_range, fill_range

__all__ = ["change"]

_WORKING_UNITS = SLOTS[NODE] // 2
_NODE_LENGTHS = LENGTHS * NODE_UNITS


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
    copied(memory, root, last, ROOT_UNITS)
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


def copied(memory: Memory, unit: int, original: int, units: int) -> int:
    """Copy a root or a block, with the lengths of its slots, to another piece; 0."""
    copy_range(memory.vectors, unit, original, units)
    copy_range(memory.lengths, LENGTHS * unit, LENGTHS * original, LENGTHS * units)
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
            entry, own_length = closed(memory, level)
            level -= 1
            replace(memory, frames[level], level, entry, own_length)
            continue
        is_child = read(memory, level, frame.unit, frame.slot) & CHILD != 0
        if is_child or length > STARTS[level + 1] or (leaf >= WIDE and level < NODE):
            level += 1
            opened(memory, level, network, length)
        elif memory.lengths[length_at(level, frame.unit, frame.slot)] <= length:
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


def length_at(level: int, unit: int, slot: int) -> int:
    """Where the length of a slot is; of a block, that of the first slot of its node."""
    return LENGTHS * unit + (_NODE_LENGTHS * slot if level == BLOCK else slot)


def replace(memory: Memory, frame: Any, level: int, entry: int, length: int) -> int:
    """Give the current slot an entry, and go on to the next; 0. A child of a block is in its place already."""
    at = length_at(level, frame.unit, frame.slot)
    if read(memory, level, frame.unit, frame.slot) != entry or (memory.lengths[at] != length and entry & CHILD == 0):
        write(memory, level, frame.unit, frame.slot, entry)
        fill_range(memory.lengths, at, _NODE_LENGTHS if level == BLOCK else 1, length)
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
        own_length = memory.lengths[length_at(level - 1, above.unit, above.slot)]
        for slot in range(SLOTS[level]):
            write(memory, level, unit, slot, entry)
        fill_range(memory.lengths, LENGTHS * unit, _NODE_LENGTHS * (SLOTS[BLOCK] if level == BLOCK else 1), own_length)
    elif level >= NODE:
        whole = outside(memory, child & ~CHILD) if level == NODE else 0
        unpacked(memory, whole if whole > 0 else child & ~CHILD, unit)
        copy_range(memory.lengths, LENGTHS * unit, LENGTHS * (child & ~CHILD), _NODE_LENGTHS)
    return enter(memory.frames[level], child, unit, level, network, length)


def own_block(memory: Memory, block: int) -> int:
    """A block that this change may write to: a new one if it is 0, a copy, or one that it has taken before."""
    if block > 0 and memory.stamps[block] == memory.state[0].transaction:
        return block
    own = take(memory, BLOCK_UNITS)
    if block > 0:
        copied(memory, own, block, BLOCK_UNITS)
        retire(memory, block, BLOCK_UNITS)
    return own


def closed(memory: Memory, level: int) -> tuple[int, int]:
    """The entry for a level that is done, and its length: a leaf if all its slots are alike, else a child and 0."""
    frame = memory.frames[level]
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
    whole = outside(memory, child) if child != 0 and level == NODE else child
    if whole != 0:
        retire(memory, whole, units_of(memory, whole))
    if alike and (first < WIDE or level > NODE):
        return first, length
    above = memory.frames[level - 1]
    return CHILD | new_node(memory, frame.unit, above.unit + NODE_UNITS * above.slot if level == NODE else 0), 0


def is_alike(memory: Memory, level: int, unit: int) -> bool:
    """True if all slots of a piece are the same leaf."""
    first, length = read(memory, level, unit, 0), memory.lengths[LENGTHS * unit]
    if first & CHILD:
        return False
    slot = 1
    while (
        slot < SLOTS[level]
        and read(memory, level, unit, slot) == first
        and memory.lengths[length_at(level, unit, slot)] == length
    ):
        slot += 1
    return slot == SLOTS[level]


def new_node(memory: Memory, slots: int, place: int) -> int:
    """Make a node of the entries of 64 words, at a place in a block if that is not 0; its unit."""
    count, wide = 1, False
    for slot in range(SLOTS[NODE]):
        entry = memory.entries[2 * slots + slot]
        wide |= not 0 <= entry < ESCAPE
        if slot > 0 and entry != memory.entries[2 * slots + slot - 1]:
            count += 1
    unit, whole = place, 0
    if place == 0 or wide or not fits(count, wide):
        whole = take(memory, node_units(count, wide))
        packed(memory, whole, slots, words_behind(whole, count) if wide else 0)
    if place == 0:
        unit = whole
    else:
        place_node(memory, place, slots, count, whole)
    copy_range(memory.lengths, LENGTHS * unit, LENGTHS * slots, SLOTS[NODE])
    return unit


def place_node(memory: Memory, place: int, slots: int, count: int, whole: int) -> int:
    """Write a node of the entries of 64 words to its place in a block; `whole` is where it is outside, or 0; 0."""
    if fits(count, whole != 0):
        packed(memory, place, slots, 0)
    else:
        write(memory, BLOCK, place, 0, ESCAPE)
    if whole != 0:
        memory.entries[2 * place + OUTSIDE] = whole
    elif count == 1:  # of prefixes of different lengths: it has the code twice, as one that has it once is a leaf
        memory.vectors[place] |= 1
        memory.leaves[8 * place + 9] = memory.leaves[8 * place + 8]
    return 0
