"""`scout draw`: a router file's graph or one of its paths as a picture."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path as FilePath

from scout.loader import load_router
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.ring.errors import ScoutError
from scout.tools.drawing.draw import draw
from scout.tools.drawing.live import read
from scout.tools.lessons import router_file

__all__ = ["run"]

SPAN = 1.2  # seconds between the two readings that make a rate; a running router publishes twice a second

Rates = dict[str, dict[tuple[str, str], float]]
"""Of each path, by its source: packets a second along its edges."""


def run(file: str, output: str, source: str | None, live: bool) -> None:
    """Draw the router graph of `file`, or its path from port `source`, with rates if `live`.

    Raises
    ------
    ScoutError
        If there is no such path, or the rates of a router are wanted that does not run.
    """
    file = router_file(file)
    graph, paths = load_router(file)
    chosen = _path(file, paths, source) if source is not None else None
    rates = _rates(file) if live else {}
    if chosen is None:
        _add_to_routers(graph, paths, rates)
        draw(_routers(graph), FilePath(output), title=graph.name)
    else:
        _add_to_path(chosen, rates)
        chosen.graph["routers"] = [str(name) for name in graph]
        draw(chosen, FilePath(output), title=f"path from {chosen.source}")


def _path(file: str, paths: Sequence[Path], source: str) -> Path:
    for path in paths:
        if path.source == source:
            return path
    names = ", ".join(path.source for path in paths)
    raise ScoutError(f"--path {source}: {file} has no such path; there are paths from {names}")


def _routers(graph: RouterGraph) -> RouterGraph:
    """The graph with ports marked, for drawing."""
    for name in graph.ports:
        graph.nodes[name]["note"] = repr(graph.router(name).port)
    graph.graph["undirected"] = True  # a connection carries packets both ways
    return graph


def _rates(file: str) -> Rates:
    """Read a running router's counters twice."""
    first = read(file)
    time.sleep(SPAN)
    second = read(file)
    span = second["time"] - first["time"]
    if span <= 0:
        raise ScoutError(f"--live: the process that runs {file} does not publish; is it stopped?")
    before = {source: _counts(flows) for source, flows in first["flows"].items()}
    return {
        source: {edge: max(0, count - before[source][edge]) / span for edge, count in _counts(flows).items()}
        for source, flows in second["flows"].items()
    }


def _counts(flows: list[list[str | int]]) -> Counter[tuple[str, str]]:
    return Counter({(str(tail), str(head)): int(count) for tail, head, count in flows})


def _add_to_path(path: Path, rates: Rates) -> None:
    for edge, rate in rates.get(path.source, {}).items():
        for data in path.get_edge_data(*edge, default={}).values():
            data["rate"] = rate


def _add_to_routers(graph: RouterGraph, paths: Sequence[Path], rates: Rates) -> None:
    """Packets a second between two routers: those of all paths, in both directions."""
    for path in paths:
        for (tail, head), rate in rates.get(path.source, {}).items():
            pair = path.nodes[tail]["router"], path.nodes[head]["router"]
            for edge in (pair, pair[::-1]):
                if graph.has_edge(*edge):
                    graph.edges[edge]["rate"] = graph.edges[edge].get("rate", 0.0) + rate
