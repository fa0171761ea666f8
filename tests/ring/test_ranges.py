"""Ranges of arrays: the same in plain Python, of arrays and of views, and in compiled code."""

from collections.abc import Callable

import numpy as np
import pytest
from numba import types

from scout.paths.compiler.plain import View
from scout.ring.jit import entry
from scout.ring.ranges import copy_range, fetch, fill_range


def changed(array):  # type: ignore[no-untyped-def]
    fill_range(array, 1, 3, 300)
    copy_range(array, 5, 2, 3)
    fetch(array, 4)
    return 0


compiled = entry(types.int64(types.uint16[::1]))(changed)


@pytest.mark.parametrize(
    "change", [changed, lambda array: changed(View(array)), compiled], ids=["array", "view", "compiled"]
)
def test_ranges_are_filled_and_copied(change: Callable[[np.ndarray], int]) -> None:
    array = np.arange(10, dtype=np.uint16)
    change(array)
    assert array.tolist() == [0, 300, 300, 300, 4, 300, 300, 4, 8, 9]


def test_what_is_filled_in_is_cut_as_a_store_cuts_it() -> None:
    array = np.zeros(3, np.uint8)
    fill_range(View(array), 1, 2, 257)
    assert array.tolist() == [0, 1, 1]
