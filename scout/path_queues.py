"""The queues of a run's paths, in the memory of its replicas: made with their paths, and removed with them."""

from collections.abc import Collection, Sequence
from heapq import heappop, heappush
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from scout.admission import Admission, Grant
from scout.io.path_queue import QUEUE, lay_out
from scout.paths.demux.table import NoRoom
from scout.paths.model.path import Path
from scout.ring.membership import MOST_REPLICAS
from scout.ring.schedule import HEAD
from scout.ring.segment import LINE, address, private, shared

__all__ = ["DROPS", "PathQueues"]

DROPS = {"full": "queue-full", "crowded": "queue-memory"}
"""The counters of a queue that are drops, and their reasons."""


class _Made(NamedTuple):
    path: Path
    number: int
    grant: Grant


class PathQueues:
    """The queues.

    Parameters
    ----------
    most : int
        How many there may be at a time.
    admission : Admission
    memory : int
        Bytes for them in each replica.

    Attributes
    ----------
    queues, heads : numpy.ndarray
        `QUEUE`[replica, queue] and `HEAD`[replica, queue], shared.
    used : numpy.ndarray
        int64[8]: the first word is one more than the highest index that a queue has had. Replicas may read it at any
        time: behind it there are only queues that are empty.
    gone : dict of str to int
        Packets dropped by queues that were removed, by reason.
    """

    def __init__(self, most: int, admission: Admission, memory: int) -> None:
        self._admission, self._memory = admission, memory
        self.queues, self.heads = shared((MOST_REPLICAS, most), QUEUE), shared((MOST_REPLICAS, most), HEAD)
        self.used = shared(LINE // 8, np.int64)
        self.gone = dict.fromkeys(DROPS.values(), 0)
        self._made: dict[int, _Made] = {}
        self._back: list[int] = []  # indices that are free again, a heap
        self._pools: dict[int, np.ndarray] = {}

    def enlist(self, replica: int) -> None:
        """Make the memory of a replica's queues. Untouched pages cost nothing."""
        self._pools[replica] = private(max(1, self._memory), np.uint8)
        for index in self._made:
            self._lay_out(replica, index)

    def add(self, path: Path, number: int) -> tuple[int, Grant]:
        """Give a path its queue, if it has one, and its share of the CPU: the queue's index, and the grant.

        Raises
        ------
        NoRoom
            If there is not enough left.
        """
        grant = self._admission.admit(path)
        if not path.queue:
            return 0, grant
        if len(self._made) == self.queues.shape[1]:
            self._admission.release(grant)
            raise NoRoom(
                f"path {path.name!r}: there is room for {len(self._made)} queues; give the supervisor "
                "path_schedule=... and most_paths=..., or leave queue= out"
            )
        index = heappop(self._back) if self._back else len(self._made)
        self._made[index] = _Made(path, number, grant)
        for replica in self._pools:
            self._lay_out(replica, index)
        self.used[0] = max(int(self.used[0]), index + 1)
        return index, grant

    def remove(self, index: int, grant: Grant) -> None:
        """Take back a path's share, and its queue if it has one, which is empty and gets no more packets."""
        if grant.size:
            for counter, reason in DROPS.items():
                self.gone[reason] += int(self.queues[counter][list(self._pools), index].sum())
                self.queues[counter][list(self._pools), index] = 0
            del self._made[index]
            heappush(self._back, index)
        self._admission.release(grant)

    def backlog(self, indices: Collection[int], replicas: Sequence[int]) -> dict[tuple[int, int], int]:
        """By replica and queue, of those in which packets wait: how many have been served when these have.

        The two words are read while replicas write them: a batch that leaves may be missing in both, so it is added.
        """
        found = {}
        for at in product(replicas, indices):
            if length := int(self.queues["length"][at]):
                found[at] = int(self.heads["served"][at]) + length + int(self.queues["batch"][at])
        return found

    def left_of(self, backlog: dict[tuple[int, int], int], replicas: Collection[int]) -> dict[tuple[int, int], int]:
        """The rest of a backlog, in those replicas of it that are among these."""
        return {
            at: number
            for at, number in backlog.items()
            if at[0] in replicas and self.queues["length"][at] and self.heads["served"][at] < number
        }

    def drops(self) -> dict[str, int]:
        """Packets dropped by all queues, by reason."""
        queues = self.queues[list(self._pools), : int(self.used[0])]
        return {reason: self.gone[reason] + int(queues[counter].sum()) for counter, reason in DROPS.items()}

    def waiting(self, replicas: Sequence[int] | None = None) -> int:
        """Packets that wait in all queues of these replicas, by default of all that there were."""
        found = list(self._pools) if replicas is None else replicas
        return int(self.queues["length"][found, : int(self.used[0])].sum())

    def figures(self) -> list[dict[str, Any]]:
        """For each queue its path, that path's number, and the counters of the queue, the sums of all replicas."""
        return [
            {"path": made.path.name, "number": made.number, "places": made.path.queue, **self.figures_of(index)}
            for index, made in sorted(self._made.items())
        ]

    def figures_of(self, index: int) -> dict[str, int]:
        """The counters of a queue, the sums of all replicas."""
        queue, head = (each[list(self._pools), index] for each in (self.queues, self.heads))
        counted = {name: int(queue[name].sum()) for name in (*DROPS, "late")}
        return {"waiting": int(queue["length"].sum()), "served": int(head["served"].sum()), **counted}

    def _lay_out(self, replica: int, index: int) -> None:
        path, number, grant = self._made[index]
        queue, head = self.queues[replica, index : index + 1], self.heads[replica, index : index + 1]
        queue[:], head[:] = np.zeros(1, QUEUE), np.zeros(1, HEAD)
        queue["path"], queue["batch"] = number, path.attributes.batch
        head["weight"], head["deadline"], head["places"] = path.weight, path.deadline, path.queue
        lay_out(queue, address(self._pools[replica]) + grant.offset, path.queue, grant.room)
