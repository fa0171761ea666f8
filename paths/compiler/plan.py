"""The plan of a path: blocks, edges, counters, parameters and tables as data, with names that generated code can use.

The path's graph says what happens to packets; the plan says it in the terms of code. Native code is written from the
plan, the plain run walks it, and `explain` prints it.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from scout.io.packet import CONSUMED, DROPPED
from scout.paths.compiler.ahead import Ahead, parts_ahead
from scout.paths.compiler.headers import header_offsets
from scout.paths.model.agreement import agree
from scout.paths.model.path import Path
from scout.paths.model.references import module_name
from scout.paths.model.setting import Setting
from scout.paths.model.stage import GATHER, Own, Stage
from scout.paths.model.table import Table
from scout.ring.errors import ScoutError
from scout.ring.segment import LINE

__all__ = ["Block", "CompileError", "Edge", "Names", "Plan", "at", "lower", "text_of"]


_LINE = LINE // np.dtype(np.int64).itemsize


class CompileError(ScoutError):
    """A stage that numba cannot compile."""


@dataclass(frozen=True)
class Edge:
    """The node to which a verdict of a stage leads.

    Attributes
    ----------
    verdict : int
    label : str
        The outcome's name, or the drop reason.
    target : str
        The node that it leads to: a block or a leaf.
    pull : int
        Bytes of header that are taken off.
    egress : int or None
        At a leaf, what becomes of the packet: a port's index, `DROPPED` or `CONSUMED`.
    counter : int or None
        Index of its counter.
    main : bool
        True if it is a part of the main line.
    waits : bool
        True if packets wait before they go on at the target.
    """

    verdict: int
    label: str
    target: str
    pull: int
    egress: int | None
    counter: int | None
    main: bool
    waits: bool


@dataclass(frozen=True)
class Block:
    """A stage in code.

    Attributes
    ----------
    node : str
        The stage's name in the path.
    name : str
        Its name in generated code.
    index : int
        Its number: `packet.at` of a packet that begins there.
    arguments : tuple of str
        Names of the function's parameters after `frame` and `end` in generated code; those of `GATHER`, `packet` and
        `primary` have their own.
    edges : tuple of Edge
    unknown, held : int
        Indices of its counters.
    """

    node: str
    name: str
    index: int
    stage: Stage
    arguments: tuple[str, ...]
    edges: tuple[Edge, ...]
    unknown: int
    held: int

    def edge(self, verdict: int) -> Edge | None:
        """The edge that a verdict takes, None if it leads nowhere."""
        return next((edge for edge in self.edges if edge.verdict == verdict), None)


@dataclass(frozen=True)
class Plan:
    """A path in the terms of code.

    Attributes
    ----------
    source : str
        The name of the router that the path begins at.
    blocks : dict of str to Block
        By node, in the order of their numbers.
    order : tuple of str
        The nodes of the blocks, each after all that lead to it.
    main, aside, replicated : frozenset of str
        The blocks of the main line; those that packets go through off it; those that every replica runs.
    early : frozenset of str
        The blocks that run before a packet is queued, if some do.
    parameters : dict of str to int or callable
        The fields of the path's configuration, and their values or how to ask for them.
    own : tuple of str
        The parameters in which paths that share this code may differ (`scout.paths.model.stage.Own`).
    counters : int
        How many counters a path has.
    settings : dict of str to str
        Names in generated code of the settings that stages read, each with the name of its table.
    tables : dict of str to Table
        By their names in generated code.
    timeouts : dict of str to int
        Where packets enter that were held at a stage for too long: the number of the block, by the stage's node.
    offsets : dict of str to int
        The distance of the header that a stage of the main line works on from where packets enter, by node.
    ahead : dict of str to Ahead
        The parts of stages of the main line that run for a group of packets before these do, by node.
    emissions : dict of Table to int
        Where packets begin that stages make: the number of the block, by the table that says how many wait.
    """

    source: str
    blocks: dict[str, Block]
    order: tuple[str, ...]
    main: frozenset[str]
    aside: frozenset[str]
    replicated: frozenset[str]
    early: frozenset[str]
    parameters: dict[str, Any]
    own: tuple[str, ...]
    counters: int
    settings: dict[str, str]
    tables: dict[str, Table]
    timeouts: dict[str, int]
    offsets: dict[str, int]
    ahead: dict[str, Ahead]
    emissions: dict[Table, int]

    @property
    def row(self) -> int:
        """Words of a path's counters in shared memory: whole cache lines, as one core writes them.

        They are an odd number of lines, or one counter of all paths would share a few sets of the caches.
        """
        return (-(-self.counters // _LINE) | 1) * _LINE

    @property
    def record(self) -> np.ndarray:
        """The path's record: an int64 for each parameter of its own, as of now."""
        return self._record(self.own)

    @property
    def own_values(self) -> tuple[int, ...]:
        """The values in the path's record, as of now."""
        return self._values(self.own)

    @property
    def table_names(self) -> dict[int, str]:
        """Name in generated code of each table, by its id."""
        return {id(table): name for name, table in self.tables.items()}

    @property
    def configuration(self) -> np.ndarray:
        """The path's configuration: one record with an int64 for every int parameter, as of now."""
        return self._record(self.parameters)

    def _record(self, names: Collection[str]) -> np.ndarray:
        record = np.zeros(1, np.dtype([(name, np.int64) for name in names or ["none"]]))
        if names:
            record[0] = self._values(names)
        return record

    def _values(self, names: Iterable[str]) -> tuple[int, ...]:
        values = (self.parameters[name] for name in names)
        return tuple(value() if callable(value) else value for value in values)

    def select(self, nodes: Iterable[str]) -> list[Block]:
        """The blocks of these nodes, each after all that lead to it."""
        wanted = set(nodes)
        return [self.blocks[node] for node in self.order if node in wanted]


