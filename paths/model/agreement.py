"""Agreement: whatever reaches replicated work must be the same in every replica."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import networkx as nx

from scout.paths.model.router import GraphError
from scout.paths.model.stage import Stage

if TYPE_CHECKING:
    from scout.paths.model.path import Path

__all__ = ["agree"]


def agree(path: "Path") -> None:
    """Make sure that all replicas of a path keep the same state, or refuse the path.

    Packets that wait until a time exist in their primary alone: nothing replicated may stand behind.

    Where a stage with replicated work behind it decides by a shared table that may be replicated, the table becomes a
    replicated one. A packet that was held too long exists in its primary alone. So it is dropped, and not answered with
    an ICMP error, if replicated work stands on the way of that error.

    Raises
    ------
    GraphError
        If replicas could differ; names the stage, why, and what to change.
    """
    stages = path.stages
    behind = _behind(path, stages)
    while any(_varies(stage) and node in behind and _replicate(stage) for node, stage in stages.items()):
        behind = _behind(path, stages)
    for node, head in path.waits:
        if found := head if stages[head].keeps_state else behind.get(head):
            raise GraphError(
                f"{node} lets packets wait, which only their primary takes up again, and behind it {found} is "
                f"replicated: put {found} before {node}"
            )
    for node, stage in stages.items():
        _check_state(node, stage)
        if node in behind:
            _check_stage(node, stage, behind[node])
        timeout = path.nodes[node].get("timeout")
        if timeout and (stages[timeout].keeps_state or timeout in behind):
            del path.nodes[node]["timeout"]
        made = path.nodes[node].get("emission")
        if made and (stages[made].keeps_state or made in behind):
            raise GraphError(
                f"{node} makes packets, which their primary alone has, and {behind.get(made, made)}, to which they "
                "come, is replicated: let them go another way"
            )


def _behind(path: "Path", stages: Mapping[str, Stage]) -> dict[str, str]:
    """The nodes that lead to stages which keep replicated state, each with one of those: the first by name."""
    keeping = sorted((node for node, stage in stages.items() if stage.keeps_state), reverse=True)
    return {before: node for node in keeping for before in nx.ancestors(path, node)}


def _varies(stage: Stage) -> bool:
    return stage.alone or (not stage.is_generated and stage.effects.varies)


def _replicate(stage: Stage) -> bool:
    replicated = [table.replicate() for table in stage.tables.values()]  # all of them, not the first
    return any(replicated)


def _check_state(node: str, stage: Stage) -> None:
    if stage.is_generated:
        return
    for name in sorted(stage.effects.uneven):
        if stage.tables[name].kind == "replicated":
            raise GraphError(
                f"{node}: {stage.function.__name__} changes table {name}, which is replicated, in some replicas only; "
                "change it whether or not this replica is the primary, or make it a private table"
            )


def _check_stage(node: str, stage: Stage, behind: str) -> None:
    """Refuse a stage that lets packets through to replicated work in some replicas only."""
    if stage.holds:
        raise GraphError(
            f"{node} holds packets, which only their primary takes up again, and behind it {behind} is replicated: put "
            f"{behind} before {node}"
        )
    if not _varies(stage):
        return
    varying = [f"table {name}, which is {table.kind}" for name, table in stage.tables.items() if table.varies]
    if stage.alone:
        raise GraphError(
            f"{node}: a handler that runs on the primary alone changes or drops packets, and behind it "
            f'{behind} is replicated: use run="all" there, or put {behind} before {node}'
        )
    raise GraphError(
        f"{node}: what {stage.function.__name__} does with a packet depends on "
        f"{' and '.join(varying) or 'whether this replica is its primary'}, and behind it {behind} is replicated: use "
        f"replicated tables there, or put {behind} before {node}"
    )
