"""The facts that a domain's loop is generated from, and the names and calls that several parts of its text have.

Of paths it has nothing but which features they need: the code of paths is called by its address. So routers with equal
ports and features share a loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scout.domain_arguments import Argument, Channels
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.shapes import Shape

__all__ = [
    "ChannelPlan",
    "DomainPlan",
    "Timer",
    "channel_plans",
    "ends_of",
    "is_ordered",
    "is_sharded",
    "see",
    "transmits",
]


@dataclass(frozen=True)
class ChannelPlan:
    """The facts about a channel, and the paths that begin at its ports, on which the text depends."""

    ports: list[str]
    has_descriptor: bool
    is_ordered: bool
    is_sharded: bool
    copies: bool
    """True if replicas that are not the primary write packets."""
    replicates: bool
    """True if replicas that are not the primary may have work."""
    emits: bool
    """True if stages make packets."""
    is_mixed: bool
    """True if packets of a batch may be of several shapes."""


@dataclass(frozen=True)
class Timer:
    """The timers of a router: the index of the port, and the router's protocol."""

    port: int
    protocol: int


@dataclass(frozen=True)
class DomainPlan:
    """The facts from which a loop is generated."""

    graph: RouterGraph
    channels: Sequence[ChannelPlan]
    arguments: Sequence[Argument]
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
    timers: Sequence[Timer]
    """The timers of routers that want requests at certain times."""
    makes: bool
    """True if routers make packets by themselves."""
    holds: bool
    """True if stages may hold packets."""
    grows: bool
    """True if paths of new shapes may come while packets flow."""
    delays: bool
    """True if packets may wait until a time (`scout.domain_delayed`)."""


def channel_plans(
    channels: Channels, shapes: Sequence[Shape], demuxes: bool, grows_with_state: bool
) -> list[ChannelPlan]:
    """The plans of channels; `grows_with_state`: paths with replicated work may come while packets flow."""
    return [
        ChannelPlan(
            ports=list(dict.fromkeys(path.source for path in paths)),
            has_descriptor=channel.descriptor is not None,
            is_ordered=is_ordered(paths),
            is_sharded=any(map(is_sharded, paths)),
            copies=any(path.nodes[node]["stage"].writes for path in paths for node in path.replicated),
            replicates=grows_with_state or any(path.replicated for path in paths),
            emits=any(path.emissions for path in paths),
            is_mixed=demuxes or sum(shape.path in paths for shape in shapes) > 1,
        )
        for channel, paths in channels
    ]


def is_sharded(path: Path) -> bool:
    """True if each replica gets only its own flows of the path."""
    return any(stage.sharded for stage in path.stages.values())


def is_ordered(paths: Sequence[Path]) -> bool:
    """True if packets leave the paths of a channel in channel order: they share one turn, or have none."""
    return any(path.release_order == "channel" for path in paths)


def ends_of(index: int) -> str:
    return f"channel_{index}_ring[0], channel_{index}_cursor[0]"


def transmits(plan: DomainPlan) -> str:
    return ", ".join(f"port_{index}_transmit" for index in range(len(plan.graph.ports)))


def see(batch: str) -> str:
    """The call that counts `count` packets of a batch, which were sent just now, by their latencies, if wanted."""
    return f"see_latencies(orders, {batch}, count, latencies, waiter)"
