"""The effects of a stage function on a packet and on its tables, found in its source.

Replicas have to agree about everything that reaches replicated work. A value *varies* if it may differ between them:
the parameter `primary`, what is read from a table that varies (`Table.varies`), and whatever depends on these. The
analysis follows values through assignments, conditions and calls. It may call a value varying that does not vary, but
it misses none that does, as long as the function touches packets and shared tables by the accessors only.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import FunctionType
from typing import Any, NamedTuple

from scout.paths.model.function_source import FunctionSource, SourceError

__all__ = ["PACKET", "Assignment", "Effects", "LabelledSource", "effects"]

VARIES, PRIMARY, FRAME, PACKET, PART = "varies", "primary", "frame", "packet", "part"
"""Labels of a value: what it may be or be a part of, and whether it varies. A table's label is its parameter's name
with a colon."""

_SIZES = ("end", "tail", "tail_bytes", "frame", "origin")
"""Fields of the packet's record that say where the packet is."""

Labels = frozenset[str]
_NONE: Labels = frozenset()


class Assignment(NamedTuple):
    """An assignment to a part of a parameter; `atomic` if it is made by an accessor that has an atomic twin."""

    place: str
    parameter: str
    atomic: bool


@dataclass
class Effects:
    """The effects of a function.

    Attributes
    ----------
    writes : bool
        It may write bytes of the packet in a replica that is not the primary.
    resizes : bool
        It may change where the packet ends.
    assignments : list of Assignment
        All assignments to its tables, to the packet's record and to the packet's bytes, the parameter `frame`.
    uneven : set of str
        The tables that it may change differently in different replicas.
    varies : bool
        Its verdict, or what it does to the packet, may differ between replicas.
    unread : str
        Why its source cannot be read, in a sentence; empty if it can.
    """

    writes: bool = False
    resizes: bool = False
    assignments: list[Assignment] = field(default_factory=list)
    uneven: set[str] = field(default_factory=set)
    varies: bool = False
    unread: str = ""

    @property
    def changes(self) -> set[str]:
        """The parameters whose tables it may change."""
        return {each.parameter for each in self.assignments} - {FRAME, PACKET}


def effects(function: Any, tables: Mapping[str, bool]) -> Effects:
    """What `function` does, with its tables by parameter, each True if it varies."""
    return _effects(function, tuple(tables.items()))


@lru_cache(1024)
def _effects(function: Any, given_tables: tuple[tuple[str, bool], ...]) -> Effects:
    tables = dict(given_tables)
    try:
        source = LabelledSource.of(function, tables)
    except SourceError as error:
        place, code = str(error).split(": ")[0], function.__code__
        changes = [Assignment(place, name, False) for name in tables]
        varies = "primary" in code.co_varnames[: code.co_argcount] or any(tables.values())
        return Effects(True, True, changes, set(tables) if varies else set(), varies, unread=str(error))
    source.found.varies |= VARIES in source.result
    return source.found


