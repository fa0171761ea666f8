"""Constant verdicts: the numbers in a stage's source that it returns, and which of them lead nowhere.

A packet with a verdict that no outcome has is dropped and counted as `unknown-verdict` when it comes. If the verdict is
a constant the mistake is in the source, and a compiler can tell before any packet comes. A correct stage is never
refused for a constant that is not returned for the numbers it was made with: a branch is judged only if the packet, or
a table, decides whether it is taken; of a function that the stage calls, only the constant that it returns always.
"""

import ast
from collections.abc import Iterator
from types import FunctionType
from typing import Any, NamedTuple

from scout.paths.compiler.plan import Block, CompileError, Plan
from scout.paths.framework.events import HALT
from scout.paths.model.function_source import FunctionSource, SourceError
from scout.paths.model.references import module_name, written
from scout.paths.model.table import Table
from scout.paths.model.verdict import HOLD

__all__ = ["check_verdicts"]


class _Returned(NamedTuple):
    """A constant that a function may return: the file and line, the words for it there, its value."""

    place: str
    text: str
    value: int


def check_verdicts(plan: Plan) -> None:
    """Refuse stages of users that return a constant which leads nowhere.

    Raises
    ------
    CompileError
        Names the stage, its file and line, and the constant.
    """
    for block in plan.blocks.values():
        stage = block.stage
        known = _known(block)
        numbers = {name for name, value in stage.bindings.items() if not isinstance(value, Table)}
        for function in written(stage.function):
            for found in _returned_constants(function, numbers):
                if found.value not in known:
                    shown = found.text if found.text == str(found.value) else f"{found.text}, which is {found.value}"
                    raise CompileError(
                        f"{found.place}: stage {block.node} returns {shown}: that is no verdict of the stage; "
                        f"{_advice(block)}"
                    )


def _known(block: Block) -> set[int]:
    stage = block.stage
    held = {int(HOLD)} if stage.holds else set()
    if stage.is_generated:  # of handlers
        return {0, HALT, *held, *map(int, stage.drops)}
    return {*range(len(stage.outcomes)), *held, *(edge.verdict for edge in block.edges)}


def _advice(block: Block) -> str:
    if block.stage.is_generated:
        return "return 0 to go on, HALT, or a drop(...)"
    outcomes = [edge for edge in block.edges if edge.verdict >= 0]
    if len(outcomes) > 1:
        return f"return {', '.join(f'{edge.verdict} ({edge.label})' for edge in outcomes)}, or a drop(...)"
    return "return 0 to go on, or a drop(...)"


def _returned_constants(function: Any, numbers: set[str]) -> Iterator[_Returned]:
    """The constants that a stage's function may return, if its parameters `numbers` have one value for good.

    A function of Scout's own has none, nor has one whose source cannot be read.
    """
    source = _source(getattr(function, "py_func", function))
    if source is None:
        return
    body = source.tree.body
    given = {*source.parameters} - numbers - {"argument"}  # a handler's argument is a number of its own
    yield from _Judgement(source, _varying(body, given), {source.function}).of_block(body)


def _source(function: Any) -> FunctionSource | None:
    if not isinstance(function, FunctionType) or module_name(function).startswith("scout."):
        return None
    try:
        return FunctionSource(function)
    except SourceError:
        return None


def _varying(body: list[Any], given: set[str]) -> set[str]:
    """The local names whose values depend on those of the parameters `given`."""
    found, dependences = set(given), list(_dependences(body, set()))
    while more := {name for name, others in dependences if others & found} - found:
        found |= more
    return found


def _dependences(statements: list[Any], above: set[str]) -> Iterator[tuple[str, set[str]]]:
    """The names that statements assign to, each with the names that decide the value or whether it is assigned."""
    for statement in statements:
        parts = list(ast.iter_child_nodes(statement))
        inner = [each for each in parts if isinstance(each, ast.stmt)]
        names = [each for part in parts if part not in inner for each in ast.walk(part) if isinstance(each, ast.Name)]
        inside = above | {each.id for each in names}
        for each in names:
            if not isinstance(each.ctx, ast.Load):
                yield each.id, inside - {each.id}
        yield from _dependences(inner, inside)


