"""The part of a domain's loop that queues packets by path and serves the queues.

Demux finds a packet's path. Where that has a queue, the packet is copied to it in place of going through the path; or,
if the path has stages whose work belongs at the packet's position in the channel, when it comes out of these. The loop
goes on receiving while requests wait, so that packets are told apart, and those of closed paths discarded, as fast
as they come. When none wait, or `MOST_RECEIVED` have come, the path scheduler chooses a queue: a batch from it goes
through its path and is sent.

A path that is over its budget either has its packets dropped before they are queued, or its queue is not shown to the
scheduler as long as it is.
"""

import numpy as np

from scout.domain_plan import DomainPlan, see, transmits
from scout.domain_shapes import shape_call
from scout.io.account import DEFER, is_over
from scout.io.packet import DROPPED, RECORD, TO_QUEUE
from scout.io.path_queue import put
from scout.io.rest import now
from scout.io.stopwatch import stopwatch
from scout.ring.jit import inline
from scout.ring.turn import STOP

__all__ = ["MOST_RECEIVED", "QUEUE_HEADS", "empty", "queue_call", "queue_up", "serve_queues", "show", "waiting"]

MOST_RECEIVED = 4096
"""Packets that a domain receives before it serves a queue, though more wait: else a flood of packets, of which none has
to be served, would keep it from the queues for ever. To receive so many takes some 0.3 ms."""

QUEUE_HEADS = "queue_heads[: queues_used[0]]"
"""The heads that the path scheduler sees: without the room for queues of paths that may be created later."""


@inline
def queue_up(
    batch: np.ndarray,
    first: int,
    last: int,
    queues: np.ndarray,
    queue_heads: np.ndarray,
    accounts: np.ndarray,
    demux_paths: np.ndarray,
    waiter: np.ndarray,
    cut: bool,
) -> None:
    """Put packets of a batch into the queues of their paths, or drop those whose paths are over their budgets.

    With `cut`, those that their paths have led to where they are to be queued; their bytes have been counted.
    """
    arrival, current = now(waiter), stopwatch(waiter)
    for index in range(first, last):
        packet = batch[np.uintp(index)]
        if cut and packet.egress != TO_QUEUE:
            continue
        account = accounts[np.uintp(packet.path)]
        if account.policy != DEFER and is_over(account, current):
            packet.egress = DROPPED
            account.throttled += 1
            continue
        queue = np.uintp(demux_paths[np.uintp(packet.path)].queue)
        size = packet.end - packet.frame + packet.tail_bytes
        if put(queues[queue], queue_heads[queue], packet, batch.ctypes.data + index * RECORD, arrival) and not cut:
            account.bytes += size


@inline
def show(queue_heads: np.ndarray, queues: np.ndarray, accounts: np.ndarray, now: int, leaving: bool) -> None:
    """Show the scheduler how many packets can be served now: none of a path that is over its budget and defers.

    A replica that leaves serves all.
    """
    for index in range(len(queue_heads)):
        account = accounts[np.uintp(queues[index].path)]
        deferred = account.policy == DEFER and is_over(account, now) and not leaving
        queue_heads[index].ready = 0 if deferred else queues[index].length


@inline
def waiting(queues: np.ndarray) -> int:
    """How many packets wait in all queues."""
    total = 0
    for index in range(len(queues)):
        total += queues[index].length
    return total


@inline
def empty(queues: np.ndarray, queue_heads: np.ndarray) -> None:
    """Let all queues be empty: what a predecessor had in them is gone with its memory."""
    for index in range(len(queues)):
        queues[index].length = 0
        queue_heads[index].ready = 0


def queue_call(cut: bool) -> str:
    """The call that queues packets `first` to `last` of the batch at hand."""
    return f"queue_up(batch, first, last, queues, queue_heads, accounts, demux_paths, waiter, {cut})"


def serve_queues(plan: DomainPlan, leave: int) -> list[str]:
    """The lines that serve a queue; all that is queued, if the order is `leave`."""
    chosen = "queues[np.uintp(queue)], queue_heads[np.uintp(queue)]"
    shown = (
        [f"        show({QUEUE_HEADS}, queues, accounts, stopwatch(waiter), order == {leave})"] if plan.accounts else []
    )
    return [
        "# queues",
        f"if work == 0 or received >= {MOST_RECEIVED} or order == {leave}:",
        "    received = 0",
        "    while True:",
        *shown,
        f"        queue = path_schedule({plan.path_scheduler})",
        "        if queue < 0 or queue >= queues_used[0] or queue_heads[np.uintp(queue)].ready == 0:",
        "            break",
        "        work += 1",
        "        path = np.uintp(queues[np.uintp(queue)].path)",
        f"        count = take({chosen}, resumed)",
        "        began = stopwatch(waiter)",
        "        shape = demux_paths[path].shape",
        f"        {shape_call(plan, 'run_shape', 'resumed, 0, count')}",
        f"        send(resumed, count, hold, -1, {transmits(plan)})",
        f"        {see('resumed')}",
        f"        finish({chosen}, accounts[path], count, began, stopwatch(waiter), now(waiter))",
        f"        if order != {leave} or load64_acquire(orders) == {STOP}:",
        "            break",
    ]
