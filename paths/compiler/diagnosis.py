"""Diagnosis: which stage does not compile, at which line, and why, in one sentence."""

import re
import textwrap
from pathlib import Path as FilePath
from typing import Any

import numba
from numba.core import types

from scout.io.packet import PACKET
from scout.paths.compiler.inlining import native
from scout.paths.compiler.plan import CompileError, Plan
from scout.paths.model.references import written
from scout.paths.model.stage import GATHER, Stage
from scout.paths.model.table import Table

__all__ = ["blame", "reason"]

_NOISE = ("Failed in ", "During:", "File ", "There are", "Overload", "Match:", "-", "1:", "2:")
"""Beginnings of lines of numba's messages that say nothing about the cause."""


def blame(plan: Plan, error: Exception) -> CompileError:
    """The error of the stage that does not compile by itself."""
    for block in plan.blocks.values():
        try:
            native(block.stage.function).compile(_argument_types(block.stage))
        except (numba.core.errors.NumbaError, KeyError) as own:
            return CompileError(
                f"{_culprit(block.stage, _plain(own))}: stage {block.node} does not compile: {reason(own)}; "
                "use ints, the accessors and tables, and try it with Path.run as plain Python"
            )
    return CompileError(f"path from {plan.path.source} does not compile: {reason(error)}")


def _argument_types(stage: Stage) -> tuple[Any, ...]:
    kinds: list[Any] = [types.int64, types.int64]
    for name in stage.parameters:
        value = stage.bindings.get(name)
        if name == "packet":
            kinds.append(numba.from_dtype(PACKET))
        elif name == "primary":
            kinds.append(types.boolean)
        elif name in GATHER:
            kinds.append(types.uint8[::1] if name == GATHER[0] else types.int64)
        else:
            kinds.append(numba.typeof(value.initial) if isinstance(value, Table) else types.int64)
    return tuple(kinds)


def _culprit(stage: Stage, message: str) -> str:
    """File and line of the stage that numba's message names last."""
    codes = [function.__code__ for function in written(stage.function)]
    files = {FilePath(code.co_filename).name: code.co_filename for code in codes}
    named = [(FilePath(file).name, line) for file, line in re.findall(r'File "([^"]*)", line (\d+)', message)]
    found = [f"{files[name]}:{line}" for name, line in named if name in files]
    return found[-1] if found else f"{codes[0].co_filename}:{codes[0].co_firstlineno}"


def _plain(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))


def reason(error: Exception) -> str:
    """The sentence of numba's message that says what is wrong."""
    if isinstance(error, KeyError):
        return f"no field {error}"
    lines = [line.strip() for line in _plain(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_NOISE)]
    return textwrap.shorten(telling[0] if telling else str(error), 160)
