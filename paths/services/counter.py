"""Counter: counts what goes through one service, both ways.

Usage: Counter(name, service)
Requires and provides: one service, of the type that is given.
Drops: nothing.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from scout.io.access import length
from scout.paths.model.stage import Table
from scout.paths.stages.filter import Filter

__all__ = ["Counter", "Counts", "count"]

PACKETS, BYTES = 0, 1


class Counts(NamedTuple):
    """What a `Counter` counted: packets, and their bytes from the header of the service on."""

    packets: int
    bytes: int


def count(frame: Any, end: Any, packet: Any, counts: Any, primary: bool) -> int:
    """Count the packet, once: in the replica that is its primary."""
    if primary:
        counts[PACKETS] += 1
        counts[BYTES] += length(frame, end, packet)
    return 0


class Counter(Filter):
    """Counts packets and bytes.

    Parameters
    ----------
    name : str
    service : str
        Type of the service, as for `Filter`.

    Attributes
    ----------
    counts : Table
        What a replica counted: int64[2], packets and bytes.

    Examples
    --------
    >>> counter = Counter("from_left")
    >>> counter.read()
    Counts(packets=0, bytes=0)
    """

    def __init__(self, name: str, service: str = "ipv4") -> None:
        self.counts = Table(np.zeros(2, np.int64), "private")
        super().__init__(name, count, count, service, counts=self.counts)

    def read(self, replicas: Iterable[np.ndarray] | None = None) -> Counts:
        """Sum what replicas counted.

        Parameters
        ----------
        replicas : iterable of numpy.ndarray, optional
            Their copies of `counts`, also while they run: `supervisor.table(counter.counts, replica)` for
            each. By default what plain runs of a path counted.
        """
        arrays = [self.counts.initial] if replicas is None else list(replicas)
        return Counts(*(sum(int(array[cell]) for array in arrays) for cell in (PACKETS, BYTES)))
