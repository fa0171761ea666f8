"""Paths that are created and deleted while packets flow.

A path of a known shape is a row in shared tables and some patterns in the demux table; a new shape is admitted first
(`scout.live_shapes`). Creating a path is a change like others (`scout.changes`): its patterns hold from the change's
epoch on, so it has its packets from one request on in every replica. Deleting is a change after which its patterns do
not hold.

The memory of a deleted path is given back in two steps. When no replica can receive the request of the change again,
its queue has been served, and no packet is held, its patterns are taken out of the lists. A replica may be on them even
then, in its search. So their memory is used again when a later change has passed all replicas.
"""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from scout.changes import Changes
from scout.live_shapes import LiveShapes
from scout.path_table import PathTable
from scout.paths.demux.table import NoRoom
from scout.paths.model.change import Amendment, Change
from scout.paths.model.path import Path
from scout.plan import Plan
from scout.ring.errors import ScoutError

__all__ = ["LivePaths"]

_ROOM_TIMEOUT = 1.0  # seconds that a path waits for the room of paths that were deleted
_NAP = 0.0002  # seconds between two looks


class LivePaths:
    """Creates and deletes the paths of a run.

    Parameters
    ----------
    plan : Plan
    paths : PathTable
    changes : Changes
    shapes : LiveShapes or None
        Takes new shapes in; None if there is room for no more paths than those of the start.
    """

    def __init__(self, plan: Plan, paths: PathTable, changes: Changes, shapes: LiveShapes | None) -> None:
        self._plan, self._paths, self._changes, self._shapes = plan, paths, changes, shapes
        self._unlinked: list[int] = []  # numbers of paths whose memory the change after this one gives back
        self._leaving = 0  # deleted paths whose memory was not given back yet

    def create(self, path: Path) -> int:
        """Let a path have its packets; see `Supervisor.create_path`."""
        self._check(path)
        deadline = time.monotonic() + _ROOM_TIMEOUT
        while True:
            leaving = self._leaving  # before the attempt, at whose end there may be room
            try:
                return self._create(partial(self._creation, path))
            except NoRoom:
                if not leaving or time.monotonic() > deadline:
                    raise
            # Replicas save their state after so many requests, and only then have passed what was before: so others
            # are needed behind the one by which a path was deleted.
            self._changes.amend(lambda epoch: [self._amendment()])
            time.sleep(_NAP)

    def delete(self, path: Path) -> int:
        """Let a path have no more packets; see `Supervisor.delete_path`."""
        return self._changes.amend(partial(self._deletion, path))

    def together(self, changes: Sequence[Change], gone: Sequence[Path], new: Sequence[Path]) -> int:
        """Make changes, and delete and create paths, all of it together; the epoch.

        Raises
        ------
        ScoutError
            If something of it cannot be; then nothing is done.
        """
        for path in gone:
            if gone.count(path) > 1:
                raise ScoutError(f"path {path.name!r}: one change deletes it twice; name it once")
        for path in new:
            self._check(path)
        deleted = frozenset(gone)

        def prepare(epoch: int) -> list[Amendment]:
            made = self._changes.prepare(changes, deleted)
            try:
                for path in gone:
                    made += self._deletion(path, epoch)
                for path in new:
                    made += self._creation(path, epoch, deleted)
            except BaseException:
                for each in reversed(made):
                    each.undo()
                raise
            return made

        return self._create(prepare)

    def exchange(self, gone: Sequence[Path], new: Sequence[Path]) -> dict[Path, ScoutError]:
        """Delete and create paths by one change; those for which it cannot be done, with the reason. Waits for no room.

        Raises
        ------
        ScoutError
            If the change finds no place among the packets; then nothing is done.
        """
        refused: dict[Path, ScoutError] = {}

        def attempt(work: Callable[[Path], object], path: Path) -> None:
            try:
                work(path)
            except ScoutError as error:
                refused[path] = error

        def prepare(epoch: int) -> list[Amendment]:
            made: list[Amendment] = []
            for path in gone:
                attempt(lambda path: made.extend(self._deletion(path, epoch)), path)
            for path in new:
                if path not in refused:
                    attempt(lambda path: made.extend(self._creation(path, epoch)), path)
            return made or [self._amendment()]

        for path in new:
            attempt(self._check, path)
        self._create(prepare)
        return refused

    def _create(self, prepare: Callable[[int], list[Amendment]]) -> int:
        """Make a change that may create paths of new shapes, whose code is fused from then on; its epoch."""
        try:
            return self._changes.amend(prepare)
        finally:
            if self._shapes:
                self._shapes.fuse()  # now: to fork its process before would delay the change

    def _check(self, path: Path) -> None:
        if not self._plan.demuxes:
            raise ScoutError(
                f"path {path.name!r}: there is room for no more paths; give the supervisor most_paths=... "
                "(scout run --most-paths)"
            )
        if path.router_graph is not self._plan.graph:
            raise ScoutError(f"path {path.name!r} belongs to another graph, called {path.router_graph.name!r}")
        if not path.attributes.traffic:
            raise ScoutError(f"path {path.name!r} takes all packets; say which packets it is to take")
        if path in self._paths:
            raise ScoutError(f"path {path.name!r} is there already")
        shape = self._paths.shapes.find(path)
        if shape is None:
            if self._shapes is None:
                raise ScoutError(f"path {path.name!r}: its shape is new; give the supervisor more most_paths")
            shape = self._shapes.admit(path)
        if path.release_order != shape.path.release_order:
            raise ScoutError(
                f"path {path.name!r}: others of its shape have order={shape.path.release_order!r}; use that"
            )

    def _creation(self, path: Path, epoch: int, gone: Collection[Path] = ()) -> list[Amendment]:
        """Prepare a path's creation, by a change that deletes the paths that are `gone`."""
        if path in self._paths:
            raise ScoutError(f"path {path.name!r} is there already")
        # Looked at here, where no other change is made meanwhile. A fact that a path which stays relies on holds.
        relying = self._paths.relying
        new = [fact for fact in path.relies_on if all(each in gone for each in relying.get(fact, ()))]
        if not all(fact.holds(path) for fact in new):
            raise ScoutError(f"path {path.name!r}: routes have changed since it was created; create it anew")
        number = self._paths.add(path, born=epoch)

        def undo() -> None:
            self._leaving += 1
            self._paths.demux.end(number, epoch)
            self._paths.forget(path)
            self._unlink(number)

        return [self._amendment(undo=undo)]

    def _deletion(self, path: Path, epoch: int) -> list[Amendment]:
        if path in self._paths and not path.attributes.traffic:
            raise ScoutError(f"path {path.name!r} takes all packets that no other path takes; it stays")
        number = self._paths.number(path)
        self._paths.demux.end(number, epoch)

        def commit() -> None:
            self._leaving += 1
            self._paths.forget(path)

        return [
            self._amendment(
                commit=commit,
                undo=partial(self._paths.demux.revive, number),
                release=partial(self._unlink, number),
            )
        ]

    def _amendment(self, **calls: Callable[[], None]) -> Amendment:
        """A change that does this, and after which what has been unlinked before it is given back."""
        unlinked, self._unlinked = self._unlinked, []

        def undo() -> None:
            self._unlinked += unlinked
            calls.get("undo", _nothing)()

        def release() -> None:
            for number in unlinked:
                self._paths.free(number)
            self._leaving -= len(unlinked)
            calls.get("release", _nothing)()

        return Amendment(commit=calls.get("commit", _nothing), undo=undo, release=release)

    def _unlink(self, number: int) -> None:
        self._paths.unlink(number)
        self._unlinked.append(number)


def _nothing() -> None:
    return None
