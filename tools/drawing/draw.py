"""Pictures of router graphs and paths: SVG and PNG through matplotlib, Graphviz and Mermaid as text.

Node attributes: `router` (the router that the stage belongs to, which decides the colour; the only one that
must be there), `kind` (stage, port, drop or router), `label` (else the node's name), `note` (a second line).
Edge attributes: `service`, `outcome` and `rate` (packets/s), which make the label, and `main` (True on the
edges of outcome 0). `graph.graph["undirected"] = True` leaves the arrowheads out.

The layout is Sugiyama's (Sugiyama, Tagawa and Toda, IEEE Trans. SMC 11(2), 1981), from left to right: a stage
stands one layer after its latest predecessor, barycentres order the layers so that few edges cross, and least
squares place the rows with the main line held straight. An edge that skips layers bends through a slot of its
own in each of them, so that no edge runs through a box. Drops hang under the stage that drops.
"""

import json
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from itertools import accumulate, combinations, pairwise, product
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from scout.ring.errors import ScoutError

__all__ = ["Box", "Layout", "Route", "dot", "draw", "layout", "mermaid"]

Point = tuple[float, float]
Edge = tuple[Hashable, Hashable]

# Okabe and Ito's colours, told apart with every kind of colour vision. Black is left to the text, and the
# pale yellow comes last. From the eighth router on they come again, with dashed borders.
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_INK, _LINE, _FAINT, _PALE = "#1A1A1A", "#707070", "#9A9A9A", "#F1F1F1"

# matplotlib brings the first, which the boxes are measured for; a browser without it has one not much wider.
_FONTS = ["DejaVu Sans", "Verdana", "Arial"]

# All lengths are points, 1/72 inch.
_SMALL = 9.0  # text of notes, edge labels and the legend
_MARGIN = 10.0  # around the picture
_APART = 14.0  # between the boxes of a layer
_GAP = 28.0  # between layers, at least
_BEND = 7.0  # half the height of the slot in which an edge passes a layer
_FAN = 9.0  # between the ends of edges on one side of a box, at most
_TURN = 18.0  # between two rows, for an edge that parts from others or meets them
_STUB = 9.0  # from a stage's left side to the twig that its drops hang on
_TWIG = 11.0  # from there to a drop


@dataclass(frozen=True)
class _Kind:
    """How a kind of node looks: the size of its text, the space around it, the radius of its corners."""

    text: float
    pad: Point
    corner: float
    bold: bool = False


_KINDS = {
    "stage": _Kind(text=10.5, pad=(6, 7), corner=5),
    "port": _Kind(text=10.5, pad=(8, 7), corner=math.inf),
    "drop": _Kind(text=8.5, pad=(6, 2), corner=math.inf),
    "end": _Kind(text=8.5, pad=(6, 2), corner=math.inf),
    "router": _Kind(text=12, pad=(14, 10), corner=7, bold=True),
}


@dataclass(frozen=True)
class Box:
    """A rectangle by its centre and its size, in points; y grows downwards."""

    x: float
    y: float
    w: float
    h: float

    @property
    def left(self) -> float:
        """The smallest x."""
        return self.x - self.w / 2

    @property
    def right(self) -> float:
        """The largest x."""
        return self.x + self.w / 2

    @property
    def top(self) -> float:
        """The smallest y."""
        return self.y - self.h / 2

    @property
    def bottom(self) -> float:
        """The largest y."""
        return self.y + self.h / 2

    def overlaps(self, other: "Box", margin: float = 0.0) -> bool:
        """Whether the two boxes are less than `margin` apart."""
        return (
            abs(self.x - other.x) < (self.w + other.w) / 2 + margin
            and abs(self.y - other.y) < (self.h + other.h) / 2 + margin
        )

    def moved(self, dx: float, dy: float) -> "Box":
        """The same box somewhere else."""
        return Box(self.x + dx, self.y + dy, self.w, self.h)


