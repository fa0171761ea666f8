"""Compiled code makes all stores that the plain Python code makes, also in functions that numba inlines others into."""

import ctypes
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from numba import types
from numba.extending import overload

from scout.ring.jit import entry
from scout.ring.linked import viewer

ROW = np.dtype([("list", "i8", (4,)), ("grid", "i8", (2, 4)), ("number", "i8")])
VALUES = np.arange(1, 5)


def touch(table: Any, row: int) -> None:
    """An accessor."""
    table[row].number += 1


@overload(touch, inline="always")
def _native_touch(table, row):  # type: ignore[no-untyped-def]
    def native(table, row):  # type: ignore[no-untyped-def]
        table[row].number += 1

    return native


def numbers_at(address: int) -> Any:
    """The numbers at an address; `viewer` makes the function for compiled code."""
    return np.ctypeslib.as_array((ctypes.c_int64 * 4).from_address(address))


def record(table: Any, row: int, values: Any) -> None:
    touch(table, row)
    c = table[row]
    for index in range(4):
        c.list[index] = values[index]


def record_in_a_branch(table: Any, row: int, values: Any) -> None:
    if row < 0:
        return
    touch(table, row)
    c = table[row]
    if values[0] > 0:
        for index in range(4):
            c.list[index] += values[index]


def two_dimensions(table: Any, row: int, values: Any) -> None:
    touch(table, row)
    c = table[row]
    for index in range(4):
        c.grid[index & 1, index] = values[index]


def slice_of_it(table: Any, row: int, values: Any) -> None:
    touch(table, row)
    c = table[row]
    if values[0] > 0:
        c.list[row - row : 2] = 7


def result_of_a_call(table: Any, row: int, values: Any) -> None:
    touch(table, row)
    numbers_at(table.ctypes.data)[row] = values[row]


def whole_array(table: Any, row: int, values: Any) -> None:
    touch(table, row)
    c = table[row]
    if values[0] > 0:
        numbers = c.list
        numbers += values


def several_inlined(table: Any, row: int, values: Any) -> None:
    touch(table, row)
    c = table[row]
    touch(table, row)
    for index in range(4):
        c.list[index] = values[index]
        touch(table, row)


SIGNATURE = types.void(numba.from_dtype(ROW)[::1], types.int64, types.int64[::1])


@pytest.mark.parametrize(
    "function",
    [record, record_in_a_branch, two_dimensions, slice_of_it, result_of_a_call, whole_array, several_inlined],
)
def test_no_store_is_lost(function: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    expected, table = np.zeros(2, ROW), np.zeros(2, ROW)
    function(expected.view(np.recarray), 1, VALUES)
    monkeypatch.setitem(function.__globals__, "numbers_at", viewer(types.int64[::1], (4,)))
    entry(SIGNATURE)(function)(table, 1, VALUES)
    assert table.tobytes() == expected.tobytes()
