"""Tables of flows: bounded hash tables of rows that keep what a service knows of a key.

Open addressing: a key stands within `PROBES` rows from its place. A table is full when all of them are taken
by others: then a new key is refused, or takes the place of the one that has not been used for longest; both
are counted in the service's `counts`. Time is that of packets; nothing here reads a clock.

A key is two words: `key` > 0 and `more` != 0 (`scout.paths.wire.flow.five_tuple` gives such). A new row is all zeros
but for these and `used`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scout.paths.framework.state import add_to, clear, exchange_in, load_from
from scout.paths.wire.flow import mix
from scout.ring.errors import ScoutError

__all__ = ["EVICT", "FOREVER", "REFUSE", "claim", "find", "new_table", "place", "remove", "rows"]

PROBES = 16
"""How many rows are looked at for a key."""

REFUSE, EVICT = 0, 1
"""What happens to a new key in a full table."""

FOREVER = 1 << 62
"""A lifetime, in nanoseconds: rows never expire."""

REMOVED = -1  # the key of a row that was removed: those behind it are still found


def new_table(capacity: int, fields: Sequence[tuple[str, str]]) -> np.ndarray:
    """An empty table.

    Parameters
    ----------
    capacity : int
        Rows; a power of two, 16 or more. Filled to 70 %, it refuses next to nothing.
    fields : sequence of (name, type)
        What a row holds, such as ("bytes", "i8"), beside `key`, `more` and `used` (when it was last placed,
        nanoseconds).
    """
    if capacity < PROBES or capacity & (capacity - 1):
        raise ScoutError(f"a table of {capacity} rows; give a power of two, {PROBES} or more")
    return np.zeros(capacity, np.dtype([("key", "i8"), ("more", "i8"), ("used", "i8"), *fields], align=True))


def rows(table: np.ndarray) -> np.ndarray:
    """A copy of the rows that are taken, for people and tests."""
    return table[table["key"] > 0].copy()


def find(table: Any, key: int, more: int, now: int, lifetime: int) -> int:
    """Index of the row of a key; -1 if it is not there, or expired: not placed for `lifetime` nanoseconds."""
    start = mix(key ^ mix(more)) & len(table) - 1
    for probe in range(PROBES):
        index = start + probe & len(table) - 1
        row = table[index]
        if row.key == key and row.more == more:
            return index if now - row.used < lifetime else -1
        if row.key == 0:
            return -1  # a row that was taken once never has key 0 again
    return -1


def place(table: Any, counts: Any, key: int, more: int, now: int, lifetime: int, policy: int) -> int:
    """Index of the row of a key, a new one if need be; -1 if the table is full and `policy` is `REFUSE`.

    The row is then used: at `now`. What is expired is as if it were not there.
    """
    start = mix(key ^ mix(more)) & len(table) - 1
    free, oldest = -1, -1
    for probe in range(PROBES):
        index = start + probe & len(table) - 1
        row = table[index]
        expired = now - row.used >= lifetime
        if row.key == key and row.more == more:
            if expired:
                free = index
                break
            row.used = now
            return index
        if free < 0 and (row.key <= 0 or expired):
            free = index
        if row.key == 0:
            break
        if oldest < 0 or row.used < table[oldest].used:
            oldest = index
    if free < 0:
        if policy == REFUSE:
            counts[0].refused += 1
            return -1
        counts[0].evicted += 1
        free = oldest
    clear(table, free)
    row = table[free]
    row.key = key
    row.more = more
    row.used = now
    return free


def remove(table: Any, index: int) -> None:
    """Give up a row."""
    clear(table, index)
    table[index].key = REMOVED


def claim(table: Any, counts: Any, key: int, more: int) -> int:
    """Like `place` with `FOREVER` and `REFUSE`, by atomic accessors alone: for services that allow mode "atomic".

    Rows are never given up; do not use it with `place` and `remove` on one table. It leaves `used` alone.
    """
    start = mix(key ^ mix(more)) & len(table) - 1
    for probe in range(PROBES):
        index = start + probe & len(table) - 1
        present = load_from(table, index, "key")
        if present == 0:
            present = key if exchange_in(table, index, "key", 0, key) else load_from(table, index, "key")
        if present == key:
            # Whoever writes the second word first has the row; the one who wrote the first looks further.
            other = load_from(table, index, "more")
            if other == 0:
                other = more if exchange_in(table, index, "more", 0, more) else load_from(table, index, "more")
            if other == more:
                return index
    add_to(counts, 0, "refused", 1)
    return -1