@dataclass(frozen=True)
class Route:
    """An edge as it is drawn.

    Attributes
    ----------
    curve : list of (x, y)
        Control points of cubic Bézier curves joined end to end: 1 + 3n of them, border to border.
    lines : list of str
        The label, empty if there is none.
    label : Box or None
        Where the label stands.
    back : bool
        Whether the curve leads from the edge's target to its source, as it does where a cycle closes.
    """

    curve: list[Point]
    lines: list[str]
    label: Box | None = None
    back: bool = False

    def moved(self, dx: float, dy: float) -> "Route":
        """Return the same route somewhere else."""
        label = self.label and self.label.moved(dx, dy)
        return replace(self, curve=[(x + dx, y + dy) for x, y in self.curve], label=label)

    def sampled(self, steps: int = 16) -> np.ndarray:
        """Points along the curve, `steps` for each Bézier curve, of shape (steps * n, 2)."""
        t = np.linspace(0, 1, steps)[:, None]
        weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
        return np.vstack([weights @ np.array(self.curve[i : i + 4]) for i in range(0, len(self.curve) - 1, 3)])


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in points from the top left corner."""

    boxes: dict[Hashable, Box]
    routes: dict[Edge, Route]
    width: float
    height: float

    def moved(self, dx: float, dy: float) -> "Layout":
        """Return the same layout somewhere else."""
        boxes = {node: box.moved(dx, dy) for node, box in self.boxes.items()}
        return replace(self, boxes=boxes, routes={e: route.moved(dx, dy) for e, route in self.routes.items()})


def draw(graph: nx.DiGraph, path: str | Path, title: str = "") -> None:
    """Draw `graph` to a file, in the format that its suffix names: .svg, .png, .dot or .mmd.

    The same graph gives the same bytes, so that a committed picture changes only when the graph does.

    Raises
    ------
    ScoutError
        If the suffix is another one, the graph cannot be drawn, or the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix in (".svg", ".png"):
        content = _picture(graph, suffix[1:], title)
    elif suffix in (".dot", ".mmd"):
        content = (dot if suffix == ".dot" else mermaid)(graph, title).encode()
    else:
        raise ScoutError(f"{path}: cannot draw {suffix or 'a file without suffix'}; use .svg, .png, .dot or .mmd")
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise ScoutError(f"{path}: {error.strerror}; name a file that can be written") from error


def dot(graph: nx.DiGraph, title: str = "") -> str:
    """Write `graph` in the language of Graphviz.

    Examples
    --------
    >>> path = nx.DiGraph([("ip.check", "ip.lookup", {"service": "ipv4"})])
    >>> nx.set_node_attributes(path, "ip", "router")
    >>> "ip.check" in dot(path)
    True
    """
    _check(graph)
    paints = _paints(graph)
    keyword, arrow = ("graph", "--") if _undirected(graph) else ("digraph", "->")
    lines = [
        f"{keyword} {{",
        f'  graph [rankdir=LR, fontname="Helvetica", labelloc=t, label={_dot_text([title])}];',
        '  node [shape=box, fontname="Helvetica", fontsize=11];',
        f'  edge [fontname="Helvetica", fontsize=9, color="{_LINE}"];',
    ]
    for node in graph:
        fill, border, dashed = paints[node]
        small = ", fontsize=9, height=0.2" if _is_drop(graph, node) else ""
        style = "rounded,filled,dashed" if dashed else "rounded,filled"
        lines.append(
            f"  {_dot_text([node])} [label={_dot_text(_node_lines(graph, node))},"
            f' style="{style}", fillcolor="{fill}", color="{border}"{small}];'
        )
    for source, target, data in graph.edges(data=True):
        main = ", weight=8" if data.get("main") else ""
        lines.append(
            f"  {_dot_text([source])} {arrow} {_dot_text([target])}"
            f" [label={_dot_text(_edge_lines(data))}, penwidth={_thickness(data):.1f}{main}];"
        )
    return "\n".join([*lines, "}", ""])


