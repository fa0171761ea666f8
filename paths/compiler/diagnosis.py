"""Diagnosis: which stage does not compile, at which line, and why, in one sentence."""

import ast
import inspect
import re
import textwrap
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from types import FunctionType
from typing import Any

import numba
from numba.core import types
from numba.core.ir import Loc

from scout.io.packet import PACKET
from scout.paths.compiler.inlining import native
from scout.paths.compiler.plan import CompileError
from scout.paths.model.references import everything, module_name, references, written
from scout.paths.model.setting import Setting
from scout.paths.model.stage import GATHER, Stage
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop

__all__ = ["blame", "reason"]

_NOISE = ("Failed in ", "During:", "File ", "There are", "Overload", "Match:", "-", "1:", "2:")
"""Beginnings of lines of numba's messages that say nothing about the cause."""


_ADVICE = "use ints, the accessors and tables, and try it with Path.run as plain Python"


def blame(stages: Mapping[str, Stage], what: str, error: Exception) -> CompileError:
    """The error of the stage that does not compile by itself; `error` is what numba raised for `what` they make up."""
    for node, stage in stages.items():
        for place, call in _drops_made_inside(stage):
            return CompileError(f"{place}: stage {node}: make {call} at the top of the module and return it here")
        try:
            native(stage.function).compile(_argument_types(stage))
        except Exception as own:  # numba raises exceptions of many classes, also TypeError and KeyError
            for place, named in _calls_named_inside(stage) if "Type of variable '$" in _plain(own) else ():
                return CompileError(
                    f"{place}: stage {node}: write {named[1:-1].replace(':=', '=')} on a line of its own"
                )
            said = reason(own, stage.function)
            advice = "" if _says_all(own, said) else f"; {_ADVICE}"
            return CompileError(f"{_culprit(stage, own)}: stage {node} does not compile: {said}{advice}")
    return CompileError(f"{what} does not compile: {reason(error)}")


def _says_all(error: Exception, said: str) -> bool:
    """True if what is said of an error tells the fix, or the function would not run as plain Python either."""
    return isinstance(error, KeyError) or said.startswith(("NameError: ", "it returns none"))


def _drops_made_inside(stage: Stage) -> Iterator[tuple[str, str]]:
    """File and line, and the text, of each call of `drop` in the functions of a stage: numba cannot compile it."""
    for function, place, node in _parts(stage):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            names = {name for name, value in references(function).items() if value is drop}
            if ast.unparse(node.func) in names:
                yield place, ast.unparse(node)


def _calls_named_inside(stage: Stage) -> Iterator[tuple[str, str]]:
    """The same of each call that gets a name within an expression, as in `(kind := load8(frame, 0))`."""
    for _, place, node in _parts(stage):
        if isinstance(node, ast.NamedExpr) and any(isinstance(each, ast.Call) for each in ast.walk(node.value)):
            yield place, ast.unparse(node)


def _parts(stage: Stage) -> Iterator[tuple[FunctionType, str, ast.AST]]:
    """The nodes of the text of all functions that users wrote for a stage, each with its file and line."""
    for function in _functions(stage):
        code = function.__code__
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(code)))):
            yield function, f"{code.co_filename}:{code.co_firstlineno + getattr(node, 'lineno', 1) - 1}", node


def _functions(stage: Stage) -> list[FunctionType]:
    """The functions that users wrote for a stage, each with those that it calls."""
    found = [each for own in written(stage.function) for each in (own, *everything(own))]
    return [each for each in found if isinstance(each, FunctionType) and not module_name(each).startswith("scout.")]


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
            kinds.append(
                types.int64
                if isinstance(value, Setting) or not isinstance(value, Table)
                else numba.typeof(value.initial)
            )
    return tuple(kinds)


