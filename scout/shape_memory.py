"""The memory of shapes: for each its code, and for each replica what the code works on.

All code of paths is called by its address, with a context that says where everything is
(`scout.paths.compiler.context`): that of the start, and that of shapes which come while packets flow. For the latter
there is room before the replicas are forked: the counters and records of their paths are rows of common arrays, by the
path's number. Pages that nothing is written to cost nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np

from scout.io.batch import WHOLE
from scout.paths.compiler.context import CONTEXT, ROOM, Places, write_context
from scout.paths.compiler.linked import BLOCK, EDGE, rows, walk
from scout.paths.compiler.native import rows_of
from scout.paths.compiler.plan import Plan
from scout.paths.compiler.source import LIVE_ROWS
from scout.paths.model.table import Table
from scout.ring.code_memory import CodeMemory
from scout.ring.errors import ScoutError
from scout.ring.segment import address, private, shared
from scout.shapes import Shape

__all__ = ["CODE", "CUTS", "FUSED", "KEEPS", "LINKED", "MOST_SHAPES", "REPLICATES", "ShapeMemory"]

MOST_SHAPES = 64
"""Shapes that may come while packets flow."""

FUSED, LINKED = 0, 1
"""The tiers, as the setting of a shape has them."""

CODE = np.dtype([("address", "i8"), ("channel", "i4"), ("flags", "i4")])
"""The code of a shape in a tier: its address (`scout.paths.compiler.context.ENTRY`), the channel, and flags."""

REPLICATES, KEEPS, CUTS = 1, 2, 4
"""Flags of a shape: replicas that are not the primary have work; a packet may come to replicated work on the main line;
packets are queued behind the stages whose work belongs at their position in the channel."""

FindTable = Callable[[int, int, Table], int]
"""The address of a table: of a replica, and of a setting in a channel."""


class ShapeMemory:
    """The memory of a run's shapes.

    Parameters
    ----------
    shapes : sequence of Shape
        The shapes of the start.
    channels : sequence of int
        The channel of each.
    room : int
        How many numbers there are for paths.
    grows : bool
        True if shapes may come while packets flow.

    Attributes
    ----------
    codes : numpy.ndarray
        `CODE`[shape, tier], shared.
    contexts : dict of int to numpy.ndarray
        int64[shape, word] of each replica.
    loader : CodeMemory or None
        Where the code of shapes is loaded that come later; None if this machine cannot have it, for which `refusal` is
        the reason, or if none may come.
    """

    def __init__(self, shapes: Sequence[Shape], channels: Sequence[int], room: int, grows: bool) -> None:
        later = MOST_SHAPES if grows else 0
        self.loader, self.refusal = None, ""
        self.codes = shared((len(shapes) + later, 2), CODE)
        self.contexts: dict[int, np.ndarray] = {}
        self._room, self._later, self._plans = room, later, list[Plan]()
        self._find_table: FindTable | None = None
        # By shape: of those of the start each has arrays of its own size.
        self._many = [shape.many for shape in shapes] + [True] * later
        self._rows = [rows_of(shape.plan) for shape in shapes] + [LIVE_ROWS] * later
        self._records = [
            shared((self._numbers(shape), self._rows[shape].own), np.int64) for shape in range(len(shapes))
        ]
        self._records += [shared((room, ROOM.own), np.int64)] * later
        self._blocks = [rows(shape.plan, {})[0] for shape in shapes] + list(shared((later, ROOM.blocks), BLOCK))
        self._edges = [np.zeros(0, EDGE) for _ in shapes] + list(shared((later, ROOM.edges), EDGE))
        self._configurations = [_shared(shape.plan.configuration.view(np.int64)) for shape in shapes]
        self._configurations += list(shared((later, ROOM.parameters), np.int64))
        self._counters: dict[int, list[np.ndarray]] = {}  # by replica
        self._whole: dict[int, np.ndarray] = {}  # by replica
        for shape, channel in zip(shapes, channels, strict=True):
            self.codes["channel"][shape.number] = channel
            self._set_code(shape.number, FUSED, shape.plan, shape.code.run.address)
            self._plans.append(shape.plan)
        if grows:
            try:
                self.loader = CodeMemory()
            except ScoutError as error:
                self.refusal = str(error)
            self._walk = walk.address  # compiled before the fork

    def enlist(self, replica: int, find_table: FindTable) -> None:
        """Make the memory of a replica."""
        self._find_table = find_table
        own = len(self._many) - self._later
        counters = [shared((self._numbers(shape), self._rows[shape].counters), np.int64) for shape in range(own)]
        common = [shared((self._room, ROOM.counters), np.int64)] * self._later
        self._counters[replica] = counters + common
        self._whole[replica] = private(WHOLE, np.uint8)
        # Last: another thread may be in `place`. A shape that comes now is written by one of the two, or by both.
        self.contexts[replica] = shared((len(self._many), CONTEXT), np.int64)
        for shape in range(len(self._plans)):
            self._write_context(replica, shape)

    @property
    def replicas(self) -> list[int]:
        """The replicas that there were."""
        return list(self._counters)

    def place(self, shape: int, plan: Plan, channel: int, stages: dict[str, int]) -> None:
        """Write a shape that comes now, for the linked tier; `stages` are the addresses of its stages by node."""
        blocks, edges = rows(plan, stages)
        self._blocks[shape][: len(blocks)], self._edges[shape][: len(edges)] = blocks, edges
        self._configure(shape, plan)
        self.codes["channel"][shape] = channel
        self._set_code(shape, LINKED, plan, self._walk)
        self._plans.append(plan)  # behind its code, which `enlist` reads
        for replica in list(self.contexts):
            self._write_context(replica, shape)

    def reconfigure(self) -> None:
        """Write the configurations of all shapes again, as they are now."""
        for shape, plan in enumerate(self._plans):
            self._configure(shape, plan)

    def _configure(self, shape: int, plan: Plan) -> None:
        configuration = plan.configuration.view(np.int64)
        self._configurations[shape][: len(configuration)] = configuration

    def fuse(self, shape: int, address: int) -> None:
        """Write the address of the fused code of a shape that came."""
        self._set_code(shape, FUSED, self._plans[shape], address)

    def counted(self, replica: int, shape: Shape) -> np.ndarray:
        """A replica's counters for paths of a shape: int64[number, counter].

        Each path has the row of its number; the first if the shape has no other. Shapes that come have common rows.
        """
        return self._counters[replica][shape.number][:, : shape.plan.row]

    def write_record(self, number: int, shape: int, plan: Plan) -> None:
        """Write the record of a path."""
        if self._many[shape]:
            self._records[shape][number, : len(plan.own)] = plan.own_values

    def _numbers(self, shape: int) -> int:
        """How many numbers the paths of a shape of the start may have."""
        return self._room if self._many[shape] else 1

    def _set_code(self, shape: int, tier: int, plan: Plan, address: int) -> None:
        is_sharded = any(block.stage.sharded for block in plan.blocks.values())
        keeps = is_sharded or any(plan.blocks[node].stage.keeps_state for node in plan.main)
        flags = REPLICATES * bool(plan.replicated) | KEEPS * keeps | CUTS * bool(plan.early)
        code = self.codes[shape, tier]
        code["address"], code["flags"] = address, flags

    def _write_context(self, replica: int, shape: int) -> None:
        find, channel, row = self._find_table, int(self.codes[shape, FUSED]["channel"]), self._rows[shape]
        assert find
        places = Places(
            counters=address(self._counters[replica][shape]),
            row=row.counters if self._many[shape] else 0,
            whole=address(self._whole[replica]),
            blocks=address(self._blocks[shape]),
            edges=address(self._edges[shape]),
            configuration=address(self._configurations[shape]),
            records=address(self._records[shape]),
            table=lambda table: find(replica, channel, table),
        )
        is_linked = shape >= len(self._many) - self._later
        write_context(self.contexts[replica][shape], self._plans[shape], places, row if is_linked else None)


def _shared(values: np.ndarray) -> np.ndarray:
    """A copy in shared memory: replicas that run see what is written there later."""
    copied = shared(max(1, len(values)), np.int64)
    copied[: len(values)] = values
    return copied
