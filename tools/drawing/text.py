"""The size of texts, measured with the font that matplotlib brings."""

import math
from collections.abc import Hashable, Sequence
from functools import cache

import networkx as nx

from scout.tools.drawing.canvas import prepare_matplotlib
from scout.tools.drawing.geometry import Point
from scout.tools.drawing.scene import kind_of, node_lines

__all__ = ["FONTS", "SMALL", "box_size", "text_size", "text_width"]

# The boxes are measured with the first font, which matplotlib brings. The others are not much wider: browsers without
# the first font use them.
FONTS = ["DejaVu Sans", "Verdana", "Arial"]
SMALL = 9.0
"""Size in points of the text of notes, edge labels and the legend."""


def box_size(graph: nx.DiGraph, node: Hashable) -> Point:
    kind = kind_of(graph, node)
    name, *note = node_lines(graph, node)
    w, h = text_size(note)
    return max(text_width(name, kind.text, kind.bold), w) + 2 * kind.pad[0], kind.text + h + 2 * kind.pad[1]


def text_size(lines: Sequence[str]) -> Point:
    """Width and height of lines of small text."""
    return max((text_width(line, SMALL) for line in lines), default=0.0), 1.2 * SMALL * len(lines)


@cache
def text_width(text: str, size: float, bold: bool = False) -> float:
    prepare_matplotlib()
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=FONTS[0], size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(math.ceil(width))
