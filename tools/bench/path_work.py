"""The stages of `scout bench paths`: work that keeps a core busy, a meter, and a note of when a path has packets."""

import time
from typing import Any

import numpy as np
from numba.core import types

from scout.io.access import lowering
from scout.io.system import clock
from scout.ring.jit import entry, inline

__all__ = ["FIGURES", "first_seen", "meter", "rounds_for", "spin"]

FIGURES = 4
"""Words of a meter's table: packets that came, those that came late, and room for a struct timespec."""

_MASK = (1 << 31) - 1
_TRIAL = 1 << 20  # rounds


def spin(frame: Any, end: Any, chain: Any, rounds: Any) -> int:
    """Keep the core busy: each of the `rounds` depends on the one before, also across packets."""
    value = chain[0]
    for _ in range(rounds):
        value = value * 5 + 1 & _MASK
    chain[0] = value
    return 0


def meter(frame: Any, end: Any, packet: Any, figures: Any, limit: Any) -> int:
    """Count packets, and those that come here later than `limit` nanoseconds after they were received."""
    count(packet, figures, limit)
    return 0


def count(packet: Any, figures: Any, limit: Any) -> None:
    """As plain Python; the compiled one reads the same clock."""
    figures[0] += 1
    figures[1] += time.time_ns() - packet.timestamp > limit


@inline
def _count(timestamp: int, figures: np.ndarray, limit: int) -> None:
    figures[0] += 1
    figures[1] += clock(figures.ctypes.data + 16) - timestamp > limit


@lowering(count)
def _native_count(packet, figures, limit):  # type: ignore[no-untyped-def]
    return lambda packet, figures, limit: _count(packet.timestamp, figures, limit)


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


_spin = inline(spin)


@entry(types.int64(types.int64[::1], types.int64))
def _measured(chain: np.ndarray, rounds: int) -> int:
    """Nanoseconds that so many rounds take."""
    start = clock(chain.ctypes.data + 8)
    _spin(0, 0, chain, rounds)
    return clock(chain.ctypes.data + 8) - start


def rounds_for(nanoseconds: float) -> int:
    """Rounds of `spin` that take so long on this core, when nothing disturbs it."""
    chain = np.zeros(4, np.int64)
    fastest = min(_measured(chain, _TRIAL) for _ in range(10))
    return max(1, round(nanoseconds * _TRIAL / fastest))
