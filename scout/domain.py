"""Domains: a core's private copy of the state, and the compiled loop that serves it.

`compile_domain` compiles the loop (`scout.domain_loop`) for a graph's channels, ports and the features of its paths.
The work that replicas do alike reads no clock: its time is that of the requests. Accounts, queues and packets that wait
read one, and they are the primary's own affair.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba.core import types

from scout.domain_arguments import Argument, Channels, domain_arguments
from scout.domain_changes import amenders
from scout.domain_demux import demux_functions
from scout.domain_loop import loop_source
from scout.domain_plan import DomainPlan, Timer, channel_plans
from scout.domain_queues import QUEUE_HEADS
from scout.domain_routines import Routines
from scout.domain_timers import deadlines_of
from scout.io.channels.contract import ChannelOperations
from scout.io.ports.contract import PortOperations
from scout.paths.compiler.diagnosis import reason
from scout.paths.compiler.fingerprint import fingerprint
from scout.paths.compiler.generated import load_generated
from scout.paths.compiler.inlining import native
from scout.paths.compiler.plan import CompileError, lower
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.setting import Setting
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.paths.wire.flow import shard_of
from scout.ring.errors import ScoutError
from scout.ring.schedule import SCHEDULERS
from scout.shape_memory import FUSED, LINKED, MOST_SHAPES
from scout.shapes import Shape

__all__ = [
    "CompiledDomain",
    "compile_domain",
    "keeps_state",
]


class CompiledDomain:
    """The native loop of a domain.

    Attributes
    ----------
    serve : callable
        The loop; returns when it is told to stop.
    arguments : sequence of Argument
        The arguments of the loop.
    tables : list of Table
        All tables that it works on.
    routines : Routines
        By which routers make packets and change their tables.
    tiers : list of Setting
        For each shape the tier that its paths run in (`scout.shape_memory`); none if no shapes may come.
    file : str
        The generated source.
    """

    def __init__(
        self,
        serve: Any,
        arguments: Sequence[Argument],
        tables: list[Table],
        routines: Routines,
        tiers: list[Setting],
        file: str,
    ) -> None:
        self.serve, self.arguments, self.tables, self.routines = serve, arguments, tables, routines
        self.tiers, self.file = tiers, file

    @property
    def state(self) -> list[Table]:
        """The tables that are the same in every replica."""
        return [table for table in self.tables if table.kind == "replicated"]

    @property
    def settings(self) -> list[Setting]:
        """The settings, in the order of their cells."""
        return [*self.tiers, *(table for table in self.tables if isinstance(table, Setting))]


def compile_domain(
    graph: RouterGraph,
    channels: Channels,
    shapes: Sequence[Shape],
    replicas: int,
    schedule: Callable[..., int] | None,
    path_schedule: Callable[..., int] | None = None,
    demuxes: bool = False,
    accounts: bool = False,
    grows: bool = False,
    delays: bool = False,
    progress: Callable[[], None] | None = None,
) -> CompiledDomain:
    """Compile the loop that serves these paths of a graph, or load it from the cache.

    Parameters
    ----------
    graph : RouterGraph
    channels : sequence of tuple
        The channels, each with its paths.
    shapes : sequence of Shape
        The shapes of all those paths.
    replicas : int
        How many there are; matters only where flows are sharded among them.
    schedule : callable or None
        Chooses the channel to dequeue from (`scout.ring.schedule`); by default each has its turn.
    path_schedule : callable or None
        Chooses the path whose queue is served; None if no path may have a queue.
    demuxes : bool
        True if packets of a port are told apart.
    accounts : bool
        True if paths without queues may be accounted for; then packets are told apart.
    grows : bool
        True if paths of new shapes may come while packets flow.
    delays : bool
        True if packets may wait until a time.
    progress : callable, optional
        Called before the loop is compiled, if it is not in the cache.

    Raises
    ------
    CompileError
        If the loop or the scheduler does not compile.
    """
    paths = [shape.path for shape in shapes]
    tables, makers, deadlines = _tables(graph, paths), _makers(graph), deadlines_of(paths)
    keeps_state = any(table.kind == "replicated" for table in tables.values())
    read = {name: tables[name] for each in (schedule, path_schedule) for name in _wanted(each, list(tables))}
    arguments = domain_arguments(
        graph,
        channels,
        demuxes,
        path_schedule is not None,
        [each.table for each in deadlines],
        {f"table_{name}": table for name, table in read.items()},
    )
    plan = DomainPlan(
        graph,
        channel_plans(channels, shapes, demuxes, grows and keeps_state),
        arguments,
        replicas=replicas,
        scheduler=_scheduler_arguments(schedule, "heads"),
        path_scheduler=_scheduler_arguments(path_schedule, QUEUE_HEADS),
        keeps_state=keeps_state,
        demuxes=demuxes,
        accounts=accounts,
        timers=[Timer(graph.ports.index(each.port), each.protocol) for each in deadlines],
        makes=bool(makers),
        holds=grows or any(stage.holds for path in paths for stage in path.stages.values()),
        grows=grows,
        delays=delays,
    )
    routines = Routines(makers, amenders(graph), graph)
    given: dict[str, Any] = {}
    for index, (channel, _) in enumerate(channels):
        given |= _functions(f"channel_{index}", channel.operations)
    for index, name in enumerate(graph.ports):
        given |= _functions(f"port_{index}", graph.router(name).port.operations)
    if schedule:
        given["schedule"] = native(schedule)
    if path_schedule:
        given["path_schedule"] = native(path_schedule)
    if demuxes:
        given |= demux_functions(graph)
    # Back ends have functions of equal names, so the module counts.
    marks = [f"{function.__module__} {fingerprint(function)}" for function in given.values()]
    if any(channel.is_sharded for channel in plan.channels):
        given["shard_of"] = native(shard_of)
    signature = types.void(*(argument.type for argument in arguments))
    try:
        module = load_generated("domain", loop_source(plan), " ".join(marks), signature, given, progress)
    except (ScoutError, OSError):  # of the cache folder
        raise
    except Exception as error:  # numba raises exceptions of many classes; of user code it can only be a scheduler
        raise CompileError(
            f"{_places(schedule, path_schedule)}the domain of graph {graph.name!r} does not compile: {reason(error)}"
        ) from error
    tiers = [*(Setting(FUSED) for _ in shapes), *(Setting(LINKED) for _ in range(MOST_SHAPES))] if grows else []
    return CompiledDomain(module.serve, arguments, list(tables.values()), routines, tiers, str(module.__file__))


def _functions(name: str, operations: ChannelOperations | PortOperations) -> dict[str, Any]:
    """The compiled functions of a channel or port, by their names in the generated text."""
    return {
        f"{name}_{key}": value
        for key, value in operations._asdict().items()
        if callable(value) and not isinstance(value, np.dtype)
    }


def _makers(graph: RouterGraph) -> dict[str, Stage]:
    return {router.name: stage for router in graph.routers if (stage := router.emitter())}


def _tables(graph: RouterGraph, paths: Sequence[Path]) -> dict[str, Table]:
    """The tables of a domain by name, each once."""
    found: dict[int, tuple[str, Table]] = {}
    for path in paths:
        names = lower(path).table_names
        for table in path.tables:
            found.setdefault(id(table), (names[id(table)], table))
    made = {graph.routers[index].name: stage for index, stage in amenders(graph).items()}
    for name, stage in [*_makers(graph).items(), *made.items()]:
        for parameter, value in stage.bindings.items():
            if isinstance(value, Table):
                found.setdefault(id(value), (f"{name}_{parameter}", value))
    for router in graph.routers:
        if router.changes is not None:
            found.setdefault(id(router.changes), (f"{router.name}_changes", router.changes))
    tables: dict[str, Table] = {}
    for name, table in found.values():
        while name in tables:  # of router a_b with c, and of router a with b_c
            name += "_"
        tables[name] = table
    return tables


def keeps_state(graph: RouterGraph, paths: Sequence[Path]) -> bool:
    """True if there is state that is the same in every replica, so that snapshots are saved."""
    return any(table.kind == "replicated" for table in _tables(graph, paths).values())


def _places(*schedulers: Callable[..., int] | None) -> str:
    """Where the schedulers are that users wrote, as the beginning of a sentence; empty if there are none."""
    known = SCHEDULERS.values()
    codes = [schedule.__code__ for schedule in schedulers if schedule is not None and schedule not in known]
    names = [f"{code.co_filename}:{code.co_firstlineno}: scheduler {code.co_name}: " for code in codes]
    return "or ".join(names)


def _wanted(schedule: Callable[..., int] | None, tables: list[str]) -> list[str]:
    """The tables that a scheduler reads."""
    if schedule is None:
        return []
    code = schedule.__code__
    names = list(code.co_varnames[1 : code.co_argcount])
    for name in names:
        if name not in tables:
            raise CompileError(
                f"{code.co_filename}:{code.co_firstlineno}: scheduler {schedule.__name__} wants {name!r}, which is no "
                f"table here; there are {', '.join(tables) or 'none'}"
            )
    return names


def _scheduler_arguments(schedule: Callable[..., int] | None, heads: str) -> str:
    """The arguments of a scheduler, in the generated text: the heads, by that name, and the tables that it reads."""
    if schedule is None:
        return ""
    code = schedule.__code__
    return ", ".join([heads, *(f"table_{name}" for name in code.co_varnames[1 : code.co_argcount])])
