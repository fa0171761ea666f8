"""Stage functions as native code: compiled to be inlined, with every plain function that they call."""

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from scout.paths.model.references import rebound
from scout.ring.atomics import count_rare
from scout.ring.jit import CHECKED, compiled, inline

__all__ = ["native", "seldom"]

_OWN_MODULES = ("scout.", "scout_service_")
"""Beginnings of the names of Scout's own modules, with those that it generates
(`scout.paths.framework.service_source`). A router file of a user is the module scout_router_NAME (`scout.loader`)."""


@inline
def seldom(counters: np.ndarray, index: int) -> None:
    """Count a packet that leaves the main line; generated code calls it where that happens."""
    count_rare(counters.ctypes.data + index * 8)


@cache
def native(function: Callable[..., Any]) -> Any:
    """`function` compiled to be inlined, with every plain function that it calls compiled likewise."""
    copy = _rebound(function, {})
    copy.returns_verdict = True
    return inline(copy, _is_checked(copy))


def _is_checked(function: Any) -> bool:
    """True if indices and divisions are checked: in functions that users wrote, and in all of them for tests."""
    return CHECKED or not function.__module__.startswith(_OWN_MODULES)


def _rebound(function: Any, done: dict[Any, Any]) -> Any:
    """A copy of `function` whose own functions are jitted; accessors keep their numba lowering."""

    def translated(value: Any) -> Any:
        if isinstance(value, int) and type(value) not in (int, bool):
            return int(value)  # a drop reason, an event: a constant of a plain type compiles faster
        if not isinstance(value, FunctionType) or hasattr(value, "has_lowering"):
            return value
        if value not in done:
            done[value] = compiled(_rebound(value, done), _is_checked(value))
        return done[value]

    return rebound(function, translated)
