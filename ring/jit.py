"""How Scout calls numba: two ways to compile, one place for what is cached.

`inline` functions melt into their callers and are never cached on their own. An `entry` is compiled
for one explicit signature and cached on disk. Numba checks only the file an entry stands in; a callee
changed in another file would give stale code, so the cache folder's name carries a hash of all of
Scout's sources and of the compiler's version.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba as _typed_numba

numba: Any = _typed_numba  # its stubs know neither `forceinline` nor `_nrt`

__all__ = ["CHECKED", "Record", "cache_folder", "compiled", "entry", "inline", "outline"]

Record = Any
"""A record of a structured array as compiled code sees it: its fields are attributes."""

# Inline assembly (`pause`) ends the process without a parser, also in code that comes from the cache.
llvm.initialize_native_asmparser()

CHECKED = os.environ.get("SCOUT_CHECKED") == "1"
"""True if every accessor compares its address with the packet's bounds (tests; costs speed)."""

# "numpy": no exception on division by zero, so no status to carry through every call. Without `_nrt`
# nothing counts references to arrays, which are all made outside: numba would do it with atomics.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "_nrt": False}


def inline(function: Callable[..., Any]) -> Any:
    """Compile `function` so that LLVM always inlines it into its caller."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def outline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a plain function that is to stay one in compiled code: long, and not for every packet.

    What calls it in several places has it once, and compiles the sooner.
    """
    function.outlined = True  # type: ignore[attr-defined]
    return function


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as it is marked: to be called, or to be inlined."""
    return numba.njit(**_OPTIONS)(function) if getattr(function, "outlined", False) else inline(function)


def entry(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function now, for one signature, and cache the result on disk.

    In checked mode nothing is cached: the code carries addresses of this process.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if CHECKED:
            return numba.njit(signature, **_OPTIONS)(function)
        # The setting is numba's own for the whole process; other users of numba keep theirs.
        previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(cache_folder() / "numba")
        try:
            return numba.njit(signature, cache=True, **_OPTIONS)(function)
        finally:
            numba.config.CACHE_DIR = previous

    return decorate


@cache
def cache_folder() -> Path:
    """The folder for generated and compiled code of exactly these sources.

    `$SCOUT_CACHE`, else `scout` in `$XDG_CACHE_HOME` or `~/.cache`, else a folder of this user's in the
    temporary folder. Cached code is executed, so a folder that others can write is not used.
    """
    chosen = os.environ.get("SCOUT_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "scout"
    temporary = Path(tempfile.gettempdir()) / f"scout-{os.getuid()}"
    for root in [Path(chosen)] if chosen else [home, temporary]:
        folder = root / _fingerprint()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = root.stat()
        except OSError:
            continue
        if status.st_uid == os.getuid() and not status.st_mode & stat.S_IWOTH and os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="scout-"))


def _fingerprint() -> str:
    package = Path(__file__).parent.parent
    top = package if package.name == "scout" else package / "scout"
    digest = hashlib.sha256(f"{version('numba')} {version('llvmlite')} {version('numpy')}".encode())
    for folder in (top / part for part in ("io", "paths", "ring")):
        for source in sorted(folder.rglob("*.py")):
            digest.update(str(source.relative_to(folder)).encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]
