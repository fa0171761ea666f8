"""The supervisor's clock, which goes on while the watcher waits for something to do.

A thread that does nothing but wake up takes some 30 µs of a core each time. Python that has not run for 20 ms takes
another 200, as it finds nothing in the caches. So the clock advances in compiled code, and the watcher's rounds are
further apart while nothing needs them.
"""

from collections.abc import Iterable

import numba
import numpy as np
from numba.core import types

from scout.domain_loop import CLOCK, WAY
from scout.io.delay import LIVE
from scout.io.host.process import Child
from scout.io.system import monotonic_clock, ppoll
from scout.ring.atomics import exchange, load64, store64
from scout.ring.jit import entry, inline
from scout.ring.segment import LINE, address, private

__all__ = ["STEP", "Ticker"]

STEP = 20_000_000
"""Nanoseconds between two steps of the clock."""

_ORDERS, _ROWS, _TICKED, _CALLED, _TIME = range(0, 40, 8)
"""Offsets of words: the address of the replicas' orders; how many rows of these there are; when the clock advanced
last; not 0 if the watcher is wanted; room for a struct timespec."""

_POLLIN = 1


@inline
def _advance(ticker: int) -> None:
    """Advance the clock of every replica by the time since the last call, if packets come live; else it stands still.

    Only one thread calls this. Plain stores of single words: nothing else goes with them.
    """
    time = monotonic_clock(ticker + _TIME)
    orders = load64(ticker + _ORDERS)
    if load64(orders + WAY) == LIVE:
        clock = load64(orders + CLOCK) + time - load64(ticker + _TICKED)
        for row in range(load64(ticker + _ROWS)):
            store64(orders + row * LINE + CLOCK, clock)  # one clock: a replica that was enlisted meanwhile joins in
    store64(ticker + _TICKED, time)


@entry(types.void(numba.int64))
def _tick(ticker: int) -> None:
    _advance(ticker)


@entry(types.boolean(numba.int64, numba.int64, numba.int64, numba.int64))
def _wait(ticker: int, polled: int, count: int, steps: int) -> bool:
    """Wait for one of the descriptors or a call, advancing the clock after each step; False if neither came.

    A signal also ends the wait. A call that comes behind the last look is there for the next wait.
    """
    for _ in range(steps):
        store64(ticker + _TIME, 0)
        store64(ticker + _TIME + 8, STEP)
        if ppoll(polled, count, ticker + _TIME, 0):
            return True
        _advance(ticker)
        # Seq_cst, before the caller looks at what is to be done; pairs with `Ticker.call`.
        if exchange(ticker + _CALLED, 0):
            return True
    return False


class Ticker:
    """The clock by which time passes in replicas while no packets come.

    Parameters
    ----------
    orders : numpy.ndarray
        The replicas' orders, of which `CLOCK` is the clock, and `WAY` says how time passes (`scout.domain_loop`).
    """

    def __init__(self, orders: np.ndarray) -> None:
        self._orders, self._words = orders, private(_TIME // 8 + 2, np.int64)
        self._address = address(self._words)
        self._words[_ORDERS // 8] = address(orders)
        _ = _tick.native, _wait.native  # compiled before a process is forked
        _tick(self._address)

    def enlist(self, replica: int) -> None:
        """Advance the clock of this replica too, from what it is for the others."""
        self._orders[replica, CLOCK // 8] = self._orders[0, CLOCK // 8]
        self._words[_ROWS // 8] = max(self._words[_ROWS // 8], replica + 1)

    def tick(self) -> None:
        """Advance the clock by the time since the last call, if packets come live; for the watcher."""
        _tick(self._address)

    def call(self) -> None:
        """Have `wait` return at the next step, or its next call: there is something to do."""
        self._words[_CALLED // 8] = 1  # a plain store, after what is to be done was stored; pairs with `_wait`

    def wait(self, children: Iterable[Child], steps: int) -> bool:
        """Wait for so many steps; True if a child has ended, or somebody has called, before they were over.

        For the watcher.
        """
        polled = np.array([child.descriptor | _POLLIN << 32 for child in children], np.int64)  # struct pollfd
        return bool(_wait(self._address, address(polled), len(polled), steps))
