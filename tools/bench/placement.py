"""How far apart the host of a virtual machine has placed two of its cores.

A hypervisor moves virtual cores about, within minutes: to the two threads of one core, to cores that share a cache, or
to others. That decides how long what one has written takes to the other, and so how fast everything is that both do
with the same data, by a factor of two and more. So figures say at which placement they were measured.
"""

from collections.abc import Sequence
from functools import partial
from statistics import median

import numpy as np
from numba import types

from scout.io.host.process import usable_cores
from scout.ring.atomics import load64_acquire, pause, store64_release
from scout.ring.jit import entry
from scout.ring.segment import LINE, address, shared
from scout.tools.bench.crew import Worker, together, undisturbed

__all__ = ["handoff_ns", "has_moved", "slowest_of_median"]

_APART = 2.0  # handoffs that take so many times the least ones of a placement are those of another one
_FEW = 3  # rates of one placement, of which a median says little if they are fewer
_HANDOFFS = 5_000  # each way


def handoff_ns() -> float:
    """Nanoseconds until a core sees what another one has stored, for the first two of this process's cores.

    0 if there is one core only.
    """
    if len(usable_cores()) < 2:
        return 0.0
    word = shared(LINE // 8, np.int64)
    workers = [Worker(partial(_begin, word), partial(_play, address(word), me, _HANDOFFS)) for me in range(2)]
    return max(each.ns for each in undisturbed(lambda: together(workers))) / (2 * _HANDOFFS)


def has_moved(handoffs: tuple[float, float]) -> bool:
    """True if the placement was another one behind a run than before it, by what `handoff_ns` was then."""
    return max(handoffs) > _APART * min(handoffs)


def slowest_of_median(rates: Sequence[float], handoffs: Sequence[tuple[float, float]]) -> float | None:
    """The slowest run as a share of the median, among those of the same placement; the least of the placements.

    Parameters
    ----------
    rates : sequence of float
    handoffs : sequence of tuple
        For each run what `handoff_ns` was before it and behind it. Runs in which the placement changed are left out.

    Returns
    -------
    float or None
        None if no placement has enough runs.
    """
    alike: list[list[float]] = []
    least = -1.0
    kept = [(max(pair), rate) for pair, rate in zip(handoffs, rates, strict=True) if not has_moved(pair)]
    for ns, rate in sorted(kept):
        if least < 0 or ns > _APART * least:
            alike.append([])
            least = ns
        alike[-1].append(rate)
    return min((min(each) / median(each) for each in alike if len(each) >= _FEW), default=None)


def _begin(word: np.ndarray) -> None:
    _play(address(word), 0, 0)  # it is compiled
    word[0] = 0


@entry(types.void(types.int64, types.int64, types.int64))
def _play(word: int, me: int, count: int) -> None:
    """Wait for each of this side's turns, and give the other side the next one.

    The store releases and the load acquires: what the other side does begins behind what this side has done.
    """
    for turn in range(me, 2 * count, 2):
        while load64_acquire(word) != turn:
            pause()
        store64_release(word, turn + 1)
