"""The part of a domain's loop in which the primary makes the packets that stages want to be made (`Emission`).

It comes when the packets of a batch have left, so that the batch's slots are free, and before its requests are
released: the successor of a primary that dies meanwhile makes the packets again.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numba.core import types

from scout.domain_arguments import EMISSION, Channels
from scout.domain_plan import DomainPlan, transmits
from scout.domain_shapes import shape_call
from scout.io.batch import BATCH_SIZE
from scout.io.packet import DROPPED, GSO_NONE, NOT_HELD, REACH
from scout.paths.model.table import Table
from scout.ring.jit import Record, inline
from scout.ring.linked import viewer
from scout.shapes import Shape

__all__ = ["begin_packets", "emission_lines", "emissions", "forget_packets", "last_path", "packets_waiting"]

_waiting_at = viewer(types.int64[::1], (1,))


@inline
def packets_waiting(emission: Record) -> int:
    """How many packets wait to be made."""
    return _waiting_at(emission.waiting)[0]


@inline
def forget_packets(emissions: np.ndarray, channel: int) -> None:
    """Forget what was to be made for the requests of a channel; of all channels if it is -1."""
    for index in range(len(emissions)):
        emission = emissions[index]
        if channel < 0 or channel == emission.channel:
            _waiting_at(emission.waiting)[0] = 0


@inline
def begin_packets(batch: np.ndarray, count: int, at: int, port: int, path: int, timestamp: int) -> None:
    """Let `count` packets begin at stage `at` of a path from a port: `REACH` bytes each, whose contents say nothing."""
    for index in range(count):
        packet = batch[np.uintp(index)]
        packet.origin = packet.frame = packet.slot
        packet.end = packet.tail = packet.slot + REACH
        packet.tail_bytes = 0
        packet.timestamp = timestamp
        packet.port, packet.path, packet.at, packet.egress = port, path, at, DROPPED
        packet.next_hop = packet.destination = packet.error = 0
        packet.held_since = NOT_HELD
        packet.flags, packet.gso_type = 0, GSO_NONE
        packet.link_broadcast = packet.control = 0


@inline
def last_path(batch: np.ndarray, count: int, demux_paths: np.ndarray, shape: int) -> int:
    """The number of the path of this shape that had the last packet of a batch."""
    index = count - 1
    while index > 0 and demux_paths[np.uintp(batch[np.uintp(index)].path)].shape != shape:
        index -= 1
    return batch[np.uintp(index)].path


def emissions(channels: Channels, shapes: Sequence[Shape], table: Callable[[Table], int]) -> np.ndarray:
    """The packets that stages make: `EMISSION`s, for tables at these addresses."""
    found = [
        (table(waiting), channel, shape.number, shape.path.ports.index(shape.path.source), at)
        for channel, (_, paths) in enumerate(channels)
        for shape in shapes
        if shape.compiled and shape.path in paths
        for waiting, at in shape.plan.emissions.items()
    ]
    return np.array(found, EMISSION)


def emission_lines(plan: DomainPlan, channel: int) -> list[str]:
    """The lines that make the packets for a batch, and send them."""
    path = "last_path(batch, count, demux_paths, emission.shape)" if plan.demuxes else "0"
    return [
        "for each in range(len(emissions)):",
        "    emission = emissions[each]",
        "    waiting = packets_waiting(emission)",
        f"    if emission.channel == {channel} and waiting > 0:",
        f"        moment, its_path, wanted = batch[count - 1].timestamp, {path}, waiting + 1",
        "        while 0 < waiting < wanted:  # else the stage makes none",
        "            wanted = waiting",
        f"            fresh = min(wanted, {BATCH_SIZE})",
        "            begin_packets(batch, fresh, emission.at, emission.port, its_path, moment)",
        f"            {shape_call(plan, 'run_shape', 'batch, 0, fresh', 'emission.shape')}",
        f"            send(batch, fresh, hold, -1, {transmits(plan)})",
        "            waiting = packets_waiting(emission)",
    ]
