"""The contents of a picture of a graph: the texts, kinds and line widths that all formats share.

Node attributes: `router` (the router that the stage belongs to, which decides the colour; the only attribute that is
required), `kind` (a key of `KINDS`), `label` (by default the node's name), `note` (a second line). Edge attributes:
`service`, `outcome` and `rate` (packets a second), which make the label, `main` (True on edges of outcome 0), and
`dashed` (True where no packet passes: the stage has others made).
Graph attributes: `undirected` (True leaves the arrowheads out) and `routers` (the names of all routers of the router
graph, so that a router has the same colour in every picture of that graph).
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import networkx as nx

from scout.ring.errors import ScoutError
from scout.tools.drawing.geometry import Point

__all__ = [
    "KINDS",
    "Kind",
    "check",
    "edge_lines",
    "is_drop",
    "is_leaf",
    "is_undirected",
    "kind_of",
    "line_width",
    "node_lines",
    "one_line",
    "simple",
]


@dataclass(frozen=True)
class Kind:
    """How a kind of node looks: the size of its text, the space around it, the radius of its corners."""

    text: float
    pad: Point
    corner: float
    bold: bool = False


KINDS = {
    "stage": Kind(text=10.5, pad=(6, 7), corner=5),
    "port": Kind(text=10.5, pad=(8, 7), corner=math.inf),
    "drop": Kind(text=8.5, pad=(6, 2), corner=math.inf),
    "end": Kind(text=8.5, pad=(6, 2), corner=math.inf),
    "router": Kind(text=12, pad=(14, 10), corner=7, bold=True),
}


def simple(graph: nx.DiGraph) -> nx.DiGraph:
    """The graph with one edge between two nodes: of a path, whose outcomes may be parallel, a merged copy."""
    return graph.merged() if graph.is_multigraph() else graph


def check(graph: nx.DiGraph) -> None:
    if not graph:
        raise ScoutError("the graph has no nodes; there is nothing to draw")
    for node, data in graph.nodes(data=True):
        if "router" not in data:
            raise ScoutError(f"{node}: the node has no router; set its attribute `router`")
        if data.get("kind", "stage") not in KINDS:
            raise ScoutError(f"{node}: unknown kind {data['kind']!r}; use {', '.join(KINDS)}")


def is_undirected(graph: nx.DiGraph) -> bool:
    return bool(graph.graph.get("undirected"))


def is_drop(graph: nx.DiGraph, node: Hashable) -> bool:
    return graph.nodes[node].get("kind") == "drop"


def is_leaf(graph: nx.DiGraph, node: Hashable) -> bool:
    """Whether packets end here and belong to no router any more: at a drop or another end."""
    return graph.nodes[node].get("kind") in ("drop", "end")


def kind_of(graph: nx.DiGraph, node: Hashable) -> Kind:
    return KINDS[graph.nodes[node].get("kind", "stage")]


def one_line(value: object) -> str:
    """One line of text: control characters have no place in XML, and line breaks none in a label."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(str(value).split()))


def node_lines(graph: nx.DiGraph, node: Hashable) -> list[str]:
    data = graph.nodes[node]
    note = one_line(data.get("note", ""))
    return [one_line(data.get("label", node)) or "?", *([note] if note else [])]


def edge_lines(data: dict[str, Any]) -> list[str]:
    rate = [_rate_text(data["rate"])] if data.get("rate") is not None else []
    return [text for text in (one_line(data.get("service", "")), one_line(data.get("outcome", "")), *rate) if text]


def _rate_text(pps: float) -> str:
    """Write a rate with three digits.

    Examples
    --------
    >>> _rate_text(812_345), _rate_text(999_999)
    ('812 kpps', '1 Mpps')
    """
    units = iter(("pps", "kpps", "Mpps", "Gpps"))
    unit = next(units)
    while pps >= 999.5 and unit != "Gpps":
        pps, unit = pps / 1000, next(units)
    return f"{pps:.3g} {unit}"


def line_width(data: dict[str, Any]) -> float:
    """Width of an edge's line: by the logarithm of the packet rate if it is known; else greater for common outcomes."""
    if data.get("rate") is not None:
        return 0.8 + 0.45 * math.log10(1 + data["rate"])
    return 1.8 if data.get("main") else 1.2
