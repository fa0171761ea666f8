"""Domains: a core's private copy of the state, and the loop that serves it.

The loop is generated like the paths it runs, for the channels, ports and paths at hand: it takes packets from each
channel, runs the path of their port as the primary or as one of the other replicas, sends what came of
it, saves its state from time to time, and sees to the packets that are held. It reads no clock but for packets
that are held, which are the primary's own affair.

A block of the kernel's ring is more than a batch. Of several channels a replica deals with it to its end before it
looks at another, where that matters: else it would save its state in the middle of a block, whose place is that of its
beginning; and in channel order two replicas could wait for each other, each in the middle of what the other waits for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import psutil
from numba.core import types

from scout.io.channels.contract import ChannelOperations, PacketChannel
from scout.io.hold import HOLD
from scout.io.packet import DROPPED, HELD
from scout.io.ports.contract import PortOperations
from scout.io.system import WAITER
from scout.paths.compiler.native import (
    BATCH,
    CompiledPath,
    CompileError,
    fingerprint,
    load_generated,
    native,
    table_names,
)
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.stage import Stage, Table
from scout.paths.wire.flow import shard_of
from scout.ring.jit import compile_entries
from scout.ring.schedule import HEAD
from scout.ring.snapshot import NOTE, PART
from scout.ring.turn import STOP

__all__ = [
    "HOLD_TIME",
    "LEAVE",
    "RETRY",
    "RUN",
    "Channels",
    "CompiledDomain",
    "compile_domain",
    "is_ordered",
    "is_sharded",
    "keeps_state",
    "run_domain",
]

Channels = Sequence[tuple[PacketChannel, list[Path]]]
"""Channels, each with the paths that begin at its ports."""

HOLD_TIME = 3_000_000_000
"""Nanoseconds that a packet is held at most."""

RETRY = 250_000_000
"""Nanoseconds after which held packets are looked at again, also if nothing changed."""

RUN, LEAVE = 0, 3
"""What a domain's word of order says besides STOP, which also ends a wait for its turn: serve; stop between two
requests."""


_NUMBER = 56
"""Bits of the number that says what requests a batch comes of, below that of the channel."""


class CompiledDomain:
    """The native loop of a domain: `serve(replica, order, waiter, batch, ...)`."""

    def __init__(self, serve: Any, tables: list[Table], file: str) -> None:
        self.serve, self.tables, self.file = serve, tables, file

    @property
    def state(self) -> list[Table]:
        """The tables that are the same in every replica."""
        return [table for table in self.tables if table.kind == "replicated"]


def compile_domain(
    graph: RouterGraph,
    channels: Channels,
    compiled: Sequence[CompiledPath],
    replicas: int,
    schedule: Callable[..., int] | None,
) -> CompiledDomain:
    """Compile the loop that serves these paths of a graph, or load it from the cache.

    Parameters
    ----------
    graph : RouterGraph
    channels : sequence of tuple
        The channels, each with its paths.
    compiled : sequence of CompiledPath
        All those paths.
    replicas : int
        How many there are; matters only where flows are divided among them.
    schedule : callable or None
        Picks the channel to dequeue from (`scout.ring.schedule`); by default each has its turn.

    Raises
    ------
    CompileError
        If the loop or the scheduler does not compile.
    """
    tables = _tables(graph, [each.path for each in compiled])
    emitters = _emitters(graph)
    picks = _picks(schedule, [name for name, _ in tables.values()]) if schedule else ""
    text = _source(graph, channels, compiled, tables, emitters, replicas, picks)
    given: dict[str, Any] = {f"{name}_emit": native(stage.function) for name, stage in emitters.items()}
    for index, (channel, _) in enumerate(channels):
        given |= _compiled(f"channel_{index}", channel.operations)
    for name in graph.ports:
        given |= _compiled(name, graph.router(name).port.operations)
    marks = [each.file.name for each in compiled]
    marks += [f"{each.__module__} {fingerprint(each)}" for each in given.values()]  # names are equal in all back ends
    if schedule:
        given["schedule"] = native(schedule)
        marks.append(fingerprint(schedule))
    if any(is_sharded(each.path) for each in compiled):
        given["shard_of"] = native(shard_of)
    for each in compiled:
        name = each.path.source
        given[f"{name}_run"] = each.run
        given[f"{name}_aside"] = getattr(each.module, "aside", None)
        given[f"{name}_replicate"] = each.replicate
    signature = _signature(graph, channels, compiled, tables)
    try:
        module = load_generated(f"{graph.name}_domain", text, " ".join(marks), signature, given)
    except numba.core.errors.NumbaError as error:
        raise CompileError(f"the domain of graph {graph.name!r} does not compile: {error}") from error
    compile_entries()  # what the domains call besides: each process would compile it again
    return CompiledDomain(module.serve, [table for _, table in tables.values()], str(module.__file__))


def _compiled(name: str, operations: ChannelOperations | PortOperations) -> dict[str, Any]:
    """The compiled functions of a channel's or port's operations, as the generated text calls them."""
    return {f"{name}_{key}": value for key, value in operations._asdict().items() if not isinstance(value, np.dtype)}


def _emitters(graph: RouterGraph) -> dict[str, Stage]:
    return {router.name: stage for router in graph.routers if (stage := router.emitter())}


def _tables(graph: RouterGraph, paths: Sequence[Path]) -> dict[int, tuple[str, Table]]:
    """The tables of a domain by identity, with their names."""
    tables: dict[int, tuple[str, Table]] = {}
    for path in paths:
        names = table_names(path)
        for table in path.tables:
            tables.setdefault(id(table), (names[id(table)], table))
    for name, stage in _emitters(graph).items():
        for parameter, value in stage.bindings.items():
            if isinstance(value, Table):
                tables.setdefault(id(value), (f"{name}_{parameter}", value))
    for router in graph.routers:
        if router.changes is not None and id(router.changes) not in tables:
            tables[id(router.changes)] = (f"{router.name}_changes", router.changes)
    return tables


def keeps_state(graph: RouterGraph, paths: Sequence[Path]) -> bool:
    """True if there is state that is the same in every replica, so that snapshots are saved."""
    return any(table.kind == "replicated" for _, table in _tables(graph, paths).values())


def _signature(
    graph: RouterGraph, channels: Channels, compiled: Sequence[CompiledPath], tables: dict[int, tuple[str, Table]]
) -> Any:
    def array(dtype: np.dtype) -> Any:
        return types.Array(numba.from_dtype(dtype), 1, "C")

    kinds: list[Any] = [
        types.int64,
        types.int64,
        array(WAITER),
        BATCH,
        BATCH,
        BATCH,
        array(HOLD),
        types.uint8[::1],
        array(PART),
        types.int64[::1],
        array(NOTE),
        types.int64,
        types.int64,
        array(HEAD),
    ]
    for channel, _ in channels:
        kinds += [array(channel.operations.ring), array(channel.operations.cursor)]
    kinds += [array(graph.router(name).port.operations.transmit) for name in graph.ports]
    for each in compiled:
        kinds += [types.int64[::1], numba.typeof(each.configuration)]
    return types.void(*kinds, *(numba.typeof(table.initial) for _, table in tables.values()))


def _source(
    graph: RouterGraph,
    channels: Channels,
    compiled: Sequence[CompiledPath],
    tables: dict[int, tuple[str, Table]],
    emitters: dict[str, Stage],
    replicas: int,
    picks: str,
) -> str:
    ports = graph.ports
    parameters = ["replica", "order", "waiter", "batch", "resumed", "made", "hold", "whole"]
    parameters += ["parts", "places", "notes", "buffers", "buffer_bytes", "heads"]
    parameters += [f"channel_{index}_{part}" for index in range(len(channels)) for part in ("ring", "cursor")]
    parameters += [f"{name}_transmit" for name in ports]
    parameters += [f"{each.path.source}_{part}" for each in compiled for part in ("counters", "configuration")]
    parameters += [name for name, _ in tables.values()]
    transmits = ", ".join(f"{name}_transmit" for name in ports)
    body: list[str] = []
    keeps = any(table.kind == "replicated" for _, table in tables.values())
    if picks:
        body += _schedule(channels, picks)
    for index, (_, paths) in enumerate(channels):
        own = [each for each in compiled if each.path in paths]
        to_its_end = len(channels) > 1 and (keeps or is_ordered(paths))
        block = _from_channel(index, own, transmits, replicas, bool(picks), to_its_end)
        body += [f"if chosen == {index}:", *(f"    {line}" for line in block)] if picks else block
    if keeps:
        body += _save(channels)
    if any(stage.holds for each in compiled for stage in each.path.stages.values()):
        body += _held(graph, compiled, tables, transmits)
    for name, stage in emitters.items():
        body += _emit(name, stage, ports, tables, transmits)
    at_rest = " and ".join(f"channel_{index}_cursor[0].open == 0" for index in range(len(channels)))
    return "\n".join(
        [
            f'"""The domain of graph {graph.name!r}: paths from {", ".join(each.path.source for each in compiled)}.',
            'Generated by Scout."""',
            "",
            "from scout.io.hold import keep, take_back",
            "from scout.io.packet import RECORD",
            "from scout.io.system import now, rest",
            "from scout.ring.jit import inline",
            "from scout.ring.atomics import load64_acquire",
            "from scout.ring.snapshot import note, save",
            "",
            "",
            *_send(graph, transmits),
            "",
            "",
            "@entry",
            f"def serve({', '.join(parameters)}):",
            '    """Serve until the word at address `order` says STOP (acquire: the supervisor\'s store)."""',
            "    idle = 0",
            "    while True:",
            "        word = load64_acquire(order)",
            f"        if word == {STOP} or (word == {LEAVE} and {at_rest}):",
            "            break",
            "        work = 0",
            *(f"        {line}" for line in body),
            "        if work:",
            "            idle = 0",
            "        else:",
            "            idle += 1",
            "            rest(waiter, idle)",
            "",
        ]
    )