def _culprit(stage: Stage, error: Exception) -> str:
    """File and line of the stage that numba's message names last, or that numba was at."""
    first = written(stage.function)[0].__code__
    files = {FilePath(each.__code__.co_filename).name: each.__code__.co_filename for each in _functions(stage)}
    files[FilePath(first.co_filename).name] = first.co_filename
    starts = {(each.__code__.co_filename, each.__code__.co_firstlineno) for each in _functions(stage)}
    message = _plain(error)
    named: list[tuple[str, Any]] = re.findall(r'File "([^"]*)", line (\d+)', message)
    named += re.findall(r"Raised from (\S+) \((\d+)\)", message)
    named += re.findall(r"During: lowering .* at (\S+) \((\d+)\)", message)[:1]
    found = [(files[FilePath(file).name], int(line)) for file, line in named if FilePath(file).name in files]
    if not found or found[-1] in starts:  # the line of a `def` says little
        found += [place for place in _places(error) if place[0] in files.values()][:1]
    file, line = found[-1] if found else (first.co_filename, first.co_firstlineno)
    return f"{file}:{line}"


def _places(error: Exception) -> Iterator[tuple[str, int]]:
    """Files and lines of users' code that numba was at when it raised an error, the nearest first.

    Numba refuses some statements before it gives types to a function, in messages without a place.
    """
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        known: dict[str, Any] = frame.f_locals
        state: Any = known.get("state")
        if hasattr(state, "get_inst"):  # of numba's walk over the bytecode
            yield state._bytecode.func_id.filename, state.get_inst().lineno
        loc = getattr(known.get("inst"), "loc", known.get("loc"))
        if isinstance(loc, Loc):
            yield loc.filename, loc.line


def _fields(error: Exception) -> str:
    """The fields of the record in which numba looked for one that does not exist."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            if isinstance(value, types.Record):
                return f"; there are {', '.join(value.fields)}"
    return ""


def _plain(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))


def reason(error: Exception, function: Any = None) -> str:
    """The sentence of numba's message that says what is wrong; `function` is the stage function that it is about."""
    if isinstance(error, KeyError):
        return f"no field {error}{_fields(error)}"
    text = _plain(error).partition(". Raised from ")[0]
    if "NRT required" in text:
        return "compiled code makes no lists, dicts, sets or strings"
    if wrong_call := _wrong_call(text, function):
        return wrong_call
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_NOISE)]
    return textwrap.shorten(telling[0] if telling else f"{type(error).__name__} {text}".strip(), 160).rstrip(".")


def _wrong_call(text: str, function: Any) -> str:
    """The fault in the arguments of a call, if numba's message is about one; else an empty string."""
    if unbound := re.search(
        r"to signature '(.*?)' due to.*?resolving callee type: \S*<function (\w+)", text, re.DOTALL
    ):
        return f"{unbound[2]} is called with other arguments than {unbound[1]}"
    found = re.search(r"No implementation of function Function\(.*?>>> (\w+)\((.*?)\)$", text, re.DOTALL | re.MULTILINE)
    if not found:
        return ""
    name, given = found[1], _readable(found[2])
    if name in ("getitem", "static_getitem", "setitem") and given.startswith("int, "):
        return "an int has no items; read a byte of the packet as load8(frame, 8), and write it by store8"
    if name == "exception_match":
        return "a compiled function catches no particular exception; test the value before, as in if x != 0"
    known = [each for each in everything(function) if getattr(each, "__name__", "") == name] if function else []
    takes = inspect.signature(known[0]).parameters if known and isinstance(known[0], FunctionType) else ()
    expected = f"; it takes ({', '.join(takes)})" if takes else ""
    return f"{name} cannot be called with ({given}){expected}"


def _readable(given: str) -> str:
    """Numba's types of the arguments of a call in the words of numpy: `int`, `int64[1d]`, `'name'`."""
    given = re.sub(r"Literal\[str\]\((.*?)\)", r"'\1'", given)
    given = re.sub(r"Literal\[\w+\]\(.*?\)|\bint64\b(?!, \d+d)", "int", given)
    return re.sub(r"(?:unaligned )?array\((\w+), (\d)d, \w\)", r"array of \1", given)
