"""Path queues: packets that wait until the path scheduler chooses their path.

A replica has a queue of its own for each path that has one. As the primary of a packet it copies the packet there,
whole, and releases the packet's batch. So the channel never waits for a queue. Nothing that replicas must agree on may
depend on a queue: it holds only what the primary still has to do.

A queue is a ring of `places` packets. Its `HEAD` (`scout.ring.schedule`) says how many packets wait, and when the first
of them was received: path schedulers choose by the heads of all queues. Packets leave a queue when their path has run
and they have been sent, so what is being served is still part of the queue's length.

The times of the path's work are those of the system's clock. They are figures for people, and decide nothing.
"""

from collections.abc import Sequence

import numpy as np

from scout.io.batch import LONGEST, copy_whole
from scout.io.packet import HEADROOM, PACKET, QUEUED, RECORD
from scout.ring.atomics import copy, load64, store64
from scout.ring.jit import Record, inline
from scout.ring.segment import address, private

__all__ = ["MOST_PLACES", "QUEUE", "finish", "new_queues", "put", "take"]

MOST_PLACES = 1 << 16
"""Packets that a queue can be told to hold at most. Each may take 64 KiB."""

_SLOT = HEADROOM + LONGEST
_TIMESTAMP = int((PACKET.fields or {})["timestamp"][1])  # type: ignore[index]

QUEUE = np.dtype(
    [
        ("path", "i8"),  # number of the path
        ("places", "i8"),  # packets that it holds at most, a power of two
        ("batch", "i8"),  # packets that are served at a time, at most
        ("records", "i8"),  # address of the packets' records,
        ("slots", "i8"),  # of the packets,
        ("arrivals", "i8"),  # and of the times at which they were put into the queue
        ("full", "i8"),  # packets dropped for lack of room
        ("bytes", "i8"),  # of the packets that were served
        ("busy", "i8"),  # nanoseconds in which they were served
        ("late", "i8"),  # packets that were served later than the path's deadline after they had been put here
        ("spare", "i8", 6),
    ]
)
"""The state of a queue, two cache lines; written by its replica alone. `HEAD` has its length and what was served."""


def new_queues(queues: np.ndarray, places: Sequence[int]) -> list[np.ndarray]:
    """Set up a replica's queues, of so many places each.

    Parameters
    ----------
    queues : numpy.ndarray
        `QUEUE`[queue].
    places : sequence of int
        Powers of two.

    Returns
    -------
    list of numpy.ndarray
        The memory that the queues refer to. Untouched pages cost nothing.
    """
    kept: list[np.ndarray] = []
    for queue, most in zip(queues, places, strict=True):
        memory = {
            "records": private(most, PACKET),
            "slots": private(most * _SLOT, np.uint8),
            "arrivals": private(most, np.int64),
        }
        queue["places"] = most
        for name, array in memory.items():
            queue[name] = address(array)
        kept += memory.values()
    return kept


@inline
def put(queue: Record, head: Record, packet: Record, record: int, now: int) -> None:
    """Put a copy of a packet, whose record is at address `record`, into a queue, or count that there was no room."""
    packet.egress = QUEUED
    size = packet.end - min(packet.origin, packet.frame) + packet.tail_bytes
    if head.ready == queue.places or size > LONGEST:
        queue.full += 1
        return
    place = head.served + head.ready & queue.places - 1
    copy_whole(packet, queue.slots + place * _SLOT + HEADROOM)
    copy(queue.records + place * RECORD, record, RECORD)
    store64(queue.arrivals + place * 8, now)
    if head.ready == 0:
        head.since = packet.timestamp
    head.ready += 1


@inline
def take(queue: Record, head: Record, batch: np.ndarray) -> int:
    """Fill `batch`, which needs no slots of its own, with the first packets of a queue; how many.

    They stay in the queue until `finish`.
    """
    count = min(head.ready, queue.batch)
    for index in range(count):
        place = head.served + index & queue.places - 1
        copy(batch.ctypes.data + index * RECORD, queue.records + place * RECORD, RECORD)
        packet = batch[index]
        queue.bytes += packet.end - packet.frame
    return count


@inline
def finish(queue: Record, head: Record, count: int, began: int, now: int) -> None:
    """Remove the first `count` packets of a queue, which have been served from `began` until now."""
    for index in range(count):
        arrival = load64(queue.arrivals + (head.served + index & queue.places - 1) * 8)
        queue.late += now - arrival > head.deadline
    queue.busy += now - began
    head.served += count
    head.ready -= count
    if head.ready:
        head.since = load64(queue.records + (head.served & queue.places - 1) * RECORD + _TIMESTAMP)