def _send(graph: RouterGraph, transmits: str) -> list[str]:
    lines = [
        "@inline",
        f"def send(batch, count, hold, number, {transmits}):",
        '    """Send what leaves by a port, keep what is held; `number` says what requests it comes of."""',
        *(f"    {name}_transmit[0].number = number" for name in graph.ports),
        "    for index in range(count):",
        "        packet = batch[index]",
        "        record = batch.ctypes.data + index * RECORD",
    ]
    word = "if"
    for index, name in enumerate(graph.ports):
        lines += [
            f"        {word} packet.egress == {index}:",
            f"            {name}_enqueue({name}_transmit[0], packet, record)",
        ]
        word = "elif"
    lines += [f"        {word} packet.egress == {HELD}:", "            keep(hold[0], packet, record)"]
    lines += [f"    {name}_flush({name}_transmit[0])" for name in graph.ports]
    return lines


def _call(each: CompiledPath, function: str, packets: str) -> str:
    name = each.path.source
    tables = "".join(f", {table}" for table in table_names(each.path).values())
    return f"{name}_{function}({packets}, {name}_counters, {name}_configuration, whole{tables})"


def _ends(index: int) -> str:
    return f"channel_{index}_ring[0], channel_{index}_cursor[0]"


def _from_channel(
    index: int,
    compiled: Sequence[CompiledPath],
    transmits: str,
    replicas: int,
    scheduled: bool,
    to_its_end: bool,
) -> list[str]:
    """Receive a batch, run the paths of its ports, send; with `to_its_end` all of what was dequeued together."""
    ends = _ends(index)
    paths = [each.path for each in compiled]
    ordered = is_ordered(paths)
    if any(is_sharded(path) for path in paths):
        receive = f"channel_{index}_receive_sharded({ends}, replica, batch, {replicas}, shard_of)"
    else:
        copies = any(path.nodes[node]["stage"].writes for path in paths for node in path.replicated)
        receive = f"channel_{index}_receive({ends}, replica, batch, {copies})"
    number = f"{index} << {_NUMBER} | channel_{index}_batch_number({ends})"
    leave = f"send(batch, count, hold, {number}, {transmits})"
    others = _by_port(compiled, "replicate")
    lines = [
        f"count = {receive}",
        *([f"heads[{index}].served += count"] if scheduled else []),
        f"if channel_{index}_cursor[0].open:",
        "    work += 1",
        f"    if channel_{index}_cursor[0].primary:",
        *(f"        {line}" for line in _by_port(compiled, "run")),
        *([f"        if channel_{index}_await_turn({ends}, order):"] if ordered else []),
        f"        {'    ' if ordered else ''}{leave}",
        *(["    else:", *(f"        {line}" for line in others)] if others else []),
        f"    channel_{index}_release({ends}, replica, {ordered})",
    ]
    if to_its_end:
        more = [f"if channel_{index}_cursor[0].open == 0:", "    break"]
        lines = ["while True:", *(f"    {line}" for line in (*lines, *more))]
    return [f"# from {', '.join(path.source for path in paths)}", *lines]


