"""Changes of a running router: what is wanted, and what routers prepare so that every replica can make it.

A change is data. `Supervisor.change` gives it to the router that takes it (`Router.takes`), which checks it and
prepares an `Amendment`: new values of settings, orders for replicated tables, and what to do in the supervisor's
process. Nothing that packets see has changed until then. The amendments of one call reach every replica as one control
request.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from scout.paths.model.setting import Setting

__all__ = ["ORDER", "Amendment", "Change", "Order", "together"]

ORDER = np.dtype([("router", "i8"), ("operation", "i8"), ("one", "i8"), ("two", "i8")])
"""An order as replicas read it: the router by its index in the graph, and what `Router.amender` makes of the rest."""


@dataclass(frozen=True)
class Change:
    """A change of a running router; the base of all.

    Attributes
    ----------
    router : str, optional
        The name of the router that is to make it; only needed where several take such changes.
    """

    router: str = field(default="", kw_only=True)

    @property
    def text(self) -> str:
        """The change in a few words, without what was left out."""
        given = [str(getattr(self, each.name)) for each in fields(self) if getattr(self, each.name) != each.default]
        return " ".join([type(self).__name__, *given])


@dataclass(frozen=True)
class Order:
    """One step of a change that every replica makes by itself, in tables of its own.

    Attributes
    ----------
    router : str
        The router whose `amender` makes it.
    operation, one, two : int
        The step and its values, which this router alone understands.
    """

    router: str
    operation: int
    one: int
    two: int = 0


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Amendment:
    """The work that a router has prepared for some changes.

    Attributes
    ----------
    settings : mapping of Setting to int
        New values.
    orders : sequence of Order
        In the order in which they are made, before any packet that comes after the change.
    commit : callable
        Called when the change has its place in the first channel: from now on it is made.
    undo : callable
        Called instead if it does not come to that.
    release : callable
        Called when no replica will use the old values again, and no packet is held that was led by them.
    """

    settings: Mapping[Setting, int] = field(default_factory=dict)
    orders: Sequence[Order] = ()
    commit: Callable[[], None] = _nothing
    undo: Callable[[], None] = _nothing
    release: Callable[[], None] = _nothing


def together(amendments: Iterable[Callable[[], Amendment]]) -> Amendment:
    """Prepare several amendments, in turn, and make one of them; if one cannot be prepared, the others are undone."""
    prepared: list[Amendment] = []

    def undo() -> None:
        for each in reversed(prepared):
            each.undo()

    def commit() -> None:
        for each in prepared:
            each.commit()

    def release() -> None:
        for each in prepared:
            each.release()

    try:
        for prepare in amendments:
            prepared.append(prepare())
    except BaseException:
        undo()
        raise
    settings = {setting: value for each in prepared for setting, value in each.settings.items()}
    return Amendment(settings, [order for each in prepared for order in each.orders], commit, undo, release)
