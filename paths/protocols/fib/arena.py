"""The memory of a FIB: one writer takes and returns pieces of it, and many readers look things up in it.

Free pieces of one size are linked through their first unit. Other memory comes from *regions*: the reserve that was
never used, and what `Arena.sweep` found. Readers need no lock: they read the version that they were given, and the
pieces of a version are returned only after it was released.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from scout.paths.protocols.fib.layout import (
    BLOCK,
    BLOCK_UNITS,
    CHILD,
    EMPTY_ROOT,
    FIRST_UNIT,
    LEVELS,
    NODE_UNITS,
    ROOT,
    ROOT_UNITS,
    SLOTS,
    words_of,
)
from scout.paths.protocols.fib.pieces import has_words, outside, read, runs, units_of, write
from scout.paths.protocols.fib.tier import Tier
from scout.ring.segment import LINE, private, shared

__all__ = ["FRAME", "LENGTHS", "Arena", "Memory", "put_back", "retire", "take"]

_LINE = LINE // 8  # units

_SMALLEST_REGION = BLOCK_UNITS
"""A smaller gap between pieces in use becomes a free piece, others become regions."""

LENGTHS = 64 // NODE_UNITS
"""Lengths of prefixes to a unit: the smallest node has 64 slots."""

_SIZE_BITS = 11  # BLOCK_UNITS, the largest size of a piece, fits

STATE = np.dtype(
    [
        ("next", np.int64),  # the next unit of the current region
        ("end", np.int64),  # the unit behind the region
        ("region", np.int64),  # the number of the next region
        ("transaction", np.int64),  # the stamp of the pieces that the change in progress has taken
        ("retired", np.int64),  # how many pieces the change in progress has replaced
        ("used", np.int64),  # units of pieces that are not free
        ("full", np.int64),  # 1 after there was no room
    ]
)

FRAME = np.dtype(
    [
        ("child", np.int64),  # the entry that names the piece at this level, 0 if there is none
        ("unit", np.int64),  # the piece's first unit; of a node, the first of 64 words in the writer's working room
        ("slot", np.int64),  # the next slot, or entry, to look at
        ("last", np.int64),  # the last one
        ("changed", np.int64),  # 1 if an entry was changed
    ]
)
"""A level on the way from a root to leaves that a function works on."""


class Memory(NamedTuple):
    """The arrays of an arena, for compiled code.

    Attributes
    ----------
    entries : int32[2 * units]
    vectors : int64[units]
    leaves : uint8[8 * units]
        The memory that readers see (`layout`): one shared segment.
    state : STATE[1]
    free : int64[BLOCK_UNITS + 1]
        By size the first free piece, or 0; each free piece has the next one in its first unit.
    regions : int64[2 * n]
        The first unit of each region and the unit behind it; 0 and 0 at the end.
    frames : FRAME[LEVELS]
        Working room.
    lengths : uint8[LENGTHS * units]
        For the slots of a piece the lengths of the prefixes that their leaves come from, from LENGTHS * the first unit
        on: by them a change finds the leaves that belong to longer prefixes. 0 where the entry is a child or no route.
        A block has those of its nodes. Uniform blocks have none: the length is that of the slot above.
    stamps : int32[units]
        At the first unit of a piece the transaction that took it.
    retired : int64[units]
        The pieces that the change in progress has replaced: the unit << _SIZE_BITS | the size.
    """

    entries: Any
    vectors: Any
    leaves: Any
    state: Any
    free: Any
    regions: Any
    frames: Any
    lengths: Any
    stamps: Any
    retired: Any


def take(memory: Memory, size: int) -> int:
    """A piece of `size` units; unit 0, which anything may be written to, if there is no room."""
    state = memory.state[0]
    unit = memory.free[size]
    if unit > 0:
        memory.free[size] = memory.vectors[unit]
    else:
        gap = gap_before(state.next, size)
        while state.next + gap + size > state.end:
            state.next, state.end = memory.regions[2 * state.region], memory.regions[2 * state.region + 1]
            if state.end == 0:
                state.full = 1
                return 0
            state.region += 1
            gap = gap_before(state.next, size)
        if gap > 0:
            put_back(memory, state.next, gap)
            state.used += gap
            state.next += gap
        unit = state.next
        state.next = unit + size
    memory.stamps[unit] = state.transaction
    state.used += size
    return unit


def gap_before(unit: int, size: int) -> int:
    """Units to be left out, so that a piece of a line's size or less is within one line, and nodes of a block are."""
    return -unit % _LINE if unit % _LINE + size > _LINE else 0


def put_back(memory: Memory, unit: int, size: int) -> int:
    """Make a piece free that no version refers to; its unit."""
    memory.vectors[unit] = memory.free[size]
    memory.free[size] = unit
    memory.state[0].used -= size
    return unit


def retire(memory: Memory, unit: int, size: int) -> int:
    """Note that the version in progress does not refer to a piece, or make it free if no other does; its unit."""
    state = memory.state[0]
    if memory.stamps[unit] == state.transaction:
        return put_back(memory, unit, size)
    memory.retired[state.retired] = unit << _SIZE_BITS | size
    state.retired += 1
    return unit


def reclaim(memory: Memory, retired: Any) -> int:
    """Make retired pieces free; their number."""
    for index in range(len(retired)):
        put_back(memory, retired[index] >> _SIZE_BITS, retired[index] & (1 << _SIZE_BITS) - 1)
    return len(retired)


