"""Pictures of graphs in notebooks.

Drawing is a tool and this package knows no tools: the function that draws is named here and imported when a notebook
asks for a picture.
"""

from importlib import import_module

import networkx as nx

__all__ = ["DRAWING", "svg"]

DRAWING = "scout.tools.drawing.paint"
"""The module with `picture(graph, suffix, title) -> bytes`."""


def svg(graph: nx.Graph) -> str | None:
    """The graph as SVG; None, so that a notebook shows its text instead, where the tools are not installed."""
    try:
        drawing = import_module(DRAWING)
    except ImportError:
        return None
    return drawing.picture(graph, "svg", str(graph.graph.get("name", ""))).decode()
