"""Boxes, edge curves and the layout made of them. All lengths are points (1/72 inch); y grows downwards."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Box", "Edge", "Layout", "Point", "Route"]

Point = tuple[float, float]
Edge = tuple[Hashable, Hashable]


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
