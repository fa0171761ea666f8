"""Tables of flows: bounded hash tables whose rows hold what a service knows of a key.

A table uses open addressing: a key's row is one of the `PROBES` rows from the key's hash on. If all of them are taken
by other keys the table is full for a new key: it is refused, or takes the row of the key that has not been used for
longest. Both are counted in the service's `counts`.
Time is the packets' (`packet.timestamp`); nothing here reads a clock.

A key is two words, `key` > 0 and `more` != 0. A flow of IPv4 is such a key (`scout.paths.wire.flow.five_tuple`), and
`Flow.from_five_tuple` makes a `Flow` of it. A flow of IPv6 takes five words (`flow_words`): in a table that is made for
such keys `more` is a tuple of four words. The compiled code for a table is that of its kind of keys alone. A new row is
all zeros but for its key and `used`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types

from scout.io.access import lowering
from scout.paths.framework.state import add_to, clear, exchange_in, load_from
from scout.paths.model.router import GraphError
from scout.paths.wire.flow import mix
from scout.ring.errors import ScoutError

__all__ = ["EVICT", "FOREVER", "REFUSE", "claim", "find", "new_table", "place", "policy_of", "put", "remove", "rows"]

PROBES = 16
"""How many rows can hold a key."""

REFUSE, EVICT = 0, 1
"""The treatment of a new key in a full table."""

FOREVER = 1 << 62
"""A lifetime, in nanoseconds: rows never expire."""

WIDE = 4  # words of `more` in a wide key

REMOVED = -1  # the key of a removed row: not 0, so that a search goes on to the rows behind it


def new_table(capacity: int, fields: Sequence[tuple[str, str]], wide: bool = False) -> np.ndarray:
    """An empty table.

    Parameters
    ----------
    capacity : int
        Rows; a power of two, 16 or more. A table that is filled to 70 % refuses under 0.5 % of its keys.
    fields : sequence of (name, type)
        The fields of a row, such as ("bytes", "i8"), beside `key`, `more` and `used` (when it was last placed,
        nanoseconds).
    wide : bool
        True for keys of five words. `claim` takes no such table.

    Returns
    -------
    numpy.ndarray
        One dimension, all zeros.

    Raises
    ------
    ScoutError
        If the capacity is no power of two, or less than 16.
    """
    if capacity < PROBES or capacity & (capacity - 1):
        raise ScoutError(f"a table of {capacity} rows; give a power of two, {PROBES} or more")
    more = ("more", "i8", (WIDE,)) if wide else ("more", "i8")
    return np.zeros(capacity, np.dtype([("key", "i8"), more, ("used", "i8"), *fields], align=True))


def more_of(row: Any) -> Any:
    """The rest of the key of a row: a word, or a tuple of four."""
    more = row.more
    return more if isinstance(more, int) else (more[0], more[1], more[2], more[3])


@lowering(more_of)
def _native_more_of(row):  # type: ignore[no-untyped-def]
    if is_wide(row):
        return lambda row: (row.more[0], row.more[1], row.more[2], row.more[3])
    return lambda row: row.more


def put_more(row: Any, more: Any) -> None:
    """Write the rest of the key of a row."""
    if isinstance(more, tuple):
        for index, word in enumerate(more):
            row.more[index] = word
    else:
        row.more = more


@lowering(put_more)
def _native_put_more(row, more):  # type: ignore[no-untyped-def]
    if is_wide(row):

        def put(row, more):  # type: ignore[no-untyped-def]
            row.more[0] = more[0]
            row.more[1] = more[1]
            row.more[2] = more[2]
            row.more[3] = more[3]

        return put

    def put_word(row, more):  # type: ignore[no-untyped-def]
        row.more = more

    return put_word


def is_wide(row: Any) -> bool:
    """True if rows of a numba type have keys of five words."""
    return isinstance(row.fields["more"].type, types.NestedArray)


def put(table: np.ndarray, key: int, more: int, **fields: int) -> int:
    """Put a key with these fields into a table before the first request; the index of its row."""
    start = mix(key ^ mix(more)) & len(table) - 1
    for probe in range(PROBES):
        index = start + probe & len(table) - 1
        if table[index]["key"] == 0:
            for name, value in {"key": key, "more": more, **fields}.items():
                table[index][name] = value
            return index
    raise ScoutError(f"a table of {len(table)} rows is too full for one more key; give a greater capacity")


def policy_of(name: str, full: str) -> int:
    """The policy that the parameter `full` of the service called `name` asks for: `EVICT` or `REFUSE`."""
    if full not in ("evict", "refuse"):
        raise GraphError(f"{name}: full={full!r}; use evict or refuse")
    return EVICT if full == "evict" else REFUSE


def rows(table: np.ndarray) -> np.ndarray:
    """A copy of the rows that hold a key, also of those that have expired; for people and tests."""
    return table[table["key"] > 0].copy()


def find(table: Any, key: int, more: Any, now: int, lifetime: int) -> int:
    """Index of the row of a key; -1 if it has none, or if it was not placed for `lifetime` nanoseconds (expired)."""
    start = mix(key ^ mix(more)) & len(table) - 1
    for probe in range(PROBES):
        index = start + probe & len(table) - 1
        row = table[index]
        if row.key == key and more_of(row) == more:
            return index if now - row.used < lifetime else -1
        if row.key == 0:
            return -1  # this row was never taken, so no key that was placed is behind it
    return -1


def place(table: Any, counts: Any, key: int, more: Any, now: int, lifetime: int, policy: int) -> int:
    """Index of the row of a key, a new row if it has none; -1 if the table is full and `policy` is `REFUSE`.

    The row's `used` is then `now`. A row that has expired counts as free.
    """
    start = mix(key ^ mix(more)) & len(table) - 1
    free, oldest = -1, -1
    for probe in range(PROBES):
        index = start + probe & len(table) - 1
        row = table[index]
        expired = now - row.used >= lifetime
        if row.key == key and more_of(row) == more:
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
    put_more(row, more)
    row.used = now
    return free


def remove(table: Any, index: int) -> None:
    """Free a row."""
    clear(table, index)
    table[index].key = REMOVED


def claim(table: Any, counts: Any, key: int, more: int) -> int:
    """Like `place` with `FOREVER` and `REFUSE`, by atomic accessors alone: for services that allow mode "atomic".

    Rows are never freed: do not use `place` or `remove` on the same table. `used` stays as it is.
    """
    start = mix(key ^ mix(more)) & len(table) - 1
    for probe in range(PROBES):
        index = start + probe & len(table) - 1
        present = load_from(table, index, "key")
        if present == 0:
            present = key if exchange_in(table, index, "key", 0, key) else load_from(table, index, "key")
        if present == key:
            # The replica that writes the second word first has the row. A replica that wrote the first word, and
            # finds another second word than its own, looks at the next row.
            other = load_from(table, index, "more")
            if other == 0:
                other = more if exchange_in(table, index, "more", 0, more) else load_from(table, index, "more")
            if other == more:
                return index
    add_to(counts, 0, "refused", 1)
    return -1
