"""The parts of stages that fused code runs ahead, for a group of packets (`scout.paths.model.ahead`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scout.paths.model.ahead import FOUND, Halves, halves
from scout.paths.model.effects import effects
from scout.paths.model.invariants import untouched_stages
from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.paths.model.stage import GATHER, Stage
from scout.ring.local import local

if TYPE_CHECKING:
    from scout.paths.compiler.plan import Block, Names

__all__ = ["GROUP", "Ahead", "parts_ahead", "results"]

GROUP = 16
"""Packets whose lookups run together: with more, what was fetched for the first one may be gone when it is needed."""

_STILL = ("constant", "setting")
"""The kinds of tables that stay as they are while a batch is served."""

results = local(GROUP)
"""Room for what a part finds for each packet of a group; for compiled code."""


@dataclass(frozen=True)
class Ahead:
    """The part of a stage that runs ahead.

    Attributes
    ----------
    halves : Halves
    name, rest, found : str
        The names in generated code of the two parts, and of what the first finds for each packet of a group.
    arguments, rest_arguments : tuple of str
        The arguments of the two after `frame` and `end`, in generated code; `FOUND` for what was found.
    offset : int
        From the header at which packets enter the path to that at which they enter the stage, bytes.
    """

    halves: Halves
    name: str
    rest: str
    found: str
    arguments: tuple[str, ...]
    rest_arguments: tuple[str, ...]
    offset: int


def parts_ahead(
    path: Path, blocks: Mapping[str, "Block"], offsets: Mapping[str, int], names: "Names"
) -> dict[str, Ahead]:
    """The parts of the path's stages that can run ahead, by node.

    Packets have to come to the stage along the main line, with the fields that such a part may read as they came in,
    and not from a queue; and the header has to be at one of the `offsets` (`header_offsets`).

    Raises
    ------
    GraphError
        If a part reads what may change among the packets of a group.
    """
    reached = untouched_stages(path) & (path.early or set(path.main_line)) & set(offsets)
    found = {}
    for node in offsets:
        parts = halves(blocks[node].stage.function)
        if parts is None or node not in reached:
            continue
        _check(node, blocks[node].stage, parts)
        given = dict(zip(blocks[node].stage.parameters, blocks[node].arguments, strict=True))
        given |= {FOUND: FOUND, "frame": "frame", "end": "end"}
        name = blocks[node].name
        found[node] = Ahead(
            parts,
            names.give(name, "ahead"),
            names.give(name, "rest"),
            names.give(name, "found"),
            tuple(given[each] for each in parts.first_arguments),
            tuple(given[each] for each in parts.rest_arguments),
            offsets[node],
        )
    return found


def _check(node: str, stage: Stage, parts: Halves) -> None:
    """Refuse a part whose result could be another one by the time that its packet comes to the stage."""
    code = parts.first.__code__
    place = f"{code.co_filename}:{code.co_firstlineno}: {parts.first.__name__}, which runs ahead of stage {node},"
    if given := {"packet", "primary", *GATHER} & set(parts.first_arguments):
        raise GraphError(f"{place} is given {min(given)}; give it frame, end, settings and constant tables alone")
    names = dict(zip(parts.first_arguments, code.co_varnames, strict=False))
    tables = {name: table for name, table in stage.tables.items() if name in names}
    found = effects(parts.first, {names[name]: table.kind not in _STILL for name, table in tables.items()})
    if found.assignments:
        raise GraphError(
            f"{found.assignments[0].place}: {parts.first.__name__} runs ahead of stage {node} and changes "
            f"{found.assignments[0].parameter}; do that in {parts.rest.__name__}"
        )
    if found.varies:
        changing = ", ".join(name for name, table in tables.items() if table.kind not in _STILL)
        raise GraphError(f"{place} depends on {changing}, which stages change; read that in {parts.rest.__name__}")
