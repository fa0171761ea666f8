"""The paths of a run by their numbers, and the shared tables by which replicas find the path of a packet.

The supervisor alone changes them. Rows that replicas may still read are given back by steps (`scout.live_paths`).
"""

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from scout.admission import Admission, Grant
from scout.io.account import ACCOUNT, DEFER, DROP
from scout.io.packet import NO_PATH
from scout.path_queues import PathQueues
from scout.paths.compiler.plan import known_plan
from scout.paths.demux.find import ACCOUNTED, ALWAYS, DISCARDS, LIMITED, NO_SHAPE, PATH, QUEUE_UP
from scout.paths.demux.pattern import patterns, rank
from scout.paths.demux.table import Clash, DemuxTable, NoRoom
from scout.paths.demux.walk import fields_of, steps
from scout.paths.model.discarding import discards
from scout.paths.model.path import Path
from scout.paths.model.rule import Fact
from scout.plan import Plan
from scout.ring.errors import ScoutError
from scout.ring.segment import shared
from scout.shape_memory import ShapeMemory
from scout.shapes import Shape, Shapes

__all__ = ["PathTable"]


class PathTable:
    """The paths of a run.

    Parameters
    ----------
    plan : Plan
    shapes : Shapes
        The shapes of the plan's paths, compiled.
    memory : ShapeMemory
        What the code of shapes works on.

    Attributes
    ----------
    shapes : Shapes
    kinds : numpy.ndarray
        `PATH`[number], shared.
    demux : DemuxTable
        The paths by what packets they take.
    relying : dict of Fact to dict of Path to None
        The facts that the code of paths relies on, which a change may end, each with these paths.
    queues : PathQueues
        Their queues.
    """

    def __init__(self, plan: Plan, shapes: Shapes, memory: ShapeMemory) -> None:
        self._plan, self.shapes, self._memory = plan, shapes, memory
        self._paths: dict[int, tuple[Path, Shape]] = {}
        self._numbers: dict[Path, int] = {}
        self.relying: dict[Fact, dict[Path, None]] = {}
        self._given = set(plan.numbers.values())
        self._fresh, self._back = max(len(plan.graph.ports) - 1, *self._given) + 1, list[int]()  # numbers that are free
        self.kinds = shared(NO_PATH + 1 if plan.demuxes else plan.room, PATH)
        self.kinds["shape"] = self.kinds["first"] = NO_SHAPE
        self.demux = DemuxTable(len(plan.graph.ports), plan.room)
        self._ports = {name: index for index, name in enumerate(plan.graph.ports)}
        self._fields = {name: fields_of(steps(plan.graph, name)) for name in plan.graph.ports}
        self._accounts: dict[int, np.ndarray] = {}  # by replica
        self._throttled = 0  # packets of paths that were deleted
        admission = Admission(plan.queue_memory)
        self.queues = PathQueues(plan.most_queues, admission, plan.queue_memory)
        self._got: dict[int, tuple[int, Grant]] = {}  # by number
        self._leading: set[int] = set()  # queues behind stages that led the packets, or of deleted paths
        self._gone = [np.zeros(shape.plan.row, np.int64) for shape in shapes]
        self._counting = threading.Lock()
        for path in plan.numbers:
            self.add(path)

    def __iter__(self) -> Iterator[Path]:
        return iter(list(self._numbers))

    def __contains__(self, path: object) -> bool:
        return path in self._numbers

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

    def at(self, number: int) -> Path | None:
        """The path of a number; None if there is none, or it was deleted."""
        path, _ = self._paths.get(number, (None, None))
        return path if path in self._numbers else None

    def named(self, name: str) -> Path:
        """The path of this name.

        Raises
        ------
        ScoutError
            If there is none.
        """
        names = {path.name: path for path in self}
        if name not in names:
            raise ScoutError(f"no path begins at {name!r}; paths begin at {', '.join(list(names)[:10])}")
        return names[name]

    # The counters of paths, rows of shared arrays: a shape of many paths has a row for each number of a path.

    def open_accounts(self, replica: int) -> np.ndarray:
        """Make a replica's accounts, `ACCOUNT`[number], and its queues. Unused rows cost nothing."""
        self.queues.enlist(replica)
        accounts = shared(len(self.kinds), ACCOUNT)
        for path, number in list(self._numbers.items()):
            _set_budget(accounts, path, number)
        with self._counting:
            self._accounts[replica] = accounts
        return accounts

    def account(self, path: Path) -> dict[str, int]:
        """The use of a path, the sums of all replicas: `bytes`, nanoseconds `busy`, and packets `throttled`."""
        return self.account_of(self.number(path))

    def account_of(self, number: int) -> dict[str, int]:
        """The same by the path's number."""
        with self._counting:
            rows = [accounts[number] for accounts in self._accounts.values()]
        return {name: sum(int(row[name]) for row in rows) for name in ("bytes", "busy", "throttled")}

    def queue_of(self, path: Path) -> dict[str, int]:
        """The counters of a path's queue; empty if it has none."""
        return self.queues.figures_of(self._got[self.number(path)][0]) if path.queue else {}

    @property
    def throttled(self) -> int:
        """Packets dropped as their paths were over their budgets, of all paths that there were."""
        with self._counting:
            used = [accounts["throttled"][: self._fresh].sum() for accounts in self._accounts.values()]
        return self._throttled + int(sum(used))

    def memory(self, path: Path) -> int:
        """The bytes that a path takes in a replica and in what replicas share: its queue, its rows, its patterns."""
        number = self.number(path)
        shape, (_, grant) = self._paths[number][1], self._got[number]
        rows = PATH.itemsize + shape.plan.row * 8 + (ACCOUNT.itemsize if path.is_accounted else 0)
        rows += shape.plan.record.nbytes if shape.has_records else 0
        return rows + grant.size + self.demux.bytes_of(number)

    def counters(self, path: Path, replica: int | None = None) -> np.ndarray:
        """The counters of a path in a replica, by default the sums of all replicas: int64[counter], a copy.

        Raises
        ------
        ScoutError
            If it is no path of this run.
        """
        number = self.number(path)
        shape = self._paths[number][1]
        return self._counted(shape, number if shape.many else 0, replica)

    def activity(self, paths: Sequence[Path]) -> list[int]:
        """For each path a number that grows with every packet that enters it; 0 if the path was deleted meanwhile."""
        counted = np.zeros(len(paths), np.int64)
        groups: dict[Shape, tuple[list[int], list[int]]] = {}  # indices and rows, by shape
        for index, path in enumerate(paths):
            number = self._numbers.get(path, NO_PATH)
            _, shape = self._paths.get(number, (None, None))
            if shape:
                indices, rows = groups.setdefault(shape, ([], []))
                indices.append(index)
                rows.append(number if shape.many else 0)
        with self._counting:
            for shape, (indices, rows) in groups.items():
                for replica in self._memory.replicas:
                    counted[indices] += self._memory.counted(replica, shape)[rows].sum(axis=1)
        return counted.tolist()

    def total(self, shape: Shape) -> np.ndarray:
        """The sum of the counters of all paths of a shape, also of those that were deleted, over all replicas."""
        with self._counting:
            used: slice | list[int] = slice(self._fresh if shape.many else 1)
            if shape.compiled is None:  # whose rows are among those of other shapes
                used = [number for number, (_, other) in list(self._paths.items()) if other is shape]
            counted = [self._memory.counted(replica, shape) for replica in self._memory.replicas]
            found = [rows[used].sum(axis=0) for rows in counted]
            return np.sum([self._gone[shape.number], *found], axis=0)

    def _counted(self, shape: Shape, row: int, replica: int | None = None) -> np.ndarray:
        with self._counting:
            replicas = self._memory.replicas if replica is None else [replica]
            return np.sum([self._memory.counted(each, shape)[row] for each in replicas], axis=0)

    # Paths.

    def admit(self, path: Path) -> Shape:
        """Know the shape of a path that comes while packets flow."""
        with self._counting:
            shape = self.shapes.admit(path)
            self._gone.append(np.zeros(shape.plan.row, np.int64))
        return shape

    def shape(self, path: Path) -> Shape:
        """The shape of a path of this run; errors as of `number`."""
        return self._paths[self.number(path)][1]

    def add(self, path: Path, born: int = ALWAYS) -> int:
        """Let a path of a known shape have its packets from an epoch on; its number.

        Raises
        ------
        ScoutError
            If another path takes the same packets, or there is no room; then nothing is changed.
        """
        port, shape = self._ports[path.source], self.shapes.add(path)
        number = self._free_number(path)
        self._memory.write_record(number, shape.number, known_plan(path))
        queue, _ = self._got[number] = self.queues.add(path, number)
        first = shape.number + ACCOUNTED if path.is_accounted else shape.number
        if path.queue and path.early:
            self._leading.add(queue)
        elif path.queue:
            first = QUEUE_UP
        elif discards(path) and not path.is_accounted:
            first = DISCARDS
        if path.attributes.cpu and not path.queue:
            queue = LIMITED
        self.kinds[number] = (shape.number, first, queue, port)
        for accounts in self._accounts.values():
            _set_budget(accounts, path, number)
        try:
            if path.attributes.traffic:
                self._take_packets(path, number, port, born)
            else:
                self.demux.set_default(port, number)
        except ScoutError:
            self.queues.remove(*self._got.pop(number))
            raise
        if number == self._fresh:
            self._fresh += 1
        elif number not in self._given:
            self._back.pop()
        self._paths[number], self._numbers[path], path.runs_as = (path, shape), number, shape
        for fact in path.relies_on:
            self.relying.setdefault(fact, {})[path] = None
        return number

    def _free_number(self, path: Path) -> int:
        """The number that the plan has for a path, or one that is free."""
        given = self._plan.numbers.get(path)
        if given is not None and given not in self._paths:
            return given
        if len(self._paths) >= self._plan.most_paths:
            raise NoRoom(f"there is room for {self._plan.most_paths} paths; delete one, or give more most_paths")
        return self._back[-1] if self._back else self._fresh

    def _take_packets(self, path: Path, number: int, port: int, born: int) -> None:
        fields = self._fields[path.source]
        try:
            self.demux.add(port, number, rank(path.attributes, fields), patterns(path.attributes, fields), born)
        except Clash as clash:
            other, _ = self._paths[clash.path]
            raise ScoutError(f"{path.name!r} and {other.name!r} take the same packets; narrow one of them") from clash

    def forget(self, path: Path) -> None:
        """Have a path be one of this run no longer, for people; packets may still be on it."""
        number = self._numbers.pop(path)
        if path.queue:
            self._leading.add(self._got[number][0])
        path.runs_as = None
        for fact in path.relies_on:
            del self.relying[fact][path]
            if not self.relying[fact]:
                del self.relying[fact]

    def unlink(self, number: int) -> None:
        """No packet is on a path any more, nor will be: keep the sum of its counters, and take its patterns away."""
        shape = self._paths[number][1]
        with self._counting:
            for replica in self._memory.replicas:
                row = self._memory.counted(replica, shape)[number]
                self._gone[shape.number] += row
                row[:] = 0
            for accounts in self._accounts.values():
                self._throttled += int(accounts["throttled"][number])
                accounts[number] = np.zeros((), ACCOUNT)
        self.demux.unlink(number)

    def backlog(self, replicas: Sequence[int]) -> dict[tuple[int, int], int]:
        """The packets that wait in queues and were led by what holds now, or held once (`PathQueues.backlog`).

        They wait behind stages that led them, or on paths that were deleted, whose code may rely on what held before.
        """
        return self.queues.backlog(self._leading, replicas)

    def free(self, number: int) -> None:
        """Give back the rows and the queue of a path; every replica has left the batch in which it was at `unlink`."""
        self.demux.free(number)
        self._leading.discard(self._got[number][0])
        self.queues.remove(*self._got.pop(number))
        del self._paths[number]
        if number not in self._given:  # a control request may name the number of a path that was there at the start
            self.kinds[number]["shape"] = self.kinds[number]["first"] = NO_SHAPE
            self._back.append(number)


def _set_budget(accounts: np.ndarray, path: Path, number: int) -> None:
    """Open a path's account in a replica, which has no packets of the path yet."""
    if path.is_accounted:
        share = path.attributes.cpu
        accounts["price"][number] = 1 / share if share else 0.0
        accounts["policy"][number] = DEFER if path.attributes.over_budget == "defer" else DROP
