"""Pictures as text in the language of Graphviz."""

from collections.abc import Iterable

import networkx as nx

from scout.tools.drawing.palette import LINE, node_paints
from scout.tools.drawing.scene import (
    check,
    edge_lines,
    is_drop,
    is_undirected,
    line_width,
    node_lines,
    one_line,
    simple,
)

__all__ = ["dot"]


def dot(graph: nx.DiGraph, title: str = "") -> str:
    """Write `graph` in the language of Graphviz.

    Examples
    --------
    >>> path = nx.DiGraph([("ip.check", "ip.lookup", {"service": "ipv4"})])
    >>> nx.set_node_attributes(path, "ip", "router")
    >>> "ip.check" in dot(path)
    True
    """
    graph = simple(graph)
    check(graph)
    paints = node_paints(graph)
    keyword, arrow = ("graph", "--") if is_undirected(graph) else ("digraph", "->")
    lines = [
        f"{keyword} {{",
        f'  graph [rankdir=LR, fontname="Helvetica", labelloc=t, label={_dot_text([title])}];',
        '  node [shape=box, fontname="Helvetica", fontsize=11];',
        f'  edge [fontname="Helvetica", fontsize=9, color="{LINE}"];',
    ]
    for node in graph:
        fill, border, dashed = paints[node]
        small = ", fontsize=9, height=0.2" if is_drop(graph, node) else ""
        style = "rounded,filled,dashed" if dashed else "rounded,filled"
        lines.append(
            f"  {_dot_text([node])} [label={_dot_text(node_lines(graph, node))},"
            f' style="{style}", fillcolor="{fill}", color="{border}"{small}];'
        )
    for source, target, data in graph.edges(data=True):
        main = ", weight=8" if data.get("main") else ", style=dashed" if data.get("dashed") else ""
        lines.append(
            f"  {_dot_text([source])} {arrow} {_dot_text([target])}"
            f" [label={_dot_text(edge_lines(data))}, penwidth={line_width(data):.1f}{main}];"
        )
    return "\n".join([*lines, "}", ""])


def _dot_text(lines: Iterable[object]) -> str:
    escaped = (one_line(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
