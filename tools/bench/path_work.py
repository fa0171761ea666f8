"""The stages of `scout bench paths`: work that keeps a core busy, a meter, and a note of when a path has packets.

Work looks at the clock again and again. Nothing of Scout's is between two looks, so a long time between them is a pause
of the machine: the kernel gave the core to another program, or the host gave the virtual core none. Pauses are noted
with their times, and so is when each packet came and when its work began and ended. `scout.tools.bench.path_pauses`
finds out from them which deadlines nobody could have met.
"""

import time
from typing import Any

import numpy as np
from numba.core import types

from scout.io.access import lowering
from scout.io.system import clock
from scout.ring.jit import entry, inline

__all__ = [
    "BEGAN",
    "CHUNK",
    "ENDED",
    "FIGURES",
    "NOTED",
    "PAUSE",
    "PAUSES",
    "RECEIVED",
    "first_seen",
    "meter",
    "rounds_for",
    "spin",
    "work",
]

FIGURES = 4
"""Words of a meter's table: packets that came, those that came late, and room for a struct timespec. Behind them are
rows of 3 words for the latest packets, if any: when each was received, and when its work began and ended."""
RECEIVED, BEGAN, ENDED = range(3)

NOTED = 5
"""Words of a table of work before its pauses: the value that it computes, room for a struct timespec, when the work of
the latest packet began, and the number of pauses. Each pause is 2 words: when it began, and when it ended."""
_BEGAN, _COUNT = 3, 4
PAUSES = 1 << 10  # pauses that a table has room for
PAUSE = 100_000  # nanoseconds between two looks at the clock from which on it is a pause
CHUNK = 4096  # rounds between two looks: some 3 us

_MASK = (1 << 31) - 1
_TRIAL = 1 << 20  # rounds


def spin(frame: Any, end: Any, chain: Any, rounds: Any) -> int:
    """Keep the core busy: each of the `rounds` depends on the one before, also across packets."""
    value = chain[0]
    for _ in range(rounds):
        value = value * 5 + 1 & _MASK
    chain[0] = value
    return 0


_spin = inline(spin)


def work(frame: Any, end: Any, chain: Any, rounds: Any) -> int:
    """As `spin`, and notes pauses: `chain` has the words of `NOTED`, and room for pauses."""
    keep_busy(chain, rounds)
    return 0


def keep_busy(chain: Any, rounds: Any) -> None:
    """As plain Python, which notes no pauses."""
    chain[_BEGAN] = time.time_ns()
    spin(0, 0, chain, rounds)


@inline
def _keep_busy(chain: np.ndarray, rounds: int) -> None:
    looked = clock(chain.ctypes.data + 8)
    chain[_BEGAN] = looked
    while rounds > 0:
        _spin(0, 0, chain, min(rounds, CHUNK))
        rounds -= CHUNK
        now = clock(chain.ctypes.data + 8)
        if now - looked > PAUSE:
            row = NOTED + 2 * (chain[_COUNT] % ((len(chain) - NOTED) // 2))
            chain[row] = looked
            chain[row + 1] = now
            chain[_COUNT] += 1
        looked = now


@lowering(keep_busy)
def _native_keep_busy(chain, rounds):  # type: ignore[no-untyped-def]
    return lambda chain, rounds: _keep_busy(chain, rounds)


def meter(frame: Any, end: Any, packet: Any, figures: Any, limit: Any, chain: Any) -> int:
    """Count packets, and those that come here later than `limit` nanoseconds after they were received.

    `chain` is the table of their work.
    """
    count(packet, figures, limit, chain)
    return 0


def count(packet: Any, figures: Any, limit: Any, chain: Any) -> None:
    """As plain Python; the compiled one reads the same clock."""
    _note(packet.timestamp, time.time_ns(), figures, limit, chain)


def _note(timestamp: Any, now: Any, figures: Any, limit: Any, chain: Any) -> None:
    rows = (len(figures) - FIGURES) // 3
    if rows:
        row = FIGURES + 3 * (figures[0] % rows)
        figures[row + RECEIVED] = timestamp
        figures[row + BEGAN] = chain[_BEGAN]
        figures[row + ENDED] = now
    figures[0] += 1
    figures[1] += now - timestamp > limit


_native_note = inline(_note)


@inline
def _count(timestamp: int, figures: np.ndarray, limit: int, chain: np.ndarray) -> None:
    _native_note(timestamp, clock(figures.ctypes.data + 16), figures, limit, chain)


@lowering(count)
def _native_count(packet, figures, limit, chain):  # type: ignore[no-untyped-def]
    return lambda packet, figures, limit, chain: _count(packet.timestamp, figures, limit, chain)


def first_seen(frame: Any, end: Any, packet: Any, seen: Any) -> int:
    """Note when the first packet of each path comes: `seen`, of int64, has a word for each path, and 8 words more."""
    note_time(packet, seen)
    return 0


def note_time(packet: Any, seen: Any) -> None:
    """As plain Python; the compiled one reads the same clock."""
    seen[packet.path] = seen[packet.path] or time.time_ns()


@inline
def _note_time(path: int, seen: np.ndarray) -> None:
    if seen[path] == 0:
        seen[path] = clock(seen.ctypes.data + 8 * (len(seen) - 2))


@lowering(note_time)
def _native_note_time(packet, seen):  # type: ignore[no-untyped-def]
    return lambda packet, seen: _note_time(packet.path, seen)


@entry(types.int64(types.int64[::1], types.int64))
def _measured(chain: np.ndarray, rounds: int) -> int:
    """Nanoseconds that so many rounds take."""
    start = clock(chain.ctypes.data + 8)
    _keep_busy(chain, rounds)
    return clock(chain.ctypes.data + 8) - start


def rounds_for(nanoseconds: float) -> int:
    """Rounds of `work` that take so long on this core, when nothing disturbs it."""
    chain = np.zeros(NOTED + 2, np.int64)
    fastest = min(_measured(chain, _TRIAL) for _ in range(10))
    return max(1, round(nanoseconds * _TRIAL / fastest))
