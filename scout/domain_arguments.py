"""The arguments of a domain's loop, each stated once: its name, its type, and where a replica's own value comes from.

From this list come the loop's parameters, its signature, and the call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types

from scout.io.account import ACCOUNT
from scout.io.channels.contract import PacketChannel
from scout.io.hold import HOLD
from scout.io.path_queue import QUEUE
from scout.io.rest import WAITER
from scout.live_memory import CODE
from scout.paths.compiler.native import BATCH
from scout.paths.demux.find import ENTRY, KIND, PATH, PORT
from scout.paths.demux.table import DemuxTable
from scout.paths.model.change import ORDER
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.table import Table
from scout.ring.jit import Entry
from scout.ring.schedule import HEAD
from scout.ring.segment import address
from scout.ring.snapshot import NOTE, PART
from scout.shapes import Shape

__all__ = ["Argument", "Channels", "ReplicaMemory", "domain_arguments"]

Channels = Sequence[tuple[PacketChannel, list[Path]]]
"""Channels, each with the paths that begin at its ports."""


@dataclass
class ReplicaMemory:
    """The memory of one replica that its arguments refer to (`scout.memory` makes it)."""

    replica: int
    orders: int
    """Address of its orders, a cache line: the first word, `CLOCK` of `scout.domain_loop`, `LOOK` of
    `scout.io.latency`."""
    latencies: np.ndarray
    """int64[BINS]: the packets that it sent, by their latencies."""
    waiter: np.ndarray
    batch: np.ndarray
    resumed: np.ndarray
    """Room for the records of held packets that are tried again."""
    made: np.ndarray
    """A batch of one, for frames that routers make themselves."""
    hold: np.ndarray
    whole: np.ndarray
    """Room for packets that a stage wants in one piece, uint8."""
    parts: np.ndarray
    """The parts of a snapshot."""
    positions: np.ndarray
    """int64: `position` of each channel, then `controls_done` of each, at the newest snapshot; then its epoch now, the
    number of the newest change that it has come to."""
    settings: np.ndarray
    """int64[channel, setting]: what each channel's paths read."""
    log: np.ndarray
    """`ORDER`s: the changes (`scout.changes`)."""
    changed: np.ndarray
    """int64[1]: changes that this replica was the primary of."""
    notes: np.ndarray
    buffers: int
    """Address of the snapshots, each of `buffer_bytes` bytes."""
    buffer_bytes: int
    heads: np.ndarray
    """The record of each channel that the channel scheduler reads."""
    counters: list[np.ndarray]
    """For each shape int64: rows of `scout.paths.compiler.plan.Plan.row` words, one for each path's number, or one."""
    configurations: list[np.ndarray]
    """For each shape one record."""
    records: list[np.ndarray]
    """For each shape a record for each path's number; shared by all replicas."""
    demux: DemuxTable
    kinds: np.ndarray
    """`PATH`[number]: the shape of each path."""
    accounts: np.ndarray
    """`ACCOUNT`[number]: the account of each path."""
    queues: np.ndarray
    """The replica's path queues,"""
    queue_heads: np.ndarray
    """and the record of each that the path scheduler reads."""
    queues_used: np.ndarray
    """int64: the first word is one more than the highest index of a queue; shared."""
    refused: np.ndarray
    """int64: the first word counts packets that no path takes."""
    codes: np.ndarray
    """`CODE`[slot, tier]: the code of shapes that come while packets flow (`scout.live_memory`),"""
    contexts: np.ndarray
    """and its contexts; empty arrays if none can come."""
    tables: dict[int, np.ndarray]
    """The replica's copy of each table, by the table's `id`."""


class Argument(NamedTuple):
    """An argument of the loop."""

    name: str
    type: Any  # of numba
    value: Callable[[ReplicaMemory], Any]


