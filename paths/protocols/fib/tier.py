"""How the writer's functions run: as plain Python at first, as native code when there is much to do.

A router with a few routes starts without compiling anything for them, or loading what was compiled.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from scout.paths.compiler.inlining import native
from scout.paths.compiler.plain import View
from scout.ring.jit import Entry

__all__ = ["FEW", "Tier"]

FEW = 64
"""Routes that are worked on as plain Python. Loading compiled code from the cache takes as long as some 100 of them."""


_compiled: dict[Callable[..., int], Entry] = {}
"""By the plain function. Each is called with arguments of one type only."""


class Tier:
    """Calls functions of arrays as plain Python until they have worked on `FEW` routes, and then as native code."""

    def __init__(self) -> None:
        self._done = 0

    def call(self, work: int, function: Callable[..., int], *arguments: Any) -> int:
        """Call `function`, which has `work` routes to work on."""
        self._done += work
        if self._done <= FEW:
            return int(function(*map(_viewed, arguments)))
        if function not in _compiled:
            _compiled[function] = Entry(native(function).py_func, numba.int64(*map(numba.typeof, arguments)))
        return int(_compiled[function](*arguments))


def _viewed(argument: Any) -> Any:
    """An argument as compiled code sees it: numbers that do not overflow, records with attributes."""
    if isinstance(argument, tuple):
        return type(argument)(*map(_viewed, argument))
    return View(argument) if isinstance(argument, np.ndarray) else argument
