"""Limits of the sender, by which the events of a test fall into its traffic however fast the machine is."""

import random

import numpy as np

from scout.ring.atomics import load64_acquire
from scout.ring.jit import inline
from scout.ring.segment import LINE, address, shared

__all__ = ["Events", "Pace", "allowed"]


class Pace:
    """How many requests the sender may send: up to the lowest of some limits, which only rise.

    Parameters
    ----------
    requests : int
        How many it sends in all: no limit is higher.
    limits : int
        How many limits there are, each with one owner.
    """

    def __init__(self, requests: int, limits: int = 1) -> None:
        self.requests = requests
        self._limits = shared((limits, LINE // 8), np.int64)
        self._limits[:, 0] = requests

    def limit(self, requests: int, owner: int = 0) -> None:
        """Let the sender wait before it has sent more than `requests`."""
        # A plain store of an aligned word: the sender may see it late, and waits a moment longer.
        self._limits[owner, 0] = min(requests, self.requests)

    @property
    def words(self) -> tuple[int, int]:
        """For `allowed`: the address of the limits, and how many there are."""
        return address(self._limits), len(self._limits)


class Events:
    """Events of a test that follow each other: the traffic has a step for each, and one more.

    Parameters
    ----------
    pace : Pace
    wanted : int
        How many events there are.
    owner : int
        The number of the limit: the end of the step whose event has not happened yet.
    """

    def __init__(self, pace: Pace, wanted: int, owner: int = 0) -> None:
        self.happened, self._pace, self._wanted, self._owner = 0, pace, wanted, owner
        self._generator = random.Random(1)
        self._allow()

    @property
    def over(self) -> bool:
        """True when all have happened."""
        return self.happened >= self._wanted

    def happen(self) -> None:
        """Count one more, and let the traffic go on."""
        self.happened += 1
        self._allow()

    def soon(self, head: int) -> int:
        """A random request from `head` to the end of the step."""
        return self._generator.randint(head, max(head, self._end))

    def _allow(self) -> None:
        self._end = self._pace.requests * (self.happened + 1) // (self._wanted + 1)
        self._pace.limit(self._end, self._owner)


@inline
def allowed(limits: int, count: int) -> int:
    """How many requests may be sent by now."""
    lowest = load64_acquire(limits)  # pairs with `Pace.limit`: the event happened before the limit rose
    for number in range(1, count):
        lowest = min(lowest, load64_acquire(limits + LINE * number))
    return lowest
