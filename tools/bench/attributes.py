"""The path of `scout bench path` for the packets of one prefix: what its attributes save.

- `one-prefix`: the path of all packets; all frames go to one prefix.
- `attributes-destination`: the same frames, and a path that is created for this destination prefix.
- `attributes`: a path that is created for their source too.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from scout.paths.model.path import Path
from scout.tools.bench.path_router import Bench

__all__ = ["OnePrefixBench", "attribute_benches"]

SOURCE = "10.0.0.2"  # of all frames


class OnePrefixBench(Bench):
    """The router whose frames all go to one prefix, and a path for the packets with some of the attributes that fit."""

    def __init__(self, *known: str) -> None:
        self._known = known
        super().__init__()

    def create_path(self, networks: Sequence[int]) -> Path:
        (network,) = self.targets(networks)
        fitting: dict[str, Any] = {"destination": IPv4Network((network << 8, 24)), "source": SOURCE}
        return self.graph.create_path("left", **{name: fitting[name] for name in self._known})

    def targets(self, networks: Sequence[int]) -> Sequence[int]:
        return networks[:1]


def attribute_benches() -> Mapping[str, Bench]:
    """The routers of the rows, by name."""
    return {
        "one-prefix": OnePrefixBench(),
        "attributes-destination": OnePrefixBench("destination"),
        "attributes": OnePrefixBench("destination", "source"),
    }