def _by_port(compiled: Sequence[CompiledPath], function: str) -> list[str]:
    """Have the batch at hand run by the path of its port; of several ports, a run of one port at a time."""
    if not any(getattr(each, function) for each in compiled):
        return []
    if len(compiled) == 1:
        return [_call(compiled[0], function, "batch, 0, count")]
    lines = [
        "first = 0",
        "while first < count:",
        "    port, last = batch[first].port, first + 1",
        "    while last < count and batch[last].port == port:",
        "        last += 1",
    ]
    word = "if"
    for each in compiled:
        if getattr(each, function):
            lines += [
                f"    {word} port == {each.path.ports.index(each.path.source)}:",
                f"        {_call(each, function, 'batch, first, last')}",
            ]
            word = "elif"
    return [*lines, "    first = last"]


def _schedule(channels: Channels, picks: str) -> list[str]:
    """Show the scheduler the heads of all channels, and have it pick one."""
    lines = []
    for index in range(len(channels)):
        lines += [
            f"heads[{index}].ready = channel_{index}_waiting({_ends(index)})",
            f"if heads[{index}].ready:",
            f"    heads[{index}].since = channel_{index}_waiting_since({_ends(index)})",
        ]
    return [
        *lines,
        f"chosen = schedule({picks})",
    ]


