"""The thread that creates the paths that stages ask for, and deletes those that are idle, or have to make room.

Replicas write requests to rings (`scout.paths.framework.path_requests`); each round of this thread makes one change of
all that were found. So paths are created and deleted at one request in every replica, and packets never wait for it.
"""

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba.core import types

from scout.domain_arguments import Channels
from scout.idle_paths import IdlePaths
from scout.live_paths import LivePaths
from scout.memory import Memory
from scout.path_table import PathTable
from scout.paths.demux.pattern import patterns
from scout.paths.demux.table import NoRoom
from scout.paths.demux.walk import fields_of, steps
from scout.paths.framework.path_requests import CREATE, FULL, READ, WRITTEN, PathRequests
from scout.paths.model.path import Path
from scout.plan import Plan
from scout.ring.atomics import load64_acquire, store64_release
from scout.ring.errors import ScoutError
from scout.ring.jit import entry
from scout.ring.segment import address

__all__ = ["PathKeeper"]

_ROUND = 0.002  # seconds between two looks at the rings
_SLOW_ROUND = 0.05  # where no stage asks for paths
_LEAST_IDLE, _MOST_IDLE = 0.05, 1.0  # seconds between two looks for idle paths
_GRACE = 3.0

_FIGURES = ("created", "ended", "idle", "evicted", "known", "most_reached", "no_room", "refused")


@entry(types.int64(types.int64))
def _load(place: int) -> int:
    """The word at an address (acquire: pairs with the exchange in `request_path`; the requests before it are whole)."""
    return load64_acquire(place)


@entry(types.void(types.int64, types.int64))
def _store(place: int, value: int) -> None:
    """Store a word at an address (release: the requests before it have been read; `request_path` loads it)."""
    store64_release(place, value)


class _Asker:
    """A router whose stages ask for paths, and the paths that it got.

    Attributes
    ----------
    paths : dict of str to Path
        By their names; if it evicts, then in the order in which their last packets were seen (`sort`).
    """

    def __init__(self, requests: PathRequests) -> None:
        self.requests = requests
        self.paths: dict[str, Path] = {}
        self.figures: Counter[str] = Counter()
        self._templates: dict[Path, Path] = {}
        self._counted: dict[str, int] = {}  # the activity of the paths, when it was looked at last

    def sort(self, table: PathTable) -> None:
        """Put the paths that had packets since the last call behind the others; a new path has had some."""
        counted = dict(zip(self.paths, table.activity(list(self.paths.values())), strict=True))
        for name, count in counted.items():
            if count != self._counted.get(name):
                self.paths[name] = self.paths.pop(name)
        self._counted = counted

    def template(self, path: Path) -> Path:
        if path not in self._templates:
            self._templates[path] = self.requests.template(path)
        return self._templates[path]


@dataclass
class _Round:
    """The changes that one round of the thread is to make.

    Attributes
    ----------
    wanted : dict of str to tuple
        Paths to create, by name, and who asked for them.
    gone : dict of Path to str
        Paths to delete, and the figures that count them.
    more : Counter of _Asker
        By how many paths each asker's grow.
    oldest : dict of _Asker to iterator of Path
        The paths that may be evicted, from the one that was idle longest.
    """

    wanted: dict[str, tuple[Path, _Asker]] = field(default_factory=dict)
    gone: dict[Path, str] = field(default_factory=dict)
    more: Counter[_Asker] = field(default_factory=Counter)
    oldest: dict[_Asker, Iterator[Path]] = field(default_factory=dict)

    def delete(self, asker: _Asker, path: Path, reason: str) -> None:
        """Note that a path of an asker is to go."""
        self.more[asker] -= path not in self.gone
        self.gone[path] = reason

    def make_room(self, asker: _Asker, table: PathTable) -> bool:
        """Note that the path that was idle longest is to go, if the asker evicts, and there is one."""
        if not asker.requests.evicts:
            return False
        if asker not in self.oldest:
            asker.sort(table)
            self.oldest[asker] = iter(list(asker.paths.values()))
        path = next((path for path in self.oldest[asker] if path not in self.gone), None)
        if path is not None:
            self.delete(asker, path, "evicted")
        return path is not None