def mermaid(graph: nx.DiGraph, title: str = "") -> str:
    """Write `graph` as a Mermaid flowchart, which GitHub draws inside Markdown.

    Examples
    --------
    >>> path = nx.DiGraph([("ip.check", "ip.lookup", {"service": "ipv4"})])
    >>> nx.set_node_attributes(path, "ip", "router")
    >>> print(mermaid(path).splitlines()[3])
      n0 -->|"ipv4"| n1
    """
    _check(graph)
    names = {node: f"n{i}" for i, node in enumerate(graph)}
    paints = _paints(graph)
    classes = {paint: f"c{i}" for i, paint in enumerate(dict.fromkeys(paints.values()))}
    lines = ["---", f"title: {json.dumps(_plain(title), ensure_ascii=False)}", "---"] if title else []
    lines.append("flowchart LR")
    for node, name in names.items():
        opening, closing = ("(", ")") if _kind(graph, node).corner < math.inf else ("([", "])")
        text = _mermaid_text(_node_lines(graph, node))
        lines.append(f"  {name}{opening}{text}{closing}:::{classes[paints[node]]}")
    for source, target, data in graph.edges(data=True):
        shaft = "==" if data.get("main") else "--"
        arrow = shaft + (shaft[0] if _undirected(graph) else ">")
        label = f"|{_mermaid_text(_edge_lines(data))}|" if _edge_lines(data) else ""
        lines.append(f"  {names[source]} {arrow}{label} {names[target]}")
    for (fill, border, dashed), name in classes.items():
        dashes = ",stroke-dasharray:4 3" if dashed else ""
        lines.append(f"  classDef {name} fill:{fill},stroke:{border},color:{_INK}{dashes}")
    return "\n".join([*lines, ""])


def layout(graph: nx.DiGraph) -> Layout:
    """Find a place for every box, edge and label.

    Raises
    ------
    ScoutError
        If the graph is empty, a node has no router or an unknown kind, or an edge leads back to its own node.
    """
    _check(graph)
    for node in nx.nodes_with_selfloops(graph):
        raise ScoutError(f"{node}: an edge to itself has no place in layers; draw it as .dot or .mmd")
    drops = _drops(graph)
    forward = _forward(graph, drops)
    main = _main_line(forward)
    layers, mesh = _layered(forward, main)
    hung = {stage: _hung(graph, stage, group) for stage, group in drops.items()}
    slots = _slots(graph, hung, main, _uncrossed(layers, mesh), mesh)
    boxes = {node: slots[node] for node in forward}
    routes = _curves(graph, mesh, slots)
    for stage, part in hung.items():
        part = part.moved(boxes[stage].left, boxes[stage].bottom)
        boxes |= part.boxes
        routes |= part.routes
    return _trimmed(boxes, _labelled(routes, boxes.values()))


# What the pictures say: the texts and the colours that all formats share.


def _check(graph: nx.DiGraph) -> None:
    if not graph:
        raise ScoutError("the graph has no nodes; there is nothing to draw")
    for node, data in graph.nodes(data=True):
        if "router" not in data:
            raise ScoutError(f"{node}: the node has no router; set its attribute `router`")
        if data.get("kind", "stage") not in _KINDS:
            raise ScoutError(f"{node}: unknown kind {data['kind']!r}; use {', '.join(_KINDS)}")


def _undirected(graph: nx.DiGraph) -> bool:
    return bool(graph.graph.get("undirected"))


def _is_drop(graph: nx.DiGraph, node: Hashable) -> bool:
    return graph.nodes[node].get("kind") == "drop"


def _kind(graph: nx.DiGraph, node: Hashable) -> _Kind:
    return _KINDS[graph.nodes[node].get("kind", "stage")]


def _plain(value: object) -> str:
    """One line of text: control characters have no place in XML, and line breaks none in a label."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(str(value).split()))


def _node_lines(graph: nx.DiGraph, node: Hashable) -> list[str]:
    data = graph.nodes[node]
    note = _plain(data.get("note", ""))
    return [_plain(data.get("label", node)) or "?", *([note] if note else [])]


def _edge_lines(data: dict[str, Any]) -> list[str]:
    rate = [_rate(data["rate"])] if data.get("rate") is not None else []
    return [text for text in (_plain(data.get("service", "")), _plain(data.get("outcome", "")), *rate) if text]


def _rate(pps: float) -> str:
    """Write a rate with three digits.

    Examples
    --------
    >>> _rate(812_345), _rate(999_999)
    ('812 kpps', '1 Mpps')
    """
    units = iter(("pps", "kpps", "Mpps", "Gpps"))
    unit = next(units)
    while pps >= 999.5 and unit != "Gpps":
        pps, unit = pps / 1000, next(units)
    return f"{pps:.3g} {unit}"


def _thickness(data: dict[str, Any]) -> float:
    """Width of an edge's line: a packet rate shows its order of magnitude, the main line stands out."""
    if data.get("rate") is not None:
        return 0.8 + 0.45 * math.log10(1 + data["rate"])
    return 1.8 if data.get("main") else 1.2


