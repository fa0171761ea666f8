"""Paths that drop their packets at the port, before any other stage and any queue.

Drops
    discarded: a path that discards takes the packet; see `scout ctl show paths`.
"""

from typing import TYPE_CHECKING, Any

from scout.paths.model.stage import Outcome, Stage
from scout.paths.model.verdict import drop

if TYPE_CHECKING:
    from scout.paths.model.path import Path

__all__ = ["COUNTER", "DISCARDED", "discards", "drop_all", "make_discarding"]

DISCARDED = drop("discarded")

COUNTER = 0
"""Index of the counter of a path that discards: of the edge from its stage to the drop reason, the only one."""


def drop_all(frame: Any, end: Any) -> int:
    """Drop the packet: the stage's one outcome has the reason."""
    return 0


def make_discarding(path: "Path") -> "Path":
    """Make a path without stages one that drops all packets, and establish it."""
    ingress = path.source
    entry, node = path.add_port(ingress, entry=True), f"{ingress}.discard"
    path.add_stage(node, ingress, Stage(drop_all, (Outcome(DISCARDED.name, DISCARDED),)))
    path.add_outcome(entry, 0, "", node, "frame", 0, True)
    path.add_outcome(node, 0, DISCARDED.name, path.add_drop(node, DISCARDED), main=True)
    return path.establish()


def discards(path: "Path") -> bool:
    """True if a path does nothing but drop its packets."""
    return [path.nodes[node]["stage"].function for node in path.stages] == [drop_all]
