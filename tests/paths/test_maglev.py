"""The lookup table of Maglev, against the example of its paper."""

import numpy as np
import pytest

from scout.paths.services.maglev import PERMUTATION, permutation, populate


def filled(permutations: list[tuple[int, int]], mask: int, rows: int) -> list[int]:
    lookup = np.full(rows, -1, [("backend", "i4")])
    turns = np.zeros(len(permutations), [("taken", "i8")])
    backends = np.array(permutations, PERMUTATION)
    populate(lookup.view(np.recarray), turns.view(np.recarray), backends.view(np.recarray), mask)
    return lookup["backend"].tolist()


@pytest.mark.parametrize(("mask", "expected"), [
    (0b111, [1, 0, 1, 0, 2, 2, 0]),
    (0b101, [0, 0, 0, 0, 2, 2, 2]),  # backend 1 is gone: only its rows, and row 6, have changed
    (0b000, [-1] * 7),
])  # fmt: skip
def test_the_papers_example(mask: int, expected: list[int]) -> None:
    """Eisenbud et al., NSDI 2016, table 1: permutations 3 0 4 1 5 2 6, 0 2 4 6 1 3 5 and 3 4 5 6 0 1 2 of 7 rows."""
    assert filled([(3, 4), (0, 2), (3, 1)], mask, 7) == expected


def test_a_permutation_reaches_every_row() -> None:
    for endpoint in range(1, 200):
        offset, skip = permutation(endpoint, 101)
        assert {(offset + turn * skip) % 101 for turn in range(101)} == set(range(101))
