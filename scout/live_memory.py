"""The memory of paths of new shapes: room that is there before the replicas are forked, for shapes that come later.

A shape that comes while packets flow has a *slot*. In it stand the addresses of its code in either tier, which all
replicas share, and for each replica its context (`scout.paths.compiler.context`). The counters and records of the paths
of all these shapes are rows of common arrays, by the path's number. Pages that nothing is written to cost nothing.
"""

from collections.abc import Callable

import numpy as np

from scout.io.batch import WHOLE
from scout.paths.compiler.context import CONTEXT, ROOM, Places, context
from scout.paths.compiler.linked import BLOCK, EDGE, replay, rows, walk
from scout.paths.compiler.plan import Plan
from scout.paths.model.table import Table
from scout.ring.code_memory import CodeMemory
from scout.ring.errors import ScoutError
from scout.ring.segment import address, private, shared

__all__ = ["CODE", "FUSED", "LINKED", "MOST_SHAPES", "LiveMemory"]

MOST_SHAPES = 64
"""Shapes that may come while packets flow."""

LINKED, FUSED = 0, 1
"""The tiers, as the setting of a slot has them."""

CODE = np.dtype([("run", "i8"), ("replicate", "i8"), ("held", "i4"), ("channel", "i2"), ("keeps", "i2")])
"""The code of a shape in a tier: the addresses of what the primary and the other replicas run, 0 if these do nothing;
the first of the counters of held packets; the channel; and 1 if a packet may come to replicated work on the main
line."""

FindTable = Callable[[int, int, Table], int]
"""The address of a table: of a replica, and of a setting in a channel."""


class LiveMemory:
    """The memory for shapes that come while packets flow.

    Parameters
    ----------
    room : int
        How many numbers there are for paths.

    Attributes
    ----------
    codes : numpy.ndarray
        `CODE`[slot, tier], shared.
    records : numpy.ndarray
        int64[number, word], shared.
    contexts : dict of int to numpy.ndarray
        int64[slot, word] of each replica.
    counters : dict of int to numpy.ndarray
        int64[number, word] of each replica.
    loader : CodeMemory or None
        None if this machine cannot have it; then `refusal` says why.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self.loader, self.refusal = None, ""
        try:
            self.loader = CodeMemory()
        except ScoutError as error:
            self.refusal = str(error)
        self.codes = shared((MOST_SHAPES, 2), CODE)
        self.records = shared((room, ROOM.own), np.int64)
        self.contexts: dict[int, np.ndarray] = {}
        self.counters: dict[int, np.ndarray] = {}
        self._blocks = shared((MOST_SHAPES, ROOM.blocks), BLOCK)
        self._edges = shared((MOST_SHAPES, ROOM.edges), EDGE)
        self._configurations = shared((MOST_SHAPES, ROOM.parameters), np.int64)
        self._whole: dict[int, np.ndarray] = {}
        self._plans: list[Plan] = []
        self._find_table: FindTable | None = None
        self._tiers = walk.address, replay.address  # compiled before the fork

    def enlist(self, replica: int, find_table: FindTable) -> np.ndarray:
        """Make the memory of a replica; its room for whole packets."""
        self._find_table = find_table
        self.counters[replica] = shared((self._room, ROOM.counters), np.int64)
        self._whole[replica] = private(WHOLE, np.uint8)
        # Last: another thread may be in `place`. A shape that comes now is written by one of the two, or by both.
        self.contexts[replica] = shared((MOST_SHAPES, CONTEXT), np.int64)
        for slot in range(len(self._plans)):
            self._write_context(replica, slot)
        return self._whole[replica]

    def place(self, slot: int, plan: Plan, channel: int, stages: dict[str, int]) -> None:
        """Write a shape into a slot for the linked tier; `stages` are the addresses of its stages by node."""
        blocks, edges = rows(plan, stages)
        self._blocks[slot, : len(blocks)], self._edges[slot, : len(edges)] = blocks, edges
        self._configure(slot, plan)
        run, replicate = self._tiers
        self._set_code(plan, slot, LINKED, run, replicate if plan.replicated else 0, channel)
        self._plans.append(plan)  # behind its code, which `enlist` reads
        for replica in list(self.contexts):
            self._write_context(replica, slot)

    def reconfigure(self) -> None:
        """Write the configurations of all shapes again, as they are now."""
        for slot, plan in enumerate(self._plans):
            self._configure(slot, plan)

    def _configure(self, slot: int, plan: Plan) -> None:
        configuration = plan.configuration.view(np.int64)
        self._configurations[slot, : len(configuration)] = configuration

    def fuse(self, slot: int, run: int, replicate: int) -> None:
        """Write the addresses of a shape's fused code."""
        self._set_code(self._plans[slot], slot, FUSED, run, replicate, int(self.codes[slot, LINKED]["channel"]))

    def counted(self, replica: int, plan: Plan) -> np.ndarray:
        """A replica's counters for paths of a shape: int64[number, counter]; each path has the row of its number."""
        return self.counters[replica][:, : plan.row]

    def write_record(self, number: int, plan: Plan) -> None:
        """Write the record of a path."""
        self.records[number, : len(plan.own)] = plan.own_values

    def _set_code(self, plan: Plan, slot: int, tier: int, run: int, replicate: int, channel: int) -> None:
        keeps = any(plan.blocks[node].stage.keeps_state for node in plan.main)
        self.codes[slot, tier] = (run, replicate, plan.counters - len(plan.blocks), channel, keeps)

    def _write_context(self, replica: int, slot: int) -> None:
        find, channel = self._find_table, int(self.codes[slot, LINKED]["channel"])
        assert find
        places = Places(
            counters=address(self.counters[replica]),
            whole=address(self._whole[replica]),
            blocks=address(self._blocks[slot]),
            edges=address(self._edges[slot]),
            configuration=address(self._configurations[slot]),
            records=address(self.records),
            table=lambda table: find(replica, channel, table),
        )
        self.contexts[replica][slot] = context(self._plans[slot], places)
