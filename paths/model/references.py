"""The values that a function refers to: by global names, modules' attributes, its closure and its defaults."""

import dis
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["everything", "module_name", "rebound", "references", "written"]

_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")


def references(function: Any) -> dict[str, Any]:
    """The values that the names in a function's body, and in functions that it defines, stand for.

    An attribute of a module is found under its whole name, as in "limits.LONGEST"; defaults under "default 0", "default
    1" and so on.
    """
    scope = function.__globals__
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    closure = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    found = dict(closure)
    for code in _codes(function.__code__):
        for name, attributes in _chains(code):
            if name in closure or name in scope:
                found |= _followed(name, closure.get(name, scope.get(name)), attributes)
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return dict(sorted(found.items())) | {f"default {index}": value for index, value in enumerate(defaults)}


def module_name(function: Any) -> str:
    """The name of a function's module; "builtins" if Python could not import the module by its name.

    Such a function was made by `exec`, or its file was run by `runpy`. Cached code names the module of each function
    that it contains, and numba imports these modules when it loads the code.
    """
    return function.__module__ if function.__module__ in sys.modules else "builtins"


def everything(function: Any) -> Iterator[Any]:
    """All values that a function, and the functions that it refers to, refer to."""
    seen, waiting = set(), [function]
    while waiting:
        each = waiting.pop()
        each = getattr(each, "py_func", each)
        if id(each) in seen or not isinstance(each, FunctionType):
            continue
        seen.add(id(each))
        for value in references(each).values():
            yield value
            waiting.append(value)


def _is_filled(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions that it defines."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@lru_cache(1 << 12)  # several analyses of a path go through the same functions
def _chains(code: CodeType) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The names that code loads, each with the attributes that it takes of it one after another."""
    found: list[tuple[str, tuple[str, ...]]] = []
    name, attributes = "", list[str]()
    for step in dis.get_instructions(code):
        if step.opname in _ATTRIBUTE and name:
            attributes.append(step.argval)
            continue
        if name:
            found.append((name, tuple(attributes)))
        name, attributes = (step.argval, []) if step.opname in _GLOBAL else ("", [])
    return (*found, (name, tuple(attributes))) if name else tuple(found)


def _followed(name: str, value: Any, attributes: tuple[str, ...]) -> dict[str, Any]:
    """A name's value, and the values of the attributes that are taken of modules."""
    found = {name: value}
    for attribute in attributes:
        if not isinstance(value, ModuleType) or not hasattr(value, attribute):
            break
        name, value = f"{name}.{attribute}", getattr(value, attribute)
        found[name] = value
    return found


def rebound(function: FunctionType, translated: Callable[[Any], Any]) -> FunctionType:
    """A copy of `function` for which its global names and its closure stand for what `translated` makes of them."""
    scope = dict(function.__globals__)
    scope.update({name: translated(scope[name]) for name in references(function) if name in scope})
    cells = tuple(CellType(translated(cell.cell_contents)) for cell in function.__closure__ or ())
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells)
    copy.__dict__.update(function.__dict__)
    copy.__module__, copy.__qualname__ = module_name(function), function.__qualname__
    return copy


def written(function: Any) -> tuple[Any, ...]:
    """The functions that people wrote of a stage's: itself, or those that it was generated from (`function.parts`)."""
    return getattr(function, "parts", (function,))
