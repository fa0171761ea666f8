"""Code that one process loads runs in the processes that were forked before."""

import numpy as np
import pytest
from numba.core import types

from scout.io.host.process import Child
from scout.ring.atomics import load64_acquire, store64_release
from scout.ring.code_memory import CodeMemory
from scout.ring.errors import ScoutError
from scout.ring.jit import compiled, entry, outline
from scout.ring.linked import caller, viewer
from scout.ring.object_code import object_code
from scout.ring.segment import address, shared

SIGNATURE = types.int64(types.int64, types.int64)
LARGE = np.arange(200_000)

_call = caller(SIGNATURE)
_numbers_at = viewer(types.int64[::1], (4,))


@entry(types.int64(types.int64, types.int64, types.int64))
def await_code(cell: int, place: int, factor: int) -> int:
    """Wait until the cell has an address (acquire: the parent's release store), and call the code there."""
    while True:
        code = load64_acquire(cell)
        if code:
            return _call(code, (place, factor))


@entry(types.void(types.int64, types.int64))
def tell(cell: int, value: int) -> None:
    store64_release(cell, value)


@outline
def checked(value: int) -> int:
    if value > 100:
        raise ValueError("too much")
    return value


_checked = compiled(checked)


def weighted(place: int, factor: int) -> int:
    numbers = _numbers_at(place)
    total = 0
    for index in range(4):
        total += _checked(numbers[index] * factor)
    numbers[:] = 0
    return total


def large(place: int, factor: int) -> int:
    return LARGE[place] * factor


@pytest.mark.parametrize(("factor", "expected"), [(10, "100"), (60, "ValueError: too much")])
def test_a_process_that_was_forked_before_runs_it(factor: int, expected: str) -> None:
    memory, cell, numbers = CodeMemory(), shared(1, np.int64), shared(4, np.int64)
    results = shared(1, np.int64)
    numbers[:] = [1, 2, 3, 4]
    _ = await_code.native

    def work() -> None:
        results[0] = await_code(address(cell), address(numbers), factor)

    child = Child(work, quiet=True)
    tell(address(cell), memory.load(object_code(weighted, SIGNATURE)))
    assert child.join(600)
    if expected == "100":
        assert child.exitcode == 0 and results[0] == 100 and not numbers.any()
    else:
        assert child.error.rstrip().endswith(expected)


def test_code_that_refers_to_memory_of_its_process_is_refused() -> None:
    with pytest.raises(ScoutError, match="large refers to an array of this process"):
        object_code(large, SIGNATURE)
