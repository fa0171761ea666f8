"""The context of code that is called by its address alone: a table of words that says where everything is.

Code that is compiled together with a domain's loop gets its arrays as arguments. Code that comes later, to a loop that
runs, is called with a batch and the address of its context (`ENTRY`), whatever the path: the linked tier and fused code
alike. A domain has a context for each such shape.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
from numba.core import types

from scout.io.batch import WHOLE
from scout.io.packet import NO_PATH, PACKET
from scout.paths.compiler.plan import Block, CompileError, Plan
from scout.paths.model.table import Table
from scout.ring.linked import viewer

__all__ = [
    "BLOCKS",
    "CONFIGURATION",
    "CONTEXT",
    "COUNTERS",
    "EDGES",
    "ENTRY",
    "NUMBERS",
    "RECORDS",
    "ROOM",
    "TABLES",
    "WHOLE_ROOM",
    "Places",
    "argument_offset",
    "check_room",
    "context",
    "record_type",
    "whole_at",
    "words_at",
]

CONTEXT = 1024
"""Words of a context."""

COUNTERS, WHOLE_ROOM, BLOCKS, EDGES, CONFIGURATION, RECORDS, TABLES = range(7)
"""The first words of a context, all addresses: of the counters of all paths, rows of `ROOM.counters` words; of the room
for whole packets; of the blocks and edges of the linked tier (`scout.paths.compiler.linked`); of the path's
configuration; of the records of all paths, rows of `ROOM.own` words; and of the plan's tables, from `TABLES` on. Then
come the arguments of the stages, two words each."""


class Room(NamedTuple):
    """The most that a path may have of each kind: arrays of that size are there before the path."""

    blocks: int = 64
    edges: int = 512
    counters: int = 512
    parameters: int = 128
    own: int = 64


ROOM = Room()

ENTRY = types.void(types.Array(numba.from_dtype(PACKET), 1, "C"), types.int64, types.int64, types.int64)
"""The numba signature of such code: `run(batch, first, last, context)`."""

NUMBERS = NO_PATH + 1
"""Numbers that paths can have."""

words_at = viewer(types.int64[::1], (CONTEXT,))
"""A context, or the arguments of a stage, as int64 words; for compiled code."""

whole_at = viewer(types.uint8[::1], (WHOLE,))
"""The room for whole packets; for compiled code."""


class Places(NamedTuple):
    """Addresses of what a context leads to."""

    counters: int
    whole: int
    blocks: int
    edges: int
    configuration: int
    records: int
    table: Callable[[Table], int]


def argument_offset(plan: Plan, block: Block) -> int:
    """The index in a context of the first of the two words of a stage's first argument."""
    before = [each for each in plan.blocks.values() if each.index < block.index]
    return TABLES + len(plan.tables) + 2 * sum(len(each.arguments) for each in before)


def context(plan: Plan, places: Places) -> np.ndarray:
    """The context of a path's code, int64[`CONTEXT`].

    The two words of a number are an address, and the distance from one path's number to the next one's: 0 if all paths
    of the shape share it. For a table the first is its address.
    """
    tables = {name: places.table(table) for name, table in plan.tables.items()}
    words = [places.counters, places.whole, places.blocks, places.edges, places.configuration, places.records]
    words += tables.values()
    common = {name: places.configuration + 8 * index for index, name in enumerate(plan.parameters)}
    own = {name: places.records + 8 * index for index, name in enumerate(plan.own)}
    for block in plan.blocks.values():
        for argument in block.arguments:
            if argument in own:
                words += [own[argument], 8 * ROOM.own]
            elif argument in plan.settings:
                words += [tables[plan.settings[argument]], 0]
            else:
                words += [common.get(argument, tables.get(argument, 0)), 0]
    made = np.zeros(CONTEXT, np.int64)
    made[: len(words)] = words
    return made


def check_room(plan: Plan) -> None:
    """Refuse a path that is larger than what there is room for.

    Raises
    ------
    CompileError
        If it is.
    """
    last = list(plan.blocks.values())[-1]
    sizes = {
        "stages": (len(plan.blocks), ROOM.blocks),
        "edges": (sum(len(block.edges) for block in plan.blocks.values()), ROOM.edges),
        "counters": (plan.counters, ROOM.counters),
        "parameters": (len(plan.parameters), ROOM.parameters),
        "parameters of its own": (len(plan.own), ROOM.own),
        "arguments of stages": (argument_offset(plan, last) + 2 * len(last.arguments), CONTEXT),
    }
    for name, (wanted, room) in sizes.items():
        if wanted > room:
            raise CompileError(
                f"the path has {wanted} {name}, and one that is created while packets flow {room} at most; give it to "
                "the supervisor at the start"
            )


def record_type(plan: Plan) -> np.dtype:
    """The dtype of a path's record, in a row of `ROOM.own` words."""
    offsets = [8 * index for index in range(len(plan.own))]
    formats = [np.int64] * len(plan.own)
    return np.dtype({"names": plan.own, "formats": formats, "offsets": offsets, "itemsize": 8 * ROOM.own})
