"""The part of a domain's loop in which the primary makes the packets that stages want to be made (`Emission`).

It comes when the packets of a batch have left, so that the batch's slots are free, and before its requests are
released: the successor of a primary that dies meanwhile makes the packets again.
"""

from collections.abc import Sequence

import numpy as np

from scout.domain_plan import DomainPlan, call, transmits
from scout.io.batch import BATCH_SIZE
from scout.io.packet import DROPPED, GSO_NONE, NOT_HELD, REACH
from scout.ring.jit import inline
from scout.shapes import Shape

__all__ = ["begin_packets", "emission", "last_path", "no_emission"]


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


def emission(plan: DomainPlan, shapes: Sequence[Shape]) -> list[str]:
    """The lines that make the packets for a batch, and send them."""
    lines: list[str] = []
    for shape in shapes:
        port = shape.path.ports.index(shape.path.source)
        path = f"last_path(batch, count, demux_paths, {shape.number})" if plan.demuxes else "0"
        for table, at in shape.plan.emissions.items():
            waiting = f"{plan.tables[id(table)]}[0]"
            lines += [
                f"if {waiting} > 0:",
                f"    moment, its_path, wanted = batch[count - 1].timestamp, {path}, {waiting} + 1",
                f"    while 0 < {waiting} < wanted:  # else the stage makes none",
                f"        wanted = {waiting}",
                f"        fresh = min(wanted, {BATCH_SIZE})",
                f"        begin_packets(batch, fresh, {at}, {port}, its_path, moment)",
                f"        {call(plan, shape, 'run', 'batch, 0, fresh')}",
                f"        send(batch, fresh, hold, -1, {transmits(plan)})",
            ]
    return lines


def no_emission(plan: DomainPlan, shapes: Sequence[Shape]) -> list[str]:
    """The lines that forget what was to be made."""
    tables = dict.fromkeys(plan.tables[id(table)] for shape in shapes for table in shape.plan.emissions)
    return [f"{name}[0] = 0" for name in tables]
