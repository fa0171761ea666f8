"""How Scout calls numba.

An `inline` function melts into its callers; it is never cached on its own. An `entry` is called from Python: it is
compiled for one signature when it is first called, and cached on disk (`scout.ring.cache`).
"""

import atexit
import gc
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import update_wrapper
from typing import Any

import llvmlite.binding as llvm
import numba as _typed_numba
from numba.core.compiler_lock import global_compiler_lock

from scout.ring.cache import cache_folder, locked
from scout.ring.fuse import EntryCompiler, EntryLibrary, fused

numba: Any = _typed_numba  # its stubs do not know the option `_nrt`

__all__ = [
    "CHECKED",
    "OPTIONS",
    "Entry",
    "Record",
    "callee",
    "compile_entries",
    "compiled",
    "entry",
    "inline",
    "outline",
]

Record = Any
"""A record of a structured array as compiled code sees it: its fields are attributes."""

# Inline assembly (`pause`) ends the process without a parser, also in code that comes from the cache.
llvm.initialize_native_asmparser()

CHECKED = os.environ.get("SCOUT_CHECKED", "").lower() not in ("", "0", "no", "off", "false")
"""True if every accessor compares its address with the packet's bounds (tests; costs speed)."""

# "numpy": no exception on division by zero, so no status to carry through every call. Without `_nrt`
# nothing counts references to arrays, which are all made outside: numba would do it with atomics.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "_nrt": False, "no_cfunc_wrapper": True}


_CHECKS: dict[str, Any] = {"boundscheck": True, "error_model": "python"}


def inline(function: Callable[..., Any], checked: bool = CHECKED) -> Any:
    """Compile `function` so that LLVM always inlines it into its caller.

    `checked`: an index outside an array and a division by zero raise an exception, as in plain Python.
    """
    return fused(function, forceinline=True, **OPTIONS | (_CHECKS if checked else {}))


def outline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a plain function that stays a function in compiled code: a long one that few packets go through.

    Compiled code then has it once, however many places call it, and compiles faster.
    """
    function.outlined = True  # type: ignore[attr-defined]
    return function


def compiled(function: Callable[..., Any], checked: bool = CHECKED) -> Callable[..., Any]:
    """Compile `function` as it is marked: to be called, or to be inlined."""
    return callee(function, checked) if getattr(function, "outlined", False) else inline(function, checked)


def callee(function: Callable[..., Any], checked: bool = CHECKED) -> Any:
    """Compile `function` for compiled code that contains it once, however many places call it."""
    # Said outright: numba takes the option over from the caller if it is not given.
    return fused(function, forceinline=False, **OPTIONS | (_CHECKS if checked else {}))


class Entry:
    """A function that Python calls, compiled for one signature when it is first called, or called by compiled code.

    Attributes
    ----------
    signature
        The numba signature.
    """

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        update_wrapper(self, function)
        self.function, self.signature = function, signature
        self._native: Any = None

    @property
    def is_ready(self) -> bool:
        """True if it is compiled, so that a call does not wait for the compiler."""
        return self._native is not None

    @property
    def native(self) -> Any:
        """Numba's compiled function."""
        if self._native is None:
            with global_compiler_lock, _without_collection():  # no process forks meanwhile (`scout.io.host.process`)
                if self._native is None:
                    self._native = _released(self._compiled())
        return self._native

    @property
    def address(self) -> int:
        """The address of its machine code in this process and those that it forks (`scout.ring.linked`)."""
        (result,) = self.native.overloads.values()
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))

    def _compiled(self) -> Any:
        if CHECKED:  # not cached: the code carries addresses of this process
            return numba.njit(self.signature, pipeline_class=EntryCompiler, **OPTIONS)(self.function)
        # The setting is numba's own for the whole process; other users of numba keep theirs.
        previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(cache_folder() / "numba")
        try:
            with locked(f"{self.function.__module__}.{self.function.__qualname__}"):
                return numba.njit(self.signature, cache=True, pipeline_class=EntryCompiler, **OPTIONS)(self.function)
        finally:
            numba.config.CACHE_DIR = previous

    def __call__(self, *arguments: Any) -> Any:
        return self.native(*arguments)

    @property
    def _numba_type_(self) -> Any:
        """The type that numba asks for when compiled code calls this function."""
        return numba.typeof(self.native)


def _end_compilation() -> None:
    """Wait for what a thread compiles, and let nothing be compiled any more.

    A process that ends goes through the finalizers of all objects, and numba makes one for each function.
    """
    with suppress(KeyboardInterrupt):
        global_compiler_lock.acquire()


# Python goes through them in an exit handler, which it makes with the first; the handler made last runs first.
weakref.finalize(Entry, int)
atexit.register(_end_compilation)


def _released(native: Any) -> Any:
    """A compiled function without what numba keeps of its compilation: processes that are forked have less to map."""
    for kinds, result in list(native.overloads.items()):
        native.overloads[kinds] = result._replace(type_annotation=None)
        if isinstance(result.library, EntryLibrary):  # else it comes from the cache
            result.library.release()
    return native


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep Python from looking for cyclic garbage: it takes a tenth of the time of a compilation, and finds little."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


_declared: list[Entry] = []


def entry(signature: Any) -> Callable[[Callable[..., Any]], Entry]:
    """Declare a module's function as an entry: it is compiled for one signature when it is first called."""

    def declare(function: Callable[..., Any]) -> Entry:
        _declared.append(Entry(function, signature))
        return _declared[-1]

    return declare


def compile_entries(*packages: str) -> None:
    """Compile all entries that modules of these packages have declared so far, so that the first call of each is fast.

    A program that has imported more than it uses, as a suite of tests does, compiles the rest when it is called. So is
    an entry that cannot be compiled now, as no file can be opened, say: the call has the error if it is still there.
    """
    for each in _declared:
        if each.function.__module__.startswith(tuple(f"{package}." for package in packages)):
            with suppress(Exception):
                _ = each.native
