"""The layers of a layout: which layer each node is in, and its order there.

A stage stands one layer after its latest predecessor. Barycentres order the layers so that few edges cross (Sugiyama,
Tagawa and Toda, IEEE Trans. SMC 11(2), 1981). An edge that skips layers has a `Bend` in each of them.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import networkx as nx

from scout.tools.drawing.geometry import Edge
from scout.tools.drawing.scene import is_drop

__all__ = ["Bend", "acyclic", "assign_layers", "hanging_drops", "main_line", "mean_of", "reduce_crossings"]


@dataclass(frozen=True)
class Bend:
    """The slot in which the edge from `source` to `target` passes `layer`."""

    source: Hashable
    target: Hashable
    layer: int


def hanging_drops(graph: nx.DiGraph) -> dict[Hashable, list[Hashable]]:
    """Drops by the stage under which they hang; a drop of several stages is laid out like a stage."""
    drops: dict[Hashable, list[Hashable]] = {}
    for node in graph:
        if is_drop(graph, node) and graph.in_degree(node) == 1 and not graph.out_degree(node):
            (stage,) = graph.pred[node]
            if not is_drop(graph, stage):
                drops.setdefault(stage, []).append(node)
    return drops


def acyclic(graph: nx.DiGraph, drops: dict[Hashable, list[Hashable]]) -> nx.DiGraph:
    """Return the graph without the hanging drops, and with the edges turned round that close a cycle."""
    # Built anew, because the order of the nodes in a view of a subgraph differs between runs.
    hanging = {drop for group in drops.values() for drop in group}
    acyclic: nx.DiGraph = nx.DiGraph()
    acyclic.add_nodes_from((node, data) for node, data in graph.nodes(data=True) if node not in hanging)
    acyclic.add_edges_from((s, t, data) for s, t, data in graph.edges(data=True) if t not in hanging)
    closing: list[Edge] = []
    # In a search that begins where packets come in, the last edge of a cycle is the one that leads back.
    starts = sorted(acyclic, key=lambda node: acyclic.in_degree(node) > 0)
    while not nx.is_directed_acyclic_graph(acyclic):
        closing.append(nx.find_cycle(acyclic, starts)[-1])
        acyclic.remove_edge(*closing[-1])
    order = {node: i for i, node in enumerate(nx.topological_sort(acyclic))}
    acyclic.add_edges_from(sorted(edge, key=order.__getitem__) for edge in closing)
    return acyclic


def main_line(forward: nx.DiGraph) -> list[Hashable]:
    """Return the longest path of edges marked `main`, of all edges where none is."""
    marked = [(s, t) for s, t, main in forward.edges(data="main") if main]
    return nx.dag_longest_path(nx.DiGraph(marked or list(forward.edges)))


def assign_layers(forward: nx.DiGraph, main: list[Hashable]) -> tuple[list[list[Hashable]], nx.DiGraph]:
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
            targets.sort(key=lambda target: is_drop(forward, target))
            others = sum(not is_drop(forward, target) for target in targets)
            targets.insert((others + 1) // 2, after[source])
        for target in targets:
            bends = [Bend(source, target, layer) for layer in range(depth[source] + 1, depth[target])]
            nx.add_path(mesh, [source, *bends, target])
            for bend in bends:
                layers[bend.layer].append(bend)
    # The initial order is depth-first, which keeps connected nodes together.
    order = {node: i for i, node in enumerate(nx.dfs_preorder_nodes(mesh))}
    return [sorted(layer, key=order.__getitem__) for layer in layers], mesh


def reduce_crossings(layers: list[list[Hashable]], mesh: nx.DiGraph) -> list[list[Hashable]]:
    """Sort each layer by the mean place of its neighbours, to and fro; the order with the fewest crossings is kept."""
    best, fewest = layers, _crossings(layers, mesh)
    for sweep in range(16):
        sides, step = (mesh.pred, 1) if sweep % 2 == 0 else (mesh.succ, -1)
        swept = [layers[::step][0]]
        for layer in layers[::step][1:]:
            place = {node: i for i, node in enumerate(swept[-1])}
            centre = {n: mean_of([place[m] for m in sides[n]], i) for i, n in enumerate(layer)}
            swept.append(sorted(layer, key=centre.__getitem__))
        layers = swept[::step]
        crossings = _crossings(layers, mesh)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def mean_of(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(layers: list[list[Hashable]], mesh: nx.DiGraph) -> int:
    place = {node: i for layer in layers for i, node in enumerate(layer)}
    return sum(
        (place[a] - place[c]) * (place[b] - place[d]) < 0
        for layer in layers
        for (a, b), (c, d) in combinations(mesh.out_edges(layer), 2)
    )
