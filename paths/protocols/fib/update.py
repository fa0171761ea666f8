"""Changes of a FIB: they make a new version, and leave the last one as it is.

A change copies what it changes (path copying): the root, and the blocks and nodes between the root and the leaves. A
piece that this change has taken itself is not copied again.
"""

from typing import Any

from scout.paths.protocols.fib.arena import Memory, retire, take
from scout.paths.protocols.fib.layout import (
    BLOCK_UNITS,
    DEFAULT,
    HOP_BITS,
    LEVELS,
    NODE,
    PADDING,
    ROOT_UNITS,
    SLOTS,
    STARTS,
    size,
)
from scout.paths.protocols.fib.routes import Routes, covering, put

__all__ = ["change"]


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
    for unit in range(ROOT_UNITS):
        memory.vectors[root + unit] = memory.vectors[last + unit] if last > 0 else 0
    if last > 0:
        retire(memory, last, ROOT_UNITS)
    for index in range(len(changes)):
        each = changes[index]
        if each.length == 0:
            memory.entries[2 * root + DEFAULT] = each.next_hop + 1
        elif memory.state[0].full == 0:
            leaf = each.next_hop + 1 | each.length << HOP_BITS
            if each.next_hop < 0:
                leaf = covering(routes, each.network, each.length)
            paint(memory, root, each.network, each.length, leaf)
    if memory.state[0].full == 0:
        return root
    for index in range(len(changes)):
        put(routes, changes[index].network, changes[index].length, before[index])
    return -1


def paint(memory: Memory, root: int, network: int, length: int, leaf: int) -> int:
    """Replace the leaves of a prefix, but not those of longer prefixes within it, until there is no room; 0.

    The walk goes down from the root to all of them, and replaces pieces on its way up.
    """
    level, frames = 0, memory.frames
    enter(frames[0], root, 2 * root, 0, network, length)
    while memory.state[0].full == 0:
        frame = frames[level]
        if frame.slot > frame.last:
            if level == 0:
                break
            made = closed(memory, frame, level)
            level -= 1
            replace(memory, frames[level], made)
            continue
        entry = memory.entries[frame.base + frame.slot]
        if entry < 0 or length > STARTS[level + 1]:
            level += 1
            opened(memory, frames[level], level, entry, network, length)
        elif entry >> HOP_BITS <= length:
            replace(memory, frame, leaf)
        else:
            frame.slot += 1
    return 0


def enter(frame: Any, unit: int, base: int, level: int, network: int, length: int) -> int:
    """Begin with a level: its slots that the prefix, or its way there, takes; 0."""
    frame.unit, frame.base, frame.changed = unit, base, 0
    frame.slot, frame.last = 0, SLOTS[level] - 1
    if length > STARTS[level]:
        below = STARTS[LEVELS] - STARTS[level + 1]
        frame.slot = network << PADDING >> below & SLOTS[level] - 1
        frame.last = frame.slot + (1 << max(0, STARTS[level + 1] - length)) - 1
    return 0


def replace(memory: Memory, frame: Any, entry: int) -> int:
    """Give the current slot an entry, and go on to the next; 0."""
    if memory.entries[frame.base + frame.slot] != entry:
        memory.entries[frame.base + frame.slot] = entry
        frame.changed = 1
    frame.slot += 1
    return 0


def opened(memory: Memory, frame: Any, level: int, entry: int, network: int, length: int) -> int:
    """Go down to the level below an entry, a child or a leaf: make its slots ready to be changed; 0."""
    entries, vectors = memory.entries, memory.vectors
    unit = ~entry if entry < 0 else 0
    if level >= NODE:
        base = (level - NODE) * SLOTS[level]
        word = 2 * unit + 1
        vector = vectors[unit] if unit > 0 else 1
        for slot in range(SLOTS[level]):
            word += vector >> slot & 1
            entries[base + slot] = entries[word] if unit > 0 else entry
        return enter(frame, unit, base, level, network, length)
    block = unit
    if unit == 0:
        block = take(memory, BLOCK_UNITS)
        for slot in range(SLOTS[level]):
            entries[2 * block + slot] = entry
    elif memory.stamps[unit] != memory.state[0].transaction:
        block = take(memory, BLOCK_UNITS)
        for each in range(BLOCK_UNITS):
            vectors[block + each] = vectors[unit + each]
        retire(memory, unit, BLOCK_UNITS)
    return enter(frame, block, 2 * block, level, network, length)


def closed(memory: Memory, frame: Any, level: int) -> int:
    """The entry for a level that is done: a leaf if all its slots are alike, else a child."""
    first, alike = memory.entries[frame.base], 1
    if first >= 0:
        while alike < SLOTS[level] and memory.entries[frame.base + alike] == first:
            alike += 1
    if alike < SLOTS[level] and (level < NODE or (frame.changed == 0 and frame.unit > 0)):
        return ~frame.unit
    if frame.unit > 0:
        retire(memory, frame.unit, size(memory.vectors, frame.unit, level))
    return first if alike == SLOTS[level] else ~packed(memory, frame.base)


def packed(memory: Memory, base: int) -> int:
    """Make a node of the entries of its slots."""
    entries, slots = memory.entries, SLOTS[NODE]
    vector, runs = 1, 1
    for slot in range(1, slots):
        if entries[base + slot] != entries[base + slot - 1]:
            vector |= 1 << slot
            runs += 1
    unit = take(memory, 1 + (runs + 1) // 2)
    word = 2 * unit + 1
    for slot in range(slots):
        if vector >> slot & 1:
            word += 1
            entries[word] = entries[base + slot]
    memory.vectors[unit] = vector
    return unit
