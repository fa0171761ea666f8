"""Object files of paths and of stages, for routers that run; they are kept in the cache.

A builder process writes them and the supervisor loads them (`scout.ring.code_memory`). A unit says what its files
depend on without compiling anything, so that a file that is there already is found at once.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numba
import numpy as np
from numba.core import types

from scout.io.access import BOUNDS
from scout.paths.compiler.context import (
    CONFIGURATION,
    COUNTERS,
    ENTRY,
    NUMBERS,
    RECORDS,
    ROOM,
    TABLES,
    WHOLE_ROOM,
    record_type,
    whole_at,
    words_at,
)
from scout.paths.compiler.diagnosis import blame
from scout.paths.compiler.emit import emit, module_of
from scout.paths.compiler.fingerprint import fingerprint
from scout.paths.compiler.generated import digest_of, executed, file_of
from scout.paths.compiler.inlining import native
from scout.paths.compiler.linked import STAGE
from scout.paths.compiler.native import check_globals, user_functions
from scout.paths.compiler.plan import Plan, at, text_of
from scout.paths.model.setting import Setting
from scout.paths.model.stage import GATHER, Stage
from scout.paths.model.table import Table
from scout.ring.cache import cache_folder, write
from scout.ring.errors import ScoutError
from scout.ring.jit import CHECKED, inline
from scout.ring.linked import viewer
from scout.ring.object_code import object_code
from scout.ring.segment import address

__all__ = ["Unit", "fused_unit", "stage_unit"]

_Views = dict[str, tuple[Any, tuple[int, ...]]]
"""By the name of a function of the text: the numba type and the shape of the array that it finds at an address."""


@dataclass(frozen=True)
class Unit:
    """Functions that are compiled to object files.

    Attributes
    ----------
    name : str
    stages : mapping of str to Stage
        The stages in it.
    digest : str
        Whatever the code depends on, as a digest: the files are named by it.
    functions : tuple of str
        One file each.
    """

    name: str
    stages: Mapping[str, Stage]
    text: str
    digest: str
    signature: Any
    functions: tuple[str, ...]
    views: _Views
    given: Callable[[], dict[str, Any]]

    @property
    def source(self) -> FilePath:
        """The generated source, which is there once it was compiled."""
        return file_of("paths", self.name, self.digest)

    def found(self) -> dict[str, bytes] | None:
        """The files by function, if all are there."""
        found = {}
        for function in self.functions:
            with suppress(FileNotFoundError):
                found[function] = self._file(function).read_bytes()
        return found if len(found) == len(self.functions) else None

    def build(self) -> None:
        """Compile, and write the files.

        Raises
        ------
        CompileError
            If a stage does not compile; names it, its file and line.
        """
        check_globals(self.stages)
        try:
            views = {name: viewer(*view) for name, view in self.views.items()}
            common = {"entry": inline, "words_at": words_at, "whole_at": whole_at}
            module = executed(self.name, self.digest, self.text, self.given() | views | common)
            for function in self.functions:
                write(self._file(function), object_code(getattr(module, function), self.signature))
        except (ScoutError, OSError):
            raise
        except Exception as error:  # numba raises exceptions of many classes, also TypeError and KeyError
            raise blame(self.stages, self.name, error) from error

    def _file(self, function: str) -> FilePath:
        return cache_folder() / "objects" / f"{self.digest}_{function}.o"


def _unit(
    name: str,
    stages: Mapping[str, Stage],
    lines: list[str],
    marks: str,
    signature: Any,
    functions: tuple[str, ...],
    views: _Views,
    given: Callable[[], dict[str, Any]],
) -> Unit:
    text = "\n".join(lines) + "\n"
    if CHECKED:
        marks += f" {address(BOUNDS)}"  # which the code refers to
    digest = digest_of(text, marks, repr(signature), repr(views))
    return Unit(name, stages, text, digest, signature, functions, views, given)


def fused_unit(plan: Plan) -> Unit:
    """The fused code of a path, for its context (`scout.paths.compiler.context`)."""
    views: _Views = {
        "counters_at": (types.int64[::1], (NUMBERS * ROOM.counters,)),
        "configuration_at": (numba.typeof(plan.configuration), (1,)),
    }
    given = [f"counters_at(words[{COUNTERS}])", f"configuration_at(words[{CONFIGURATION}])"]
    if plan.own:
        views["records_at"] = (types.Array(numba.from_dtype(record_type(plan)), 1, "C"), (NUMBERS,))
        given.append(f"records_at(words[{RECORDS}])")
    given.append(f"whole_at(words[{WHOLE_ROOM}])")
    for index, (name, table) in enumerate(plan.tables.items()):
        views[f"{name}_at"] = _view(table)
        given.append(f"{name}_at(words[{TABLES + index}])")
    names = ("run", "replicate") if plan.replicated else ("run",)
    lines = [emit(plan, ROOM.counters)]
    for name in names:
        lines += [
            "",
            f"def {name}_by_context(batch, first, last, context):",
            f'    """`{name}` with what the context at this address leads to."""',
            "    words = words_at(context)",
            f"    {name}(batch, first, last, {', '.join(given)})",
            "",
        ]
    marks = "".join(fingerprint(block.stage.function) for block in plan.blocks.values())
    functions = tuple(f"{name}_by_context" for name in names)
    stages = {node: block.stage for node, block in plan.blocks.items()}
    return _unit(f"path_{plan.source}", stages, lines, marks, ENTRY, functions, views, lambda: user_functions(plan))


def stage_unit(node: str, stage: Stage) -> Unit:
    """A stage by itself, for the linked tier: its arguments are read from the context. `node` is for messages."""
    function, module = stage.function, module_of(stage.function)
    views: _Views = {"number_at": (types.int64[::1], (1,))}
    body, given = [], []
    for index, parameter in enumerate(stage.parameters):
        value = stage.bindings.get(parameter)
        if parameter in ("packet", "primary", *GATHER):
            given.append({GATHER[0]: "whole_at(whole)", GATHER[1]: "index"}.get(parameter, parameter))
        elif isinstance(value, Table) and not isinstance(value, Setting):
            views[f"array_{index}_at"] = _view(value)
            given.append(f"array_{index}_at(words[{2 * index}])")
        else:
            body.append(f"    number_{index} = number_at(words[{2 * index}] + packet.path * words[{2 * index + 1}])[0]")
            given.append(f"number_{index}")
    lines = [
        f'"""A stage for the linked tier: {text_of(at(function))}. Generated by Scout."""',
        "",
        *([f"import {module}", "from scout.paths.compiler.inlining import native"] if module else []),
        "",
        *([f"function = native({module}.{function.__name__})"] if module else []),
        "",
        "",
        "def stage(packet, index, frame, end, primary, whole, arguments):",
        '    """The stage, with its arguments at this address."""',
        "    words = words_at(arguments)",
        *body,
        f"    return function({', '.join(['frame', 'end', *given])})",
    ]
    user = {} if module else {"function": function}
    made = lambda: {name: native(value) for name, value in user.items()}  # noqa: E731
    return _unit(
        f"stage_{function.__name__}", {node: stage}, lines, fingerprint(function), STAGE, ("stage",), views, made
    )


def _view(table: Table) -> tuple[Any, tuple[int, ...]]:
    return numba.typeof(table.initial), tuple(map(int, np.shape(table.initial)))
