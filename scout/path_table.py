"""The paths of a run by their numbers, and the shared tables by which replicas find the path of a packet."""

from collections.abc import Iterator

import numpy as np

from scout.io.packet import NO_PATH
from scout.paths.compiler.plan import lower
from scout.paths.demux.find import NO_SHAPE, PATH, QUEUE_UP
from scout.paths.demux.pattern import patterns, rank
from scout.paths.demux.table import Clash, DemuxTable
from scout.paths.demux.walk import fields_of, steps
from scout.paths.model.path import Path
from scout.plan import Plan
from scout.ring.errors import ScoutError
from scout.ring.segment import shared
from scout.shapes import Shape, Shapes

__all__ = ["PathTable"]


class PathTable:
    """The paths of a run.

    Parameters
    ----------
    plan : Plan
    shapes : Shapes
        The shapes of the plan's paths, compiled.

    Attributes
    ----------
    shapes : Shapes
    kinds : numpy.ndarray
        `PATH`[number], shared.
    demux : DemuxTable
        The paths by what packets they take.
    """

    def __init__(self, plan: Plan, shapes: Shapes) -> None:
        self._plan, self.shapes = plan, shapes
        self._paths: dict[int, tuple[Path, Shape]] = {}
        self._numbers: dict[Path, int] = {}
        self.kinds = shared(NO_PATH + 1, PATH)
        self.kinds["shape"] = self.kinds["first"] = NO_SHAPE
        self.demux = DemuxTable(len(plan.graph.ports), plan.room)
        self._fields = {name: fields_of(steps(plan.graph, name)) for name in plan.graph.ports}
        self._records = [self._new_records(shape) for shape in shapes]
        for path, number in plan.numbers.items():
            self._add(path, number)

    def __iter__(self) -> Iterator[Path]:
        return iter(list(self._numbers))

    def number(self, path: Path) -> int:
        """The number of a path.

        Raises
        ------
        ScoutError
            If it is no path of this run.
        """
        if path not in self._numbers:
            raise ScoutError(f"path {path.name!r} is not one of this run; create it first")
        return self._numbers[path]

    def named(self, name: str) -> Path:
        """The path of this name.

        Raises
        ------
        ScoutError
            If there is none.
        """
        names = {path.name: path for path in self._numbers}
        if name not in names:
            raise ScoutError(f"no path begins at {name!r}; paths begin at {', '.join(list(names)[:10])}")
        return names[name]

    @property
    def queued(self) -> list[Path]:
        """The paths with queues; a queue's index is that of its path here."""
        return self._plan.queues

    # Rows of shared arrays: a shape of many paths has one for each number that a path can have, another has one.

    def row(self, path: Path) -> tuple[Shape, int]:
        """The shape of a path, and the path's row in the arrays of that shape."""
        number = self.number(path)
        shape = self._paths[number][1]
        return shape, number if shape.many else 0

    def new_counters(self, shape: Shape) -> np.ndarray:
        """Room for what one replica counts on the paths of a shape: int64[row, counter]; unused rows cost nothing."""
        return shared((self._rows(shape), shape.compiled.plan.row), np.int64)

    def records(self, shape: Shape) -> np.ndarray:
        """The records of the paths of a shape, which all replicas share."""
        return self._records[shape.number]

    def _new_records(self, shape: Shape) -> np.ndarray:
        return shared(self._rows(shape), shape.compiled.plan.record.dtype)

    def _rows(self, shape: Shape) -> int:
        return self._plan.room if shape.many else 1

    # Paths.

    def _add(self, path: Path, number: int) -> None:
        port, shape = self._plan.index(path), self.shapes.add(path)
        if shape.has_records:
            self._records[shape.number][number] = lower(path).record[0]
        queue = self._plan.queues.index(path) if path.queue else 0
        self.kinds[number] = (shape.number, QUEUE_UP if path.queue else shape.number, queue, port)
        if path.attributes.traffic:
            self._take_packets(path, number, port)
        else:
            self.demux.set_default(port, number)
        self._paths[number], self._numbers[path] = (path, shape), number

    def _take_packets(self, path: Path, number: int, port: int) -> None:
        fields = self._fields[path.source]
        try:
            self.demux.add(port, number, rank(path.attributes, fields), patterns(path.attributes, fields))
        except Clash as clash:
            other, _ = self._paths[clash.path]
            raise ScoutError(f"{path.name!r} and {other.name!r} take the same packets; narrow one of them") from clash
