"""`scout draw`: a router file's graph or one of its paths as a picture."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path as FilePath
from typing import Any

import networkx as nx

from scout.control_socket.client import ask, find
from scout.loader import load_router
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.ring.errors import ScoutError
from scout.tools.drawing.draw import draw
from scout.tools.figures import ticks
from scout.tools.lessons import router_file

__all__ = ["run"]

SPAN = 1.0  # seconds between the two readings that make a rate

Rates = dict[str, dict[tuple[str, str], float]]
"""Of each path, by its source: packets a second along its edges."""


def run(
    file: str, output: str, source: str | None, live: bool, every: float | None = None, socket: str | None = None
) -> None:
    """Draw the router graph of `file`, or its path from port `source`.

    Parameters
    ----------
    file, output : str
        The router file, and the picture.
    source : str or None
    live : bool
        True to draw packets a second at the edges.
    every : float, optional
        Draw the rates again each time so many seconds have passed, until interrupted.
    socket : str, optional
        The running router's control socket; by default that of the only process which runs the file.

    Raises
    ------
    ScoutError
        If there is no such path, or the rates of a router are wanted that does not run.
    """
    file = router_file(file)
    graph, paths = load_router(file)
    chosen = _path(file, paths, source) if source is not None else None
    if not live:
        _draw(graph, paths, chosen, output, {})
        return
    path = socket or find(file)
    before = ask(path, "show edges", {"empty": True})
    with suppress(KeyboardInterrupt):
        for _ in ticks(every or SPAN, None if every else 1):
            after = ask(path, "show edges", {"empty": True})
            with _replaced(output) if every else nullcontext(output) as target:
                _draw(graph, paths, chosen, target, _rates(before, after))
            before = after


def _draw(graph: RouterGraph, paths: Sequence[Path], chosen: Path | None, output: str, rates: Rates) -> None:
    if chosen is None:
        _add_to_routers(graph, paths, rates)
        draw(_routers(graph), FilePath(output), title=graph.name)
    else:
        _add_to_path(chosen, rates)
        chosen.graph["routers"] = [str(name) for name in graph]
        draw(chosen, FilePath(output), title=f"path from {chosen.name}")


@contextmanager
def _replaced(output: str) -> Iterator[str]:
    """The name of another file, which then replaces the picture: a viewer never finds half of a picture."""
    target = FilePath(output)
    written = target.with_name(f".{target.stem}-{os.getpid()}{target.suffix}")
    try:
        yield str(written)
        written.replace(target)
    finally:
        written.unlink(missing_ok=True)


def _path(file: str, paths: Sequence[Path], wanted: str) -> Path:
    for path in paths:
        if path.name == wanted:
            return path
    names = "; ".join(path.name for path in paths)
    raise ScoutError(f"--path {wanted}: {file} has no such path; there are paths from {names}")


def _routers(graph: RouterGraph) -> nx.DiGraph:
    """The graph with ports marked, for drawing."""
    shown = graph.picture()
    for name in graph.ports:
        shown.nodes[name]["note"] = repr(graph.router(name).port)
    return shown


def _rates(before: dict[str, Any], after: dict[str, Any]) -> Rates:
    """The rates between two answers to "show edges"."""
    span = after["time_s"] - before["time_s"]
    counted = {(row["path"], row["from"], row["to"]): row["packets"] for row in before["rows"]}
    rates: Rates = {}
    for row in after["rows"]:
        edge = row["path"], row["from"], row["to"]
        rates.setdefault(edge[0], {})[edge[1:]] = max(0, row["packets"] - counted.get(edge, 0)) / span
    return rates


def _add_to_path(path: Path, rates: Rates) -> None:
    for edge, rate in rates.get(path.name, {}).items():
        for data in path.get_edge_data(*edge, default={}).values():
            data["rate"] = rate


def _add_to_routers(graph: RouterGraph, paths: Sequence[Path], rates: Rates) -> None:
    """Packets a second between two routers: those of all paths, in both directions."""
    for _, _, data in graph.edges(data=True):
        data.pop("rate", None)  # of the picture before
    for path in paths:
        for (tail, head), rate in rates.get(path.name, {}).items():
            pair = path.nodes[tail]["router"], path.nodes[head]["router"]
            for edge in (pair, pair[::-1]):
                if graph.has_edge(*edge):
                    graph.edges[edge]["rate"] = graph.edges[edge].get("rate", 0.0) + rate
