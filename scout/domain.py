"""Domains: a core's private copy of the state, and the compiled loop that serves it.

`compile_domain` compiles the loop (`scout.domain_loop`) for a graph's channels, ports and paths; `run_domain` is the
body of a replica's process. The loop reads no clock: time is that of the requests.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil
from numba.core import types

from scout.domain_arguments import Argument, Channels, domain_arguments
from scout.domain_changes import ChangeText, amenders
from scout.domain_demux import demux_functions
from scout.domain_loop import loop_source
from scout.domain_plan import DomainPlan, is_sharded
from scout.domain_queues import QUEUE_HEADS
from scout.domain_timers import timers_of
from scout.io.channels.contract import ChannelOperations
from scout.io.ports.contract import PortOperations
from scout.live_memory import LINKED, MOST_SHAPES
from scout.paths.compiler.diagnosis import reason
from scout.paths.compiler.fingerprint import fingerprint
from scout.paths.compiler.generated import load_generated
from scout.paths.compiler.inlining import native
from scout.paths.compiler.native import table_names
from scout.paths.compiler.plan import CompileError
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.setting import Setting
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.paths.wire.flow import shard_of
from scout.ring.errors import ScoutError
from scout.ring.linked import caller
from scout.ring.schedule import SCHEDULERS
from scout.shapes import Shape

__all__ = [
    "CompiledDomain",
    "compile_domain",
    "keeps_state",
    "run_domain",
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
    tiers : list of Setting
        For each shape that may come while packets flow the tier that its paths run in (`scout.live_memory`).
    file : str
        The generated source.
    """

    def __init__(
        self, serve: Any, arguments: Sequence[Argument], tables: list[Table], tiers: list[Setting], file: str
    ) -> None:
        self.serve, self.arguments, self.tables, self.tiers, self.file = serve, arguments, tables, tiers, file

    @property
    def state(self) -> list[Table]:
        """The tables that are the same in every replica."""
        return [table for table in self.tables if table.kind == "replicated"]

    @property
    def settings(self) -> list[Setting]:
        """The settings, in the order of their cells."""
        return [*(table for table in self.tables if isinstance(table, Setting)), *self.tiers]


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
    named = _tables(graph, [shape.path for shape in shapes])
    tables = {f"table_{name}": table for name, table in named.items()}
    arguments = domain_arguments(graph, channels, shapes, demuxes, path_schedule is not None, grows, tables)
    names = {id(table): name for name, table in tables.items()}
    emitters, stages = _emitters(graph), amenders(graph)
    plan = DomainPlan(
        graph,
        channels,
        shapes,
        arguments,
        tables=names,
        emitters=emitters,
        change=ChangeText(stages, names, len(channels)),
        settings=frozenset(id(table) for table in tables.values() if table.kind == "setting"),
        replicas=replicas,
        scheduler=_scheduler_arguments(schedule, "heads", list(named)) if schedule else "",
        path_scheduler=_scheduler_arguments(path_schedule, QUEUE_HEADS, list(named)) if path_schedule else "",
        keeps_state=any(table.kind == "replicated" for table in tables.values()),
        demuxes=demuxes,
        accounts=accounts,
        timers=timers_of([shape.path for shape in shapes]),
        grows=grows,
        delays=delays,
    )
    given: dict[str, Any] = {f"emit_{name}": native(stage.function) for name, stage in emitters.items()}
    given |= {f"amend_{index}": native(stage.function) for index, stage in stages.items()}
    for index, (channel, _) in enumerate(channels):
        given |= _functions(f"channel_{index}", channel.operations)
    for name in graph.ports:
        given |= _functions(f"port_{name}", graph.router(name).port.operations)
    if schedule:
        given["schedule"] = native(schedule)
    if path_schedule:
        given["path_schedule"] = native(path_schedule)
    if demuxes:
        given |= demux_functions(graph)
    # Back ends have functions of equal names, so the module counts.
    marks = [f"{function.__module__} {fingerprint(function)}" for function in given.values()]
    if any(is_sharded(shape.path) for shape in shapes):
        given["shard_of"] = native(shard_of)
    given |= {f"path_{shape.name}_call": caller(shape.code.run.signature) for shape in shapes}
    signature = types.void(*(argument.type for argument in arguments))
    try:
        module = load_generated("domain", loop_source(plan), " ".join(marks), signature, given, progress)
    except (ScoutError, OSError):  # of the cache folder
        raise
    except Exception as error:  # numba raises exceptions of many classes; of user code it can only be a scheduler
        raise CompileError(
            f"{_places(schedule, path_schedule)}the domain of graph {graph.name!r} does not compile: {reason(error)}"
        ) from error
    tiers = [Setting(LINKED) for _ in range(MOST_SHAPES if grows else 0)]
    return CompiledDomain(module.serve, arguments, list(tables.values()), tiers, str(module.__file__))


def _functions(name: str, operations: ChannelOperations | PortOperations) -> dict[str, Any]:
    """The compiled functions of a channel or port, by their names in the generated text."""
    return {
        f"{name}_{key}": value
        for key, value in operations._asdict().items()
        if callable(value) and not isinstance(value, np.dtype)
    }


def _emitters(graph: RouterGraph) -> dict[str, Stage]:
    return {router.name: stage for router in graph.routers if (stage := router.emitter())}


def _tables(graph: RouterGraph, paths: Sequence[Path]) -> dict[str, Table]:
    """The tables of a domain by name, each once."""
    found: dict[int, tuple[str, Table]] = {}
    for path in paths:
        names = table_names(path)
        for table in path.tables:
            found.setdefault(id(table), (names[id(table)], table))
    made = {graph.routers[index].name: stage for index, stage in amenders(graph).items()}
    for name, stage in [*_emitters(graph).items(), *made.items()]:
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


def _scheduler_arguments(schedule: Callable[..., int], heads: str, tables: list[str]) -> str:
    """The arguments of a scheduler, in the generated text: the heads, by that name, and the tables that it names."""
    code = schedule.__code__
    names = code.co_varnames[1 : code.co_argcount]
    for name in names:
        if name not in tables:
            raise CompileError(
                f"{code.co_filename}:{code.co_firstlineno}: scheduler {schedule.__name__} wants {name!r}, which is no "
                f"table here; there are {', '.join(tables) or 'none'}"
            )
    return ", ".join([heads, *(f"table_{name}" for name in names)])


def run_domain(core: int | None, serve: Any, arguments: tuple[Any, ...]) -> None:
    """Pin this process to a core, and serve; the body of a replica's process."""
    if core is not None:
        psutil.Process().cpu_affinity([core])
    serve(*arguments)
