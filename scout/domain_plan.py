"""What a domain's loop is generated from, and the names and calls that several parts of its text have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scout.domain_arguments import Argument, Channels
from scout.domain_changes import ChangeText
from scout.paths.compiler.native import table_names
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.stage import Stage
from scout.shapes import Shape

if TYPE_CHECKING:
    from scout.domain_timers import Timer

__all__ = ["DomainPlan", "call", "ends_of", "is_of", "is_ordered", "is_sharded", "see", "transmits"]


@dataclass(frozen=True)
class DomainPlan:
    """The facts from which a loop is generated."""

    graph: RouterGraph
    channels: Channels
    shapes: Sequence[Shape]
    arguments: Sequence[Argument]
    tables: dict[int, str]
    """The name of each table in the text, by the table's `id`."""
    emitters: dict[str, Stage]
    """The stages that make frames, by router."""
    change: ChangeText
    settings: frozenset[int]
    """The tables, by `id`, that are settings: in the text each channel has its own."""
    replicas: int
    scheduler: str
    """The arguments of the channel scheduler; empty if each channel has its turn."""
    keeps_state: bool
    """True if replicas save snapshots."""
    path_scheduler: str
    """The arguments of the path scheduler; empty if no path has a queue."""
    demuxes: bool
    """True if packets of a port are told apart, so that a packet's path is not that of its port."""
    accounts: bool
    """True if a path without a queue may be accounted for."""
    timers: "list[Timer]"
    """The routers that want requests at certain times."""
    grows: bool
    """True if paths of new shapes may come (`scout.domain_live`)."""
    delays: bool
    """True if packets may wait until a time (`scout.domain_delayed`)."""


def is_sharded(path: Path) -> bool:
    """True if each replica gets only its own flows of the path."""
    return any(stage.sharded for stage in path.stages.values())


def is_ordered(paths: Sequence[Path]) -> bool:
    """True if packets leave the paths of a channel in channel order: they share one turn, or have none."""
    return any(path.release_order == "channel" for path in paths)


def ends_of(index: int) -> str:
    return f"channel_{index}_ring[0], channel_{index}_cursor[0]"


def transmits(plan: DomainPlan) -> str:
    return ", ".join(f"port_{name}_transmit" for name in plan.graph.ports)


def call(plan: DomainPlan, shape: Shape, function: str, packets: str) -> str:
    name = f"path_{shape.name}"
    channel = next(index for index, (_, paths) in enumerate(plan.channels) if shape.path in paths)
    records = f", {name}_records" if shape.has_records else ""
    tables = "".join(
        f", {plan.tables[table]}{f'_{channel}' if table in plan.settings else ''}" for table in table_names(shape.path)
    )
    given = f"{packets}, {name}_counters, {name}_configuration{records}, whole{tables}"
    return f"{name}_call({name}_{function}, ({given}))"


def is_of(plan: DomainPlan, shape: Shape) -> str:
    """The test whether `packet` goes through a shape's code."""
    if plan.demuxes:
        return f"demux_paths[packet.path].shape == {shape.number}"
    return f"packet.port == {shape.path.ports.index(shape.path.source)}"


def see(batch: str) -> str:
    """The call that counts `count` packets of a batch, which were sent just now, by their latencies, if wanted."""
    return f"see_latencies(orders, {batch}, count, latencies, waiter)"
