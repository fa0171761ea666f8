"""Rate limits over packet time, in words that all replicas may share.

Time is that of packets, in nanoseconds, and any value is a time. Packets of several ports, and of several replicas, are
not in the order of their times; a step back of more than `REORDERING` is taken for a clock that was set back, and the
limit begins anew. Every change of a word is one atomic exchange, so that a limit holds for all replicas together.
"""

from typing import Any

from scout.io.access import lowering
from scout.paths.wire.flow import mix
from scout.ring.atomics import compare_exchange, load64_acquire

__all__ = ["REORDERING", "exchange_word", "load_word", "once", "within"]

REORDERING = 1_000_000_000
"""Nanoseconds by which a packet's time may be earlier than that of a packet handled before it."""

PROBES = 16
"""Rows of a table that `once` looks at for a key."""


def load_word(words: Any, index: int) -> int:
    """The int64 at `index`."""
    return int(words[index])


load_word.assigns = ()  # type: ignore[attr-defined]


@lowering(load_word)
def _native_load_word(words, index):  # type: ignore[no-untyped-def]
    # Acquire: pairs with the exchange in another replica.
    return lambda words, index: load64_acquire(words.ctypes.data + index * 8)


def exchange_word(words: Any, index: int, expected: int, value: int) -> bool:
    """Write the int64 at `index` if it is `expected`; True if so."""
    if words[index] != expected:
        return False
    words[index] = value
    return True


exchange_word.assigns = (0,)  # type: ignore[attr-defined]
exchange_word.atomic = exchange_word  # type: ignore[attr-defined]  # it has no plain twin


@lowering(exchange_word)
def _native_exchange_word(words, index, expected, value):  # type: ignore[no-untyped-def]
    # Acquire and release: pairs with the load and the exchange in another replica.
    return lambda words, index, expected, value: compare_exchange(words.ctypes.data + index * 8, expected, value)


def within(words: Any, index: int, now: int, interval: int, burst: int) -> bool:
    """True if one more event at time `now` keeps to a rate; the event is then counted.

    The generic cell rate algorithm (ITU-T I.371): a word holds the time when the next event is due, and an event may
    come up to `burst` before that.

    Parameters
    ----------
    words : int64[n]
        A `Table` of kind "shared" or "private", all 0 at first.
    index : int
        The word to use.
    now : int
        Time of the event, nanoseconds.
    interval : int
        Nanoseconds between events.
    burst : int
        Nanoseconds: `n * interval` lets n + 1 events happen at once.
    """
    while True:
        before = load_word(words, index)
        due = before
        if due < now or due - now > burst + interval + REORDERING:
            due = now
        if due - now > burst:
            return False
        if exchange_word(words, index, before, due + interval):
            return True


def once(words: Any, key: int, now: int, interval: int) -> bool:
    """True if no event of `key` happened within `interval` nanoseconds before `now`; the event then counts.

    Two replicas that come at the same time may both get True for a new key. If a table is full of other keys, the one
    whose interval ends first gives up its row, and may have an event too early.

    Parameters
    ----------
    words : int64[n]
        A `Table` of kind "shared", all 0 at first; n is a power of two. A row is two words: the key, and the time
        when its interval ends.
    key : int
        Not 0.
    now, interval : int
        Nanoseconds.
    """
    mask = len(words) // 2 - 1
    start = mix(key) & mask
    row, row_ends, known = 0, 0, False
    for probe in range(PROBES):
        at = 2 * (start + probe & mask)
        ends = load_word(words, at + 1)
        if load_word(words, at) == key:
            row, row_ends, known = at, ends, True
            break
        if probe == 0 or ends < row_ends:
            row, row_ends = at, ends
    if known and now < row_ends <= now + interval + REORDERING:
        return False
    if not exchange_word(words, row + 1, row_ends, now + interval):
        return False  # another replica was faster, with this key or, for a new key, with another one
    exchange_word(words, row, load_word(words, row), key)
    return True