class _Judgement:
    """Which constants one function returns, as far as that is certain.

    Parameters
    ----------
    source : FunctionSource
    varying : set of str
        Local names whose values vary; a condition without one of them always has the same value, which may be either.
    callers : set
        The functions that call this one, and itself.
    """

    def __init__(self, source: FunctionSource, varying: set[str], callers: set[Any]) -> None:
        self._source, self._varying, self._callers = source, varying, callers
        self._assigned = _assigned_once(source)
        self.goes_on = True  # the statement after those that were judged is reached in some cases
        self._breaks = False  # a `break` of the innermost loop is

    def of_block(self, statements: list[Any]) -> Iterator[_Returned]:
        """The constants that statements may return, if the first is reached; sets `goes_on`."""
        self.goes_on = True
        for statement in statements:
            yield from self._of_statement(statement)
            if not self.goes_on:
                return

    def _of_statement(self, statement: Any) -> Iterator[_Returned]:
        if isinstance(statement, ast.Return):
            yield from self._of_value(statement.value)
            self.goes_on = False
        elif isinstance(statement, ast.If) and not self._is_fixed(statement.test):
            yield from self.of_block(statement.body)
            goes_on = self.goes_on
            yield from self.of_block(statement.orelse)
            self.goes_on |= goes_on
        elif isinstance(statement, ast.While) and not statement.orelse:
            endless = isinstance(statement.test, ast.Constant) and bool(statement.test.value)
            yield from self._of_loop(statement, statement.test, endless)
        elif isinstance(statement, ast.For) and not statement.orelse:
            yield from self._of_loop(statement, statement.iter, self._has_values(statement.iter))
        else:
            self._breaks |= isinstance(statement, ast.Break)
            # An `if` with a fixed condition, or a `try`, may be the last statement that is ever reached.
            self.goes_on = not _leaves(statement)

    def _of_loop(self, loop: Any, condition: Any, is_entered: bool) -> Iterator[_Returned]:
        if not is_entered and self._is_fixed(condition):
            self.goes_on = not _leaves(loop)
            return
        outer, self._breaks = self._breaks, False
        yield from self.of_block(loop.body)
        self.goes_on = not is_entered or self._breaks or (isinstance(loop, ast.For) and self.goes_on)
        self._breaks = outer

    def _has_values(self, node: Any) -> bool:
        """True if an expression is a range of constants that is not empty."""
        if not isinstance(node, ast.Call) or self._source.value(node.func) is not range:
            return False
        bounds = [_constant(self._source, each) for each in node.args]
        return all(isinstance(each, int) for each in bounds) and 0 not in bounds[2:] and len(range(*bounds)) > 0

    def _is_fixed(self, condition: Any) -> bool:
        """True if a condition, or a part of it that is true or false, has no name that varies."""
        parts = [condition]
        for each in ast.walk(condition):
            if isinstance(each, ast.BoolOp):
                parts += each.values
            elif isinstance(each, ast.Compare):
                parts.append(each)
            elif isinstance(each, ast.IfExp):
                parts.append(each.test)
        return any(self._varying.isdisjoint(_names(part)) for part in parts)

    def _of_value(self, node: Any) -> Iterator[_Returned]:
        """The constants that a returned expression may be."""
        if isinstance(node, ast.IfExp):
            if not self._is_fixed(node.test):
                yield from self._of_value(node.body)
                yield from self._of_value(node.orelse)
        elif isinstance(node, ast.BoolOp):
            if not any(map(self._is_fixed, node.values[:-1])):
                yield from self._of_value(node.values[-1])
        elif isinstance(node, ast.Call):
            yield from self._of_call(self._source.value(node.func))
        elif node is not None:
            node = self._assigned.get(getattr(node, "id", ""), node)
            value = _constant(self._source, node)
            if isinstance(value, int) and not isinstance(value, bool):  # numba's message about True is as good
                yield _Returned(self._source.place(node), ast.unparse(node), int(value))

    def _of_call(self, function: Any) -> Iterator[_Returned]:
        """The constant that another function of the user's returns always: it may be called under a condition."""
        source = _source(function)
        if source is not None and function not in self._callers:
            yield from _Judgement(source, set(), {*self._callers, function}).of_block(source.tree.body)


def _leaves(statement: Any) -> bool:
    """True if control may go elsewhere than to the next statement."""
    return any(isinstance(each, ast.Return | ast.Raise | ast.Break | ast.Continue) for each in ast.walk(statement))


def _names(node: Any) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _assigned_once(source: FunctionSource) -> dict[str, Any]:
    """The values of local names that one assignment alone gives them."""
    nodes, own = list(ast.walk(source.tree)), {*source.function.__code__.co_varnames} - {*source.parameters}
    stored = [each.id for each in nodes if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load)]
    found = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if stored.count(name) == 1 and name in own:
                found[name] = node.value
    return found


def _constant(source: FunctionSource, node: Any) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd | ast.Invert):
        value = _constant(source, node.operand)
        if isinstance(value, int) and not isinstance(value, bool):
            return {ast.USub: -value, ast.UAdd: value, ast.Invert: ~value}[type(node.op)]
        return None
    return source.value(node)
