"""Stage functions as native code: compiled to be inlined, with every plain function that they call."""

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from scout.paths.compiler.fingerprint import fingerprint
from scout.paths.model.references import module_name, rebound
from scout.ring.atomics import count_rare
from scout.ring.jit import CHECKED, compiled, inline

__all__ = ["native", "native_helper", "seldom"]

_OWN_MODULES = ("scout.", "scout_service_")
"""Beginnings of the names of Scout's own modules, with those that it generates
(`scout.paths.framework.service_source`). A router file of a user is the module scout_router_NAME (`scout.loader`)."""


@inline
def seldom(counters: np.ndarray, index: int) -> None:
    """Count a packet that leaves the main line; generated code calls it where that happens."""
    count_rare(counters.ctypes.data + index * 8)


_made: dict[tuple[Any, ...], Any] = {}
"""Compiled functions by what their code depends on: functions that a service or a stage generates anew for each of its
instances, and helpers that several of them call, are compiled once."""


@cache
def native(function: Callable[..., Any]) -> Any:
    """`function` compiled to be inlined, with every plain function that it calls compiled likewise."""
    return _once(function, True)


@cache
def native_helper(function: Callable[..., Any]) -> Any:
    """The same of a function that is no stage's, so that it may return more than a verdict."""
    return _once(function, False)


def _once(function: Any, is_stage: bool) -> Any:
    """`function`, which is a stage's or one that compiled code calls, compiled unless its like was."""
    code = function.__code__
    key = (fingerprint(function), code.co_filename, code.co_firstlineno, is_stage)
    if key not in _made:
        copy = _rebound(function)
        if is_stage:
            copy.returns_verdict = True
        _made[key] = (inline if is_stage else compiled)(copy, _is_checked(copy))
    return _made[key]


def _is_checked(function: Any) -> bool:
    """True if indices and divisions are checked: in functions that users wrote, and in all of them for tests."""
    return CHECKED or not module_name(function).startswith(_OWN_MODULES)


def _rebound(function: Any) -> Any:
    """A copy of `function` whose own functions are jitted; accessors keep their numba lowering."""

    def translated(value: Any) -> Any:
        if isinstance(value, int) and type(value) not in (int, bool):
            return int(value)  # a drop reason, an event: a constant of a plain type compiles faster
        if not isinstance(value, FunctionType) or hasattr(value, "has_lowering"):
            return value
        return _once(value, False)

    return rebound(function, translated)