def _picks(schedule: Callable[..., int], tables: list[str]) -> str:
    """The arguments of a scheduler: the heads, and the tables that it names."""
    code = schedule.__code__
    names = code.co_varnames[: code.co_argcount]
    for name in names[1:]:
        if name not in tables:
            place = f"{code.co_filename}:{code.co_firstlineno}"
            raise CompileError(
                f"{place}: scheduler {schedule.__name__} wants {name!r}, which is no table here; there are "
                f"{', '.join(tables) or 'none'}"
            )
    return ", ".join(["heads", *names[1:]])


def is_sharded(path: Path) -> bool:
    """True if each replica gets only its own flows of the path."""
    return any(stage.sharded for stage in path.stages.values())


def is_ordered(paths: Sequence[Path]) -> bool:
    """True if what leaves the paths of a channel leaves in its order: there is one turn, for all of them or none."""
    return any(path.order == "channel" for path in paths)


def _save(channels: Channels) -> list[str]:
    """Save the state at places that are the same for all replicas, and let go of what came before."""
    count = len(channels)
    due = " or ".join(f"channel_{index}_snapshot_due({_ends(index)})" for index in range(count))
    lines = ["# snapshot", f"if {due}:"]
    for index in range(count):
        lines += [
            f"    places[{index}] = channel_{index}_position({_ends(index)})",
            f"    places[{count + index}] = channel_{index}_controls_done({_ends(index)})",
        ]
    return [
        *lines,
        f"    total = {' + '.join(f'places[{index}]' for index in range(count))}",
        "    note(notes, total, channel_0_ring[0].interval, save(parts, buffers, buffer_bytes, total))",
        *(f"    channel_{index}_advance_floor({_ends(index)}, replica)" for index in range(count)),
    ]


def _held(
    graph: RouterGraph, compiled: Sequence[CompiledPath], tables: dict[int, tuple[str, Table]], transmits: str
) -> list[str]:
    changes = " + ".join(f"{tables[id(r.changes)][0]}[0]" for r in graph.routers if r.changes is not None) or "0"
    lines = [
        "# held",
        "if hold[0].count:",
        f"    changes = {changes}",
        "    time = now(waiter)",
        f"    if changes != hold[0].changes or time - hold[0].looked > {RETRY}:",
        "        hold[0].changes = changes",
        "        hold[0].looked = time",
        "        count = take_back(hold[0], resumed)",
        "        for index in range(count):",
        "            packet = resumed[index]",
        "            packet.timestamp = time",
        f"            if time - packet.held_since > {HOLD_TIME}:",
    ]
    for each in compiled:
        path = each.path
        port = path.ports.index(path.source)
        indices = {node: data["index"] for node, data in path.nodes(data=True) if "stage" in data}
        for node, data in path.nodes(data=True):
            if "timeout" in data:
                lines += [
                    f"                if packet.port == {port} and packet.at == {indices[node]}:",
                    f"                    packet.at = {indices[data['timeout']]}  # {data['timeout']}",
                    "                    packet.held_since = time",
                ]
    lines += [
        f"            if time - packet.held_since > {HOLD_TIME}:",
        f"                packet.egress = {DROPPED}",
        "                hold[0].expired += 1",
    ]
    for each in compiled:
        path, name = each.path, each.path.source
        if not path.aside:
            continue
        first = path.held_counter(next(iter(path.stages)))
        lines += [
            f"            elif packet.port == {path.ports.index(name)}:",
            f"                {name}_counters[{first} + packet.at] -= 1",
            f"                {_call(each, 'aside', 'resumed, index, index + 1')}",
        ]
    return [*lines, f"        send(resumed, count, hold, -1, {transmits})"]


def _emit(name: str, stage: Stage, ports: list[str], tables: dict[int, tuple[str, Table]], transmits: str) -> list[str]:
    arguments = ", ".join(
        {"packet": "packet"}.get(parameter) or tables[id(stage.bindings[parameter])][0]
        for parameter in stage.parameters
    )
    return [
        f"# made by {name}",
        "packet = made[0]",
        "packet.flags = 0",
        "packet.gso_type = 0",
        "packet.tail_bytes = 0",
        "packet.origin = packet.frame = packet.slot",
        "packet.end = packet.slot + 42",
        f"while {name}_emit(packet.frame, packet.end, {arguments}):",
        *(f"    {port}_transmit[0].made += packet.egress == {index}" for index, port in enumerate(ports)),
        f"    send(made, 1, hold, -1, {transmits})",
    ]


def run_domain(core: int | None, serve: Any, arguments: tuple[Any, ...]) -> None:
    """The body of a domain's process: pin it, serve."""
    if core is not None:
        psutil.Process().cpu_affinity([core])
    serve(*arguments)
