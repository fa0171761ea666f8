"""Routers' own functions in a domain: by which they make packets, and change their tables.

Each is compiled by itself and called by its address, with the address of its arguments (`scout.paths.compiler.source`).
So the loop of a domain depends on neither, and routers of one kind share them.
"""

from collections.abc import Callable, Mapping

import numpy as np

from scout.paths.compiler.context import arguments_of
from scout.paths.compiler.native import compile_source
from scout.paths.compiler.source import AMEND, MAKE, routine_source
from scout.paths.model.graph import RouterGraph
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.ring.jit import Entry, Record, inline
from scout.ring.linked import caller
from scout.ring.segment import address

__all__ = ["ROUTINE", "Routine", "Routines", "amend", "make"]

ROUTINE = np.dtype([("address", "i8"), ("arguments", "i8")])
"""A function, and the address of its arguments; 0 if a router has none."""

_make, _amend = caller(MAKE), caller(AMEND)


@inline
def make(packet: Record, maker: Record) -> int:
    """Let a router make a packet; 0 if it makes none."""
    return _make(maker.address, (packet, maker.arguments))


@inline
def amend(order: Record, now: int, amenders: np.ndarray) -> None:
    """Let a router do what an order says."""
    amender = amenders[np.uintp(order.router)]
    if amender.address:
        _amend(amender.address, (order, now, amender.arguments))


class Routine:
    """A compiled function, and the stage that says what it is bound to."""

    def __init__(self, router: str, stage: Stage, signature: object) -> None:
        self.stage = stage
        what = "makes packets" if signature == MAKE else "makes the orders of changes"
        self.code: Entry = compile_source(routine_source(router, stage, signature), f"how {router} {what}")


class Routines:
    """The functions of a graph's routers, compiled.

    Attributes
    ----------
    makers : list of Routine
    amenders : dict of int to Routine
        By the index of the router.
    """

    def __init__(self, makers: Mapping[str, Stage], amenders: Mapping[int, Stage], graph: RouterGraph) -> None:
        names = [router.name for router in graph.routers]
        self.makers = [Routine(name, stage, MAKE) for name, stage in makers.items()]
        self.amenders = {index: Routine(names[index], stage, AMEND) for index, stage in amenders.items()}
        self._routers = len(names)

    def rows(self, table: Callable[[Table], int]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """`ROUTINE`[maker], `ROUTINE`[router], and the arguments that these refer to, for tables at these addresses."""
        makers, amenders = np.zeros(len(self.makers), ROUTINE), np.zeros(self._routers, ROUTINE)
        kept = []
        bound = [*((makers, index, each) for index, each in enumerate(self.makers))]
        bound += [(amenders, index, each) for index, each in self.amenders.items()]
        for rows, index, routine in bound:
            kept.append(arguments_of(routine.stage, table))
            rows[index] = (routine.code.address, address(kept[-1]))
        return makers, amenders, kept
