"""Arrays and records for the plain run, as compiled code sees them.

Fields are attributes. Numbers are read as Python's own, which do not overflow as numpy's small ones do, and cut to the
field's width when they are written. A float does not go into an integer field, as when compiled.
"""

from typing import Any

import numpy as np

__all__ = ["Record", "View"]


class Record:
    """A record of a structured array."""

    __slots__ = ("_record",)

    def __init__(self, record: np.void) -> None:
        object.__setattr__(self, "_record", record)

    def __getattr__(self, name: str) -> Any:
        return _seen(self._record[self._known(name)])

    def __setattr__(self, name: str, value: Any) -> None:
        self._record[name] = _cut(value, self._record.dtype[self._known(name)])

    def _known(self, name: str) -> str:
        names = self._record.dtype.names
        if name not in names:
            raise AttributeError(f"no field {name!r}; there are {', '.join(names)}")
        return name


class View:
    """An array; what is written goes to the array itself."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape = array, array.shape

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Any:
        return _seen(self._array[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[index] = _cut(value, self._array.dtype)

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes of an array of bytes, from an offset on."""
        return self._array[offset : offset + size].tobytes()

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes into an array of bytes, from an offset on."""
        self._array[offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    def clear(self, index: int) -> None:
        """Set all of a row to zero; see `scout.paths.framework.state.clear`."""
        self._array[index] = np.zeros((), self._array.dtype)


def _seen(value: Any) -> Any:
    if isinstance(value, np.void):
        return Record(value)
    return View(value) if isinstance(value, np.ndarray) else value.item()


def _cut(value: Any, dtype: np.dtype) -> Any:
    """`value` as a store of so many bits leaves it; numpy would refuse one that does not fit."""
    if dtype.kind not in "iu":
        return value
    if isinstance(value, float | np.floating):
        raise TypeError(f"{value!r} stored into an integer of {8 * dtype.itemsize} bits: use int(...), or //")
    bits = 8 * dtype.itemsize
    value = int(value) & (1 << bits) - 1
    return value - (1 << bits) if dtype.kind == "i" and value >> bits - 1 else value
