"""Global variables and arrays that a stage changes, found in its source.

Compiled code has the values of globals as constants. Numba refuses most changes of them, in words of its own, but lets
a record of a global array be assigned to. In plain Python each replica would change globals of its own.
"""

import ast
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np

from scout.paths.model.function_source import FunctionSource, SourceError
from scout.paths.model.references import everything, module_name

__all__ = ["changed_globals"]


def changed_globals(function: Any) -> Iterator[tuple[str, str]]:
    """File and line, and the name, of each global that a function, or one that it calls, changes.

    Functions of Scout's own are left out, and those whose source cannot be read.
    """
    for each in (function, *everything(function)):
        each = getattr(each, "py_func", each)
        if isinstance(each, FunctionType) and not module_name(each).startswith("scout."):
            try:
                source = FunctionSource(each)
            except SourceError:
                continue
            yield from _changes(source)


def _changes(source: FunctionSource) -> Iterator[tuple[str, str]]:
    nodes = list(ast.walk(source.tree))
    declared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    parts: dict[str, str] = {}
    """The local names that stand for a row of a global array, with that array's name."""

    def array_of(node: Any) -> str:
        while isinstance(node, ast.Subscript | ast.Attribute):
            if isinstance(source.value(node), np.ndarray):  # of a module
                return ast.unparse(node)
            node = node.value
        if isinstance(node, ast.Name):
            return node.id if isinstance(source.value(node), np.ndarray) else parts.get(node.id, "")
        return ""

    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript) and array_of(node.value):
            parts |= {each.id: array_of(node.value) for each in node.targets if isinstance(each, ast.Name)}
    for node in nodes:
        if isinstance(getattr(node, "ctx", None), ast.Store):
            if isinstance(node, ast.Name) and node.id in declared:
                yield source.place(node), node.id
            elif isinstance(node, ast.Subscript | ast.Attribute) and (name := array_of(node.value)):
                yield source.place(node), name
