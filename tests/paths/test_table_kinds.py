"""Handlers use their tables as the tables' kinds allow; errors name the file, the line and the fix."""

import re
from typing import Any

import numpy as np
import pytest
from harness import marked

from scout.paths.framework.events import HALT, Handler
from scout.paths.framework.service import Service
from scout.paths.framework.state import add_to
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.stages.filter import Filter

ROWS = np.zeros(8, np.dtype([("word", "i8"), ("other", "i8")]))
HERE = re.escape(__file__)


def reads(frame: Any, end: Any, rows: Any) -> int:
    return HALT if rows[0].word else 0


def takes_a_table(frame: Any, end: Any, own: Any) -> int:
    return HALT if own[0] else 0


def writes_a_table(frame: Any, end: Any, own: Any) -> int:
    own[0] += 1
    return 0


@pytest.mark.parametrize("run", ["all", "primary"])
def test_a_handler_changes_no_constant_table(run: str) -> None:
    line = writes_a_table.__code__.co_firstlineno + 1
    with pytest.raises(GraphError, match=rf"writes_a_table .* at {HERE}:{line} changes own, a constant table"):
        Service("s", {}, [Handler(writes_a_table, run=run)], own=Table(np.zeros(1, np.int64), "constant"))


def test_a_handler_changes_a_shared_table_by_accessors_alone() -> None:
    line = writes_a_table.__code__.co_firstlineno + 1
    shared = Table(np.zeros(1, np.int64), "shared")
    with pytest.raises(GraphError, match=rf"writes_a_table .* at {HERE}:{line} assigns to own, a shared table"):
        Service("s", {}, [Handler(writes_a_table, run="primary")], own=shared)


def adds_to_a_table(frame: Any, end: Any, own: Any) -> int:
    add_to(own, 0, "word", 1)
    return 0


@pytest.mark.parametrize("kind", ["shared", "private"])
def test_accessors_are_atomic_on_a_shared_table_of_a_handler(kind: str) -> None:
    service = Service("s", {}, [Handler(adds_to_a_table, run="primary")], own=Table(ROWS, kind))
    called = service.function.__globals__["on_adds_to_a_table"].__globals__["add_to"]
    assert called is (add_to.atomic if kind == "shared" else add_to)


def test_a_replicated_table_of_ones_own_is_state_too() -> None:
    line = writes_a_table.__code__.co_firstlineno + 1
    own = Table(np.zeros(1, np.int64))
    with pytest.raises(GraphError, match=rf"writes_a_table .* at {HERE}:{line} assigns to own, which is replicated"):
        Service("s", {}, [Handler(writes_a_table, run="primary")], own=own)
    for mode in ("locked", "sharded"):
        with pytest.raises(
            GraphError, match=rf"at {HERE}:{line} assigns to own, .* in mode '{mode}' only some replicas"
        ):
            Service("s", {}, [Handler(writes_a_table)], mode=mode, own=own)
    Service("s", {}, [Handler(writes_a_table)], own=own)


def renames_a_table(frame: Any, end: Any, rows: Any) -> int:
    rows = 1  # here
    return rows


def adds_to_a_name(frame: Any, end: Any, rows: Any) -> int:
    rows += 1  # here
    return 0


@pytest.mark.parametrize("function", [renames_a_table, adds_to_a_name])
@pytest.mark.parametrize("run", ["all", "primary"])
def test_assigning_to_the_name_of_a_table_is_refused(function: Any, run: str) -> None:
    said = rf"{function.__name__} .*at {HERE}:{marked(function)} assigns to the name rows, .* as in rows\[0\].field = 1"
    with pytest.raises(GraphError, match=said):
        Service("s", {"rows": ROWS}, [Handler(function, run=run), Handler(reads)])
    with pytest.raises(GraphError, match=said.replace(" .*at", " at", 1)):
        Filter("f", function, rows=Table(ROWS))


@pytest.mark.parametrize(
    ("run", "kind", "refused"),
    [
        ("all", "private", True),
        ("all", "shared", True),
        ("all", "constant", False),
        ("others", "shared", True),
        ("others", "private", False),
        ("primary", "private", False),
        ("primary", "shared", False),
    ],
)
def test_tables_that_replicas_need_not_agree_in(run: str, kind: str, refused: bool) -> None:
    def make() -> Service:
        return Service("s", {}, [Handler(takes_a_table, run=run)], own=Table(np.zeros(1, np.int64), kind))

    if not refused:
        make()
        return
    line = takes_a_table.__code__.co_firstlineno
    with pytest.raises(GraphError, match=rf"takes_a_table \(run='{run}'\) at {HERE}:{line} takes own, a {kind} table"):
        make()
