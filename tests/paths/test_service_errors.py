"""Errors in services are reported when the service is made, or with the file and line of the handler."""

import re
from typing import Any

import numpy as np
import pytest
import traces
from harness import one_port

from scout.paths.compiler.native import compile_path
from scout.paths.compiler.plan import CompileError
from scout.paths.framework.events import ARRIVAL, Event, Handler, raise_event
from scout.paths.framework.service import Service
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.ring.errors import ScoutError

WORD = np.dtype([("word", "i8")])


def packet(what: int = 0) -> bytes:
    return traces.frame((0x0A000002, 0x0A090007, 17, 5, 53), bytes([what]))


def second(frame: Any, end: Any, log: Any) -> int:
    log[0].word += 1
    return 0


def unknown(frame: Any, end: Any, what: Any) -> int:
    return 0


def by_replica(frame: Any, end: Any, replica: int) -> int:
    return 0


def arrives(frame: Any, end: Any, events: Any) -> int:
    raise_event(events, ARRIVAL, 0)
    return 0


HERE = re.escape(__file__)
STATE = {"log": np.zeros(64, WORD)}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Service("s", STATE, [Handler(second)], payload="all"), "s: payload='all'; use True, False or"),
        (lambda: Service("s", STATE, [Handler(second)], payload="primary"), "s: payload='primary', and no handler"),
        (lambda: Service("s", STATE, [Handler(second)], mode="fast"), "s: mode 'fast'; use replicated, sharded"),
        (lambda: Service("s", STATE, [Handler(second)], mode="atomic"), "s: its handlers are not written for .*atomic"),
        (lambda: Service("s", STATE, []), "s: 0 handlers; give 1 to 62"),
        (lambda: Service("s", STATE, [second]), r"s: handlers=\[<function second .*; give a list .*, as \[Handler"),  # type: ignore[list-item]
        (lambda: Service("s", STATE, second), "s: handlers=<function second .*; give a list"),  # type: ignore[arg-type]
        (lambda: Service("s", STATE, Handler(second)), "s: handlers=Handler.*; give a list"),  # type: ignore[arg-type]
        (lambda: Service("s", STATE, [Handler(second)] * 63), "s: 63 handlers"),
        (lambda: Service("s", {"packet": STATE["log"]}, [Handler(second)]), "s: 'packet' cannot be the name"),
        (lambda: Service("s", {"log": [1]}, [Handler(second)]), "s: state log=.* numpy array"),  # type: ignore[dict-item]
        (
            lambda: Service("s", {"log": Table(STATE["log"], "replicated")}, [Handler(second)]),  # type: ignore[dict-item]
            "s: state log is a Table; give the array, not a Table",
        ),
        (lambda: Service("s", STATE, [Handler(7)]), "s: 7 is no plain function"),  # type: ignore[arg-type]
        (lambda: Service("s", STATE, [Handler(second, 3)]), rf"s: second at {HERE}:\d+: event 3; give one made with"),  # type: ignore[arg-type]
        (lambda: Service("s", STATE, [Handler(second, run="some")]), "run='some'; use all, primary, others"),
        (lambda: Service("s", {}, [Handler(unknown)]), rf"unknown at {HERE}:\d+: parameter 'what' is not known; give"),
        (lambda: Service("s", {}, [Handler(by_replica)]), r"'replica' is not known; use Handler\(..., run="),
        (lambda: Service("s", STATE, [Handler(second)], port=3), "s: no handler has a parameter 'port'; leave it out"),
        (lambda: Service("s", {}, [Handler(arrives)]), rf"arrives .* at {HERE}:\d+ raises the arrival of a packet"),
    ],
)
def test_a_bad_service_is_refused_at_once(make: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def fails(frame: Any, end: Any, log: Any) -> int:
    log[0].word = 1
    return log[0].word + "text"  # type: ignore[no-any-return]


def no_field(frame: Any, end: Any, log: Any) -> int:
    return log[0].nothing


@pytest.mark.parametrize(
    ("handler", "plain", "native"),
    [
        (fails, "2: stage s.receive: TypeError", "2: .*"),
        (no_field, "1: .* no field 'nothing'", "1: .* no field 'nothing'"),
    ],
)
def test_what_fails_is_named_with_the_handlers_file_and_line(handler: Any, plain: str, native: str) -> None:
    path = one_port(Service("s", {"log": np.zeros(64, WORD)}, [Handler(handler)])).create_path("left")

    def at(text: str) -> str:
        line, rest = text.split(":", 1)
        return f"{HERE}:{handler.__code__.co_firstlineno + int(line)}:{rest}"

    with pytest.raises(ScoutError, match=at(plain)):
        path.run(packet())
    with pytest.raises(CompileError, match=at(native)):
        compile_path(path)


def returns_bool(frame: Any, end: Any, log: Any) -> Any:
    return log[0].word == 0


def returns_float(frame: Any, end: Any, log: Any) -> Any:
    return log[0].word + 0.5


def returns_nothing(frame: Any, end: Any, log: Any) -> Any:
    log[0].word + 1  # a sum that nobody takes


def raises(frame: Any, end: Any, events: Any) -> int:
    raise_event(events, LATER, 0)
    return 0


LATER = Event("later")


@pytest.mark.parametrize("run", ["all", "primary", "raised"])
@pytest.mark.parametrize(
    ("handler", "words"),
    [(returns_bool, "True or False"), (returns_float, "float64"), (returns_nothing, "none")],
)
def test_a_handler_that_returns_no_verdict_is_refused_in_both_runs(handler: Any, words: str, run: str) -> None:
    handlers = [Handler(raises), Handler(handler, LATER)] if run == "raised" else [Handler(handler, run=run)]
    path = one_port(Service("s", {"log": np.zeros(64, WORD)}, handlers)).create_path("left")
    line = handlers[-1].function.__code__.co_firstlineno
    words = f"it returns {words}; return 0 to go on, or a drop"
    with pytest.raises(ScoutError, match=f"^{HERE}:{line}: stage s.receive: {words}"):
        path.run(packet())
    with pytest.raises(CompileError, match=f"^{HERE}:{line}: stage s.receive does not compile: {words}"):
        compile_path(path)
