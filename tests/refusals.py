"""A stage by itself in a path, and how the compiler refuses it."""

from typing import Any

import pytest
from harness import one_port

from scout.paths.compiler.native import compile_path
from scout.paths.compiler.plan import CompileError
from scout.paths.stages.filter import Filter


def ours(name: str, function: Any, **bindings: Any) -> Any:
    """The path of a port with one filter behind it, quick to compile."""
    return one_port(Filter(name, function, **bindings)).create_path("left")


def refusal(function: Any, culprit: Any, line: int) -> str:
    """How a stage is refused, after the place, which is this line of `culprit`, and the stage's name."""
    with pytest.raises(CompileError) as caught:
        compile_path(ours("mine", function))
    place = f"{culprit.__code__.co_filename}:{culprit.__code__.co_firstlineno + line}: stage mine.receive"
    said = str(caught.value)
    assert said.startswith(place)
    return said.removeprefix(place)
