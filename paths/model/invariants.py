"""Where a path's attributes hold: at the stages that all packets reach as they came in.

The attributes that describe packets (`Attributes.traffic`) say what demux saw when a packet came in. Behind a stage
that may write the packet they say nothing more: an ICMP error has another destination than the packet that it answers.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scout.paths.model.effects import FRAME, effects
from scout.paths.model.references import written
from scout.paths.model.stage import Stage

if TYPE_CHECKING:
    from scout.paths.model.path import Path

__all__ = ["intact_stages", "leaves_intact", "untouched_stages"]


def intact_stages(path: "Path") -> frozenset[str]:
    """The stages at which every packet still has the fields that attributes describe as it came in with them.

    Those are addresses, protocol, L4 ports and DSCP. Empty if no attribute describes the path's packets.
    """
    return untouched_stages(path) if path.attributes.traffic else frozenset()


def untouched_stages(path: "Path") -> frozenset[str]:
    """The stages at which these fields of every packet are those that it came in with, whatever they are."""
    stages = path.stages
    changed: set[str] = set()
    waiting = [further for node, stage in stages.items() if not leaves_intact(stage) for further in path.ways(node)]
    waiting += path.emissions.values()  # packets that the router makes itself
    while waiting:
        node = waiting.pop()
        if node not in changed:
            changed.add(node)
            waiting += path.ways(node)
    return frozenset(stages) - changed


def leaves_intact(stage: Stage) -> bool:
    """True if a stage changes none of the fields that attributes describe: it says so, or writes no packet at all."""
    return stage.keeps_flow or (not stage.push and not _may_write(stage.function))


@lru_cache(1024)
def _may_write(function: Any) -> bool:
    found = [effects(each, {}) for each in written(function)]
    return any(each.unread or any(change.parameter == FRAME for change in each.assignments) for each in found)
