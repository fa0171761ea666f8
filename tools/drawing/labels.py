"""The places of edge labels: beside their edges, where they cover nothing else."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import numpy as np

from scout.tools.drawing.geometry import Box, Edge, Route
from scout.tools.drawing.text import text_size

__all__ = ["place_labels"]


def place_labels(routes: dict[Edge, Route], boxes: Iterable[Box]) -> dict[Edge, Route]:
    """Put every label by its edge where it covers the least: never a box or a label if there is room."""
    solid = _array(boxes)
    lines = {edge: np.pad(route.sampled(), ((0, 0), (0, 2))) for edge, route in routes.items()}
    labelled = dict(routes)
    # Twice: in the first pass a label does not know the places of those after it.
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
    """Candidate places for an edge's label, and the cost of each: the cheapest is above the point `at` of a curve."""
    w, h = text_size(route.lines)
    rises = ((-h / 2 - 3, 0), (h / 2 + 3, 1), (0, 1), (-1.5 * h - 4, 8), (1.5 * h + 4, 8))
    places, costs = [], []
    for i in range(0, min(len(route.curve) - 1, 15), 3):  # readers look for a label near the source
        piece = Route(route.curve[i : i + 4], [])
        middle = (piece.curve[0][0] + piece.curve[-1][0]) / 2
        for t, (x, y) in zip(np.linspace(0, 1, 7), piece.sampled(7), strict=True):
            for (rise, against), along in product(rises, (x, middle)):
                places.append(Box(float(along), float(y) + rise, w, h))
                costs.append(against + 4 * abs(t - at) + 0.2 * abs(along - x))
    return places, np.array(costs)
