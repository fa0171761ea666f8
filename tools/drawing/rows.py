"""The rows of a layout: how far up or down each node stands in its layer.

Least squares place the nodes near their neighbours, with the main line held straight.
"""

from collections.abc import Hashable, Sequence
from itertools import accumulate, pairwise

import networkx as nx

from scout.tools.drawing.layers import Bend, mean_of

__all__ = ["place_rows"]

APART = 14.0
"""Points between the boxes of a layer."""


def place_rows(
    main: list[Hashable],
    layers: list[list[Hashable]],
    mesh: nx.DiGraph,
    reach: dict[Hashable, tuple[float, float]],
) -> dict[Hashable, float]:
    """Heights of the rows: the main line at 0, all other nodes as near to their neighbours as there is room."""
    links = set(pairwise(main))
    held = {n for n in mesh if n in main or (isinstance(n, Bend) and (n.source, n.target) in links)}
    rows = dict.fromkeys(mesh, 0.0)
    both = {node: [*mesh.pred[node], *mesh.succ[node]] for node in mesh}
    for sides, step in [(mesh.pred, 1), (mesh.succ, -1)] * 4 + [(both, 1), (both, -1)] * 4:
        for layer in layers[::step]:
            wanted = [0 if n in held else mean_of([rows[m] for m in sides[n]], rows[n]) for n in layer]
            weights = [1e9 if n in held else 1 for n in layer]
            steps = [reach[a][1] + APART + reach[b][0] for a, b in pairwise(layer)]
            # Rounded to whole points, so that level edges are exactly level.
            rows.update(zip(layer, map(round, _settle(wanted, weights, steps)), strict=True))

    # Least squares spread a rise over many steps. A chain of nodes without branches looks better level: at the row of
    # one of its nodes that is free in all their layers. Twice, as moving one chain may free a row for another.
    ahead = [(a, b) for a, b in mesh.edges if mesh.out_degree(a) == mesh.in_degree(b) == 1]
    neighbours = [pair for layer in layers for pair in pairwise(layer)]
    for run in 2 * list(nx.weakly_connected_components(nx.DiGraph(ahead))):
        mean = sum(rows[n] for n in run) / len(run)
        for row in sorted({rows[n] for n in run & held or run}, key=lambda row: (abs(row - mean), row)):
            tried = rows | dict.fromkeys(run, row)
            # Rounding may have taken up to two points of the gap.
            if all(
                tried[b] - reach[b][0] - tried[a] - reach[a][1] > APART - 2
                for a, b in neighbours
                if a in run or b in run
            ):
                rows = tried
                break
    return rows


def _settle(wanted: Sequence[float], weights: Sequence[float], steps: Sequence[float]) -> list[float]:
    """Return the places nearest to the `wanted` ones (least squares) that are `steps` or more apart.

    After subtracting the sum of the steps before each place, the places only have to be non-decreasing: this is
    isotonic regression, which pools neighbours that would decrease.

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
