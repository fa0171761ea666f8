"""A numba error in a stage becomes one line that names the stage, its file and line, and the fix."""

import threading
from typing import Any

import numpy as np
import pytest
import traces
from refusals import ours, refusal

from scout.io.access import load8
from scout.paths.compiler.global_state import changed_globals
from scout.paths.compiler.native import compile_path
from scout.paths.compiler.plan import CompileError
from scout.paths.framework.flow_table import claim
from scout.paths.framework.state import add_to
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.ring.errors import ScoutError


def makes_a_drop(frame: Any, end: Any) -> int:
    return drop("x") if load8(frame, 0) == 69 else 0


def lets_a_helper_make_it(frame: Any, end: Any) -> int:
    return verdict_of(frame)


def verdict_of(frame: Any) -> int:
    return drop("x")


def names_a_call(frame: Any, end: Any) -> int:
    if (kind := load8(frame, 0)) > 4:
        return -kind
    return 0


def test_a_call_that_gets_a_name_within_an_expression_is_named_with_its_line() -> None:
    said = refusal(names_a_call, names_a_call, 1)
    assert said.startswith(": write kind = load8(frame, 0) on a line of its own")


@pytest.mark.parametrize(("function", "culprit"), [(makes_a_drop, makes_a_drop), (lets_a_helper_make_it, verdict_of)])
def test_a_drop_that_is_made_inside_a_stage_is_named_with_its_line(function: Any, culprit: Any) -> None:
    assert refusal(function, culprit, 1).startswith(": make drop('x') at the top of the module")


def imports(frame: Any, end: Any) -> int:
    import os

    return os.getpid()


def names_no_field(frame: Any, end: Any, seen: Any) -> int:
    add_to(seen, 0, "packets", 1)
    return 0


def leaves_the_field_out(frame: Any, end: Any, seen: Any) -> int:
    add_to(seen, 0, 1)
    return 0


def claims_too_little(frame: Any, end: Any, seen: Any) -> int:
    claim(seen, 0)
    return 0


def indexes_the_frame(frame: Any, end: Any) -> int:
    return frame[8]


def returns_nothing(frame: Any, end: Any) -> None:
    load8(frame, 8)


def returns_now_and_then(frame: Any, end: Any) -> int | None:
    return 0 if load8(frame, 8) else None


def catches(frame: Any, end: Any) -> int:
    try:
        return 1 // load8(frame, 8)
    except ZeroDivisionError:
        return 0


LOCK = threading.Lock()


def locks(frame: Any, end: Any) -> int:
    kind = load8(frame, 8)
    with LOCK as held:
        kind += held
    return kind


def raises_from(frame: Any, end: Any) -> int:
    kind = load8(frame, 8)
    if kind:
        raise ValueError(kind) from None
    return 0


def names_nothing(frame: Any, end: Any) -> int:
    kind = load8(frame, 8)
    if kind:
        no_such_function(kind)  # type: ignore[name-defined]  # noqa: F821
    return 0


def makes_a_list(frame: Any, end: Any) -> int:
    kind = load8(frame, 8)
    both = [kind, end]
    return len(both) - 2


def lets_a_helper_lock(frame: Any, end: Any) -> int:
    return locks(frame, end)


@pytest.mark.parametrize(
    ("function", "culprit", "line", "words"),
    [
        (locks, locks, 2, "The 'with (context manager) as (variable):' construct is not supported"),
        (lets_a_helper_lock, locks, 2, "The 'with (context manager) as (variable):' construct is not supported"),
        (raises_from, raises_from, 3, "Multiple argument raise is not supported"),
        (names_nothing, names_nothing, 3, "NameError: name 'no_such_function' is not defined"),
        (makes_a_list, makes_a_list, 2, "compiled code makes no lists, dicts, sets or strings"),
    ],
)
def test_a_statement_that_numba_refuses_is_named_by_its_own_line(
    function: Any, culprit: Any, line: int, words: str
) -> None:
    said = refusal(function, culprit, line)
    advice = "" if words.startswith("NameError") else "; use ints, the accessors and tables, and try it with"
    assert said.startswith(f" does not compile: {words}{advice}")
    assert ("Path.run" in said) == bool(advice)


