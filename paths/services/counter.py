"""Counter: counts the packets that go through one service, both ways.

Usage: Counter(name, connects)
Requires and provides: one service, of the type `connects`.

Each replica counts the packets that it is the primary of; `Counter.read` adds the replicas' counts. A GSO packet
counts as the packets that the device will make of it, with a header each. A counter is a filter and no replicated
service: it costs the replicas that are not the primary nothing.

State
    `counts`, of each replica: packets and bytes.
Drops
    nothing.
Example
    Counter("from_left")
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from scout.paths.model.table import Table
from scout.paths.stages.filter import Filter
from scout.paths.wire.segments import segments

__all__ = ["Counter", "Counts", "count"]

PACKETS, BYTES = 0, 1


class Counts(NamedTuple):
    """The packets that a `Counter` has counted, and their bytes from the header of the service on."""

    packets: int
    bytes: int


def count(frame: Any, end: Any, packet: Any, counts: Any, primary: bool) -> int:
    """Count the packet, once: in the replica that is its primary."""
    if primary:
        packets, size = segments(frame, end, packet)
        counts[PACKETS] += packets
        counts[BYTES] += size
    return 0


class Counter(Filter):
    """Counts packets and bytes.

    Parameters
    ----------
    name : str
    connects : str
        Type of the services that it connects, as for `Filter`.

    Attributes
    ----------
    counts : Table
        int64[2], of each replica: packets and bytes.

    Examples
    --------
    >>> counter = Counter("from_left")
    >>> counter.read()
    Counts(packets=0, bytes=0)
    """

    def __init__(self, name: str, connects: str = "ipv4") -> None:
        self.counts = Table(np.zeros(2, np.int64), "private")
        super().__init__(name, count, count, connects, counts=self.counts)

    def read(self, replicas: Iterable[np.ndarray] | None = None) -> Counts:
        """Add up the counts of replicas.

        Parameters
        ----------
        replicas : iterable of numpy.ndarray, optional
            Their copies of `counts`, also while they run: `supervisor.table(counter.counts, replica)` for
            each. By default the counts of plain runs of a path.
        """
        arrays = [self.counts.initial] if replicas is None else list(replicas)
        return Counts(*(sum(int(array[cell]) for array in arrays) for cell in (PACKETS, BYTES)))
