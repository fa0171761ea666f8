"""The context of code that is called by its address: a table of words that says where everything is.

All code of paths is called with a batch and the address of a context (`ENTRY`), whatever the path: fused code, that of
the start and that which comes later, and the linked tier. A replica has a context for each shape.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
from numba.core import types

from scout.io.batch import WHOLE
from scout.io.packet import NO_PATH, PACKET
from scout.paths.compiler.plan import Block, CompileError, Plan
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.ring.linked import viewer
from scout.ring.segment import address

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
    "ROW",
    "TABLES",
    "WHOLE_ROOM",
    "Places",
    "Rows",
    "argument_offset",
    "arguments_of",
    "check_room",
    "description",
    "record_type",
    "table_offsets",
    "whole_at",
    "words_at",
    "write_context",
]

CONTEXT = 1024
"""Words of a context."""

COUNTERS, ROW, WHOLE_ROOM, BLOCKS, EDGES, CONFIGURATION, RECORDS, TABLES = range(8)
"""The first words of a context. All but one are addresses: of the counters of all paths, which are rows of `ROW` words,
0 if the shape has one path; of the room for whole packets; of the blocks and edges of the linked tier
(`scout.paths.compiler.linked`); of the path's configuration; and of the records of all paths. Behind these stand the
descriptions of the plan's tables (`scout.ring.linked.described`), and then the arguments of the stages, two words each,
which the linked tier reads."""


class Room(NamedTuple):
    """The most that a path may have of each kind: arrays of that size are there before the path."""

    blocks: int = 64
    edges: int = 512
    counters: int = 520  # an odd number of cache lines, as `Plan.row`
    parameters: int = 128
    own: int = 64


ROOM = Room()


class Rows(NamedTuple):
    """The words from one path's counters, and from one path's record, to those of the next number."""

    counters: int
    own: int


ENTRY = types.void(types.Array(numba.from_dtype(PACKET), 1, "C"), types.int64, types.int64, types.boolean, types.int64)
"""The numba signature of such code: `run(batch, first, last, primary, context)` runs packets `first` to `last`, as
their primary or as one of the other replicas."""

NUMBERS = NO_PATH + 1
"""Numbers that paths can have."""

words_at = viewer(types.int64[::1], (CONTEXT,))
"""A context, or the arguments of a stage, as int64 words; for compiled code."""

whole_at = viewer(types.uint8[::1], (WHOLE,))
"""The room for whole packets; for compiled code."""


class Places(NamedTuple):
    """The places that a context leads to: `row` is a number of words, the others are addresses."""

    counters: int
    row: int
    whole: int
    blocks: int
    edges: int
    configuration: int
    records: int
    table: Callable[[Table], int]


def description(table: Table, place: int) -> list[int]:
    """The words that describe an array like that of a table, at an address."""
    return [place, *table.initial.shape]


def table_offsets(plan: Plan) -> dict[str, int]:
    """The index in a context of the first word of each table's description."""
    offsets, after = {}, TABLES
    for name, table in plan.tables.items():
        offsets[name] = after
        after += 1 + table.initial.ndim
    return offsets


def argument_offset(plan: Plan, block: Block) -> int:
    """The index in a context of the first of the two words of a stage's first argument."""
    tables = sum(1 + table.initial.ndim for table in plan.tables.values())
    before = [each for each in plan.blocks.values() if each.index < block.index]
    return TABLES + tables + 2 * sum(len(each.arguments) for each in before)


def write_context(words: np.ndarray, plan: Plan, places: Places, rows: Rows | None = None) -> None:
    """Write the context of a path's code to int64[`CONTEXT`]; the arguments of stages only with `rows`.

    The two words of a number are an address, and the distance from one path's number to the next one's: 0 if all paths
    of the shape share it. For a table the first is the address of its description.
    """
    offsets = table_offsets(plan)
    made = list(places[:TABLES])
    for table in plan.tables.values():
        made += description(table, places.table(table))
    if rows:
        common = {name: places.configuration + 8 * index for index, name in enumerate(plan.parameters)}
        common |= {name: address(words[offset:]) for name, offset in offsets.items()}
        common |= {name: places.table(plan.tables[table]) for name, table in plan.settings.items()}
        own = {name: places.records + 8 * index for index, name in enumerate(plan.own)}
        for block in plan.blocks.values():
            for argument in block.arguments:
                made += [own[argument], 8 * rows.own] if argument in own else [common.get(argument, 0), 0]
    words[: len(made)] = made


def arguments_of(stage: Stage, table: Callable[[Table], int]) -> np.ndarray:
    """The arguments of a stage that stands on no path, int64[word]: two words each, and the tables' descriptions."""
    bound = [stage.bindings.get(name) for name in stage.parameters]
    tables = {id(value): value for value in bound if isinstance(value, Table)}
    words = np.zeros(2 * len(bound) + sum(1 + each.initial.ndim for each in tables.values()), np.int64)
    offset, places = 2 * len(bound), dict[int, int]()
    for number, each in tables.items():
        found = description(each, table(each))
        words[offset : offset + len(found)] = found
        places[number] = address(words[offset:])
        offset += len(found)
    words[: 2 * len(bound) : 2] = [places.get(id(value), 0) for value in bound]
    return words


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


def record_type(plan: Plan, rows: Rows) -> np.dtype:
    """The dtype of a path's record, in a row of `rows.own` words."""
    offsets = [8 * index for index in range(len(plan.own))]
    formats = [np.int64] * len(plan.own)
    return np.dtype({"names": plan.own, "formats": formats, "offsets": offsets, "itemsize": 8 * rows.own})