def _colours(graph: nx.DiGraph) -> dict[str, tuple[str, bool]]:
    """Colour of every router, and whether its borders are dashed.

    By name, so that a router graph and the paths through it agree.
    """
    routers = sorted({_plain(data["router"]) for node, data in graph.nodes(data=True) if not _is_drop(graph, node)})
    return {router: (_PALETTE[i % len(_PALETTE)], i >= len(_PALETTE)) for i, router in enumerate(routers)}


def _paints(graph: nx.DiGraph) -> dict[Hashable, tuple[str, str, bool]]:
    """Fill, border and whether the border is dashed, for every node."""
    colours = _colours(graph)
    paints: dict[Hashable, tuple[str, str, bool]] = {}
    for node, data in graph.nodes(data=True):
        if _is_drop(graph, node):
            paints[node] = (_PALE, _FAINT, False)
        else:
            colour, dashed = colours[_plain(data["router"])]
            paints[node] = ("#FFFFFF" if data.get("kind") == "port" else _tint(colour), colour, dashed)
    return paints


def _tint(colour: str) -> str:
    """Return the colour mixed with three parts of white, on which black text reads well."""
    return "#" + "".join(f"{(int(colour[i : i + 2], 16) + 3 * 255) // 4:02X}" for i in (1, 3, 5))


