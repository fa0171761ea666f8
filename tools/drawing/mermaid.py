"""Pictures as Mermaid flowcharts, which GitHub draws inside Markdown."""

import json
import math
from collections.abc import Iterable

import networkx as nx

from scout.tools.drawing.palette import INK, node_paints
from scout.tools.drawing.scene import check, edge_lines, is_undirected, kind_of, node_lines, one_line, simple

__all__ = ["mermaid"]


def mermaid(graph: nx.DiGraph, title: str = "") -> str:
    """Write `graph` as a Mermaid flowchart, which GitHub draws inside Markdown.

    Examples
    --------
    >>> path = nx.DiGraph([("ip.check", "ip.lookup", {"service": "ipv4"})])
    >>> nx.set_node_attributes(path, "ip", "router")
    >>> print(mermaid(path).splitlines()[3])
      n0 -->|"ipv4"| n1
    """
    graph = simple(graph)
    check(graph)
    names = {node: f"n{i}" for i, node in enumerate(graph)}
    paints = node_paints(graph)
    classes = {paint: f"c{i}" for i, paint in enumerate(dict.fromkeys(paints.values()))}
    lines = ["---", f"title: {json.dumps(one_line(title), ensure_ascii=False)}", "---"] if title else []
    lines.append("flowchart LR")
    for node, name in names.items():
        opening, closing = ("(", ")") if kind_of(graph, node).corner < math.inf else ("([", "])")
        text = _mermaid_text(node_lines(graph, node))
        lines.append(f"  {name}{opening}{text}{closing}:::{classes[paints[node]]}")
    for source, target, data in graph.edges(data=True):
        shaft, end = ("-.-", "") if data.get("dashed") else ("==", "=") if data.get("main") else ("--", "-")
        arrow = shaft + (end if is_undirected(graph) else ">")
        label = f"|{_mermaid_text(edge_lines(data))}|" if edge_lines(data) else ""
        lines.append(f"  {names[source]} {arrow}{label} {names[target]}")
    for (fill, border, dashed), name in classes.items():
        dashes = ",stroke-dasharray:4 3" if dashed else ""
        lines.append(f"  classDef {name} fill:{fill},stroke:{border},color:{INK}{dashes}")
    return "\n".join([*lines, ""])


def _mermaid_text(lines: Iterable[str]) -> str:
    """Quote for Mermaid, which reads entities, HTML and (between backticks) Markdown even inside quotes."""
    escaped = ("".join(f"#{ord(c)};" if c in '"#$&*<>`\\' else c for c in line) for line in lines)
    return '"' + "<br>".join(escaped) + '"'
