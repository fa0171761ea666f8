"""The kinds of tables, enforced: a stage writes no constant table, and changes a shared one by atomic accessors alone.

A service's generated function passes: its handlers are checked one by one (`scout.paths.framework.check`).
"""

import ast
from collections.abc import Callable, Collection, Mapping
from typing import Any

from scout.paths.framework.purity import assignments
from scout.paths.framework.state import atomically
from scout.paths.model.function_source import FunctionSource, SourceError
from scout.paths.model.references import everything
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table

__all__ = ["check_kinds", "check_names", "with_shared_tables"]


def check_kinds(who: str, function: Callable[..., int], bindings: Mapping[str, Any]) -> None:
    """Refuse a function that changes one of its tables in a way that the table's kind does not allow.

    Parameters
    ----------
    who : str
        The name of the function in the error.
    function : callable
    bindings : mapping
        The parameters of the function that are bound; values that are not a `Table` do not matter.

    Raises
    ------
    GraphError
        If it changes a constant table, or a shared one by a plain assignment, or assigns to the name of a table; names
        the file and line, and the fix.
    """
    if hasattr(function, "parts"):
        return
    kinds = {name: value.kind for name, value in bindings.items() if isinstance(value, Table)}
    check_names(who, function, kinds)
    guarded = [name for name, kind in kinds.items() if kind in ("constant", "shared")]
    for place, name, atomic in assignments(function, guarded) if guarded else ():
        if kinds[name] == "constant":
            raise GraphError(
                f"{who} at {place} changes {name}, a constant table: give it another kind, as in "
                f'{name}=Table(array, "private")'
            )
        if not atomic:
            raise GraphError(
                f"{who} at {place} assigns to {name}, a shared table that other replicas change too: use add_to, "
                f'store_to, exchange_in or within, or give it another kind, as in {name}=Table(array, "private")'
            )


def check_names(who: str, function: Callable[..., int], tables: Collection[str]) -> None:
    """Refuse a function that assigns to the name of a table, as far as its source can be read.

    The name would then stand for something else, and the table would stay as it is.

    Raises
    ------
    GraphError
        Names the file and line, and the fix.
    """
    try:
        source = FunctionSource(function)
    except SourceError:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and node.id in tables and not isinstance(node.ctx, ast.Load):
            raise GraphError(
                f"{who} at {source.place(node)} assigns to the name {node.id}, which does not change the table: assign "
                f"to a row or a field of it, as in {node.id}[0].field = 1"
            )


def with_shared_tables(function: Callable[..., int], bindings: Mapping[str, Any]) -> Callable[..., int]:
    """The function with atomic accessors, if one of its tables is shared and it uses accessors; else as it is."""
    if hasattr(function, "parts"):
        return function
    shares = any(isinstance(value, Table) and value.kind == "shared" for value in bindings.values())
    return (
        atomically(function) if shares and any(hasattr(each, "atomic") for each in everything(function)) else function
    )