def _dot_text(lines: Iterable[object]) -> str:
    escaped = (_plain(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'


def _mermaid_text(lines: Iterable[str]) -> str:
    """Quote for Mermaid, which reads entities, HTML and (between backticks) Markdown even inside quotes."""
    escaped = ("".join(f"#{ord(c)};" if c in '"#$&*<>`\\' else c for c in line) for line in lines)
    return '"' + "<br>".join(escaped) + '"'


# The layout, step by step.


@dataclass(frozen=True)
class _Bend:
    """The slot in which the edge from `source` to `target` passes `layer`."""

    source: Hashable
    target: Hashable
    layer: int


def _drops(graph: nx.DiGraph) -> dict[Hashable, list[Hashable]]:
    """Drops by the stage under which they hang; a drop of several stages is laid out like a stage."""
    drops: dict[Hashable, list[Hashable]] = {}
    for node in graph:
        if _is_drop(graph, node) and graph.in_degree(node) == 1 and not graph.out_degree(node):
            (stage,) = graph.pred[node]
            if not _is_drop(graph, stage):
                drops.setdefault(stage, []).append(node)
    return drops


def _forward(graph: nx.DiGraph, drops: dict[Hashable, list[Hashable]]) -> nx.DiGraph:
    """Return the graph without the hanging drops, and with the edges turned round that close a cycle."""
    # Built anew, because the order of the nodes in a view of a subgraph differs between runs.
    hanging = {drop for group in drops.values() for drop in group}
    acyclic: nx.DiGraph = nx.DiGraph()
    acyclic.add_nodes_from((node, data) for node, data in graph.nodes(data=True) if node not in hanging)
    acyclic.add_edges_from((s, t, data) for s, t, data in graph.edges(data=True) if t not in hanging)
    closing: list[Edge] = []
    # From where packets come in, the last edge of a cycle is the one that leads back.
    starts = sorted(acyclic, key=lambda node: acyclic.in_degree(node) > 0)
    while not nx.is_directed_acyclic_graph(acyclic):
        closing.append(nx.find_cycle(acyclic, starts)[-1])
        acyclic.remove_edge(*closing[-1])
    order = {node: i for i, node in enumerate(nx.topological_sort(acyclic))}
    acyclic.add_edges_from(sorted(edge, key=order.__getitem__) for edge in closing)
    return acyclic


def _main_line(forward: nx.DiGraph) -> list[Hashable]:
    """Return the longest path of edges marked `main`, of all edges where none is."""
    marked = [(s, t) for s, t, main in forward.edges(data="main") if main]
    return nx.dag_longest_path(nx.DiGraph(marked or list(forward.edges)))


def _layered(forward: nx.DiGraph, main: list[Hashable]) -> tuple[list[list[Hashable]], nx.DiGraph]:
    """Return the layers, bends included, and the graph in which every edge leads to the next layer."""
    layers = [list(generation) for generation in nx.topological_generations(forward)]
    depth = {node: i for i, layer in enumerate(layers) for node in layer}
    mesh: nx.DiGraph = nx.DiGraph()
    mesh.add_nodes_from(forward)
    after = dict(pairwise(main))
    for source in forward:
        targets = [target for target in forward.succ[source] if target != after.get(source)]
        if source in after:
            # The main line goes on in the middle, with the odd one above it, for below are the drops.
            targets.sort(key=lambda target: _is_drop(forward, target))
            others = sum(not _is_drop(forward, target) for target in targets)
            targets.insert((others + 1) // 2, after[source])
        for target in targets:
            bends = [_Bend(source, target, layer) for layer in range(depth[source] + 1, depth[target])]
            nx.add_path(mesh, [source, *bends, target])
            for bend in bends:
                layers[bend.layer].append(bend)
    # A depth-first order to begin with keeps together what hangs together.
    order = {node: i for i, node in enumerate(nx.dfs_preorder_nodes(mesh))}
    return [sorted(layer, key=order.__getitem__) for layer in layers], mesh


def _uncrossed(layers: list[list[Hashable]], mesh: nx.DiGraph) -> list[list[Hashable]]:
    """Sweep to and fro, sorting each layer by the mean place of its neighbours; the best order wins."""
    best, fewest = layers, _crossings(layers, mesh)
    for sweep in range(16):
        sides, step = (mesh.pred, 1) if sweep % 2 == 0 else (mesh.succ, -1)
        swept = [layers[::step][0]]
        for layer in layers[::step][1:]:
            place = {node: i for i, node in enumerate(swept[-1])}
            centre = {n: _mean([place[m] for m in sides[n]], i) for i, n in enumerate(layer)}
            swept.append(sorted(layer, key=centre.__getitem__))
        layers = swept[::step]
        crossings = _crossings(layers, mesh)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(layers: list[list[Hashable]], mesh: nx.DiGraph) -> int:
    place = {node: i for layer in layers for i, node in enumerate(layer)}
    return sum(
        (place[a] - place[c]) * (place[b] - place[d]) < 0
        for layer in layers
        for (a, b), (c, d) in combinations(mesh.out_edges(layer), 2)
    )


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
        widths[node], height = (0.0, 2 * _BEND) if isinstance(node, _Bend) else _size(graph, node)
        height = max(height, 12 + 12 * (max(mesh.in_degree(node), mesh.out_degree(node)) // 2))
        reach[node] = (height / 2, height / 2)
        if node in hung:
            widths[node] = max(widths[node], hung[node].width)
            reach[node] = (height / 2, height / 2 + hung[node].height)
    rows = _rows(main, layers, mesh, reach)

    slots: dict[Hashable, Box] = {}
    left = 0.0
    for layer in layers:
        width = max(widths[node] for node in layer)
        for node in layer:
            narrow = node in graph and _is_drop(graph, node) and not mesh.succ[node]
            wide = widths[node] if narrow else width
            slots[node] = Box(left + wide / 2, rows[node], wide, 2 * reach[node][0])
        left += width + max(_gap(graph, mesh, node) for node in layer)
    return slots


def _gap(graph: nx.DiGraph, mesh: nx.DiGraph, node: Hashable) -> float:
    """Room after a layer for the labels of a stage's edges, and for the turns to where those are level."""
    gap = _GAP
    for step in () if isinstance(node, _Bend) else mesh.succ[node]:
        target = step.target if isinstance(step, _Bend) else step
        # Side by side, where an edge and its reverse share a curve.
        edges = [edge for edge in ((node, target), (target, node)) if edge in graph.edges]
        turn = _TURN if mesh.out_degree(node) > 1 or mesh.in_degree(step) > 1 else 6
        gap = max(gap, turn + sum(_text_size(_edge_lines(graph.edges[edge]))[0] + 8 for edge in edges))
    return gap


def _rows(
    main: list[Hashable],
    layers: list[list[Hashable]],
    mesh: nx.DiGraph,
    reach: dict[Hashable, tuple[float, float]],
) -> dict[Hashable, float]:
    """Heights of the rows: the main line at 0, all else as near to its neighbours as there is room for."""
    links = set(pairwise(main))
    held = {n for n in mesh if n in main or (isinstance(n, _Bend) and (n.source, n.target) in links)}
    rows = dict.fromkeys(mesh, 0.0)
    both = {node: [*mesh.pred[node], *mesh.succ[node]] for node in mesh}
    for sides, step in [(mesh.pred, 1), (mesh.succ, -1)] * 4 + [(both, 1), (both, -1)] * 4:
        for layer in layers[::step]:
            wanted = [0 if n in held else _mean([rows[m] for m in sides[n]], rows[n]) for n in layer]
            weights = [1e9 if n in held else 1 for n in layer]
            steps = [reach[a][1] + _APART + reach[b][0] for a, b in pairwise(layer)]
            # Whole points, so that what is level is so exactly.
            rows.update(zip(layer, map(round, _settle(wanted, weights, steps)), strict=True))

    # Least squares spread a rise over many steps. A run of nodes with one way on had better be level, at the
    # row of any of them that is clear in all their layers. Twice, as one run may clear a row for another.
    ahead = [(a, b) for a, b in mesh.edges if mesh.out_degree(a) == mesh.in_degree(b) == 1]
    neighbours = [pair for layer in layers for pair in pairwise(layer)]
    for run in 2 * list(nx.weakly_connected_components(nx.DiGraph(ahead))):
        mean = sum(rows[n] for n in run) / len(run)
        for row in sorted({rows[n] for n in run & held or run}, key=lambda row: (abs(row - mean), row)):
            tried = rows | dict.fromkeys(run, row)
            # The odd point is what rounding may take.
            if all(
                tried[b] - reach[b][0] - tried[a] - reach[a][1] > _APART - 2
                for a, b in neighbours
                if a in run or b in run
            ):
                rows = tried
                break
    return rows


def _settle(wanted: Sequence[float], weights: Sequence[float], steps: Sequence[float]) -> list[float]:
    """Return the places nearest to the `wanted` ones (least squares) that are `steps` or more apart.

    Less the sum of the steps before them, the places need only not fall: isotonic regression, which pools
    neighbours that would.

    Examples
    --------
    >>> _settle([0, 0, 9], [1, 1, 1], [4, 4])
    [-2.0, 2.0, 9.0]
    """
    offsets = list(accumulate(steps, initial=0.0))
    pools: list[tuple[float, float, int]] = []  # place, weight, members
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        pools.append((want - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (p, v, m), (q, w, n) = pools.pop(), pools.pop()
            pools.append(((p * v + q * w) / (v + w), v + w, m + n))
    places = [place for place, _, members in pools for _ in range(members)]
    return [place + offset for place, offset in zip(places, offsets, strict=True)]


def _curves(graph: nx.DiGraph, mesh: nx.DiGraph, slots: dict[Hashable, Box]) -> dict[Edge, Route]:
    """Route the edges between stages, through their bends."""
    leave = {node: _fan(graph, node, mesh.succ[node], slots, side=1) for node in mesh}
    enter = {node: _fan(graph, node, mesh.pred[node], slots, side=-1) for node in mesh}
    chains: dict[Edge, list[Hashable]] = {}
    for node in mesh:
        if not isinstance(node, _Bend):
            for step in mesh.succ[node]:
                chain = [node, step]
                while isinstance(chain[-1], _Bend):
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
            # Edges that part turn early and edges that meet turn late: each has its label where it is alone.
            if mesh.out_degree(a) > 1 and y != to_y:
                points += [(x, y), (x + _TURN, to_y), (to_x, to_y)]
            elif mesh.in_degree(b) > 1 and y != to_y:
                points += [(x, y), (to_x - _TURN, y), (to_x, to_y)]
            else:
                points += [(x, y), (to_x, to_y)]
        routes[source, target] = Route(_flowing(points), _edge_lines(data), back=back)
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
    step = min(_FAN, (box.h / 2 - 5) / widest) if widest else 0
    corner = 0.0 if isinstance(node, _Bend) else min(_kind(graph, node).corner, box.h / 2)
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


def _hung(graph: nx.DiGraph, stage: Hashable, drops: list[Hashable]) -> Layout:
    """Lay out the drops that hang under a stage, from the stage's lower left corner."""
    boxes: dict[Hashable, Box] = {}
    routes: dict[Edge, Route] = {}
    right, bottom = 0.0, 4.0
    for drop in drops:
        lines = _edge_lines(graph.edges[stage, drop])
        label_w, label_h = _text_size(lines)
        w, h = _size(graph, drop)
        box = boxes[drop] = Box(_STUB + _TWIG + w / 2, bottom + label_h + 1 + h / 2, w, h)
        label = Box(_STUB + 4 + label_w / 2, bottom + label_h / 2, label_w, label_h) if lines else None
        corner = (_STUB, box.y)
        routes[stage, drop] = Route([(_STUB, 0), corner, corner, (box.left, box.y)], lines, label)
        right, bottom = max(right, box.right, _STUB + 4 + label_w), box.bottom + 4
    return Layout(boxes, routes, right, bottom - 4)


def _labelled(routes: dict[Edge, Route], boxes: Iterable[Box]) -> dict[Edge, Route]:
    """Put every label by its edge where it covers the least: never a box or a label if there is room."""
    solid = _array(boxes)
    lines = {edge: np.pad(route.sampled(), ((0, 0), (0, 2))) for edge, route in routes.items()}
    labelled = dict(routes)
    # Twice, as a label could not yet make room for those after it.
    for edge, route in 2 * list(routes.items()):
        if route.lines and not route.label:
            # An edge and its reverse share a curve, each with its label nearer to its own source.
            places, cost = _places(route, at=0.5 if edge[::-1] not in routes else 0.8 if route.back else 0.2)
            tried = _array(places)
            taken = _array(other.label for e, other in labelled.items() if other.label and e != edge)
            others = np.vstack([_array([]), *(line for e, line in lines.items() if e != edge)])
            cost += _covered(tried, lines[edge], 1) + 5 * _covered(tried, others, 1)
            cost += 200 * _covered(tried, taken, 1) + 1000 * _covered(tried, solid, 3)
            labelled[edge] = replace(route, label=places[int(np.argmin(cost))])
    return labelled


def _array(boxes: Iterable[Box]) -> np.ndarray:
    """Boxes as rows of x, y, w, h."""
    return np.array([(box.x, box.y, box.w, box.h) for box in boxes]).reshape(-1, 4)


def _covered(places: np.ndarray, things: np.ndarray, margin: float) -> np.ndarray:
    """For each place, how many things are less than `margin` away; all places are of one size."""
    reach = (places[0, 2:] + things[:, 2:]) / 2 + margin
    low, high = places[:, :2].min(axis=0), places[:, :2].max(axis=0)
    near = np.all((things[:, :2] > low - reach) & (things[:, :2] < high + reach), axis=1)
    away = np.abs(places[:, None, :2] - things[near, :2])
    return np.sum(np.all(away < reach[near], axis=2), axis=1)


def _places(route: Route, at: float) -> tuple[list[Box], np.ndarray]:
    """Places for an edge's label, and what speaks against each: best is above the point `at` of a piece."""
    w, h = _text_size(route.lines)
    rises = ((-h / 2 - 3, 0), (h / 2 + 3, 1), (0, 1), (-1.5 * h - 4, 8), (1.5 * h + 4, 8))
    places, unease = [], []
    for i in range(0, min(len(route.curve) - 1, 15), 3):  # near the source is where one looks for it
        piece = Route(route.curve[i : i + 4], [])
        middle = (piece.curve[0][0] + piece.curve[-1][0]) / 2
        for t, (x, y) in zip(np.linspace(0, 1, 7), piece.sampled(7), strict=True):
            for (rise, against), along in product(rises, (x, middle)):
                places.append(Box(float(along), float(y) + rise, w, h))
                unease.append(against + 4 * abs(t - at) + 0.2 * abs(along - x))
    return places, np.array(unease)


def _trimmed(boxes: dict[Hashable, Box], routes: dict[Edge, Route]) -> Layout:
    """Move everything into the picture's first quadrant, a margin from its sides."""
    labels = [route.label for route in routes.values() if route.label]
    solid = [*boxes.values(), *labels]
    curves = [point for route in routes.values() for point in route.curve]
    xs = [x for box in solid for x in (box.left, box.right)] + [x for x, _ in curves]
    ys = [y for box in solid for y in (box.top, box.bottom)] + [y for _, y in curves]
    dx, dy = _MARGIN - min(xs), _MARGIN - min(ys)
    return Layout(boxes, routes, max(xs) + dx + _MARGIN, max(ys) + dy + _MARGIN).moved(dx, dy)


# Text measured, and the picture painted. matplotlib is imported here alone: it takes its time to load.


def _size(graph: nx.DiGraph, node: Hashable) -> Point:
    kind = _kind(graph, node)
    name, *note = _node_lines(graph, node)
    w, h = _text_size(note)
    return max(_width(name, kind.text, kind.bold), w) + 2 * kind.pad[0], kind.text + h + 2 * kind.pad[1]


def _text_size(lines: Sequence[str]) -> Point:
    """Width and height of lines of small text."""
    return max((_width(line, _SMALL) for line in lines), default=0.0), 1.2 * _SMALL * len(lines)


@cache
def _width(text: str, size: float, bold: bool = False) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=_FONTS[0], size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(math.ceil(width))


def _picture(graph: nx.DiGraph, suffix: str, title: str) -> bytes:
    """Paint the layout with matplotlib, one unit a point."""
    import matplotlib
    from matplotlib.figure import Figure

    plan = layout(graph)
    title = _plain(title)
    top = 24.0 if title else 0.0
    legend = _legend(graph, plan)
    width = max(plan.width, _width(title, 13, True) + 2 * _MARGIN, *(box.right + _MARGIN for box in legend.values()))
    bottom = max([plan.height, *(box.bottom + _MARGIN for box in legend.values())])

    # Text stays text in an SVG, and nothing may differ between two runs or two users' settings.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scout", "font.sans-serif": _FONTS})
        figure = Figure(figsize=(width / 72, (top + bottom) / 72), facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(bottom, -top))
        axes.set_axis_off()
        for edge, route in plan.routes.items():
            _paint_route(axes, graph, edge, route)
        for route in plan.routes.values():
            if route.label:
                _paint_box(axes, route.label, ("#FFFFFF", "none", False), corner=2)
                _write(axes, route.label, [(line, _SMALL, False) for line in route.lines])
        paints = _paints(graph)
        for node, box in plan.boxes.items():
            kind = _kind(graph, node)
            name, *note = _node_lines(graph, node)
            _paint_box(axes, box, paints[node], kind.corner)
            _write(axes, box, [(name, kind.text, kind.bold), *((line, _SMALL, False) for line in note)])
        for (router, (colour, dashed)), box in zip(_colours(graph).items(), legend.values(), strict=True):
            _paint_box(axes, Box(box.left - 10, box.y, 14, 9), (_tint(colour), colour, dashed), 3)
            _write(axes, box, [(router, _SMALL, False)])
        if title:
            _write(axes, Box(width / 2, 8 - top / 2, width, top), [(title, 13, True)])
        content = BytesIO()
        unsigned: dict[str, Any] = {"Date": None, "Creator": None} if suffix == "svg" else {"Software": None}
        figure.savefig(content, format=suffix, dpi=144, metadata=unsigned)
    return content.getvalue()


def _legend(graph: nx.DiGraph, plan: Layout) -> dict[str, Box]:
    """Where the routers' names stand below the picture, each with room for a swatch on its left."""
    boxes: dict[str, Box] = {}
    left, y = _MARGIN, plan.height + _MARGIN
    for router in _colours(graph):
        w = _width(router, _SMALL)
        if boxes and left + 20 + w > max(plan.width, 240) - _MARGIN:
            left, y = _MARGIN, y + 2 * _SMALL
        boxes[router] = Box(left + 20 + w / 2, y, w, _SMALL)
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
    wide = _thickness(data)
    colour = _FAINT if _is_drop(graph, edge[1]) else _INK if data.get("main") else _LINE
    curve = list(route.curve)
    if not _undirected(graph):
        tip, along = (0, 1) if route.back else (-1, -1)
        (x, y), length, half = curve[tip], 4 + 2 * wide, 2 + wide
        curve[tip] = (x + along * (length - 1), y)
        head = [(x, y), (x + along * length, y - half), (x + along * length, y + half)]
        axes.add_patch(Polygon(head, facecolor=colour, edgecolor="none"))
    codes = [Curve.MOVETO] + [Curve.CURVE4] * (len(curve) - 1)
    axes.add_patch(PathPatch(Curve(curve, codes), facecolor="none", edgecolor=colour, linewidth=wide))


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
            color=_INK,
            ha="center",
            va="baseline",
            parse_math=False,
        )
        y += 1.2 * size
