"""Admission: whether there is CPU and memory left for a path, and what it gets of them.

Every domain serves every path, so a path's share of a domain's time (`cpu=`) is one of each domain's. The shares of all
paths are a whole domain at most; paths without one use the rest. Memory is that of the queues: each replica has a pool
of it from its beginning, as no memory can be given to a replica that runs. A queue has the same offset in all of these
pools.
"""

from dataclasses import dataclass

from scout.io.path_queue import LEAST_ROOM, bytes_of
from scout.paths.demux.table import NoRoom
from scout.paths.model.path import Path
from scout.ring.errors import ScoutError
from scout.ring.segment import LINE

__all__ = ["Admission", "Grant", "queue_bytes"]

_WHOLE = 1.0 + 1e-9  # shares such as 0.1 are no exact numbers


@dataclass(frozen=True)
class Grant:
    """A path's share of the CPU and its queue's memory.

    Attributes
    ----------
    offset, size : int
        Its queue's memory in the pool of each replica, bytes; no size: it has no queue.
    room : int
        Bytes of it that are for packets.
    cpu : float
        Its share of each domain's time.
    """

    offset: int
    size: int
    room: int
    cpu: float


class Admission:
    """Keeps count of the CPU and the memory that are left.

    Parameters
    ----------
    memory : int
        Bytes for queues in each replica.
    """

    def __init__(self, memory: int) -> None:
        self._memory, self._cpu = memory, 0.0
        self._free = [(0, memory)] if memory else []  # offsets and sizes, ascending; no two of them adjoin

    @property
    def left(self) -> tuple[float, int]:
        """The share of a domain's time, and the bytes for queues, that are left."""
        return max(0.0, 1.0 - self._cpu), sum(size for _, size in self._free)

    def admit(self, path: Path) -> Grant:
        """Give a path what it asks for.

        Raises
        ------
        NoRoom
            If that is more than is left; with the figures. Then nothing has changed.
        ScoutError
            If its budget is less than its queue takes.
        """
        cpu = path.attributes.cpu
        if self._cpu + cpu > _WHOLE:
            raise NoRoom(
                f"path {path.name!r} wants cpu={cpu:g} of each domain's time, and {self.left[0]:.3g} is left; give it "
                "less, or delete a path that has a share"
            )
        size, room = queue_bytes(path)
        offset = self._allocate(path, size) if size else 0
        self._cpu += cpu
        return Grant(offset, size, room, cpu)

    def release(self, grant: Grant) -> None:
        """Take back the share and the memory of a path."""
        self._cpu = max(0.0, self._cpu - grant.cpu)
        if grant.size:
            merged: list[tuple[int, int]] = []
            for offset, size in sorted([*self._free, (grant.offset, grant.size)]):
                if merged and sum(merged[-1]) == offset:
                    merged[-1] = (merged[-1][0], merged[-1][1] + size)
                else:
                    merged.append((offset, size))
            self._free = merged

    def _allocate(self, path: Path, size: int) -> int:
        for index, (offset, free) in enumerate(self._free):
            if free >= size:
                self._free[index : index + 1] = [(offset + size, free - size)] if free > size else []
                return offset
        largest = max((free for _, free in self._free), default=0)
        raise NoRoom(
            f"path {path.name!r}: its queue takes {size:,} bytes of memory in each replica, and {self.left[1]:,} of "
            f"{self._memory:,} are left{f', {largest:,} in one piece' if largest < self.left[1] else ''}; give it "
            "memory=... or fewer places, or give the supervisor more queue_memory"
        )


def queue_bytes(path: Path) -> tuple[int, int]:
    """The bytes that a path's queue takes in each replica, and those of them that are room for packets.

    Raises
    ------
    ScoutError
        If the path's budget is less than its queue takes.
    """
    if not path.queue:
        return 0, 0
    size, room = bytes_of(path.queue, path.attributes.memory)
    if room < LEAST_ROOM:
        raise ScoutError(
            f"path {path.name!r}: memory={path.attributes.memory:,}, but a queue of {path.queue} places takes "
            f"{size - room + LEAST_ROOM:,} bytes at least; give it more, or fewer places"
        )
    return size + LINE - 1 & -LINE, room
