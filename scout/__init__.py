"""Scout: packet paths as graphs, compiled to native code and replicated on every core.

The public names are imported when first used: `scout --help` must not wait for numba, and a
process that enters a user namespace must do so before numpy starts its threads.
"""

from importlib import import_module
from typing import Any

_HOME: dict[str, str] = {}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'scout' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
