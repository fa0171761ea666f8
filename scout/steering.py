"""What a supervisor can be told while it runs: control requests for services, and changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from scout.changes import Changes
from scout.control import Control
from scout.paths.framework.service import Service
from scout.paths.model.change import Change

__all__ = ["Steering"]


class _Running(Protocol):
    """The parts of a run that does run; else asking for them raises an error."""

    @property
    def control(self) -> Control: ...

    @property
    def changes(self) -> Changes: ...


class Steering:
    """The part of `Supervisor` by which it is told something while packets flow."""

    _running: _Running

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
            For example `AddRoute`, `SetNeighbour` and `SetValue`.

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
        return self._running.changes.apply(changes)

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

    def reached(self, epoch: int) -> bool:
        """True if every replica has come to the change of this epoch, in every channel."""
        return self._running.changes.reached(epoch)