def domain_arguments(
    graph: RouterGraph,
    channels: Channels,
    shapes: Sequence[Shape],
    demuxes: bool,
    queues: bool,
    grows: bool,
    tables: dict[str, Table],
) -> list[Argument]:
    """The arguments for these channels, ports, paths and tables; tables by their names in the text."""
    return [
        Argument("replica", types.int64, lambda own: own.replica),
        Argument("orders", types.int64, lambda own: own.orders),
        Argument("latencies", types.int64[::1], lambda own: own.latencies),
        Argument("waiter", _array(WAITER), lambda own: own.waiter),
        Argument("batch", BATCH, lambda own: own.batch),
        Argument("resumed", BATCH, lambda own: own.resumed),
        Argument("made", BATCH, lambda own: own.made),
        Argument("hold", _array(HOLD), lambda own: own.hold),
        Argument("whole", types.uint8[::1], lambda own: own.whole),
        Argument("parts", _array(PART), lambda own: own.parts),
        Argument("positions", types.int64[::1], lambda own: own.positions),
        Argument("notes", _array(NOTE), lambda own: own.notes),
        Argument("buffers", types.int64, lambda own: own.buffers),
        Argument("buffer_bytes", types.int64, lambda own: own.buffer_bytes),
        Argument("heads", _array(HEAD), lambda own: own.heads),
        *(each for index, (channel, _) in enumerate(channels) for each in _of_channel(index, channel)),
        *(_of_port(name, graph.router(name).port) for name in graph.ports),
        *(argument for shape in shapes for argument in _of_shape(shape)),
        *(_DEMUX if demuxes else []),
        *(_QUEUES if queues else []),
        *(_LIVE if grows else []),
        Argument("settings", types.int64[:, ::1], lambda own: own.settings),
        Argument("log", _array(ORDER), lambda own: own.log),
        Argument("changed", types.int64[::1], lambda own: own.changed),
        *(_of_table(name, table) for name, table in tables.items() if table.kind != "setting"),
        *_of_settings([name for name, table in tables.items() if table.kind == "setting"], len(channels)),
    ]


def _array(dtype: np.dtype) -> Any:
    return types.Array(numba.from_dtype(dtype), 1, "C")


def _of_channel(index: int, channel: PacketChannel) -> list[Argument]:
    cursors = channel.cursors
    return [
        Argument(f"channel_{index}_ring", _array(channel.operations.ring), lambda own: channel.ring),
        Argument(
            f"channel_{index}_cursor",
            _array(channel.operations.cursor),
            lambda own: cursors[own.replica : own.replica + 1],
        ),
    ]


def _of_port(name: str, port: Any) -> Argument:
    return Argument(
        f"port_{name}_transmit",
        _array(port.operations.transmit),
        lambda own: port.transmits[own.replica : own.replica + 1],
    )


def _of_shape(shape: Shape) -> list[Argument]:
    number, compiled = shape.number, shape.code
    functions = (("run", compiled.run), ("replicate", compiled.replicate))
    kinds = {"counters": types.int64[::1], "configuration": numba.typeof(compiled.configuration)}
    return [
        *(
            Argument(f"path_{shape.name}_{name}", types.int64, _address_of(function))
            for name, function in functions
            if function
        ),
        Argument(f"path_{shape.name}_counters", kinds["counters"], lambda own: own.counters[number]),
        Argument(f"path_{shape.name}_configuration", kinds["configuration"], lambda own: own.configurations[number]),
        *(
            [
                Argument(
                    f"path_{shape.name}_records", _array(compiled.plan.record.dtype), lambda own: own.records[number]
                )
            ]
            if shape.has_records
            else []
        ),
    ]


_DEMUX = [
    Argument("demux_ports", _array(PORT), lambda own: own.demux.ports),
    Argument("demux_kinds", _array(KIND), lambda own: own.demux.kinds),
    Argument("demux_heads", types.int64[::1], lambda own: own.demux.heads),
    Argument("demux_entries", _array(ENTRY), lambda own: own.demux.entries),
    Argument("demux_paths", _array(PATH), lambda own: own.kinds),
    Argument("demux_refused", types.int64[::1], lambda own: own.refused),
    Argument("accounts", _array(ACCOUNT), lambda own: own.accounts),
]
"""The tables by which the path of a packet is found, and the accounts of paths."""

_QUEUES = [
    Argument("queues", _array(QUEUE), lambda own: own.queues),
    Argument("queue_heads", _array(HEAD), lambda own: own.queue_heads),
    Argument("queues_used", types.int64[::1], lambda own: own.queues_used),
]
"""The queues of paths."""


_LIVE = [
    Argument("codes", types.Array(numba.from_dtype(CODE), 2, "C"), lambda own: own.codes),
    Argument("contexts", types.int64, lambda own: address(own.contexts)),
]
"""The code of shapes that come while packets flow."""


def _address_of(function: Entry) -> Callable[[ReplicaMemory], int]:
    return lambda own: function.address


def _of_settings(names: Sequence[str], channels: int) -> list[Argument]:
    """A setting's cell in each channel, by the name of its table and the channel's index."""

    def cell(channel: int, setting: int) -> Callable[[ReplicaMemory], np.ndarray]:
        return lambda own: own.settings[channel, setting : setting + 1]

    return [
        Argument(f"{name}_{channel}", types.int64[::1], cell(channel, setting))
        for setting, name in enumerate(names)
        for channel in range(channels)
    ]


def _of_table(name: str, table: Table) -> Argument:
    return Argument(name, numba.typeof(table.initial), lambda own: own.tables[id(table)])
