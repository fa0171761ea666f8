"""The layout of a graph, from left to right, after Sugiyama: layers, rows, curves, labels.

An edge that skips layers bends through a slot of its own in each of them, so that no edge runs through a box. Drops
hang under the stage that drops.
"""

from collections.abc import Hashable

import networkx as nx

from scout.ring.errors import ScoutError
from scout.tools.drawing.geometry import Box, Edge, Layout, Route
from scout.tools.drawing.labels import place_labels
from scout.tools.drawing.layers import Bend, acyclic, assign_layers, hanging_drops, main_line, reduce_crossings
from scout.tools.drawing.routes import TURN, route_edges
from scout.tools.drawing.rows import place_rows
from scout.tools.drawing.scene import check, edge_lines, is_drop, simple
from scout.tools.drawing.text import box_size, text_size

__all__ = ["MARGIN", "layout"]

# Lengths in points.
MARGIN = 10.0  # around the picture
GAP = 28.0  # between layers, at least
BEND = 7.0  # half the height of the slot in which an edge passes a layer
STUB = 9.0  # from a stage's left side to the twig that its drops hang on
TWIG = 11.0  # from there to a drop


def layout(graph: nx.DiGraph) -> Layout:
    """Find a place for every box, edge and label.

    Raises
    ------
    ScoutError
        If the graph is empty, a node has no router or an unknown kind, or an edge leads back to its own node.
    """
    graph = simple(graph)
    check(graph)
    for node in nx.nodes_with_selfloops(graph):
        raise ScoutError(f"{node}: an edge to itself has no place in layers; draw it as .dot or .mmd")
    drops = hanging_drops(graph)
    forward = acyclic(graph, drops)
    main = main_line(forward)
    layers, mesh = assign_layers(forward, main)
    hung = {stage: _hung(graph, stage, group) for stage, group in drops.items()}
    slots = _slots(graph, hung, main, reduce_crossings(layers, mesh), mesh)
    boxes = {node: slots[node] for node in forward}
    routes = route_edges(graph, mesh, slots)
    for stage, part in hung.items():
        part = part.moved(boxes[stage].left, boxes[stage].bottom)
        boxes |= part.boxes
        routes |= part.routes
    return _trimmed(boxes, place_labels(routes, boxes.values()))


def _slots(
    graph: nx.DiGraph,
    hung: dict[Hashable, Layout],
    main: list[Hashable],
    layers: list[list[Hashable]],
    mesh: nx.DiGraph,
) -> dict[Hashable, Box]:
    """Boxes of the stages and slots of the bends; all of a layer are equally wide, but for drops."""
    widths: dict[Hashable, float] = {}
    reach: dict[Hashable, tuple[float, float]] = {}  # from the middle of the row, up and down
    for node in mesh:
        widths[node], height = (0.0, 2 * BEND) if isinstance(node, Bend) else box_size(graph, node)
        height = max(height, 12 + 12 * (max(mesh.in_degree(node), mesh.out_degree(node)) // 2))
        reach[node] = (height / 2, height / 2)
        if node in hung:
            widths[node] = max(widths[node], hung[node].width)
            reach[node] = (height / 2, height / 2 + hung[node].height)
    rows = place_rows(main, layers, mesh, reach)

    slots: dict[Hashable, Box] = {}
    left = 0.0
    for layer in layers:
        width = max(widths[node] for node in layer)
        for node in layer:
            narrow = node in graph and is_drop(graph, node) and not mesh.succ[node]
            wide = widths[node] if narrow else width
            slots[node] = Box(left + wide / 2, rows[node], wide, 2 * reach[node][0])
        left += width + max(_gap(graph, mesh, node) for node in layer)
    return slots


def _gap(graph: nx.DiGraph, mesh: nx.DiGraph, node: Hashable) -> float:
    """Room after a layer for the labels of a stage's edges, and for the turns to where those are level."""
    gap = GAP
    for step in () if isinstance(node, Bend) else mesh.succ[node]:
        target = step.target if isinstance(step, Bend) else step
        # The labels stand side by side where an edge and its reverse share a curve.
        edges = [edge for edge in ((node, target), (target, node)) if edge in graph.edges]
        turn = TURN if mesh.out_degree(node) > 1 or mesh.in_degree(step) > 1 else 6
        gap = max(gap, turn + sum(text_size(edge_lines(graph.edges[edge]))[0] + 8 for edge in edges))
    return gap


def _hung(graph: nx.DiGraph, stage: Hashable, drops: list[Hashable]) -> Layout:
    """Lay out the drops that hang under a stage, from the stage's lower left corner."""
    boxes: dict[Hashable, Box] = {}
    routes: dict[Edge, Route] = {}
    right, bottom = 0.0, 4.0
    for drop in drops:
        lines = edge_lines(graph.edges[stage, drop])
        label_w, label_h = text_size(lines)
        w, h = box_size(graph, drop)
        box = boxes[drop] = Box(STUB + TWIG + w / 2, bottom + label_h + 1 + h / 2, w, h)
        label = Box(STUB + 4 + label_w / 2, bottom + label_h / 2, label_w, label_h) if lines else None
        corner = (STUB, box.y)
        routes[stage, drop] = Route([(STUB, 0), corner, corner, (box.left, box.y)], lines, label)
        right, bottom = max(right, box.right, STUB + 4 + label_w), box.bottom + 4
    return Layout(boxes, routes, right, bottom - 4)


def _trimmed(boxes: dict[Hashable, Box], routes: dict[Edge, Route]) -> Layout:
    """Move everything into the picture's first quadrant, a margin from its sides."""
    labels = [route.label for route in routes.values() if route.label]
    solid = [*boxes.values(), *labels]
    curves = [point for route in routes.values() for point in route.curve]
    xs = [x for box in solid for x in (box.left, box.right)] + [x for x, _ in curves]
    ys = [y for box in solid for y in (box.top, box.bottom)] + [y for _, y in curves]
    dx, dy = MARGIN - min(xs), MARGIN - min(ys)
    return Layout(boxes, routes, max(xs) + dx + MARGIN, max(ys) + dy + MARGIN).moved(dx, dy)
