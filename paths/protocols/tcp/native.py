"""The core as native code for callers in Python: drivers, tests and benchmarks."""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from scout.paths.compiler.inlining import native_helper
from scout.paths.protocols.tcp.actions import OUT
from scout.paths.protocols.tcp.header import SEGMENT
from scout.paths.protocols.tcp.requests import REQUEST, serve
from scout.paths.protocols.tcp.state import CONNECTION
from scout.ring.jit import Entry

__all__ = ["native_serve", "serve_first"]


def serve_first(connections: Any, row: int, requests: Any, segments: Any, settings: Any, out: Any) -> int:
    """`serve` with the first records of arrays."""
    return serve(connections, row, requests[0], segments[0], settings, out[0])


def _array(dtype: np.dtype) -> Any:
    return types.Array(numba.from_dtype(dtype), 1, "C")


@cache
def native_serve() -> Entry:
    """`serve_first` as native code: it takes numpy arrays. The first call compiles it, or loads it from the cache."""
    signature = types.int64(
        _array(CONNECTION), types.int64, _array(REQUEST), _array(SEGMENT), types.int64[::1], _array(OUT)
    )
    return Entry(native_helper(serve_first).py_func, signature)
