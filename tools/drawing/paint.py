"""Pictures as SVG and PNG, painted by matplotlib, one unit a point."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import networkx as nx

from scout.tools.drawing.canvas import figure_settings
from scout.tools.drawing.geometry import Box, Edge, Layout, Route
from scout.tools.drawing.layout import MARGIN, layout
from scout.tools.drawing.palette import FAINT, INK, LINE, node_paints, router_colours, tint
from scout.tools.drawing.scene import is_drop, is_undirected, kind_of, line_width, node_lines, one_line, simple
from scout.tools.drawing.text import FONTS, SMALL, text_width

__all__ = ["picture"]


def picture(graph: nx.DiGraph, suffix: str, title: str) -> bytes:
    """Paint the layout with matplotlib, one unit a point."""
    graph = simple(graph)
    plan = layout(graph)
    title = one_line(title)
    top = 24.0 if title else 0.0
    legend = _legend(graph, plan)
    width = max(plan.width, text_width(title, 13, True) + 2 * MARGIN, *(box.right + MARGIN for box in legend.values()))
    bottom = max([plan.height, *(box.bottom + MARGIN for box in legend.values())])

    with figure_settings(**{"font.sans-serif": FONTS}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width / 72, (top + bottom) / 72), facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(bottom, -top))
        axes.set_axis_off()
        for edge, route in plan.routes.items():
            _paint_route(axes, graph, edge, route)
        for route in plan.routes.values():
            if route.label:
                _paint_box(axes, route.label, ("#FFFFFF", "none", False), corner=2)
                _write(axes, route.label, [(line, SMALL, False) for line in route.lines])
        paints = node_paints(graph)
        for node, box in plan.boxes.items():
            kind = kind_of(graph, node)
            name, *note = node_lines(graph, node)
            _paint_box(axes, box, paints[node], kind.corner)
            _write(axes, box, [(name, kind.text, kind.bold), *((line, SMALL, False) for line in note)])
        for (router, (colour, dashed)), box in zip(router_colours(graph).items(), legend.values(), strict=True):
            _paint_box(axes, Box(box.left - 10, box.y, 14, 9), (tint(colour), colour, dashed), 3)
            _write(axes, box, [(router, SMALL, False)])
        if title:
            _write(axes, Box(width / 2, 8 - top / 2, width, top), [(title, 13, True)])
        content = BytesIO()
        unsigned: dict[str, Any] = {"Date": None, "Creator": None} if suffix == "svg" else {"Software": None}
        figure.savefig(content, format=suffix, dpi=144, metadata=unsigned)
    return content.getvalue()


def _legend(graph: nx.DiGraph, plan: Layout) -> dict[str, Box]:
    """Where the routers' names stand below the picture, each with room for a swatch on its left."""
    boxes: dict[str, Box] = {}
    left, y = MARGIN, plan.height + MARGIN
    for router in router_colours(graph):
        w = text_width(router, SMALL)
        if boxes and left + 20 + w > max(plan.width, 240) - MARGIN:
            left, y = MARGIN, y + 2 * SMALL
        boxes[router] = Box(left + 20 + w / 2, y, w, SMALL)
        left += 20 + w + 16
    return boxes


def _paint_box(axes: Any, box: Box, paint: tuple[str, str, bool], corner: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, border, dashed = paint
    rounding = min(corner, box.h / 2)
    axes.add_patch(
        FancyBboxPatch(
            (box.left, box.top),
            box.w,
            box.h,
            boxstyle=f"round,pad=0,rounding_size={rounding}",
            facecolor=fill,
            edgecolor=border,
            linewidth=1.3,
            linestyle="--" if dashed else "-",
        )
    )


def _paint_route(axes: Any, graph: nx.DiGraph, edge: Edge, route: Route) -> None:
    """Paint the line, and a head that ends on the border: all ends are level, so no head needs turning."""
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path as Curve

    data = graph.edges[edge]
    wide = line_width(data)
    colour = FAINT if is_drop(graph, edge[1]) else INK if data.get("main") else LINE
    curve = list(route.curve)
    if not is_undirected(graph):
        tip, along = (0, 1) if route.back else (-1, -1)
        (x, y), length, half = curve[tip], 4 + 2 * wide, 2 + wide
        curve[tip] = (x + along * (length - 1), y)
        head = [(x, y), (x + along * length, y - half), (x + along * length, y + half)]
        axes.add_patch(Polygon(head, facecolor=colour, edgecolor="none"))
    codes = [Curve.MOVETO] + [Curve.CURVE4] * (len(curve) - 1)
    style = "--" if data.get("dashed") else "-"
    axes.add_patch(PathPatch(Curve(curve, codes), facecolor="none", edgecolor=colour, linewidth=wide, linestyle=style))


def _write(axes: Any, box: Box, lines: Sequence[tuple[str, float, bool]]) -> None:
    """Centre lines of (text, size, bold) in a box."""
    y = box.y - sum(1.2 * size for _, size, _ in lines) / 2
    for text, size, bold in lines:
        # On the baseline, so that it does not matter in which font a browser shows the SVG.
        axes.text(
            box.x,
            y + 0.96 * size,
            text,
            size=size,
            weight="bold" if bold else "normal",
            color=INK,
            ha="center",
            va="baseline",
            parse_math=False,
        )
        y += 1.2 * size
