"""Drop: the end of all packets that reach it.

Usage: Drop(name, reason, service)
Requires and provides: one service, of the type that is given.
Drops: the reason that is given.
"""

from typing import Any

from scout.paths.model.graph import RouterGraph
from scout.paths.model.stage import Outcome, Stage, drop
from scout.paths.stages.filter import Filter

__all__ = ["Drop", "swallow"]


def swallow(frame: Any, end: Any) -> int:
    """Drop the packet: the stage's one outcome says why."""
    return 0


class Drop(Filter):
    """Drops everything, both ways, and counts it under a reason.

    Parameters
    ----------
    name : str
    reason : str
        What it is counted under.
    service : str
        Type of the service, as for `Filter`.

    Examples
    --------
    Nothing that comes in at `left` gets as far as IP::

        graph.add(Drop("closed", "left-is-closed"))
        graph.connect("ip", "closed", "left")
    """

    def __init__(self, name: str, reason: str, service: str = "ipv4") -> None:
        super().__init__(name, swallow, swallow, service)
        self.reason = drop(reason)

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
        return Stage(swallow, (Outcome(self.reason.name, self.reason),), writes=False)
