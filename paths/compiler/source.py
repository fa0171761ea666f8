"""The source of code that is called by its address: its text, and all else that the code depends on.

The code of a path (`path_source`), of a stage by itself for the linked tier (`stage_source`), and of a router's own
functions (`routine_source`). `scout.paths.compiler.native` compiles it for this process and those that it forks,
`scout.paths.compiler.objects` to files for processes that run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numba
from numba.core import types

from scout.io.packet import PACKET
from scout.paths.compiler.constant_verdicts import check_verdicts
from scout.paths.compiler.context import ENTRY, NUMBERS, ROOM, Rows, record_type, whole_at, words_at
from scout.paths.compiler.emit import emit, module_of
from scout.paths.compiler.fingerprint import fingerprint
from scout.paths.compiler.inlining import native, native_helper
from scout.paths.compiler.linked import STAGE
from scout.paths.compiler.plan import Plan, at, text_of
from scout.paths.model.change import ORDER
from scout.paths.model.setting import Setting
from scout.paths.model.stage import GATHER, Stage
from scout.paths.model.table import Table
from scout.ring.linked import described, viewer

__all__ = ["AMEND", "LIVE_ROWS", "MAKE", "Source", "path_source", "routine_source", "stage_source"]

LIVE_ROWS = Rows(ROOM.counters, ROOM.own)
"""The rows of paths of shapes that come while packets flow: arrays of so many words are there before them."""

MAKE = types.int64(numba.from_dtype(PACKET), types.int64)
"""The numba signature of `Router.emitter`: `make(packet, arguments)`; the latter is an address."""

AMEND = types.int64(numba.from_dtype(ORDER), types.int64, types.int64)
"""The numba signature of `Router.amender`: `amend(order, now, arguments)`."""

_View = tuple[Any, tuple[int, ...] | None]
"""The numba type of an array that the text finds at an address, and its shape; None if memory describes it."""


@dataclass(frozen=True)
class Source:
    """The source of a function.

    Attributes
    ----------
    name : str
        The beginning of the names of files.
    function : str
        The function's name in the text.
    stages : mapping of str to Stage
        The stages in it, by node.
    text : str
        The text of its module, which marks the function as an entry.
    marks : str
        All else that the code depends on, as text.
    signature
        Its numba signature.
    views : dict
        The arrays that the text finds, by the names of the functions that find them.
    given : callable
        The other functions that the text cannot import, by their names there.
    """

    name: str
    function: str
    stages: Mapping[str, Stage]
    text: str
    marks: str
    signature: Any
    views: dict[str, _View]
    given: Callable[[], dict[str, Any]]

    def names(self) -> dict[str, Any]:
        """All that the text refers to and does not import, but for `entry`."""
        views = {name: viewer(kind, shape) if shape else described(kind) for name, (kind, shape) in self.views.items()}
        return self.given() | views | {"words_at": words_at, "whole_at": whole_at}


def path_source(plan: Plan, rows: Rows | None) -> Source:
    """The source of a path's code; with `rows` it serves any number of paths of its shape.

    Raises
    ------
    CompileError
        If a stage returns a constant that is no verdict of it.
    """
    check_verdicts(plan)
    views: dict[str, _View] = {
        "counters_at": (types.int64[::1], (NUMBERS * ROOM.counters,)),
        "configuration_at": (numba.typeof(plan.configuration), (1,)),
    }
    if rows and plan.own:
        views["records_at"] = (types.Array(numba.from_dtype(record_type(plan, rows)), 1, "C"), (NUMBERS,))
    views |= {f"{name}_at": _view(table) for name, table in plan.tables.items()}
    stages = {node: block.stage for node, block in plan.blocks.items()}
    marks = "".join(fingerprint(stage.function) for stage in stages.values()) + repr(views)
    text = emit(plan, rows)
    return Source(f"path_{plan.source}", "run", stages, text, marks, ENTRY, views, lambda: _user_functions(plan))


def stage_source(node: str, stage: Stage) -> Source:
    """The source of a stage by itself, for the linked tier: its arguments are read from the context."""
    head = "stage(packet, index, frame, end, primary, whole, arguments)"
    return _alone(node, stage, head, ("frame", "end"), STAGE)


def routine_source(router: str, stage: Stage, signature: Any) -> Source:
    """The source of a function by which a router makes packets (`MAKE`) or changes its tables (`AMEND`)."""
    if signature == MAKE:
        return _alone(router, stage, "stage(packet, arguments)", ("packet.frame", "packet.end"), signature)
    return _alone(router, stage, "stage(order, now, arguments)", ("order", "now"), signature)


def _alone(node: str, stage: Stage, head: str, first: tuple[str, str], signature: Any) -> Source:
    function, module = stage.function, module_of(stage.function)
    views: dict[str, _View] = {"number_at": (types.int64[::1], (1,))}
    body, given = [], []
    for index, parameter in enumerate(stage.parameters):
        value = stage.bindings.get(parameter)
        if parameter in ("packet", "primary", *GATHER):
            given.append({GATHER[0]: "whole_at(whole)", GATHER[1]: "index"}.get(parameter, parameter))
        elif isinstance(value, Table) and not isinstance(value, Setting):
            views[f"array_{index}_at"] = _view(value)
            given.append(f"array_{index}_at(words[{2 * index}])")
        else:
            body.append(f"    number_{index} = number_at(words[{2 * index}] + packet.path * words[{2 * index + 1}])[0]")
            given.append(f"number_{index}")
    lines = [
        f'"""A function by itself: {text_of(at(function))}. Generated by Scout."""',
        "",
        *([f"import {module}", "from scout.paths.compiler.inlining import native"] if module else []),
        "",
        *([f"function = native({module}.{function.__name__})"] if module else []),
        "",
        "",
        "@entry",
        f"def {head}:",
        '    """Call it with its arguments at this address."""',
        "    words = words_at(arguments)",
        *body,
        f"    return function({', '.join([*first, *given])})",
        "",
    ]
    user = {} if module else {"function": function}
    marks = fingerprint(function) + repr(views)
    name = f"stage_{function.__name__}"
    made = lambda: {name: native(value) for name, value in user.items()}  # noqa: E731
    return Source(name, "stage", {node: stage}, "\n".join(lines), marks, signature, views, made)


def _view(table: Table) -> _View:
    return numba.typeof(table.initial), None


def _user_functions(plan: Plan) -> dict[str, Any]:
    """The stage functions, and parts of them, that generated code cannot import, by their names there."""
    stages = {block.name: block.stage.function for block in plan.blocks.values()}
    stages |= {each.rest: each.halves.rest for each in plan.ahead.values()}
    firsts = {each.name: each.halves.first for each in plan.ahead.values()}
    found = {name: native(function) for name, function in stages.items() if module_of(function) is None}
    return found | {name: native_helper(each) for name, each in firsts.items() if module_of(each) is None}
