"""A stage that returns a constant which is no verdict of it is refused, and a correct stage never."""

from typing import Any

import pytest
from harness import one_port
from refusals import ours, refusal

from scout.io.access import load8
from scout.paths.compiler.native import compile_path
from scout.paths.compiler.plan import CompileError
from scout.paths.framework.events import HALT, Handler
from scout.paths.framework.service import Service
from scout.paths.model.verdict import drop

SEVEN, REFUSED = 7, drop("refused-here")
DEBUG, LIMIT = False, 5


def returns_seven(frame: Any, end: Any) -> int:
    return 7


def returns_a_named_seven(frame: Any, end: Any) -> int:
    return SEVEN if load8(frame, 8) else 0


def returns_the_number_of_a_hold(frame: Any, end: Any) -> int:
    return -1


def returns_the_verdict_of_a_helper(frame: Any, end: Any) -> int:
    if load8(frame, 8):
        return 0
    return returns_seven(frame, end)


def returns_a_name_with_one_value(frame: Any, end: Any) -> int:
    wrong = 2
    return wrong if load8(frame, 8) else REFUSED


def returns_seven_in_a_loop(frame: Any, end: Any) -> int:
    found = 0
    for at in range(4):
        if load8(frame, at) == 3:
            found = 1
    while end - frame > 60:
        if not DEBUG:
            end -= 1
        elif found:
            end -= 2
        if found and load8(frame, 8) > LIMIT:
            return 7
        end -= 1
    return 0


def returns_seven_after_a_break(frame: Any, end: Any) -> int:
    at = 0
    while True:
        at += 1
        for other in range(1, LIMIT):
            if load8(frame, other) > at:
                break
        if load8(frame, at) == 3:
            break
    return 7


def returns_seven_in_a_range(frame: Any, end: Any) -> int:
    for at in range(LIMIT):
        if load8(frame, at) == 3:
            return 7
    return 0


@pytest.mark.parametrize(
    ("function", "culprit", "line", "words"),
    [
        (returns_seven, returns_seven, 1, "7"),
        (returns_a_named_seven, returns_a_named_seven, 1, "SEVEN, which is 7"),
        (returns_the_number_of_a_hold, returns_the_number_of_a_hold, 1, "-1"),
        (returns_the_verdict_of_a_helper, returns_seven, 1, "7"),
        (returns_a_name_with_one_value, returns_a_name_with_one_value, 1, "2"),
        (returns_seven_in_a_loop, returns_seven_in_a_loop, 11, "7"),
        (returns_seven_after_a_break, returns_seven_after_a_break, 9, "7"),
        (returns_seven_in_a_range, returns_seven_in_a_range, 3, "7"),
    ],
)
def test_a_constant_that_is_no_verdict_is_refused(function: Any, culprit: Any, line: int, words: str) -> None:
    advice = "that is no verdict of the stage; return 0 to go on, or a drop(...)"
    assert refusal(function, culprit, line) == f" returns {words}: {advice}"


def halts_at_seven(frame: Any, end: Any) -> int:
    return 7 if load8(frame, 8) else HALT


def test_a_handler_that_returns_a_constant_that_is_no_verdict_is_refused() -> None:
    path = one_port(Service("s", {}, [Handler(halts_at_seven)])).create_path("left")
    line = halts_at_seven.__code__.co_firstlineno + 1
    with pytest.raises(
        CompileError, match=f"^{__file__}:{line}: stage s.receive returns 7: .* return 0 to go on, HALT"
    ):
        compile_path(path)


def chosen_by(kind: int) -> int:
    if kind == 3:
        return 99
    return 0


def chosen_by_the_frame(frame: Any) -> int:
    if load8(frame, 0) == 3:
        return 0
    return 99


def calls_with_an_argument(frame: Any, end: Any) -> int:
    if load8(frame, 0) == 3:
        return chosen_by_the_frame(frame)
    return chosen_by(0)


def has_branches_for_debugging(frame: Any, end: Any) -> int:
    if DEBUG and load8(frame, 8):
        return 9
    debugs = DEBUG
    if debugs:
        return 9
    for _ in range(DEBUG):
        return 9
    if not DEBUG:
        return 9 if DEBUG else 0
    return 9


def never_comes_to_the_end(frame: Any, end: Any) -> int:
    while True:
        for at in range(1, 4):
            if load8(frame, at) == 3:
                break
        if DEBUG:
            break
        if load8(frame, 0) > 3:
            return 0
        return REFUSED
    return 9


def has_a_number(frame: Any, end: Any, extra: int) -> int:
    if extra > 1:
        return 9
    return 0


def marks_by_a_number(frame: Any, end: Any) -> int:
    verdict = 99 if load8(frame, 8) else 0
    if verdict == 99:
        return REFUSED
    return verdict


def depends_on_the_way(frame: Any, end: Any) -> int:
    verdict = 99  # until a byte says which
    while verdict == 99:
        verdict = 0 if load8(frame, 8) else REFUSED
    return verdict


@pytest.mark.parametrize(
    ("function", "bindings"),
    [
        (depends_on_the_way, {}),
        (calls_with_an_argument, {}),
        (has_branches_for_debugging, {}),
        (never_comes_to_the_end, {}),
        (has_a_number, {"extra": 1}),
        (marks_by_a_number, {}),
    ],
)
def test_a_number_that_never_becomes_the_verdict_passes(function: Any, bindings: dict[str, int]) -> None:
    compile_path(ours("mine", function, **bindings))


def test_a_constant_counts_as_it_is_when_the_stage_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CompileError):
        compile_path(ours("mine", returns_a_named_seven))
    monkeypatch.setitem(globals(), "SEVEN", 0)
    compile_path(ours("mine", returns_a_named_seven))
