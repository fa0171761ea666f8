"""Path queues: packets that wait until the path scheduler chooses their path.

A replica has a queue of its own for each path that has one. As the primary of a packet it copies the packet there,
whole, and releases the packet's batch. So the channel never waits for a queue. Nothing that replicas must agree on may
depend on a queue: it holds only what the primary still has to do.

A queue holds `places` packets at most, and `room` bytes of them. Its `HEAD` (`scout.ring.schedule`) says how many
packets can be served, and when the first of them was received: path schedulers choose by the heads of all queues.
Packets leave a queue when their path has run and they have been sent, so what is being served is still part of the
queue's length.

The packets lie one behind the other in the room, each in one piece. One that does not fit before the end of the room
lies at its beginning.

The times of the path's work are those of the system's clock. They are figures for people, and what budgets go by
(`scout.io.account`).
"""

import numpy as np

from scout.io.account import spend
from scout.io.batch import LONGEST, copy_whole
from scout.io.packet import HEADROOM, PACKET, QUEUED, RECORD
from scout.ring.atomics import copy, load64, store64
from scout.ring.jit import Record, inline
from scout.ring.segment import LINE

__all__ = ["LEAST_ROOM", "MOST_PLACES", "QUEUE", "bytes_of", "finish", "lay_out", "put", "take"]

MOST_PLACES = 1 << 16
"""Packets that a queue can be told to hold at most. Each may take 64 KiB."""

LEAST_ROOM = 2048
"""Bytes of packets that a queue has room for at least: a full Ethernet frame."""

_SLOT = HEADROOM + LONGEST
_NOTE, _AT = 16, 8  # bytes of a packet's note: when it was put here, and where it lies in the room
_TIMESTAMP = int((PACKET.fields or {})["timestamp"][1])  # type: ignore[index]

QUEUE = np.dtype(
    [
        ("path", "i8"),  # number of the path
        ("places", "i8"),  # packets that it holds at most, a power of two
        ("batch", "i8"),  # packets that are served at a time, at most
        ("length", "i8"),  # packets that it holds
        ("records", "i8"),  # address of the packets' records,
        ("notes", "i8"),  # of their notes,
        ("packets", "i8"),  # and of the room for the packets,
        ("room", "i8"),  # which has so many bytes
        ("begin", "i8"),  # where the first packet lies in the room,
        ("end", "i8"),  # and where the last one ends
        ("full", "i8"),  # packets dropped for lack of a place
        ("crowded", "i8"),  # packets dropped for lack of room
        ("late", "i8"),  # packets that were served later than the path's deadline after they had been put here
        ("spare", "i8", 3),
    ]
)
"""The state of a queue, two cache lines; written by its replica alone as long as its path exists. `HEAD` has what was
served."""


def bytes_of(places: int, memory: int = 0) -> tuple[int, int]:
    """The bytes that a queue takes, and those of them that are room for packets.

    Parameters
    ----------
    places : int
    memory : int
        Bytes that it may take; by default as many as the longest packets need.
    """
    notes = places * (RECORD + _NOTE)
    room = memory - notes if memory else places * _SLOT
    return notes + room, room


def lay_out(queue: np.ndarray, memory: int, places: int, room: int) -> None:
    """Set up an empty queue in memory of `bytes_of` at an address, on a cache line. Untouched pages cost nothing."""
    queue["places"], queue["room"] = places, room
    queue["records"] = memory
    queue["notes"] = memory + places * RECORD
    queue["packets"] = memory + places * (RECORD + _NOTE)
    queue["length"] = queue["begin"] = queue["end"] = 0


@inline
def put(queue: Record, head: Record, packet: Record, record: int, now: int) -> bool:
    """Put a copy of a packet, whose record is at address `record`, into a queue; False, and counted, if it is full."""
    packet.egress = QUEUED
    size = packet.end - min(packet.origin, packet.frame) + packet.tail_bytes
    if queue.length == queue.places or size > LONGEST:
        queue.full += 1
        return False
    at = _find_room(queue, HEADROOM + size + LINE - 1 & -LINE)
    if at < 0:
        queue.crowded += 1
        return False
    place = head.served + queue.length & queue.places - 1
    copy_whole(packet, queue.packets + at + HEADROOM)
    copy(queue.records + place * RECORD, record, RECORD)
    store64(queue.notes + place * _NOTE, now)
    store64(queue.notes + place * _NOTE + _AT, at)
    if queue.length == 0:
        head.since = packet.timestamp
    queue.length += 1
    head.ready = queue.length
    return True


@inline
def _find_room(queue: Record, size: int) -> int:
    """Where the next packet, of so many bytes, lies in the room; -1 if it does not fit."""
    at = queue.end
    if queue.length == 0:
        queue.begin = at = 0
        end = queue.room
    elif at > queue.begin:
        end = queue.room
        if size > end - at:  # behind the last packet; but there may be room before the first one
            at, end = 0, queue.begin
    else:
        end = queue.begin
    if size > end - at:
        return -1
    queue.end = at + size
    return at


@inline
def take(queue: Record, head: Record, batch: np.ndarray) -> int:
    """Fill `batch`, which needs no slots of its own, with the first packets of a queue; how many.

    They stay in the queue until `finish`.
    """
    count = min(queue.length, queue.batch)
    for index in range(count):
        place = head.served + index & queue.places - 1
        copy(batch.ctypes.data + index * RECORD, queue.records + place * RECORD, RECORD)
    return count


@inline
def finish(queue: Record, head: Record, account: Record, count: int, began: int, ended: int, now: int) -> None:
    """Remove the first `count` packets of a queue, which have been served from one moment to another one, which is now.

    The moments are those of `scout.io.stopwatch`, and `now` is the time of day, as that at which packets were queued.
    """
    for index in range(count):
        arrival = load64(queue.notes + (head.served + index & queue.places - 1) * _NOTE)
        queue.late += now - arrival > head.deadline
    spend(account, ended - began, ended)
    head.served += count
    queue.length -= count
    head.ready = queue.length
    if queue.length:
        place = head.served & queue.places - 1
        queue.begin = load64(queue.notes + place * _NOTE + _AT)
        head.since = load64(queue.records + place * RECORD + _TIMESTAMP)
