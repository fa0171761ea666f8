"""Arrays, records and verdicts for the plain run, as compiled code sees them.

Fields are attributes. Numbers are read as Python's own, which do not overflow as numpy's small ones do, and cut to the
field's width when they are written. A float does not go into an integer field, and True is no verdict, as when
compiled.
"""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

import numba
import numpy as np

from scout.ring.errors import ScoutError
from scout.ring.integers import no_verdict

__all__ = ["Record", "View", "WrongVerdict", "checked", "verdict_of"]


class Record:
    """A record of a structured array."""

    __slots__ = ("_record",)

    def __init__(self, record: np.void) -> None:
        object.__setattr__(self, "_record", record)

    def __getattr__(self, name: str) -> Any:
        try:
            value = self._record[name]
        except ValueError:
            raise self._unknown(name) from None
        return value.item() if isinstance(value, np.number) else _seen(value)

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self._record.dtype.fields
        if name not in fields:
            raise self._unknown(name)
        self._record[name] = _cut(value, fields[name][0])

    def _unknown(self, name: str) -> AttributeError:
        return AttributeError(f"no field {name!r}; there are {', '.join(self._record.dtype.names)}")


class View:
    """An array; what is written goes to the array itself."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape = array, array.shape

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Any:
        value = self._array[index]
        return value.item() if isinstance(value, np.number) else _seen(value)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[index] = value._array if isinstance(value, View) else _cut(value, self._array.dtype)

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


_FLOATS = (float, np.floating)


def _cut(value: Any, dtype: np.dtype) -> Any:
    """`value` as a store of so many bits leaves it; numpy would refuse one that does not fit."""
    kind = dtype.kind
    if kind not in "iu":
        return value
    bits = 8 * dtype.itemsize
    if isinstance(value, _FLOATS):
        raise TypeError(f"{value!r} stored into an integer of {bits} bits: use int(...), or //")
    value = int(value) & (1 << bits) - 1
    return value - (1 << bits) if kind == "i" and value >> bits - 1 else value


class WrongVerdict(ScoutError):
    """A function returned something that is no verdict.

    Attributes
    ----------
    function : callable
    """

    def __init__(self, function: Callable[..., Any], value: Any) -> None:
        try:
            kind = numba.typeof(value)
        except ValueError:  # numba has no such type
            kind = type(value).__name__
        super().__init__(no_verdict(kind))
        self.function = function


def verdict_of(function: Callable[..., Any], *given: Any, **more: Any) -> Any:
    """Call a stage function, or a handler; its verdict.

    Raises
    ------
    WrongVerdict
    """
    value = function(*given, **more)
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise WrongVerdict(function, value)
    return value


def checked(function: Callable[..., Any]) -> Callable[..., int]:
    """The function, for the plain run alone, with a check of its verdict."""
    return update_wrapper(partial(verdict_of, function), function)
