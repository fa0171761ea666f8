"""The distance of the header that a stage works on from the one at which packets enter the path."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from scout.paths.model.path import Path

if TYPE_CHECKING:
    from scout.paths.compiler.plan import Block

__all__ = ["header_offsets"]


def header_offsets(path: Path, blocks: Mapping[str, "Block"]) -> dict[str, int]:
    """The bytes from the header at which packets enter to that of each stage of the main line, what it pushes taken
    into account; without the stages where that is not the same for all packets."""
    arrivals: dict[str, set[int | None]] = {path.main_line[0]: {0}}
    found: dict[str, int] = {}
    for node in path.main_line:
        (start, *others) = arrivals[node]
        if start is not None and not others:
            found[node] = start - blocks[node].stage.push
        for edge in blocks[node].edges:
            if edge.main:
                further = found[node] + edge.pull if node in found else None
                arrivals.setdefault(edge.target, set()).add(further)
    return found
