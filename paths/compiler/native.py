"""Native code: a path's plan as one function over a batch, written to a file and compiled by numba.

Stage functions are inlined into it. The path determines its constants: which verdict leads where, how long the header
is that a stage removes, which number a port has. Values that may differ between runs (addresses, MTUs) are not
constants: the function reads them from one record, once a batch, so that the next run can use the cached code.

Code is cached under a name that carries a hash of the generated text and of everything the stage
functions refer to, in a folder that carries a hash of Scout's own sources (`scout.ring.cache`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba.core import types

from scout.io.batch import WHOLE
from scout.io.packet import PACKET
from scout.paths.compiler.diagnosis import blame
from scout.paths.compiler.emit import emit, module_of
from scout.paths.compiler.fingerprint import fingerprint
from scout.paths.compiler.generated import load_generated
from scout.paths.compiler.global_state import changed_globals
from scout.paths.compiler.inlining import native, native_helper
from scout.paths.compiler.plan import CompileError, Plan, lower
from scout.paths.model.path import Path
from scout.paths.model.stage import Stage
from scout.ring.errors import ScoutError
from scout.ring.segment import private

__all__ = [
    "BATCH",
    "CompiledPath",
    "check_globals",
    "code_of",
    "compile_path",
    "configuration",
    "table_names",
    "user_functions",
]

BATCH = types.Array(numba.from_dtype(PACKET), 1, "C")
"""The numba type of a batch."""


class CompiledPath:
    """A path as native code.

    Attributes
    ----------
    path : Path
    plan : Plan
    many : bool
        True if the code serves many paths of this shape (`scout.paths.compiler.emit`).
    run : callable
        `run(batch, first, last, counters, configuration, whole, *tables)`: what the primary does with these packets.
        `records` follow the configuration if paths have parameters of their own, and the code serves many.
    replicate : callable or None
        The same for the other replicas; None if the path has no replicated work.
    file : pathlib.Path
        The generated source.
    """

    def __init__(self, path: Path, plan: Plan, many: bool, module: ModuleType) -> None:
        self.path, self.plan, self.many, self.module = path, plan, many, module
        self.run: Any = module.run
        self.replicate: Any = getattr(module, "replicate", None)
        self.file = FilePath(str(module.__file__))
        self.configuration = plan.configuration

    def arguments(self) -> list[np.ndarray]:
        """Fresh counters, the configuration, room for whole packets, and the tables as they begin."""
        counters = np.zeros(len(self.path.counter_names), np.int64)
        return [counters, self.configuration, self.whole(), *(table.initial for table in self.plan.tables.values())]

    def whole(self) -> np.ndarray:
        """Room for whole packets, if a stage wants them; untouched pages cost nothing."""
        wanted = any(stage.payload or stage.gathers for stage in self.path.stages.values())
        return private(WHOLE if wanted else 1, np.uint8)


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
    check_globals(path.stages)
    text, marks = code_of(path, many)
    try:
        signature, functions = _signature(plan, many), user_functions(plan)
        module = load_generated(f"path_{path.source}", text, marks, signature, functions, progress)
    except (ScoutError, OSError):  # of the cache folder
        raise
    except Exception as error:  # numba raises exceptions of many classes, also TypeError and KeyError
        raise blame(path.stages, f"path from {path.source}", error) from error
    return CompiledPath(path, plan, many, module)


def check_globals(stages: Mapping[str, Stage]) -> None:
    """Refuse stages that change a global; compiled code could not."""
    for node, stage in stages.items():
        for place, name in changed_globals(stage.function):
            raise CompileError(
                f"{place}: stage {node} changes the global {name}; keep what changes in a table, as in "
                "Filter(..., seen=Table(array))"
            )


def user_functions(plan: Plan) -> dict[str, Any]:
    """The stage functions, and parts of them, that generated code cannot import, by their names there."""
    stages = {block.name: block.stage.function for block in plan.blocks.values()}
    stages |= {each.rest: each.halves.rest for each in plan.ahead.values()}
    firsts = {each.name: each.halves.first for each in plan.ahead.values()}
    found = {name: native(function) for name, function in stages.items() if module_of(function) is None}
    return found | {name: native_helper(each) for name, each in firsts.items() if module_of(each) is None}


def code_of(path: Path, many: bool = False) -> tuple[str, str]:
    """The text of a path's code, and the marks of all that it depends on besides: equal for paths that share it."""
    plan = lower(path)
    return emit(plan, plan.row if many else 0), "".join(fingerprint(stage.function) for stage in path.stages.values())


def table_names(path: Path) -> dict[int, str]:
    """Name in generated code of each of the path's tables, by its id."""
    return lower(path).table_names


def configuration(path: Path) -> np.ndarray:
    """The path's configuration: one record with an int64 for every int parameter."""
    return lower(path).configuration


def _signature(plan: Plan, many: bool) -> Any:
    return types.void(
        BATCH,
        types.int64,
        types.int64,
        types.int64[::1],
        numba.typeof(plan.configuration),
        *([numba.typeof(plan.record)] if many and plan.own else []),
        types.uint8[::1],
        *(numba.typeof(table.initial) for table in plan.tables.values()),
    )