@pytest.mark.parametrize(
    ("function", "line", "words"),
    [
        (imports, 1, "Use of unsupported opcode (IMPORT_NAME) found"),
        (names_no_field, 1, "a table with fields"),
        (
            leaves_the_field_out,
            1,
            "add_to cannot be called with (array of int64, int, int); it takes (table, row, field, value)",
        ),
        (claims_too_little, 1, "claim is called with other arguments than (table, counts, key, more)"),
        (indexes_the_frame, 1, "load8(frame, 8)"),
        (returns_nothing, 1, "it returns none; return 0 to go on"),
        (returns_now_and_then, 1, "it returns none in some cases; return 0 to go on"),
        (catches, 3, "catches no particular exception"),
    ],
)
def test_what_numba_refuses_becomes_one_line_that_helps(function: Any, line: int, words: str) -> None:
    bindings = {"seen": Table(np.zeros(4, np.int64), "private")} if "seen" in function.__code__.co_varnames else {}
    with pytest.raises(CompileError) as caught:
        compile_path(ours("mine", function, **bindings))
    said = str(caught.value)
    first = function.__code__.co_firstlineno
    assert words in said and "stage mine.receive" in said and "\n" not in said
    assert said.startswith((f"{__file__}:{first}:", f"{__file__}:{first + line}:"))


def misspells_a_field(frame: Any, end: Any, packet: Any) -> int:
    packet.destinatoin = 1
    return 0


def misspells_a_field_of_a_table(frame: Any, end: Any, seen: Any) -> int:
    seen[0].pakets += 1
    return 0


@pytest.mark.parametrize("function", [misspells_a_field, misspells_a_field_of_a_table])
def test_a_field_that_does_not_exist_is_named_with_those_that_do_as_in_the_plain_run(function: Any) -> None:
    seen = Table(np.zeros(4, [("packets", "i8"), ("bytes", "i4")]), "private")
    path = ours("mine", function, **({"seen": seen} if "seen" in function.__code__.co_varnames else {}))
    with pytest.raises(CompileError) as native:
        compile_path(path)
    with pytest.raises(ScoutError) as plain:
        path.run(traces.frame((0x0A000002, 0x0A090001, traces.UDP, 5, 6), b""))
    (place, said), (other_place, as_plain) = (str(each.value).split("no field ") for each in (native, plain))
    assert place.split(": ")[0] == other_place.split(": ")[0]
    # Numba orders fields by their offsets.
    assert sorted(said.replace(";", ",").split(", ")) == sorted(as_plain.replace(";", ",").split(", "))


@pytest.mark.parametrize("function", [returns_nothing, returns_now_and_then])
def test_a_missing_return_is_told_with_its_own_fix_alone(function: Any) -> None:
    with pytest.raises(CompileError, match=r"return 0 to go on, or a drop\(\.\.\.\)$"):
        compile_path(ours("mine", function))


count, counts = 0, np.zeros(4, np.int64)
rows = np.zeros(4, [("packets", "i8")])
constants = np.array([1, 2])


def changes_a_global(frame: Any, end: Any) -> int:
    global count
    count += 1
    return 0


def changes_an_array(frame: Any, end: Any) -> int:
    counts[0] += 1
    return 0


def changes_a_record(frame: Any, end: Any) -> int:
    rows[0].packets += 1
    return 0


def changes_a_row(frame: Any, end: Any) -> int:
    row = rows[0]
    row.packets = 2
    return 0


def has_a_helper_do_it(frame: Any, end: Any) -> int:
    return changes_an_array(frame, end)


@pytest.mark.parametrize(
    ("function", "culprit", "line", "name"),
    [
        (changes_a_global, changes_a_global, 2, "count"),
        (changes_an_array, changes_an_array, 1, "counts"),
        (changes_a_record, changes_a_record, 1, "rows"),
        (changes_a_row, changes_a_row, 2, "rows"),
        (has_a_helper_do_it, changes_an_array, 1, "counts"),
    ],
)
def test_a_change_of_a_global_is_refused(function: Any, culprit: Any, line: int, name: str) -> None:
    assert refusal(function, culprit, line).startswith(f" changes the global {name}; keep what changes in")


def reads_globals(frame: Any, end: Any, seen: Any) -> int:
    row = constants[1]
    row += 1
    local = seen[0]
    local.packets += row + constants[0] + count
    return 0


def test_globals_that_are_only_read_and_tables_pass() -> None:
    assert not list(changed_globals(reads_globals))
