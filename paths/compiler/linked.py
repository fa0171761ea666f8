"""The linked tier: a path whose stages are called through their addresses, one packet and one stage at a time.

It needs nothing compiled but the stages by themselves, so a path of a new shape can forward at once. Rows of data,
written from the path's plan, say what a verdict leads to; the walk over them is compiled once for all paths. It agrees
with fused code in what becomes of packets and in every counter. It costs more: each stage is a call, reads its
parameters from memory, and is not optimised together with its neighbours.
"""

from collections.abc import Mapping

import numba
import numpy as np
from numba.core import types

from scout.io.access import allow
from scout.io.batch import linearise
from scout.io.packet import DROPPED, HELD, PACKET, TO_QUEUE, WAITING
from scout.paths.compiler.context import (
    BLOCKS,
    COUNTERS,
    EDGES,
    ENTRY,
    NUMBERS,
    ROOM,
    WHOLE_ROOM,
    argument_offset,
    whole_at,
    words_at,
)
from scout.paths.compiler.plan import Plan
from scout.paths.model.verdict import HOLD, TOO_LONG
from scout.ring.jit import Record, entry, inline
from scout.ring.linked import caller, viewer

__all__ = ["BLOCK", "EDGE", "STAGE", "blocks_at", "counters_at", "rows", "walk"]

BLOCK = np.dtype(
    [
        ("address", "i8"),  # of the stage's compiled function (`STAGE`)
        ("arguments", "i4"),  # offset of its arguments in the context, bytes
        ("push", "i4"),  # bytes of header that it pushes
        ("first", "i4"),  # its edges, `first` to `last` - 1
        ("last", "i4"),
        ("unknown", "i4"),  # counters
        ("held", "i4"),
        ("timeout", "i4"),  # the block for packets that were held here for too long, -1 if they are dropped
        ("main", "u1"),  # the rest is 0 or 1
        ("replicated", "u1"),
        ("payload", "u1"),
        ("gathers", "u1"),
        ("resizes", "u1"),
        ("writes", "u1"),
        ("holds", "u1"),
    ],
    align=True,
)
"""A stage (`scout.paths.compiler.plan.Block`)."""

EDGE = np.dtype([("verdict", "i8"), ("target", "i4"), ("pull", "i4"), ("egress", "i4"), ("counter", "i4")])
"""Where a verdict leads: to a block `target`, or out of the path by `egress`, which is `_GOES_ON` for a block, and
`TO_QUEUE` or `WAITING` for a block before which packets are queued, or wait.
`counter` is -1 if the edge has none."""

_GOES_ON = -100  # no port, and no other value of `egress`

STAGE = types.int64(
    numba.from_dtype(PACKET), types.int64, types.int64, types.int64, types.boolean, types.int64, types.int64
)
"""The numba signature of a stage: `stage(packet, index, frame, end, primary, whole, arguments)` returns the verdict;
the last two are addresses."""


def rows(plan: Plan, addresses: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """A path as rows: `BLOCK`[stages] and `EDGE`[edges]; `addresses` of the stages by node, if it is linked."""
    blocks, edges = np.zeros(len(plan.blocks), BLOCK), list[tuple[int, ...]]()
    for block in plan.blocks.values():
        row, stage = blocks[block.index], block.stage
        row["address"], row["arguments"] = addresses.get(block.node, 0), 8 * argument_offset(plan, block)
        row["push"], row["unknown"], row["held"] = stage.push, block.unknown, block.held
        row["timeout"] = plan.timeouts.get(block.node, -1)
        row["main"], row["replicated"] = block.node in plan.main, block.node in plan.replicated
        row["payload"], row["gathers"], row["resizes"] = stage.payload, stage.gathers, stage.resizes
        row["writes"], row["holds"] = stage.writes, stage.holds
        row["first"] = len(edges)
        for edge in block.edges:
            target = plan.blocks[edge.target].index if edge.egress is None else -1
            egress = _GOES_ON if edge.egress is None else edge.egress
            if edge.waits:
                egress = WAITING
            elif block.node in plan.early and edge.egress is None and edge.target not in plan.early:
                egress = TO_QUEUE
            edges.append((edge.verdict, target, edge.pull, egress, -1 if edge.counter is None else edge.counter))
        row["last"] = len(edges)
    return blocks, np.array(edges, EDGE)


_call_stage = caller(STAGE)
blocks_at = viewer(types.Array(numba.from_dtype(BLOCK), 1, "C"), (ROOM.blocks,))
_edges_at = viewer(types.Array(numba.from_dtype(EDGE), 1, "C"), (ROOM.edges,))
counters_at = viewer(types.int64[::1], (NUMBERS * ROOM.counters,))
_HOLD, _TOO_LONG = int(HOLD), int(TOO_LONG)


@inline
def _count(counters: np.ndarray, packet: Record, counter: int) -> None:
    if counter >= 0:
        counters[packet.path * ROOM.counters + counter] += 1


@inline
def _find(edges: np.ndarray, block: Record, verdict: int) -> int:
    """The index of the edge that a verdict takes, -1 if it leads nowhere."""
    for index in range(block.first, block.last):
        if edges[np.uintp(index)].verdict == verdict:
            return index
    return -1


@inline
def _led(batch: np.ndarray, index: int, context: int, primary: bool) -> None:
    """Lead a packet through the path, from stage `packet.at` on."""
    words = words_at(context)
    blocks, edges, counters = blocks_at(words[BLOCKS]), _edges_at(words[EDGES]), counters_at(words[COUNTERS])
    packet = batch[np.uintp(index)]
    frame, end, at = packet.frame, packet.end, packet.at
    is_aside = at != 0 and packet.control == 0
    while True:
        block = blocks[np.uintp(at)]
        if primary:
            if not (is_aside or block.main):  # as fused code says where a packet left the main line
                is_aside, packet.frame, packet.at = True, frame, at
        elif not block.replicated:
            return
        frame -= block.push
        verdict, origin = _TOO_LONG, packet.origin
        if block.payload:
            frame = linearise(packet, frame, whole_at(words[WHOLE_ROOM]), index)
            end, origin = packet.end, packet.origin
        if frame:
            allow(frame, end, primary or block.writes != 0)  # type: ignore[call-arg]  # numba gives the first
            given = (packet, index, frame, end, primary, words[WHOLE_ROOM], context + block.arguments)
            verdict = _call_stage(block.address, given)
            if block.gathers and primary:
                frame += packet.origin - origin  # it may have been gathered elsewhere
            if block.resizes:
                end = packet.end
        taken = _find(edges, block, verdict)
        if taken < 0:
            if primary:
                if block.holds and verdict == _HOLD:
                    packet.frame, packet.at, packet.egress = frame + block.push, at, HELD
                    _count(counters, packet, block.held)
                else:
                    packet.egress = DROPPED
                    _count(counters, packet, block.unknown)
            return
        edge = edges[np.uintp(taken)]
        if primary:
            _count(counters, packet, edge.counter)
        if edge.egress != _GOES_ON:
            if primary:
                packet.egress = edge.egress
                if edge.egress >= 0:
                    packet.frame = frame
                elif edge.egress == TO_QUEUE or edge.egress == WAITING:
                    packet.frame, packet.at = frame + edge.pull, edge.target
            return
        frame += edge.pull
        at = edge.target


@entry(ENTRY)
def walk(batch: np.ndarray, first: int, last: int, primary: bool, context: int) -> None:
    """The linked tier, of packets `first` to `last`."""
    for index in range(first, last):
        _led(batch, index, context, primary)
