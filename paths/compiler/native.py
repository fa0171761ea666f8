"""Native code: a path's plan as one function over a batch, written to a file and compiled by numba.

Stage functions are inlined into it. The path determines its constants: which verdict leads where, how long the header
is that a stage removes, which number a port has. Values that may differ between runs (addresses, MTUs) are not
constants: the function reads them from one record, once a batch, so that the next run can use the cached code.

Code is cached under a name that carries a hash of the generated text and of everything the stage
functions refer to, in a folder that carries a hash of Scout's own sources (`scout.ring.cache`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path as FilePath

import numba
import numpy as np
from numba.core import types

from scout.io.batch import WHOLE
from scout.io.packet import PACKET
from scout.paths.compiler.context import CONTEXT, Places, Rows, write_context
from scout.paths.compiler.diagnosis import blame
from scout.paths.compiler.generated import load_generated
from scout.paths.compiler.global_state import changed_globals
from scout.paths.compiler.plan import CompileError, Plan, lower
from scout.paths.compiler.source import Source, path_source
from scout.paths.model.path import Path
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.ring.errors import ScoutError
from scout.ring.jit import Entry
from scout.ring.segment import address, private

__all__ = [
    "BATCH",
    "CompiledPath",
    "Work",
    "check_globals",
    "code_of",
    "compile_path",
    "compile_source",
    "rows_of",
]

BATCH = types.Array(numba.from_dtype(PACKET), 1, "C")
"""The numba type of a batch."""


class CompiledPath:
    """A path as native code.

    Attributes
    ----------
    path : Path
    plan : Plan
    run : Entry
        `run(batch, first, last, primary, context)`: what a replica does with these packets, as their primary or as
        another one.
    file : pathlib.Path
        The generated source.
    """

    def __init__(self, path: Path, plan: Plan, run: Entry) -> None:
        self.path, self.plan, self.run = path, plan, run
        self.file = FilePath(run.function.__code__.co_filename)
        self.configuration = plan.configuration


class Work:
    """All that the code of one path works on, outside of a router that runs: for measurements and tests.

    Parameters
    ----------
    plan : Plan
    table : callable, optional
        The array of a table; by default its first state.
    paths : int
        How many paths of the shape there are.

    Attributes
    ----------
    counters : numpy.ndarray
        int64[path, counter].
    context : numpy.ndarray
        The context.
    """

    def __init__(self, plan: Plan, table: Callable[[Table], np.ndarray] | None = None, paths: int = 1) -> None:
        rows = rows_of(plan)
        self.counters = np.zeros((paths, rows.counters), np.int64)
        arrays = {id(each): table(each) if table else each.initial for each in plan.tables.values()}
        self._kept = plan.configuration, np.zeros((paths, rows.own), np.int64), private(WHOLE, np.uint8), arrays
        configuration, records, whole, _ = self._kept
        self.context = np.zeros(CONTEXT, np.int64)
        places = Places(
            counters=address(self.counters),
            row=rows.counters if paths > 1 else 0,
            whole=address(whole),
            blocks=0,
            edges=0,
            configuration=address(configuration),
            records=address(records),
            table=lambda each: address(arrays[id(each)]),
        )
        write_context(self.context, plan, places)

    @property
    def place(self) -> int:
        """The address of the context."""
        return address(self.context)


def rows_of(plan: Plan) -> Rows:
    """The rows of paths of a shape that was there at the start: no longer than they have to be."""
    return Rows(plan.row, max(1, len(plan.own)))


def compile_path(path: Path, many: bool = False, progress: Callable[[], None] | None = None) -> CompiledPath:
    """Compile `path`, or load it from the cache; with `many` for any number of paths of its shape.

    `progress` is called before it is compiled, if it is not in the cache.

    Raises
    ------
    CompileError
        If a stage does not compile, or changes a global; names it, its file and line.
    GraphError
        If the path was changed and not established, or replicas could differ.
    """
    plan = lower(path)
    run = compile_source(path_source(plan, rows_of(plan) if many else None), f"path from {path.source}", progress)
    return CompiledPath(path, plan, run)


def compile_source(source: Source, what: str, progress: Callable[[], None] | None = None) -> Entry:
    """Compile a function that is called by its address, or load it from the cache; `what` it is, for messages.

    Raises
    ------
    CompileError
        If it does not compile, or changes a global; names the stage, its file and line.
    """
    check_globals(source.stages)
    try:
        module = load_generated(source.name, source.text, source.marks, source.signature, source.names(), progress)
    except (ScoutError, OSError):  # of the cache folder
        raise
    except Exception as error:  # numba raises exceptions of many classes, also TypeError and KeyError
        raise blame(source.stages, what, error) from error
    made: Entry = getattr(module, source.function)
    return made


def check_globals(stages: Mapping[str, Stage]) -> None:
    """Refuse stages that change a global; compiled code could not."""
    for node, stage in stages.items():
        for place, name in changed_globals(stage.function):
            raise CompileError(
                f"{place}: stage {node} changes the global {name}; keep what changes in a table, as in "
                "Filter(..., seen=Table(array))"
            )


def code_of(path: Path, many: bool = False) -> tuple[str, str]:
    """The text of a path's code, and the marks of all that it depends on besides: equal for paths that share it."""
    plan = lower(path)
    source = path_source(plan, rows_of(plan) if many else None)
    return source.text, source.marks
