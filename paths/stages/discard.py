"""Discard: the end of all packets that reach it, or of those that have a pattern.

Usage: Discard(name, reason, connects, only)
Requires and provides: one service, of the type `connects`.
Drops: the reason that is given.

Example
    Discard("no_telnet", "telnet", only={"protocol": "tcp", "destination_port": 23})
"""

from collections.abc import Mapping
from typing import Any

from scout.paths.model.attributes import Attributes
from scout.paths.model.discarding import drop_all
from scout.paths.model.graph import RouterGraph
from scout.paths.model.stage import Outcome, Stage
from scout.paths.model.verdict import drop
from scout.paths.stages.filter import Filter

__all__ = ["Discard"]


class Discard(Filter):
    """Drops packets in both directions, and counts them under a reason.

    Parameters
    ----------
    name : str
    reason : str
        The name that the packets are counted under.
    connects : str
        Type of the services that it connects, as for `Filter`.
    only : mapping, optional
        Attributes of the packets that are dropped, as for `Filter`; by default all are.

    Examples
    --------
    No packet that comes in at `left` reaches IP:

    >>> closed = Discard("closed", "left-is-closed")

    Then `graph.add(closed)` and `graph.connect("ip", "closed", "left")`.
    """

    def __init__(self, name: str, reason: str, connects: str = "ipv4", only: Mapping[str, Any] | None = None) -> None:
        super().__init__(name, drop_all, drop_all, connects, only=only)
        self.reason = drop(reason)

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        if key not in self.functions:
            return super().stage(key, graph, attributes)
        return Stage(drop_all, (Outcome(self.reason.name, self.reason),))
