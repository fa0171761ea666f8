"""Stages in two parts: a lookup that can run ahead of the stage, and the rest, which uses what was found.

A lookup whose memory is not in the nearest cache makes its packet wait. Lookups of several packets do not depend on
each other: done one right after another, they wait together. So fused code runs the first part of such a stage for a
group of packets, and then leads each of them through the path (`scout.paths.compiler.ahead`).

The stage is a plain function in either case, and all other ways to run it call it as it is::

    @ahead
    def find_route(frame, end, routes):
        return find(routes, load32(frame, DESTINATION)) if require(frame, end, HEADER) else NO_ROUTE

    def lookup(frame, end, packet, routes, next_hops):
        return follow(frame, end, packet, find_route(frame, end, routes), next_hops)
"""

import ast
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

from scout.paths.model.function_source import FunctionSource, SourceError

__all__ = ["Halves", "ahead", "halves"]

Function = TypeVar("Function", bound=Callable[..., int])


def ahead(function: Function) -> Function:
    """Mark a function that may run before the stage that calls it, and for packets that never come to that stage.

    It takes `frame`, `end` and parameters of the stage, and returns an int. It may read the fields that attributes
    describe (addresses, protocol, L4 ports and DSCP), after `require`, settings, and tables that are constant; it
    changes nothing. Of tables that may change it can only `prefetch` rows.
    """
    function.runs_ahead = True  # type: ignore[attr-defined]
    return function


class Halves(NamedTuple):
    """A stage function that is `rest(..., first(...), ...)`.

    Attributes
    ----------
    first, rest : callable
    first_arguments, rest_arguments : tuple of str
        The stage function's parameters that each is given; `FOUND` stands for what the first returned.
    """

    first: Callable[..., int]
    first_arguments: tuple[str, ...]
    rest: Callable[..., int]
    rest_arguments: tuple[str, ...]


FOUND = ""


@lru_cache(1024)
def halves(function: Any) -> Halves | None:
    """The two parts of a stage function, None if it is not of this form: one call, and in it one of an `ahead` part."""
    try:
        source = FunctionSource(function)
    except SourceError:
        return None
    statements = source.tree.body[ast.get_docstring(source.tree) is not None :]
    if len(statements) != 1 or not isinstance(statements[0], ast.Return):
        return None
    call: Any = statements[0].value
    found = [each for each in _arguments(source, call) if isinstance(each, ast.Call)]
    if len(found) != 1 or not hasattr(source.value(found[0].func), "runs_ahead"):
        return None
    inner = [each for each in _arguments(source, found[0]) if isinstance(each, ast.Name)]
    if len(inner) != len(found[0].args):
        return None
    outer = [each.id if isinstance(each, ast.Name) else FOUND for each in call.args]
    return Halves(source.value(found[0].func), tuple(each.id for each in inner), source.value(call.func), tuple(outer))


def _arguments(source: FunctionSource, call: Any) -> list[ast.Name | ast.Call]:
    """The arguments of a call of a plain function, if each is a parameter's name or a call."""
    if not isinstance(call, ast.Call) or call.keywords or not isinstance(source.value(call.func), FunctionType):
        return []
    names = [each for each in call.args if isinstance(each, ast.Name) and each.id in source.parameters]
    calls = [each for each in call.args if isinstance(each, ast.Call)]
    return [*names, *calls] if len(names) + len(calls) == len(call.args) else []
