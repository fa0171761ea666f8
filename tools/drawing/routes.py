"""The curves of a layout: how each edge goes from border to border, through its bends."""

import math
from collections.abc import Hashable, Iterable
from itertools import pairwise

import networkx as nx

from scout.tools.drawing.geometry import Box, Edge, Point, Route
from scout.tools.drawing.layers import Bend
from scout.tools.drawing.scene import edge_lines, kind_of

__all__ = ["TURN", "route_edges"]

FAN = 9.0
"""Points between the ends of edges on one side of a box, at most."""
TURN = 18.0
"""Points between two rows, for an edge that parts from others or meets them."""


def route_edges(graph: nx.DiGraph, mesh: nx.DiGraph, slots: dict[Hashable, Box]) -> dict[Edge, Route]:
    """Route the edges between stages, through their bends."""
    leave = {node: _fan(graph, node, mesh.succ[node], slots, side=1) for node in mesh}
    enter = {node: _fan(graph, node, mesh.pred[node], slots, side=-1) for node in mesh}
    chains: dict[Edge, list[Hashable]] = {}
    for node in mesh:
        if not isinstance(node, Bend):
            for step in mesh.succ[node]:
                chain = [node, step]
                while isinstance(chain[-1], Bend):
                    chain += mesh.succ[chain[-1]]
                chains[node, chain[-1]] = chain

    routes = {}
    for source, target, data in graph.edges(data=True):
        back = (source, target) not in chains
        chain = chains.get((target, source) if back else (source, target), [])
        if not chain:  # a hanging drop
            continue
        points: list[Point] = []
        for a, b in pairwise(chain):
            (x, y), (to_x, to_y) = leave[a][b], enter[b][a]
            # Edges that part turn early, edges that meet turn late: each label stands where its edge is alone.
            if mesh.out_degree(a) > 1 and y != to_y:
                points += [(x, y), (x + TURN, to_y), (to_x, to_y)]
            elif mesh.in_degree(b) > 1 and y != to_y:
                points += [(x, y), (to_x - TURN, y), (to_x, to_y)]
            else:
                points += [(x, y), (to_x, to_y)]
        routes[source, target] = Route(_flowing(points), edge_lines(data), back=back)
    return routes


def _fan(
    graph: nx.DiGraph, node: Hashable, others: Iterable[Hashable], slots: dict[Hashable, Box], side: int
) -> dict[Hashable, Point]:
    """Where edges meet the right (1) or left (-1) border: side by side, a level one in the middle."""
    box = slots[node]
    others = sorted(others, key=lambda other: slots[other].y)
    levels = [i for i, other in enumerate(others) if slots[other].y == box.y]
    middle = levels[0] if levels else (len(others) - 1) / 2
    widest = max(middle, len(others) - 1 - middle)
    step = min(FAN, (box.h / 2 - 5) / widest) if widest else 0
    corner = 0.0 if isinstance(node, Bend) else min(kind_of(graph, node).corner, box.h / 2)
    points = {}
    for i, other in enumerate(others):
        rise = (i - middle) * step
        into_corner = max(0, abs(rise) - (box.h / 2 - corner))
        inset = corner - math.sqrt(corner**2 - into_corner**2)
        points[other] = (box.x + side * (box.w / 2 - inset), box.y + rise)
    return points


def _flowing(points: list[Point]) -> list[Point]:
    """Control points of a curve through `points` that is level in each of them."""
    curve = points[:1]
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (x + to_x) / 2
        curve += [(middle, y), (middle, to_y), (to_x, to_y)]
    return curve
