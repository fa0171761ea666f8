"""The lookup table of Maglev (Eisenbud et al., NSDI 2016, section 3.4): consistent hashing to a set of backends.

Each backend has a permutation of the table's rows. To fill the table the backends take rows in turn, each the first of
its permutation that is free. So each gets nearly the same share, and few rows change when the set changes.
"""

from typing import Any

import numpy as np

from scout.paths.wire.flow import mix

__all__ = ["LOOKUPS", "PERMUTATION", "permutation", "populate"]

LOOKUPS = 4093
"""Rows of the table: a prime, more than 100 for each of 32 backends (section 3.4)."""

PERMUTATION = [("offset", "i8"), ("skip", "i8")]
"""Fields of a backend: its permutation of the rows is (offset + j skip) mod rows, for j = 0, 1, ..."""


def permutation(endpoint: int, rows: int = LOOKUPS) -> tuple[int, int]:
    """Offset and skip of a backend, which depend on its address and port alone (`endpoint`, as one number)."""
    return mix(endpoint) % rows, mix(mix(endpoint)) % (rows - 1) + 1


def populate(lookup: Any, turns: Any, backends: Any, mask: int) -> None:
    """Fill the table for the backends whose bits are set in `mask`; with none, all rows say -1.

    Parameters
    ----------
    lookup, turns
        The table, with the field `backend`; a row for each backend, with the field `taken`, as room to work.
    backends
        Rows with the fields of `PERMUTATION`.
    mask : int
    """
    size = len(lookup)
    for index in range(size):
        lookup[index].backend = -1
    for number in range(len(backends)):
        turns[number].taken = 0
    filled = 0
    while mask and filled < size:
        for number in range(len(backends)):
            if mask >> number & 1 and filled < size:
                backend = backends[number]
                index = (backend.offset + turns[number].taken * backend.skip) % size
                while lookup[index].backend >= 0:
                    turns[number].taken += 1
                    index = (backend.offset + turns[number].taken * backend.skip) % size
                lookup[index].backend = number
                turns[number].taken += 1
                filled += 1


def empty_tables(backends: int) -> dict[str, np.ndarray]:
    """`lookup` and `turns` of `populate`, before they are filled."""
    return {
        "lookup": np.full(LOOKUPS, -1, [("backend", "i4")]),
        "turns": np.zeros(backends, [("taken", "i8")]),
    }