def mark(memory: Memory, marks: Any, root: int) -> int:
    """Mark the units of all pieces of a version, but not again those that are marked already; 0."""
    level, frames = ROOT, memory.frames
    frames[ROOT].unit, frames[ROOT].slot, frames[ROOT].last = root, 0, SLOTS[ROOT] - 1
    marks[root : root + ROOT_UNITS] = 1
    while level >= ROOT:
        frame = frames[level]
        if frame.slot > frame.last:
            level -= 1
            continue
        slot = frame.slot
        frame.slot += 1
        if level == ROOT:
            entry = read(memory, level, frame.unit, slot)
        elif level == BLOCK:
            node = outside(memory, frame.unit + NODE_UNITS * slot)
            entry = CHILD | node if node > 0 else 0
        else:
            entry = memory.entries[words_of(memory.vectors, frame.unit) + slot]
        unit = entry & ~CHILD
        if entry & CHILD and marks[unit] == 0:
            size = BLOCK_UNITS if level == ROOT else units_of(memory, unit)
            marks[unit : unit + size] = 1
            level += 1
            below = frames[level]
            below.unit, below.slot, below.last = unit, 0, SLOTS[level] - 1
            if level > BLOCK:
                below.last = runs(memory, unit) - 1 if has_words(memory, unit) else -1
    return 0


def refree(memory: Memory, gaps: Any) -> int:
    """Make free pieces of gaps between pieces in use, int64[2 * n]: their first units and the units behind them; 0."""
    for index in range(0, len(gaps), 2):
        put_back(memory, gaps[index], gaps[index + 1] - gaps[index])
    return 0


class Arena:
    """The memory of a FIB.

    Parameters
    ----------
    units : int
        Its size, 8 bytes each, besides what is there for all versions. Units that were never used cost no memory.

    Attributes
    ----------
    memory : Memory
    tier : Tier
        Calls functions of it.
    """

    def __init__(self, units: int, tier: Tier) -> None:
        self.tier = tier
        self._units = units = FIRST_UNIT + units
        vectors = shared(units, np.int64)
        self.memory = Memory(
            entries=vectors.view(np.int32),
            vectors=vectors,
            leaves=vectors.view(np.uint8),
            state=np.zeros(1, STATE),
            free=np.zeros(BLOCK_UNITS + 1, np.int64),
            regions=private(2 * (units // _SMALLEST_REGION + 2), np.int64),
            frames=np.zeros(LEVELS, FRAME),
            lengths=private(LENGTHS * units, np.uint8),
            stamps=private(units, np.int32),
            retired=private(units, np.int64),
        )
        self.memory.regions[:2] = FIRST_UNIT, units
        for slot in range(SLOTS[ROOT]):
            write(self.memory, ROOT, EMPTY_ROOT, slot, 0)

    @property
    def used(self) -> int:
        """Bytes of the pieces that are not free."""
        return 8 * int(self.memory.state["used"][0])

    @property
    def writer_bytes(self) -> int:
        """Bytes of what the writer has besides: of the units that were ever in use, lengths and stamps."""
        used = max(0, int(self.memory.state["next"][0]) - FIRST_UNIT)
        return (LENGTHS + self.memory.stamps.itemsize) * used

    @property
    def size(self) -> int:
        """Bytes that pieces may take."""
        return 8 * (self._units - FIRST_UNIT)

    def begin(self) -> None:
        """Begin a change: what it takes is told by a stamp of its own.

        Stamps are used up after 2**31 - 1 changes, which is in 60 hours at 10,000 a second. Then they begin anew, and
        no piece may have an old one: the change with that stamp would write to what older versions have.
        """
        state, stamps = self.memory.state, self.memory.stamps
        if state["transaction"] == np.iinfo(stamps.dtype).max:
            stamps[stamps != 0] = 0  # what was never in use costs no memory
            state["transaction"] = 0
        state["transaction"] += 1
        state["retired"] = state["full"] = 0

    @property
    def retired(self) -> np.ndarray:
        """The pieces that the last change replaced; a copy."""
        return self.memory.retired[: self.memory.state["retired"][0]].copy()

    def reclaim(self, retired: np.ndarray) -> None:
        """Make pieces free that no version refers to any more."""
        self.tier.call(1, reclaim, self.memory, retired)

    def sweep(self, roots: Iterable[int]) -> None:
        """Make all memory free that versions do not refer to: what changes left that had no room, and scattered pieces.

        Neighbouring pieces become one.
        """
        memory = self.memory
        in_use = np.zeros(self._units + 1, np.uint8)
        in_use[:FIRST_UNIT] = in_use[-1] = 1
        for root in roots:
            self.tier.call(self._units, mark, memory, in_use, root)
        gaps = np.flatnonzero(np.diff(in_use)).reshape(-1, 2) + 1
        lengths = gaps[:, 1] - gaps[:, 0]
        large = lengths >= _SMALLEST_REGION
        memory.free[:] = 0
        memory.regions[:] = 0
        memory.regions[: 2 * large.sum()] = gaps[large].ravel()
        memory.state["next"] = memory.state["end"] = memory.state["region"] = 0
        memory.state["used"] = self._units - FIRST_UNIT - lengths.sum() + lengths[~large].sum()
        self.tier.call(self._units, refree, memory, gaps[~large].ravel())
