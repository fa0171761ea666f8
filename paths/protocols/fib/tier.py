"""How the writer's functions run: as plain Python at first, as native code when there is much to do.

A router with a few routes starts without compiling anything for them, or loading what was compiled. A router that runs
does not wait for the compiler when its routes change one by one: they are worked on as plain Python meanwhile.
"""

import threading
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
    """Calls functions of arrays as plain Python until they have worked on `FEW` routes, and then as native code.

    A call with more than `FEW` routes waits for the native code, if there is none yet. With fewer it starts a thread
    that compiles the function, and works as plain Python.
    """

    def __init__(self) -> None:
        self._done = 0

    def call(self, work: int, function: Callable[..., int], *arguments: Any) -> int:
        """Call `function`, which has `work` routes to work on."""
        self._done += work
        if self._done <= FEW or not (work > FEW or _is_ready(function, arguments)):
            return int(function(*map(_viewed, arguments)))
        return int(_entry(function, arguments)(*arguments))


def _entry(function: Callable[..., int], arguments: tuple[Any, ...]) -> Entry:
    """`function` for arguments of these types, compiled when it is first called."""
    if function not in _compiled:
        entry = Entry(native(function).py_func, numba.int64(*map(numba.typeof, arguments)))
        return _compiled.setdefault(function, entry)
    return _compiled[function]


def _is_ready(function: Callable[..., int], arguments: tuple[Any, ...]) -> bool:
    """True if `function` is compiled; if nobody has begun with that, a thread does."""
    if function not in _compiled:
        entry = _entry(function, arguments)
        threading.Thread(target=lambda: entry.native, name="scout-compile", daemon=True).start()
    return _compiled[function].is_ready


def _viewed(argument: Any) -> Any:
    """An argument as compiled code sees it: numbers that do not overflow, records with attributes."""
    if isinstance(argument, tuple):
        return type(argument)(*map(_viewed, argument))
    return View(argument) if isinstance(argument, np.ndarray) else argument
