"""The tables of a run by name: `router.parameter`, as in `napt.sessions` or `ip.next_hops`."""

import difflib
from collections.abc import Sequence

from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.ring.errors import ScoutError

__all__ = ["find_table", "named_tables"]


def named_tables(graph: RouterGraph, paths: Sequence[Path]) -> dict[str, Table]:
    """The tables of the stages of these paths, and of the stages by which routers make packets of their own.

    Returns
    -------
    dict of str to Table
        By router and parameter: `router.parameter`. Where two stages of one router call different tables by the same
        parameter, the later one is at `router.stage.parameter`.
    """
    stages: list[tuple[str, str, Stage]] = [
        (path.nodes[node]["router"], node, stage) for path in paths for node, stage in path.stages.items()
    ]
    stages += [(router.name, router.name, stage) for router in graph.routers if (stage := router.emitter())]
    found: dict[str, Table] = {}
    for router, node, stage in stages:
        for parameter in stage.parameters:
            value = stage.bindings.get(parameter)
            if isinstance(value, Table) and found.setdefault(f"{router}.{parameter}", value) is not value:
                found[f"{node}.{parameter}"] = value
    return found


def find_table(tables: dict[str, Table], name: str) -> Table:
    """The table of this name.

    Raises
    ------
    ScoutError
        If there is none; it names the nearest ones.
    """
    if name not in tables:
        near = difflib.get_close_matches(name, tables, cutoff=0.0)
        raise ScoutError(f"no table {name!r}; near it are {', '.join(near) or 'none'}")
    return tables[name]
