"""Purity: what replicated work refers to and assigns to, found in its source before anything is compiled.

Replicated work is a function of state and request alone, so that the state is the same on every replica. Work of one
replica alone must not change that state. `scout.paths.framework.check` refuses handlers by what is found here; each
finding has the file, the line, and what to use instead.
"""

import ast
from collections.abc import Collection, Iterator
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from numba.core.dispatcher import Dispatcher

from scout.paths.model.effects import PACKET, Assignment, LabelledSource, effects
from scout.paths.model.function_source import SourceError
from scout.paths.model.router import GraphError

__all__ = ["Impurity", "assignments", "impurities"]

_CLOCK = "each replica has another clock; use packet.timestamp"
_CHANCE = "each replica would draw another number; use a hash of the packet (flow_hash), or a seed kept in the state"
_SELF = 'replicas differ in it; put work of one replica alone into a handler with run="primary"'
_ADDRESS = "an address differs from replica to replica; use the accessors (load32, require, ...)"

# Objects that replicated work may not refer to, by the beginning of the full name, each with its replacement.
_FORBIDDEN = {
    "time": _CLOCK,
    "datetime": _CLOCK,
    "scout.io.rest.now": _CLOCK,
    "random": _CHANCE,
    "numpy.random": _CHANCE,
    "secrets": _CHANCE,
    "uuid": _CHANCE,
    "os.urandom": _CHANCE,
    "os.getrandom": _CHANCE,
    "os.getpid": _SELF,
    "os.getppid": _SELF,
    "os.sched_getaffinity": _SELF,
    "threading": _SELF,
    "_thread": _SELF,
    "multiprocessing": _SELF,
    "builtins.id": _SELF,
}

_OWN_FIELDS = ("frame", "end", "tail", "origin", "slot")  # addresses in a packet's record


class Impurity(NamedTuple):
    """A reference that replicated work may not have: where it is, to what, and what to use instead."""

    place: str
    what: str
    fix: str


def _full_name(value: Any) -> str:
    """A value's module and name; of a bound method its class's module."""
    if isinstance(value, ModuleType):
        return value.__name__
    owner = getattr(value, "__self__", None)
    owner = owner if isinstance(owner, type) else type(owner)
    module = getattr(value, "__module__", None) or owner.__module__
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{'os' if module == 'posix' else module}.{name}"


def _forbidden(value: Any) -> str | None:
    """The replacement of a value, if replicated work may not refer to it."""
    if value is None or isinstance(value, int | float | str):
        return None
    name = _full_name(value)
    return next((fix for key, fix in _FORBIDDEN.items() if name == key or name.startswith(f"{key}.")), None)


def _plain(value: Any) -> bool:
    """True if it is a function whose source is to be looked at, and no accessor."""
    return isinstance(value, FunctionType | Dispatcher) and not hasattr(value, "has_lowering")


def impurities(function: Any, seen: set[Any] | None = None) -> Iterator[Impurity]:
    """What `function`, and all functions that it calls, refer to that replicated work may not."""
    seen = set() if seen is None else seen
    if function in seen:
        return
    seen.add(function)
    for found in _references(function):
        if isinstance(found, Impurity):
            yield found
        else:
            yield from impurities(found, seen)


@lru_cache(1024)
def _references(function: Any) -> tuple[Any, ...]:
    """The impurities of a function itself, and the functions that it refers to, in the order of its source."""
    return tuple(_found(function))


def _found(function: Any) -> Iterator[Any]:
    try:
        source = LabelledSource.of(function, {})
    except SourceError as error:
        raise GraphError(str(error)) from error
    passed = {id(each) for node in ast.walk(source.tree) if isinstance(node, ast.Call) for each in node.args}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and PACKET in source.labels(node.value) and node.attr in _OWN_FIELDS:
            yield Impurity(source.place(node), f"packet.{node.attr}", _ADDRESS)
        if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        if isinstance(node, ast.Name) and node.id in ("frame", "end") and id(node) not in passed:
            yield Impurity(source.place(node), node.id, _ADDRESS)
        value = source.value(node)
        fix = _forbidden(value)
        if fix:
            yield Impurity(source.place(node), ast.unparse(node), fix)
        elif _plain(value) and not (value.__module__ or "").startswith("scout.io."):
            yield value


def assignments(function: Any, parameters: Collection[str]) -> list[Assignment]:
    """Where `function`, or a function that it calls, assigns to a part of one of its `parameters`."""
    found = effects(function, dict.fromkeys(parameters, False))
    if found.unread:
        raise GraphError(found.unread)
    return [each for each in found.assignments if each.parameter in parameters]
