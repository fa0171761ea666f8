"""Purity: what replicated work refers to and assigns to, found in its source before anything is compiled.

Replicated work is a function of state and request alone, so that the state is the same on every replica. Work of one
replica alone must not change that state. `scout.paths.framework.check` refuses handlers by what is found here; each
finding has the file, the line, and what to use instead.
"""

import ast
import builtins
import inspect
import textwrap
from collections.abc import Collection, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from numba.core.dispatcher import Dispatcher

from scout.paths.model.references import references
from scout.paths.model.router import GraphError

__all__ = ["Assignment", "Impurity", "assignments", "impurities"]

_CLOCK = "each replica has another clock; use packet.timestamp"
_CHANCE = "each replica would draw another number; use a hash of the packet (flow_hash), or a seed kept in the state"
_SELF = 'replicas differ in it; put work of one replica alone into a handler with run="primary"'
_ADDRESS = "an address differs from replica to replica; use the accessors (load32, require, ...)"

# Objects that replicated work may not refer to, by the beginning of the full name, each with its replacement.
_FORBIDDEN = {
    "time": _CLOCK,
    "datetime": _CLOCK,
    "scout.io.system.now": _CLOCK,
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


class Assignment(NamedTuple):
    """An assignment to a part of a parameter; `atomic` if it is made by an accessor that has an atomic twin."""

    place: str
    parameter: str
    atomic: bool


class _Body:
    """A function's source: its names, resolved, and the parameters that each local name may be a part of."""

    def __init__(self, function: Any) -> None:
        self.function = function.py_func if isinstance(function, Dispatcher) else function
        code = self.function.__code__
        self.file, self._first = code.co_filename, code.co_firstlineno
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
        except (OSError, SyntaxError) as error:
            raise GraphError(
                f"{self.file}:{self._first}: the source of {self.function.__name__} cannot be read; "
                "write it with def, in a file"
            ) from error
        self.tree = tree.body[0]
        self.parameters = code.co_varnames[: code.co_argcount]
        self._globals = vars(builtins) | self.function.__globals__ | references(self.function)
        self._locals = set(code.co_varnames)
        self._roots = {name: {name} for name in self.parameters}
        self._trace()

    def place(self, node: Any) -> str:
        return f"{self.file}:{self._first + node.lineno - 1}"

    def value(self, node: Any) -> Any:
        """The value of a global name or of a module's attribute; None if it is not known."""
        if isinstance(node, ast.Name) and node.id not in self._locals:
            return self._globals.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self.value(node.value)
            return getattr(base, node.attr, None) if isinstance(base, ModuleType | type) else None
        return None

    def roots(self, node: Any) -> set[str]:
        """The parameters that an expression may be a part of."""
        if isinstance(node, ast.Call):  # a function may return a part of its arguments
            return set().union(*(self.roots(each) for each in node.args))
        if isinstance(node, ast.Name):
            return self._roots.get(node.id, set())
        if isinstance(node, ast.Subscript | ast.Attribute | ast.Starred):
            return self.roots(node.value)
        if isinstance(node, ast.Tuple | ast.List):
            return set().union(*(self.roots(each) for each in node.elts))
        if isinstance(node, ast.IfExp):
            return self.roots(node.body) | self.roots(node.orelse)
        if isinstance(node, ast.NamedExpr):
            return self.roots(node.value)
        return set()

    def _trace(self) -> None:
        """Follow assignments to names until nothing new is found; the order of statements is not considered."""
        known = -1
        while known != (known := sum(map(len, self._roots.values()))):
            for node in ast.walk(self.tree):
                if isinstance(node, ast.Assign):
                    for target in node.targets:
                        self._bind(target, node.value)
                elif isinstance(node, ast.NamedExpr | ast.AnnAssign) and node.value is not None:
                    self._bind(node.target, node.value)
                elif isinstance(node, ast.For):
                    self._bind(node.target, node.iter)

    def _bind(self, target: Any, value: Any) -> None:
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._roots.setdefault(node.id, set()).update(self.roots(value))


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


def _called(body: _Body, node: ast.Call) -> Iterator[tuple[str, set[str]]]:
    """For each parameter of the function called, the caller's parameters that it may be a part of."""
    function = body.value(node.func)
    function = function.py_func if isinstance(function, Dispatcher) else function
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    yield from ((name, body.roots(each)) for name, each in zip(names, node.args, strict=False))
    yield from ((word.arg, body.roots(word.value)) for word in node.keywords if word.arg)


def impurities(function: Any, seen: set[Any] | None = None) -> Iterator[Impurity]:
    """What `function`, and all functions that it calls, refer to that replicated work may not."""
    seen = set() if seen is None else seen
    if function in seen:
        return
    seen.add(function)
    body = _Body(function)
    passed = {id(each) for node in ast.walk(body.tree) if isinstance(node, ast.Call) for each in node.args}
    for node in ast.walk(body.tree):
        if isinstance(node, ast.Attribute) and "packet" in body.roots(node.value) and node.attr in _OWN_FIELDS:
            yield Impurity(body.place(node), f"packet.{node.attr}", _ADDRESS)
        if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        if isinstance(node, ast.Name) and node.id in ("frame", "end") and id(node) not in passed:
            yield Impurity(body.place(node), node.id, _ADDRESS)
        value = body.value(node)
        fix = _forbidden(value)
        if fix:
            yield Impurity(body.place(node), ast.unparse(node), fix)
        elif _plain(value) and not (value.__module__ or "").startswith("scout.io."):
            yield from impurities(value, seen)


def assignments(function: Any, parameters: Collection[str], seen: set[Any] | None = None) -> Iterator[Assignment]:
    """Where `function`, or a function that it calls, assigns to a part of one of its `parameters`."""
    seen = set() if seen is None else seen
    key = (function, frozenset(parameters))
    if key in seen:
        return
    seen.add(key)
    body = _Body(function)
    for node in ast.walk(body.tree):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            for name in sorted(body.roots(node.value) & set(parameters)):
                yield Assignment(body.place(node), name, False)
        if not isinstance(node, ast.Call):
            continue
        value = body.value(node.func)
        for index in getattr(value, "assigns", ()):
            found = body.roots(node.args[index]) if index < len(node.args) else set()
            for name in sorted(found & set(parameters)):
                yield Assignment(body.place(node), name, hasattr(value, "atomic"))
        if _plain(value):
            given = {inner: roots & set(parameters) for inner, roots in _called(body, node)}
            for place, inner, atomic in assignments(value, [name for name, roots in given.items() if roots], seen):
                for name in sorted(given[inner]):
                    yield Assignment(place, name, atomic)
