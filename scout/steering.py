"""What a supervisor can be told while it runs: control requests for services, and changes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from scout.builder import Builder
from scout.changes import Changes
from scout.control import Control
from scout.difference import difference
from scout.live_paths import LivePaths
from scout.live_ports import LivePorts
from scout.membership import Membership
from scout.path_keeper import PathKeeper
from scout.paths.changes.paths import CreatePath, DeletePath
from scout.paths.changes.ports import AddPort, DeletePort
from scout.paths.framework.service import Service
from scout.paths.model.change import Change
from scout.paths.model.path import Path
from scout.plan import Plan
from scout.ring.errors import ScoutError
from scout.watcher import Watcher

__all__ = ["Parts", "Steering"]


class Parts(NamedTuple):
    """The parts of a run."""

    membership: Membership
    watcher: Watcher
    control: Control
    changes: Changes
    live_paths: LivePaths
    path_keeper: PathKeeper
    builder: Builder
    live_ports: LivePorts

    def stop(self) -> None:
        """Stop them, in the order in which they need one another."""
        self.builder.close()  # the path keeper may be waiting for a stage that is compiled
        self.path_keeper.stop()
        self.watcher.stop()
        self.membership.stop()
        self.changes.close()


class Steering:
    """The part of `Supervisor` by which it is told something while packets flow."""

    plan: Plan
    given_paths: list[Path]
    """The paths that it was given, and those that `reload` created in place of them."""
    _parts: Parts | None

    @property
    def _running(self) -> Parts:
        if self._parts is None:
            raise ScoutError("the supervisor was not started; use it in a `with` block")
        return self._parts

    def control(self, service: Service, kind: int, argument: int = 0) -> None:
        """Tell a service something, at the same position among the packets of a channel in every replica.

        Raises
        ------
        ScoutError
            If the service is on no path, or its channel stays full for a second.
        """
        self._running.control.send(service, kind, argument)

    def bind(self, service: Service, *handlers: str) -> None:
        """Have just these handlers of a service bound, in all replicas from the same packet on; errors as `control`."""
        self._running.control.bind(service, *handlers)

    def change(self, *changes: Change) -> int:
        """Change the router while packets flow: all these changes together, in all replicas from the same packet on.

        Where ports have channels of their own, each channel has its own position for the change. The call returns when
        the change has its positions; replicas come to it after the packets that they have not seen yet (`reached`).

        Parameters
        ----------
        *changes : Change
            For example `AddRoute`, `SetNeighbour`, `SetValue` and `CreatePath`.

        Returns
        -------
        int
            The epoch of the change: its number.

        Raises
        ------
        ScoutError
            If one of them cannot be made, which it names with the fix, or if a channel stays full for a second. Nothing
            has changed then.

        Examples
        --------
        ::

            supervisor.change(DeleteRoute("10.8.0.0/16"), AddRoute("10.9.0.0/16", via="10.0.1.2"))
        """
        gone = [each.path for each in changes if isinstance(each, DeletePath)]
        new = [each.path for each in changes if isinstance(each, CreatePath)]
        others = [each for each in changes if not isinstance(each, CreatePath | DeletePath)]

        def make(rest: Sequence[Change]) -> int:
            if gone or new:
                return self._running.live_paths.together(rest, gone, new)
            return self._running.changes.apply(rest)

        if any(isinstance(each, AddPort | DeletePort) for each in others):  # more than an entry in the log
            return self._running.live_ports.apply(others, make, frozenset(gone))
        return make(others)

    @contextmanager
    def changes(self) -> Iterator[list[Change]]:
        """Collect changes in a list, and make them together at the end of the block; none if the block raises.

        Examples
        --------
        ::

            with supervisor.changes() as changes:
                for prefix in prefixes:
                    changes.append(AddRoute(prefix, via="10.0.1.2"))
        """
        collected: list[Change] = []
        yield collected
        self.change(*collected)

    def create_path(self, path: Path) -> int:
        """Let a path have its packets from now on, in all replicas from the same packet on.

        There has to be room for it (`most_paths`). If a path of its shape was there, such as one that it was narrowed
        from, nothing is compiled. If its shape is new, it forwards at once in the *linked* tier, stage by stage, and a
        process in the background fuses it: `Path.tier` tells which. Stages that no path has had are compiled first;
        then the call waits for that, with a word to `report`, and the packets go on as before.

        Parameters
        ----------
        path : Path
            Such as `Path.narrowed` of a path that runs, or a new one of the graph that runs.

        Returns
        -------
        int
            The epoch of this change (`reached`).

        Raises
        ------
        ScoutError
            If it cannot be: another path takes the same packets, there is no room, or its shape is new and needs what
            was not there at the start, such as a table of its own. Nothing has changed then.

        Examples
        --------
        ::

            tcp = graph.create_path("left", protocol="tcp")
            with Supervisor(graph, [graph.create_path("left"), tcp], most_paths=10_000) as supervisor:
                connection = tcp.narrowed(source="10.0.0.2", source_port=40_000)
                supervisor.create_path(connection)
                ...
                supervisor.delete_path(connection)
        """
        return self._running.live_paths.create(path)

    def delete_path(self, path: Path) -> int:
        """Let a path have no more packets, in all replicas from the same packet on; the epoch of this change.

        Packets that it has go on to their ends. The account keeps what they were counted as.

        Raises
        ------
        ScoutError
            If it is no path of this run, or takes all packets of its port.
        """
        return self._running.live_paths.delete(path)

    def path_requests(self) -> list[dict[str, Any]]:
        """For each router whose stages ask for paths (as `FlowPaths`) what became of the requests.

        Returns
        -------
        list of dict
            `router`; `paths` that it has now, of `most`; requests that were granted (`created`), and refused: as the
            path was there or on its way (`known`), as there were most (`most_reached`), as the supervisor had no room
            (`no_room`), as it was not possible (`refused`), and as the ring of requests was full (`ring_full`); paths
            that a stage ended (`ended`), and that were deleted as no packets came (`idle`), or for a flow's request, as
            those that were idle longest (`evicted`).
        """
        return self._running.path_keeper.figures()

    def reload(self, paths: Sequence[Path]) -> list[Change]:
        """Make the router that runs like another one, by changes; what did not change keeps its state.

        Parameters
        ----------
        paths : sequence of Path
            Paths of the other router graph, those that a supervisor would be given. They are compared with
            `given_paths`; paths that were created while it runs stay. A path of which the traffic or a wish differs is
            deleted, and one is created.

        Returns
        -------
        list of Change
            What was changed: `scout.difference.difference` tells it beforehand.

        Raises
        ------
        ScoutError
            If something differs that cannot be changed while the router runs. Nothing has changed then.
        """
        changes = difference(self.given_paths, paths)
        if changes:
            gone = [each.path for each in changes if isinstance(each, DeletePath)]
            new = [each.path for each in changes if isinstance(each, CreatePath)]
            self.change(*changes)
            self.given_paths = [*(path for path in self.given_paths if path not in gone), *new]
        return changes

    def reached(self, epoch: int) -> bool:
        """True if every replica has come to the change of this epoch, in every channel."""
        return self._running.changes.reached(epoch)
