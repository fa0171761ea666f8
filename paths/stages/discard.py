"""Discard: the end of all packets that reach it.

Usage: Discard(name, reason, connects)
Requires and provides: one service, of the type `connects`.
Drops: the reason that is given.

Example
    Discard("closed", "left-is-closed")
"""

from typing import Any

from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.stage import Outcome, Stage
from scout.paths.model.verdict import drop
from scout.paths.stages.filter import Filter

__all__ = ["Discard", "drop_all"]


def drop_all(frame: Any, end: Any) -> int:
    """Drop the packet: the stage's one outcome has the reason."""
    return 0


class Discard(Filter):
    """Drops every packet in both directions, and counts it under a reason.

    Parameters
    ----------
    name : str
    reason : str
        The name that the packets are counted under.
    connects : str
        Type of the services that it connects, as for `Filter`.

    Examples
    --------
    No packet that comes in at `left` reaches IP:

    >>> closed = Discard("closed", "left-is-closed")

    Then `graph.add(closed)` and `graph.connect("ip", "closed", "left")`.
    """

    def __init__(self, name: str, reason: str, connects: str = "ipv4") -> None:
        super().__init__(name, drop_all, drop_all, connects)
        self.reason = drop(reason)

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        return Stage(drop_all, (Outcome(self.reason.name, self.reason),))