class LabelledSource(FunctionSource):
    """A function's source, its parameters labelled, and the labels of its local names as far as they are known.

    Parameters
    ----------
    function : callable
    given : mapping of str to set of str
        The labels of its parameters; parameters that are left out have none.
    found : Effects
        Receives the effects that are found.
    seen : set
        The functions called that have been visited, with the labels that they were given.
    """

    def __init__(self, function: Any, given: Mapping[str, Labels], found: Effects, seen: set[Any]) -> None:
        super().__init__(function)
        self.found, self.seen = found, seen
        self.names: dict[str, Labels] = dict(given)
        self.result = _NONE

    @classmethod
    def of(cls, function: Any, tables: Mapping[str, bool]) -> "LabelledSource":
        """The source of a stage function or handler, visited: parameters are known by their names."""
        given = {name: frozenset({f"{name}:"} | ({VARIES} if varies else set())) for name, varies in tables.items()}
        given |= {"frame": frozenset({FRAME}), "packet": frozenset({PACKET}), "primary": frozenset({PRIMARY, VARIES})}
        source = cls(function, {}, Effects(), set())
        source.names = {name: given.get(name, _NONE) for name in source.parameters}
        source.run(False, False)
        return source

    def run(self, uneven: bool, primary: bool) -> Labels:
        """Visit the body until nothing new is found; the labels of what the function returns.

        `uneven` is True where whether the code runs varies; `primary` where only the primary runs it.
        """
        before: Any = None
        while before != (before := (dict(self.names), self.result)):
            self.block(self.tree.body, uneven, primary)
        return self.result

    def block(self, statements: Iterable[Any], uneven: bool, primary: bool) -> None:
        for statement in statements:
            self.statement(statement, uneven, primary)
            if isinstance(statement, ast.If) and _leaves(statement.body):
                # The rest of the block runs if this condition did not hold.
                uneven |= VARIES in self.labels(statement.test)
                primary |= self.is_primary(statement.test, negated=True)

    def statement(self, node: Any, uneven: bool, primary: bool) -> None:
        if isinstance(node, ast.If | ast.While):
            varies = uneven or VARIES in self.labels(node.test)
            self.calls(node.test, uneven, primary)
            self.block(node.body, varies, primary or self.is_primary(node.test))
            self.block(node.orelse, varies, primary or self.is_primary(node.test, negated=True))
        elif isinstance(node, ast.For):
            varies = uneven or VARIES in self.labels(node.iter)
            self.calls(node.iter, uneven, primary)
            self.assign(node.target, self.labels(node.iter), varies, primary)
            self.block([*node.body, *node.orelse], varies, primary)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value is not None:
            self.calls(node, uneven, primary)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self.assign(target, self.labels(node.value), uneven, primary)
        elif isinstance(node, ast.Return):
            self.calls(node, uneven, primary)
            value = self.labels(node.value) if node.value else _NONE
            self.result |= value | ({VARIES} if uneven else set())
        elif hasattr(node, "body"):  # with, try
            self.block([*node.body, *getattr(node, "orelse", ()), *getattr(node, "finalbody", ())], uneven, primary)
        else:
            self.calls(node, uneven, primary)

    def assign(self, target: Any, value: Labels, uneven: bool, primary: bool) -> None:
        """An assignment: to a local name, or to a part of what a parameter stands for."""
        if isinstance(target, ast.Tuple | ast.List):
            for each in target.elts:
                self.assign(each, value, uneven, primary)
        elif isinstance(target, ast.Name):
            self.names[target.id] = self.names.get(target.id, _NONE) | value | ({VARIES} if uneven else set())
        elif isinstance(target, ast.Subscript | ast.Attribute):
            whole = self.labels(target.value)
            index = self.labels(target.slice) if isinstance(target, ast.Subscript) else _NONE
            if PACKET in whole and getattr(target, "attr", "") in _SIZES:
                self.found.resizes = True
            self.change(target, whole, uneven or VARIES in value | index, primary)

    def change(
        self, node: Any, whole: Labels, uneven: bool, primary: bool, is_bytes: bool = False, atomic: bool = False
    ) -> None:
        """A change, at `node`, of something that parameters with these labels stand for."""
        tables = {label[:-1] for label in whole if label.endswith(":")}
        for name in sorted(tables | (whole & {FRAME, PACKET})):
            each = Assignment(self.place(node), name, atomic)
            if each not in self.found.assignments:
                self.found.assignments.append(each)
        self.found.uneven |= tables if uneven else set()
        if whole & {FRAME, PACKET}:
            self.found.varies |= uneven
            self.found.writes |= is_bytes and FRAME in whole and not primary

    def calls(self, node: Any, uneven: bool, primary: bool) -> None:
        """The calls in a statement or expression."""
        for each in ast.walk(node):
            if isinstance(each, ast.Call):
                self.call(each, uneven, primary)
            elif isinstance(each, ast.NamedExpr):
                self.assign(each.target, self.labels(each.value), uneven, primary)

    def call(self, node: ast.Call, uneven: bool, primary: bool) -> None:
        function = self.value(node.func)
        function = getattr(function, "py_func", function)
        given = [self.labels(each) for each in node.args]
        if hasattr(function, "has_lowering"):
            self.accessor(node, function, given, uneven, primary)
        elif isinstance(function, FunctionType):
            names = function.__code__.co_varnames[: function.__code__.co_argcount]
            labels = dict(zip(names, given, strict=False))
            labels |= {word.arg: self.labels(word.value) for word in node.keywords if word.arg}
            key = (
                function,
                tuple(sorted((name, tuple(sorted(each))) for name, each in labels.items())),
                uneven,
                primary,
            )
            if key not in self.seen:
                self.seen.add(key)
                LabelledSource(function, labels, self.found, self.seen).run(uneven, primary)

    def accessor(self, node: Any, function: Any, given: list[Labels], uneven: bool, primary: bool) -> None:
        """A call of a function that has its own native code: what it assigns to, it says in `assigns`."""
        uneven |= any(VARIES in each and not _is_table(each) for each in given)  # a table that is given may well vary
        assigned = getattr(function, "assigns", None)
        for index, labels in enumerate(given):
            if assigned is None and _is_table(labels):  # it does not say: tables may be changed, packets are not
                self.change(node, labels - {FRAME, PACKET}, uneven, primary)
            elif assigned and index in assigned:
                resizes = PACKET in labels or len(assigned) > 1
                if hasattr(function, "is_store") and not any(label.endswith(":") for label in labels):
                    labels |= {FRAME}  # no table's: a position that was computed from the frame's or from the record
                self.found.resizes |= resizes
                self.change(node, labels, uneven, primary, len(assigned) == 1, hasattr(function, "atomic"))

    def labels(self, node: Any) -> Labels:
        """The labels of an expression."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, _NONE)
        if isinstance(node, ast.Attribute | ast.Starred):
            return self.labels(node.value) | {PART}
        if isinstance(node, ast.Subscript):
            return self.labels(node.value) | (self.labels(node.slice) & {VARIES}) | {PART}
        if isinstance(node, ast.Tuple | ast.List):
            return _NONE.union(*(self.labels(each) for each in node.elts))
        if isinstance(node, ast.IfExp):
            return self.labels(node.body) | self.labels(node.orelse) | (self.labels(node.test) & {VARIES})
        if isinstance(node, ast.NamedExpr):
            return self.labels(node.value)
        if isinstance(node, ast.Call):  # what it returns may be a part of what it was given
            return _NONE.union(*(self.labels(each) for each in node.args)) - {PRIMARY} | self.varying(node)
        return self.varying(node)

    def varying(self, node: Any) -> Labels:
        """`VARIES` if a name in an expression varies."""
        names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)] if node is not None else []
        return _NONE.union(*(self.names.get(name, _NONE) for name in names)) & {VARIES}

    def is_primary(self, test: Any, negated: bool = False) -> bool:
        """True if a condition holds on the primary alone; `negated`: if it holds on all the others."""
        if negated:
            return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and self.is_primary(test.operand)
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return any(self.is_primary(each) for each in test.values)
        return isinstance(test, ast.Name) and self.names.get(test.id) == {PRIMARY, VARIES}


def _is_table(labels: Labels) -> bool:
    """True if a value is a whole table, as accessors take it, and not what was read from one."""
    return PART not in labels and any(label.endswith(":") for label in labels)


def _leaves(statements: list[Any]) -> bool:
    """True if a block ends the function or the loop that it stands in."""
    return isinstance(statements[-1], ast.Return | ast.Continue | ast.Break | ast.Raise)
