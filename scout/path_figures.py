"""The part of a supervisor that reads the counters of paths, and how long their packets take."""

from typing import Any

from scout.accounts import path_figures, queue_figures
from scout.io.latency import bounds
from scout.memory import Memory
from scout.paths.model.path import Path

__all__ = ["PathFigures"]

_LOOK = 10.0  # seconds


class PathFigures:
    """The part of `Supervisor` that reads the counters of paths, and how long their packets take."""

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

    def path_figures(self, path: str | Path) -> dict[str, Any]:
        """The use of a path, and the fate of its packets, the sums of all replicas.

        Parameters
        ----------
        path : str or Path
            The path, or its name.

        Returns
        -------
        dict
            `path`; `packets` that entered its stages; `bytes` of them, and `busy_s`, the seconds of the domains' time
            that they took, None if the path is not accounted for (`create_path(..., account=True)`); packets `waiting`
            in its queue; `drops` by reason; `memory_bytes` that it takes in a replica and in what replicas share.

        Raises
        ------
        ScoutError
            If there is no such path.
        """
        return path_figures(self.memory.paths.named(path) if isinstance(path, str) else path, self.memory)

    def queue_figures(self) -> list[dict[str, Any]]:
        """For each path with a queue what waits there and what was served, the sums of all replicas.

        Returns
        -------
        list of dict
            `path`; `places` of the queue in each replica; packets `waiting`, `served`, refused as the queue was `full`
            or too `crowded` (its bytes), dropped as the path was over its budget (`throttled`), and served `late`, that
            is later than the path's deadline after they were queued; `bytes` of those served, and seconds `busy_s` in
            which they were.
        """
        return queue_figures(self.memory)

    def flows(self, path: Path) -> dict[tuple[str, str], int]:
        """Packets along every edge of a path so far."""
        return path.flows(self.memory.paths.counters(path))

    def flows_by_shape(self) -> list[tuple[Path, dict[tuple[str, str], int]]]:
        """Packets along every edge so far, for all paths of a shape together, also those that were deleted.

        Each with the first path of the shape, whose stages all of them have. A port's only path is the only one of its
        shape.
        """
        return [(shape.path, shape.path.flows(self.memory.paths.total(shape))) for shape in self.memory.paths.shapes]

    def latencies(self) -> list[dict[str, Any]]:
        """How long packets took from when they were received, by their time stamps, until they were sent: histograms.

        Replicas measure it while somebody looks: for 10 seconds from each call on. So the difference of two calls tells
        of the packets between them. Packets that waited for a next hop, and those that routers made, are left out.

        Returns
        -------
        list of dict
            `replica`; the microseconds `from_us` and `below_us` which that one's `packets` took.
        """
        self.memory.look(_LOOK)
        edges = (bounds() / 1000).round(3).tolist()
        return [
            {"replica": replica, "from_us": edges[index], "below_us": edges[index + 1], "packets": count}
            for replica in self.memory.settings
            for index, count in enumerate(self.memory.latencies[replica].tolist())
            if count
        ]
