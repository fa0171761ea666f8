"""Where processes keep the intermediate code of Scout's own functions: each is compiled once, not by each process.

The machine code of an entry is cached with all that it calls (`scout.ring.jit`). A new entry is made of functions that
others contain too: the loop of another kind of port, or the path of another graph. Their intermediate code is cached
here, a file for each function and types of its arguments.

A file's name is a hash of all that its content depends on and that the cache folder's name does not: the function's
name, how it is compiled, and the types. Symbols contain this hash too, so code of different processes can be linked.
Functions that depend on more are compiled by each process: closures, functions of users and generated ones, functions
that are given others, or that contain an address of this process; and with them those that call one of them.
"""

import hashlib
import os
import pickle
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba.core import types
from numba.core.compiler import compile_result
from numba.core.serialize import dumps

from scout.ring.cache import cache_folder, write

__all__ = ["FusedCache", "for_compiled_code", "key_of", "symbol_number"]

_SYMBOL_BITS = 60

_known: dict[str, tuple[Any, Any, Any]] = {}
"""The functions that this process has loaded or compiled, by key: library, descriptor, signature. One version each."""

_IS_CHECKED = "SCOUT_CHECKED" in os.environ  # then accessors contain addresses of this process

_PLAIN = (types.Integer, types.Float, types.Boolean, types.NoneType)


def key_of(function: Callable[..., Any], options: dict[str, Any], arguments: tuple[Any, ...]) -> str | None:
    """The name under which a function is cached for these types of arguments; None if it is not."""
    module = sys.modules.get(function.__module__)
    name = f"{function.__module__}.{function.__qualname__}"
    if _IS_CHECKED or not name.startswith("scout.") or "<" in name or function.__closure__ or function.__defaults__:
        return None
    if not all(map(_is_known, arguments)):
        return None
    declared = getattr(module, function.__qualname__, None)
    # A stage's function is compiled from a copy that refers to compiled functions (`scout.paths.compiler.inlining`).
    is_copy = getattr(declared, "py_func", declared) is not function
    marks = (
        is_copy,
        hasattr(function, "returns_verdict"),
        hasattr(function, "outlined"),
        sorted(options.items()),
        sys.version_info[:2],
        platform.machine(),
    )
    text = f"{name} {marks} {[str(each) for each in arguments]}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_known(kind: Any) -> bool:
    """True if a type's name says all about it."""
    if isinstance(kind, types.BaseTuple):
        members: Any = kind
        return all(map(_is_known, members))
    if isinstance(kind, types.Record):
        return all(_is_known(each) for _, each in kind.members)
    if isinstance(kind, types.Array):  # those in records too
        return _is_known(kind.dtype)
    return isinstance(kind, _PLAIN)


def symbol_number(key: str) -> int:
    """The number that numba puts into the symbols of a cached function, in place of one that it counts up."""
    return 1 << _SYMBOL_BITS | int(key, 16) >> (4 * len(key) - _SYMBOL_BITS)


class FusedCache:
    """The cache of one function, as numba's dispatchers use theirs.

    Parameters
    ----------
    key : callable
        `key(types of arguments)`: the name under which the function is cached for them; None if it is not.
    library : callable
        `library(target context, name, bitcode, libraries that it calls, key)` makes the library of a cached function.
    """

    cache_path = None

    def __init__(self, key: Callable[..., str | None], library: Callable[..., Any]) -> None:
        self._key, self._library = key, library

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The result of an earlier compilation; None if there is none."""
        key = self._key(getattr(signature, "args", signature))
        found = key and _load(key, target, self._library)
        if not found:
            return None
        library, descriptor, kinds = found
        return compile_result(
            typing_context=target.typing_context,
            target_context=target,
            entry_point=for_compiled_code(descriptor.qualname),
            signature=kinds,
            objectmode=False,
            fndesc=descriptor,
            library=library,
            reload_init=[],
        )

    def save_overload(self, signature: Any, result: Any) -> None:
        """Cache a result, if it depends on nothing but what the key names."""
        library = result.library
        library.complete()  # it may refer to what is not cached
        if not library.key:
            return
        result.fndesc.typemap = result.fndesc.calltypes = None  # as numba does; they may refer to anything
        library.symbol = result.fndesc.mangled_name
        _known[library.key] = library, result.fndesc, result.signature
        called = [(each.key, each.symbol) for each in library.linked]
        content = dumps((library.name, library.alone().as_bitcode(), called, result.fndesc, result.signature))
        with suppress(OSError):  # another process compiles it anew
            write(_file(library.key), content)

    def flush(self) -> None:
        """Numba's caches have it."""


def for_compiled_code(name: str) -> Callable[..., Any]:
    """The object that stands for a function in Python: compiled callers find the function by it."""

    def entry_point(*arguments: Any) -> Any:
        raise TypeError(f"{name} is for compiled code; from Python call its `py_func`")

    return entry_point


def _file(key: str) -> Any:
    return cache_folder() / "fused" / key


def _load(key: str, target: Any, make: Callable[..., Any]) -> tuple[Any, Any, Any] | None:
    """The library, descriptor and signature of a cached function, with all that it calls; None if one is missing.

    Symbols contain numbers that numba gives to types in each process. So processes that compile a function at the same
    time give it different symbols, and its file has those of the last one. A function that was compiled to call another
    version is taken as missing too.
    """
    if key in _known:
        return _known[key]
    try:
        name, bitcode, called, descriptor, signature = pickle.loads(_file(key).read_bytes())
    except (
        Exception
    ):  # no file, or a damaged one, which unpickling may refuse in any way: it is compiled and written anew
        return None
    linked = []
    for each, symbol in called:
        found = _load(each, target, make)
        if found is None or found[0].symbol != symbol:
            return None
        linked.append(found[0])
    library = make(target, name, bitcode, linked, key)
    library.symbol = descriptor.mangled_name
    _known[key] = library, descriptor, signature
    return _known[key]
