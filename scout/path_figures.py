"""What the paths of a run have counted."""

from scout.memory import Memory
from scout.paths.model.path import Path

__all__ = ["PathFigures"]


class PathFigures:
    """The part of `Supervisor` that reads the counters of paths."""

    memory: Memory

    def counters(self, path: str | Path, replica: int | None = None) -> dict[str, int]:
        """The counters of a path by name: packets along an edge, as "ip.lookup -> drop no-route", or held at a stage.

        Parameters
        ----------
        path : str or Path
            The path, or its name: that of the router that it begins at, with the attributes of its traffic.
        replica : int, optional
            Whose; by default the sum of all.

        Raises
        ------
        ScoutError
            If there is no such path.
        """
        found = self.memory.paths.named(path) if isinstance(path, str) else path
        return dict(zip(found.counter_names, self.memory.paths.counters(found, replica).tolist(), strict=False))

    def flows(self, path: Path) -> dict[tuple[str, str], int]:
        """Packets along every edge of a path so far."""
        return path.flows(self.memory.paths.counters(path))

    def flows_by_shape(self) -> list[tuple[Path, dict[tuple[str, str], int]]]:
        """Packets along every edge so far, for all paths of a shape together, also those that were deleted.

        Each with the first path of the shape, whose stages all of them have. A port's only path is the only one of its
        shape.
        """
        return [(shape.path, shape.path.flows(self.memory.paths.total(shape))) for shape in self.memory.paths.shapes]