class Names:
    """Identifiers for generated code, each given once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def give(self, *parts: str) -> str:
        """An ASCII identifier that says what it stands for, and that nothing else has.

        It has an underscore inside, which keeps it apart from the fixed names of generated code.
        """
        wanted = re.sub(r"[^0-9A-Za-z_]", "_", "_".join(parts))
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return name


def text_of(words: object) -> str:
    """Words as one line that can stand in a comment or a docstring of generated code."""
    return str(words).encode("unicode_escape").decode().replace('"', "'")


def at(function: Any) -> str:
    """File, line and name of a function; the file with its folder if it is Scout's own, where names occur twice."""
    code = function.__code__
    file = FilePath(code.co_filename)
    shown = f"{file.parent.name}/{file.name}" if module_name(function).startswith("scout.") else file.name
    return f"{shown}:{code.co_firstlineno} {function.__name__}"


def lower(path: Path) -> Plan:
    """The plan of an established path.

    Raises
    ------
    CompileError
        If a parameter of a stage is not bound.
    GraphError
        If the path was changed and not established, or replicas could differ.
    """
    if path.lowered is None or path.lowered[0] != _described(path):
        agree(path)  # again: a path that was created since may have made a table a replicated one
        path.lowered = _described(path), _lower(path)
    return path.lowered[1]


def known_plan(path: Path) -> Plan:
    """The plan that `lower` made of an established path before, whatever may have changed since; else that of now."""
    return path.lowered[1] if path.lowered else lower(path)


def _described(path: Path) -> list[Any]:
    """The parts of an established path that may still change its plan: the stages, the kinds of their tables, and where
    packets are queued.

    As long as it is the same nothing is analysed again: a plain run asks for the plan at every packet.
    """
    stages = path.stages.items()
    return [
        bool(path.early),
        *((node, id(stage), *(table.kind for table in stage.tables.values())) for node, stage in stages),
    ]


def _lower(path: Path) -> Plan:
    counters = {edge: index for index, edge in enumerate(path.counted)}
    tables = _named_tables(path)
    names = Names(tables)
    parameters: dict[str, Any] = {}
    settings: dict[str, str] = {}
    blocks = {}
    for node, stage in path.stages.items():
        name = names.give(*node.split("."))
        arguments: list[str] = []
        for parameter in stage.parameters:
            value = stage.bindings.get(parameter)
            if parameter in ("packet", "primary", *GATHER):
                arguments.append(parameter)
            elif parameter not in stage.bindings:
                raise CompileError(
                    f"stage {node} at {at(stage.function)}: parameter {parameter!r} is not bound; give {parameter}=... "
                    "where it is added"
                )
            elif isinstance(value, Setting):
                arguments.append(names.give(*node.split("."), parameter))
                settings[arguments[-1]] = value.name
            elif isinstance(value, Table):
                arguments.append(value.name)
            else:
                arguments.append(names.give(*node.split("."), parameter))
                parameters[arguments[-1]] = value
        edges = tuple(_edge(path, edge, data, counters) for *edge, data in path.out_edges(node, keys=True, data=True))
        blocks[node] = Block(
            node,
            name,
            path.nodes[node]["index"],
            stage,
            tuple(arguments),
            # Small numbers first: outcomes before drops.
            tuple(sorted(edges, key=lambda edge: abs(edge.verdict))),
            path.unknown_counter(node),
            path.held_counter(node),
        )
    offsets = header_offsets(path, blocks)
    return Plan(
        path.source,
        blocks,
        tuple(path.running_order),
        frozenset(path.main_line),
        frozenset(path.aside),
        frozenset(path.replicated),
        frozenset(path.early),
        parameters,
        tuple(name for name, value in parameters.items() if isinstance(value, Own)),
        len(path.counter_names),
        settings,
        tables,
        {
            node: path.nodes[data["timeout"]]["index"]
            for node, data in path.nodes(data=True)
            if data.get("timeout") is not None
        },
        offsets,
        parts_ahead(path, blocks, offsets, names),
        {
            stage.emits.waiting: path.nodes[path.emissions[node]]["index"]
            for node, stage in path.stages.items()
            if stage.emits
        },
    )


def _named_tables(path: Path) -> dict[str, Table]:
    """The path's tables by name: each has one name in all paths of the router graph, which share a domain."""
    names = path.router_graph.graph.setdefault("table_names", Names())
    found = {}
    for node, stage in path.stages.items():
        for parameter, table in stage.tables.items():
            table.name = table.name or names.give(path.nodes[node]["router"], parameter)
            found[table.name] = table
    return found


def _edge(path: Path, edge: list[Any], data: dict[str, Any], counters: dict[Any, int]) -> Edge:
    _, head, _ = edge
    leaf = path.nodes[head]
    egress = {"drop": DROPPED, "end": CONSUMED}.get(leaf["kind"])
    if leaf["kind"] == "port":
        egress = path.ports.index(leaf["router"])
    label = data["outcome"] or leaf["label"]
    counter = counters.get(tuple(edge))
    return Edge(data["verdict"], label, head, data["pull"], egress, counter, data["main"], data.get("waits", False))
