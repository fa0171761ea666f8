"""Memory that forked processes share, described by numpy dtypes."""

import mmap
from typing import Any

import numpy as np

__all__ = ["LINE", "address", "private", "shared"]

LINE = 64
"""Bytes of a cache line: what one core writes and another reads stands on a line of its own."""


def shared(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """A zeroed array that processes forked from here on share; page-aligned, gone with the last of them.

    An anonymous mapping, not `multiprocessing.SharedMemory`: that leaves a file behind after kill -9 and
    cannot be closed while an array looks at it.
    """
    return _mapped(shape, dtype, mmap.MAP_SHARED)


def private(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """The same, but each forked process has its own copy from then on; untouched pages cost nothing."""
    return _mapped(shape, dtype, mmap.MAP_PRIVATE)


def _mapped(shape: int | tuple[int, ...], dtype: Any, flags: int) -> np.ndarray:
    count = int(np.prod(shape))
    size = max(1, count * np.dtype(dtype).itemsize)
    return np.frombuffer(mmap.mmap(-1, size, flags | mmap.MAP_ANONYMOUS), dtype, count).reshape(shape)


def address(array: np.ndarray) -> int:
    """Where the first byte of `array` is."""
    return int(array.ctypes.data)
