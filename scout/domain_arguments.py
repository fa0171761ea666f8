"""The arguments of a domain's loop, each stated once: its name, its type, and where a replica's own value comes from.

From this list come the loop's parameters, its signature, and the call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types

from scout.domain_routines import ROUTINE
from scout.io.account import ACCOUNT
from scout.io.channels.contract import PacketChannel
from scout.io.hold import HOLD
from scout.io.path_queue import QUEUE
from scout.io.rest import WAITER
from scout.paths.compiler.native import BATCH
from scout.paths.demux.find import ENTRY, KIND, PATH, PORT
from scout.paths.demux.table import DemuxTable
from scout.paths.model.change import ORDER
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.table import Table
from scout.ring.schedule import HEAD
from scout.ring.segment import address
from scout.ring.snapshot import NOTE, PART
from scout.shape_memory import CODE

__all__ = ["EMISSION", "Argument", "Channels", "ReplicaMemory", "domain_arguments"]

EMISSION = np.dtype([("waiting", "i8"), ("channel", "i4"), ("shape", "i4"), ("port", "i4"), ("at", "i4")])
"""Packets that a stage makes (`scout.paths.model.stage.Emission`): the address of how many wait, the channel, and the
shape, port and block at which they begin."""

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
    """`CODE`[shape, tier]: the code of shapes (`scout.shape_memory`),"""
    contexts: np.ndarray
    """and its contexts."""
    emissions: np.ndarray
    """`EMISSION`s (`scout.domain_emission`)."""
    makers: np.ndarray
    """`ROUTINE`s by which routers make packets (`scout.domain_routines`),"""
    amenders: np.ndarray
    """and those by which they change their tables, by the index of the router."""
    changing: np.ndarray
    """int64: the addresses of the numbers of changes of routers whose changes let held packets go on."""
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
    demuxes: bool,
    queues: bool,
    deadlines: Sequence[Table],
    tables: Mapping[str, Table],
) -> list[Argument]:
    """The arguments for these channels and ports; `tables` are those that schedulers read, by their names there."""
    return [
        Argument("replica", types.int64, lambda own: own.replica),
        Argument("orders", types.int64, lambda own: own.orders),
        Argument("latencies", types.int64[::1], lambda own: own.latencies),
        Argument("waiter", _array(WAITER), lambda own: own.waiter),
        Argument("batch", BATCH, lambda own: own.batch),
        Argument("resumed", BATCH, lambda own: own.resumed),
        Argument("made", BATCH, lambda own: own.made),
        Argument("hold", _array(HOLD), lambda own: own.hold),
        Argument("parts", _array(PART), lambda own: own.parts),
        Argument("positions", types.int64[::1], lambda own: own.positions),
        Argument("notes", _array(NOTE), lambda own: own.notes),
        Argument("buffers", types.int64, lambda own: own.buffers),
        Argument("buffer_bytes", types.int64, lambda own: own.buffer_bytes),
        Argument("heads", _array(HEAD), lambda own: own.heads),
        *(each for index, (channel, _) in enumerate(channels) for each in _of_channel(index, channel)),
        *(_of_port(index, graph.router(name).port) for index, name in enumerate(graph.ports)),
        Argument("codes", types.Array(numba.from_dtype(CODE), 2, "C"), lambda own: own.codes),
        Argument("contexts", types.int64, lambda own: address(own.contexts)),
        Argument("demux_paths", _array(PATH), lambda own: own.kinds),
        *(_DEMUX if demuxes else []),
        *(_QUEUES if queues else []),
        Argument("emissions", _array(EMISSION), lambda own: own.emissions),
        Argument("makers", _array(ROUTINE), lambda own: own.makers),
        Argument("amenders", _array(ROUTINE), lambda own: own.amenders),
        Argument("changing", types.int64[::1], lambda own: own.changing),
        Argument("settings", types.int64[:, ::1], lambda own: own.settings),
        Argument("log", _array(ORDER), lambda own: own.log),
        Argument("changed", types.int64[::1], lambda own: own.changed),
        *(_of_table(f"deadline_{index}", table) for index, table in enumerate(deadlines)),
        *(_of_table(name, table) for name, table in tables.items()),
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


def _of_port(index: int, port: Any) -> Argument:
    return Argument(
        f"port_{index}_transmit",
        _array(port.operations.transmit),
        lambda own: port.transmits[own.replica : own.replica + 1],
    )


_DEMUX = [
    Argument("demux_ports", _array(PORT), lambda own: own.demux.ports),
    Argument("demux_kinds", _array(KIND), lambda own: own.demux.kinds),
    Argument("demux_heads", types.int64[::1], lambda own: own.demux.heads),
    Argument("demux_entries", _array(ENTRY), lambda own: own.demux.entries),
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


def _of_table(name: str, table: Table) -> Argument:
    return Argument(name, numba.typeof(table.initial), lambda own: own.tables[id(table)])
