"""Generated source: real files in the cache that people can read, step through and profile."""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from scout.ring.cache import cache_folder, write
from scout.ring.jit import Entry

__all__ = ["digest_of", "executed", "file_of", "load_generated", "write_generated"]

_loaded: dict[str, ModuleType] = {}
"""Generated modules of this process by digest. Loaded anew, the machine code of each would stay in memory for ever."""


def load_generated(
    name: str,
    text: str,
    marks: str,
    signature: Any,
    given: dict[str, Any],
    progress: Callable[[], None] | None = None,
) -> ModuleType:
    """Write `text` to the cache folder, import it with `entry` and `given` among its names, and compile its entries.

    Parameters
    ----------
    name : str
        The beginning of the file's name.
    text : str
        The module's source.
    marks : str
        Whatever the compiled code depends on besides (`fingerprint`): other marks, another file.
    signature
        The numba signature of the module's entries.
    given : dict
        Names that the module finds.
    progress : callable, optional
        Called before the module is compiled, if it is not in the cache yet.
    """
    digest = digest_of(text, marks, repr(signature))
    if loaded := _loaded.get(digest):
        return loaded
    if progress and not file_of("paths", name, digest).exists():
        progress()
    module = executed(name, digest, text, given | {"entry": partial(Entry, signature=signature)})
    for value in list(vars(module).values()):
        if isinstance(value, Entry):
            _ = value.native
    _loaded[digest] = module
    return module


def digest_of(*parts: str) -> str:
    """The digest by which a file in the cache is named."""
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def executed(name: str, digest: str, text: str, given: dict[str, Any]) -> ModuleType:
    """Write `text` to the cache folder and import it, with `given` among its names."""
    file = write_generated("paths", name, digest, text)
    spec = importlib.util.spec_from_file_location(f"scout_generated_{digest}", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # numba looks a function's module up there, also for code from the cache
    module.__dict__.update(given)
    spec.loader.exec_module(module)
    return module


def write_generated(folder: str, name: str, digest: str, text: str) -> Path:
    """Write `text` to a folder of the cache, unless it is there; the file."""
    file = file_of(folder, name, digest)
    if not file.exists():  # its time stamp is part of numba's key
        write(file, text.encode())
    return file


def file_of(folder: str, name: str, digest: str) -> Path:
    """The file that `write_generated` writes."""
    return cache_folder() / folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', name)[:100]}_{digest}.py"
