"""The part of a domain's loop that queues packets by path and serves the queues.

Demux finds a packet's path. Where that has a queue, the packet is copied to it in place of going through the path. The
loop goes on receiving while requests wait, so that packets are told apart, and those of closed paths discarded, as fast
as they come. When none wait, or `MOST_RECEIVED` have come, the path scheduler chooses a queue: a batch from it goes
through its path and is sent.
"""

import numpy as np

from scout.domain_plan import DomainPlan, call, transmits
from scout.io.packet import RECORD
from scout.io.path_queue import put
from scout.io.rest import now
from scout.ring.jit import inline
from scout.ring.turn import STOP

__all__ = ["MOST_RECEIVED", "empty", "queue_call", "queue_up", "serve_queues", "waiting"]

MOST_RECEIVED = 4096
"""Packets that a domain receives before it serves a queue, though more wait: else a flood of packets, of which none has
to be served, would keep it from the queues for ever. To receive so many takes some 0.3 ms."""


@inline
def queue_up(
    batch: np.ndarray,
    first: int,
    last: int,
    queues: np.ndarray,
    queue_heads: np.ndarray,
    demux_paths: np.ndarray,
    waiter: np.ndarray,
) -> None:
    """Put packets of a batch into the queues of their paths."""
    arrival = now(waiter)
    for index in range(first, last):
        packet = batch[np.uintp(index)]
        queue = np.uintp(demux_paths[np.uintp(packet.path)].queue)
        put(queues[queue], queue_heads[queue], packet, batch.ctypes.data + index * RECORD, arrival)


@inline
def waiting(queue_heads: np.ndarray) -> int:
    """How many packets wait in all queues."""
    total = 0
    for index in range(len(queue_heads)):
        total += queue_heads[index].ready
    return total


@inline
def empty(queue_heads: np.ndarray) -> None:
    """Let all queues be empty: what a predecessor had in them is gone with its memory."""
    for index in range(len(queue_heads)):
        queue_heads[index].ready = 0


def queue_call() -> str:
    """The call that queues packets `first` to `last` of the batch at hand."""
    return "queue_up(batch, first, last, queues, queue_heads, demux_paths, waiter)"


def serve_queues(plan: DomainPlan, leave: int) -> list[str]:
    """The lines that serve a queue; all that is queued, if the order is `leave`."""
    chosen = "queues[np.uintp(queue)], queue_heads[np.uintp(queue)]"
    lines = [
        "# queues",
        f"if work == 0 or received >= {MOST_RECEIVED} or order == {leave}:",
        "    received = 0",
        "    while True:",
        f"        queue = path_schedule({plan.path_scheduler})",
        "        if queue < 0 or queue >= len(queues) or queue_heads[np.uintp(queue)].ready == 0:",
        "            break",
        "        work += 1",
        f"        count = take({chosen}, resumed)",
        "        began = now(waiter)",
        "        shape = demux_paths[np.uintp(queues[np.uintp(queue)].path)].shape",
    ]
    word = "if"
    for shape in plan.shapes:
        if not shape.compiled.replicate:  # else its paths have no queues
            lines += [
                f"        {word} shape == {shape.number}:",
                f"            {call(plan, shape, 'run', 'resumed, 0, count')}",
            ]
            word = "elif"
    return [
        *lines,
        f"        send(resumed, count, hold, -1, {transmits(plan)})",
        f"        finish({chosen}, count, began, now(waiter))",
        f"        if order != {leave} or load64_acquire(orders) == {STOP}:",
        "            break",
    ]
