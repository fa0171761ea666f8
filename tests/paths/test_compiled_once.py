"""No work is done twice: a path is analysed once, and what several places of compiled code share is compiled once."""

import re
from typing import Any

import pytest
from harness import NOW, one_port, two_ports
from traces import UDP, frame

from scout.io.access import load8, store8
from scout.paths.compiler import plan
from scout.paths.compiler.inlining import native
from scout.paths.compiler.native import compile_path
from scout.paths.model.verdict import drop
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.paths.stages.filter import Filter
from scout.ring.jit import outline

FRAME = frame((0x0A000002, 0x0A090001, UDP, 5, 6), bytes(100))


def test_a_path_is_analysed_once_however_many_packets_run(monkeypatch: pytest.MonkeyPatch) -> None:
    analysed = []

    def counted(path: Any) -> Any:
        analysed.append(path.source)
        return original(path)

    original = plan._lower
    monkeypatch.setattr(plan, "_lower", counted)
    graph = two_ports().graph
    left, right = graph.create_path("left"), graph.create_path("right")
    for _ in range(10):
        assert left.run(FRAME, timestamp=NOW)[0] == "to right"
        right.run(FRAME, timestamp=NOW)
    assert analysed == ["left", "right"]


NEGATIVE = drop("negative")


def stirred(frame: Any, place: int, value: int) -> int:
    for index in range(20):
        value ^= load8(frame, index)
        store8(frame, index, value + place & 0xFF)
    return value


@outline
def outlined(frame: Any, place: int, value: int) -> int:
    for index in range(20):
        value ^= load8(frame, index)
        store8(frame, index, value + place & 0xFF)
    return value


def three_copies(frame: Any, end: Any) -> int:
    value = stirred(frame, 0, 1)
    value = stirred(frame, 1, value)
    return 0 if stirred(frame, 2, value) >= 0 else NEGATIVE


def one_copy(frame: Any, end: Any) -> int:
    value = outlined(frame, 0, 1)
    value = outlined(frame, 1, value)
    return 0 if outlined(frame, 2, value) >= 0 else NEGATIVE


@pytest.mark.parametrize(("function", "name", "copies"), [(one_copy, "outlined", 1), (three_copies, "stirred", 0)])
def test_compiled_code_has_an_outlined_function_once(function: Any, name: str, copies: int) -> None:
    (result,) = compile_path(one_port(Filter("mine", function)).create_path("left")).run.native.overloads.values()
    text = str(result.library._get_module_for_linking())  # what LLVM made of it, also of code from the cache
    assert len(re.findall(rf"define [^\n]*{name}", text)) == copies
    assert bool(re.search(rf"call [^\n]*{name}", text)) == bool(copies)


def test_instances_of_one_service_share_what_is_compiled() -> None:
    stages = []
    for _ in range(2):
        path = one_port(HeavyHitter("heavy", 1 << 40)).create_path("left")
        stages += [stage.function for node, stage in path.stages.items() if node.startswith("heavy.")]
    one, other = stages
    assert native(one) is native(other)
