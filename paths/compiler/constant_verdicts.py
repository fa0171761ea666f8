"""Constant verdicts: the numbers in a stage's source that it returns, and which of them lead nowhere.

A packet with a verdict that no outcome has is dropped and counted as `unknown-verdict` when it comes. If the verdict is
a constant the mistake is in the source, and a compiler can tell before any packet comes.
"""

import ast
from collections.abc import Iterator
from functools import lru_cache
from types import FunctionType
from typing import Any, NamedTuple

from scout.paths.compiler.plan import Block, CompileError, Plan
from scout.paths.framework.events import HALT
from scout.paths.model.function_source import FunctionSource, SourceError
from scout.paths.model.references import module_name, written
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
        for function in written(stage.function):
            for found in _returned_constants(getattr(function, "py_func", function)):
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


@lru_cache(1024)
def _returned_constants(function: Any) -> tuple[_Returned, ...]:
    """The constants that a function may return, itself or by a call of another one of the user's.

    Functions of Scout's own are left out, and those whose source cannot be read. So is what depends on the way through
    the function: a name that is assigned to twice.
    """
    return tuple(_of_function(function, set()))


def _of_function(function: Any, seen: set[Any]) -> Iterator[_Returned]:
    if function in seen or not isinstance(function, FunctionType) or module_name(function).startswith("scout."):
        return
    seen.add(function)
    try:
        source = FunctionSource(function)
    except SourceError:
        return
    nodes = list(_own_nodes(source.tree))
    assigned = _assigned_once(source, nodes)
    for node in nodes:
        if isinstance(node, ast.Return) and node.value is not None:
            yield from _of_value(source, node.value, assigned, seen)


def _own_nodes(tree: Any) -> Iterator[Any]:
    """The nodes of a function's body, without those of functions that it defines."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def _assigned_once(source: FunctionSource, nodes: list[Any]) -> dict[str, Any]:
    """The values of local names that one assignment alone gives them."""
    stored = [each.id for each in nodes if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load)]
    found = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if stored.count(name) == 1 and name not in source.parameters:
                found[name] = node.value
    return found


def _of_value(source: FunctionSource, node: Any, assigned: dict[str, Any], seen: set[Any]) -> Iterator[_Returned]:
    """The constants that an expression may be."""
    if isinstance(node, ast.IfExp):
        parts = [node.body, node.orelse]
    elif isinstance(node, ast.BoolOp):
        parts = node.values[-1:]
    elif isinstance(node, ast.NamedExpr):
        parts = [node.value]
    elif isinstance(node, ast.Name) and node.id in assigned:
        parts = [assigned[node.id]]
        assigned = {name: value for name, value in assigned.items() if name != node.id}
    else:
        parts = []
        if isinstance(node, ast.Call):
            yield from _of_function(source.value(node.func), seen)
        else:
            value = _constant(source, node)
            if isinstance(value, int) and not isinstance(value, bool):  # numba's message about True is as good
                yield _Returned(source.place(node), ast.unparse(node), int(value))
    for part in parts:
        yield from _of_value(source, part, assigned, seen)


def _constant(source: FunctionSource, node: Any) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd | ast.Invert):
        value = _constant(source, node.operand)
        if isinstance(value, int) and not isinstance(value, bool):
            return {ast.USub: -value, ast.UAdd: value, ast.Invert: ~value}[type(node.op)]
        return None
    return source.value(node)
