"""Packets that wait for something (their next hop's address), kept out of the ring they came by.

A replica keeps those that it is primary of. There are two banks: what comes out of one and has to wait on
goes to the other, so that no packet is overwritten before it has left.
"""

import numpy as np

from scout.io.batch import LONGEST
from scout.io.packet import HEADROOM, NOT_HELD, PACKET, RECORD
from scout.ring.atomics import copy
from scout.ring.jit import Record, inline
from scout.ring.segment import address, private

__all__ = ["HOLD", "MOST_HELD", "keep", "new_hold", "take_back"]

MOST_HELD = 64
"""Packets that a replica holds at most."""

_SLOT = HEADROOM + LONGEST

HOLD = np.dtype(
    [
        ("count", "i8"),  # packets held
        ("bank", "i8"),  # 0 or 1: the bank that is filled
        ("records", "i8"),  # address of the records, both banks
        ("slots", "i8"),  # address of the frames, both banks
        ("full", "i8"),  # packets dropped for lack of room
        ("expired", "i8"),  # packets dropped that waited too long
        ("changes", "i8"),  # what was known when the packets were last looked at ...
        ("looked", "i8"),  # ... and when that was, nanoseconds
    ]
)
"""The packets that a replica holds; written by it alone, a cache line."""


def new_hold(hold: np.ndarray) -> list[np.ndarray]:
    """Set up the one `HOLD` in `hold`; the memory that it refers to. Untouched pages cost nothing."""
    records, slots = private(2 * MOST_HELD, PACKET), private(2 * MOST_HELD * _SLOT, np.uint8)
    hold["records"], hold["slots"] = address(records), address(slots)
    return [records, slots]


@inline
def keep(hold: Record, packet: Record, record: int) -> None:
    """Keep a copy of a packet, or count that there was no room."""
    start = min(packet.origin, packet.frame)
    size = packet.end - start
    if hold.count == MOST_HELD or size + packet.tail_bytes > LONGEST:
        hold.full += 1
        return
    place = hold.bank * MOST_HELD + hold.count
    target = hold.slots + place * _SLOT + HEADROOM
    copy(target, start, size)
    copy(target + size, packet.tail, packet.tail_bytes)
    packet.origin += target - start
    packet.frame += target - start
    packet.end = target + size + packet.tail_bytes
    packet.tail_bytes = 0
    if packet.held_since == NOT_HELD:
        packet.held_since = packet.timestamp
    copy(hold.records + place * RECORD, record, RECORD)
    hold.count += 1


@inline
def take_back(hold: Record, batch: np.ndarray) -> int:
    """Put all that is held into `batch`, which needs no slots of its own; how many."""
    count = hold.count
    copy(batch.ctypes.data, hold.records + hold.bank * MOST_HELD * RECORD, count * RECORD)
    hold.bank = 1 - hold.bank
    hold.count = 0
    return count