class PathKeeper:
    """Keeps the paths of a run that come and go with packets, from `start` until `stop`.

    Parameters
    ----------
    plan : Plan
    channels : sequence of tuple
        The channels, each with its paths.
    memory : Memory
    live_paths : LivePaths
    say : callable
        Reports a sentence.
    """

    def __init__(
        self,
        plan: Plan,
        channels: Channels,
        memory: Memory,
        live_paths: LivePaths,
        say: Callable[[str], None],
    ) -> None:
        self._memory, self._paths, self._live_paths = memory, memory.paths, live_paths
        self._say, self._demuxes = say, plan.demuxes
        self._idle = IdlePaths(channels, memory)
        self._fields = {name: fields_of(steps(plan.graph, name)) for name in plan.graph.ports}
        self._askers = [_Asker(each.path_requests) for each in plan.graph.routers if each.path_requests]
        self._gone: dict[Path, str] = {}  # paths that could not be deleted yet, with the reasons why they are
        self._next_idle = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None  # one that was never started would refer to this object for ever

    def start(self) -> None:
        """Start the thread, unless there are no paths that come and go."""
        if self._demuxes:
            self._thread = threading.Thread(target=self._run, name="scout-paths", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread:
            self._thread.join(_GRACE)

    def figures(self) -> list[dict[str, Any]]:
        """For each router whose stages ask for paths what became of the requests; see `Supervisor.path_requests`."""
        return [
            {
                "router": asker.requests.name,
                "paths": len(asker.paths),
                "most": asker.requests.most,
                **{name: asker.figures[name] for name in _FIGURES},
                "ring_full": sum(int(progress[FULL]) for _, progress in self._rings(asker)),
            }
            for asker in self._askers
        ]

    def _run(self) -> None:
        told = False
        while not self._stopped.wait(_ROUND if self._askers else _SLOW_ROUND):
            try:
                self._serve()
            except Exception as error:
                if not told and not self._stopped.is_set():
                    self._say(f"paths: {''.join(traceback.format_exception(error)).rstrip()}")
                told = True

    def _serve(self) -> None:
        changes = _Round(gone={path: reason for path, reason in self._gone.items() if path in self._paths})
        self._gone = {}
        for asker in self._askers:
            for request in self._read(asker):
                self._note(asker, request, changes)
        if time.monotonic() >= self._next_idle:
            changes.gone |= dict.fromkeys(self._idle.find(), "idle")
            shortest = min((path.attributes.idle for path in self._paths if path.attributes.idle), default=_MOST_IDLE)
            self._next_idle = time.monotonic() + min(_MOST_IDLE, max(_LEAST_IDLE, shortest / 4))
            for asker in self._askers:  # without those that were deleted by others
                asker.paths = {name: path for name, path in asker.paths.items() if path in self._paths}
                if asker.requests.evicts:
                    asker.sort(self._paths)
        if changes.wanted or changes.gone:
            self._exchange(changes.wanted, changes.gone)

    def _exchange(self, wanted: dict[str, tuple[Path, _Asker]], gone: dict[Path, str]) -> None:
        """Delete and create paths, by one change, and count what became of the requests."""
        new = [path for path, _ in wanted.values()]
        try:
            refused = self._live_paths.exchange(list(gone), new)
        except ScoutError as cause:  # the change found no place among the packets
            refused = dict.fromkeys([*gone, *new], NoRoom(str(cause)))
            self._gone = gone
        for name, (path, asker) in wanted.items():
            error = refused.get(path)
            asker.figures["created" if error is None else "no_room" if isinstance(error, NoRoom) else "refused"] += 1
            if error is None:
                asker.paths[name] = path
        for path, reason in gone.items():
            for asker in self._askers:
                if path not in refused and path.name in asker.paths:
                    del asker.paths[path.name]
                    asker.figures[reason] += 1

    def _note(self, asker: _Asker, request: np.void, changes: _Round) -> None:
        """Note what a request asks for, or count why it is refused."""
        path = self._paths.at(int(request["path"]))
        key = int(request["word_0"]), int(request["word_1"])
        if path is None:
            asker.figures["refused"] += 1  # it was deleted meanwhile
        elif request["operation"] == CREATE:
            self._note_wanted(asker, path, key, changes)
        elif path.name in asker.paths and self._takes(path, key):
            changes.delete(asker, path, "ended")

    def _takes(self, path: Path, key: tuple[int, int]) -> bool:
        return any(pattern.takes(*key) for pattern in patterns(path.attributes, self._fields[path.source]))

    def _note_wanted(self, asker: _Asker, path: Path, key: tuple[int, int], changes: _Round) -> None:
        requests, fields = asker.requests, self._fields[path.source]
        try:
            made = asker.template(path).narrowed(**requests.traffic(key, fields), **requests.wishes)
        except ScoutError:
            asker.figures["refused"] += 1
            return
        room = requests.most - len(asker.paths) - changes.more[asker]
        if made.name in changes.wanted or made.name in asker.paths:
            asker.figures["known"] += 1
        elif room > 0 or changes.make_room(asker, self._paths):
            changes.wanted[made.name] = made, asker
            changes.more[asker] += 1
        else:
            asker.figures["most_reached"] += 1

    def _rings(self, asker: _Asker) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The ring of each replica that there was, and its progress; none if no path leads to the router."""
        requests = asker.requests
        for replica in list(self._memory.settings):
            try:
                yield self._memory.table(requests.requests, replica), self._memory.table(requests.progress, replica)
            except ScoutError:
                return

    def _read(self, asker: _Asker) -> Iterator[np.void]:
        """The requests that came since the last look."""
        for rows, progress in self._rings(asker):
            read, written = int(progress[READ]), _load(address(progress) + 8 * WRITTEN)
            found = [rows[number % len(rows)].copy() for number in range(read, written)]
            _store(address(progress) + 8 * READ, written)
            yield from found
