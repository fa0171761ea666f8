"""`scout draw`: a router file's graph or one of its paths as a picture."""

import time
from pathlib import Path as FilePath

from scout.loader import load_router
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.ring.errors import ScoutError
from scout.tools.drawing.draw import draw
from scout.tools.drawing.live import read

__all__ = ["run"]

LOOK = 1.2  # seconds between the two looks that make a rate; a runner publishes twice a second


def run(file: str, output: str, source: str | None, live: bool) -> None:
    """Draw the router graph of `file`, or its path from port `source`, with rates if `live`."""
    graph, paths = load_router(file)
    if source is None and not live:
        draw(_routers(graph), FilePath(output), title=graph.name)
        return
    chosen = next((path for path in paths if source in (None, path.source)), None)
    if chosen is None:
        names = ", ".join(path.source for path in paths)
        raise ScoutError(f"--path {source}: {file} has no such path; there are paths from {names}")
    if live:
        _add_rates(chosen, file)
    draw(chosen, FilePath(output), title=f"path from {chosen.source}")


def _routers(graph: RouterGraph) -> RouterGraph:
    """The graph with ports marked, for drawing."""
    for name in graph.ports:
        graph.nodes[name]["note"] = repr(graph.router(name).port)
    graph.graph["undirected"] = True  # a connection carries packets both ways
    return graph


def _add_rates(path: Path, file: str) -> None:
    first = read(file)
    time.sleep(LOOK)
    second = read(file)
    span = second["time"] - first["time"]
    if span <= 0:
        raise ScoutError(f"--live: the process that runs {file} does not go on; is it stopped?")
    before = {(tail, head): count for tail, head, count in first["flows"].get(path.source, [])}
    for tail, head, count in second["flows"].get(path.source, []):
        if path.has_edge(tail, head):
            path.edges[tail, head]["rate"] = max(0.0, (count - before.get((tail, head), 0)) / span)
