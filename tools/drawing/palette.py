"""The colours of all pictures and plots.

Okabe and Ito's colours can be told apart with every kind of colour vision (jfly.uni-koeln.de/color). Black is left to
the text, and the pale yellow comes last.
"""

from collections.abc import Hashable

import networkx as nx

from scout.tools.drawing.scene import is_drop, is_leaf, one_line

__all__ = [
    "BLUE",
    "FAINT",
    "GREEN",
    "INK",
    "LINE",
    "PALETTE",
    "VERMILLION",
    "Paint",
    "node_paints",
    "router_colours",
    "tint",
]

BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW)
INK, LINE, FAINT, PALE, WHITE = "#1A1A1A", "#707070", "#9A9A9A", "#F1F1F1", "#FFFFFF"

Paint = tuple[str, str, bool]
"""Fill colour, border colour, and whether the border is dashed."""


def router_colours(graph: nx.DiGraph) -> dict[str, tuple[str, bool]]:
    """Colour of every router in the picture, and whether its borders are dashed.

    The colours follow the order of the names of all routers (`graph.graph["routers"]`, by default those in the
    picture): so a router graph and all paths through it agree. The eighth router has the first colour again, dashed.
    """
    shown = {one_line(data["router"]) for node, data in graph.nodes(data=True) if not is_leaf(graph, node)}
    known = sorted(shown | {one_line(name) for name in graph.graph.get("routers", ())})
    colours = {router: (PALETTE[i % len(PALETTE)], i >= len(PALETTE)) for i, router in enumerate(known)}
    return {router: colours[router] for router in sorted(shown)}


def node_paints(graph: nx.DiGraph) -> dict[Hashable, Paint]:
    """How every node is painted: drops and other ends in grey, ports white, the rest in their router's colour."""
    colours = router_colours(graph)
    paints: dict[Hashable, Paint] = {}
    for node, data in graph.nodes(data=True):
        if is_drop(graph, node):
            paints[node] = (PALE, FAINT, False)
        elif is_leaf(graph, node):
            paints[node] = (WHITE, INK, False)
        else:
            colour, dashed = colours[one_line(data["router"])]
            paints[node] = (WHITE if data.get("kind") == "port" else tint(colour), colour, dashed)
    return paints


def tint(colour: str) -> str:
    """Return the colour mixed with three parts of white, on which black text reads well."""
    return "#" + "".join(f"{(int(colour[i : i + 2], 16) + 3 * 255) // 4:02X}" for i in (1, 3, 5))
