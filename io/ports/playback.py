"""Playing a capture to a software channel: the process that brings the packets of a port."""

import time

import numba
import numpy as np

from scout.io.channels.software_operations import CONTROL, FEED, FRAME, OFFLOADS, TIMESTAMP
from scout.io.packet import SECOND
from scout.io.ports.records import RECORD_HEADER, Records, number
from scout.ring.atomics import copy, store64
from scout.ring.jit import entry
from scout.ring.layout import payload, published, set_length, slot_of
from scout.ring.producer import acquire, publish, release, reserve
from scout.ring.segment import address

__all__ = ["play"]

NAP = 50e-6  # seconds that the process sleeps when the channel is full


def play(feed: np.ndarray, producer: int, port: int, longest: int, records: Records) -> None:
    """Send all records to a channel, as fast as replicas take them, with the times at which they were captured.

    Parameters
    ----------
    feed : numpy.ndarray
        One `FEED`.
    producer : int
        The number of this producer, among those of the channel.
    port : int
        The index of the port that the packets come by.
    longest : int
        Bytes of the longest frame that the port receives. Longer frames are counted.
    records : Records
    """
    data, at, swapped, scale = records
    while at < len(data):
        before = at
        at = _fill(feed, producer, port, longest, address(data), at, len(data), swapped, scale)
        if at == before:
            time.sleep(NAP)


_FEEDS = numba.types.Array(numba.from_dtype(FEED), 1, "C")
_INT = numba.int64


@entry(_INT(_FEEDS, _INT, _INT, _INT, _INT, _INT, _INT, numba.boolean, _INT))
def _fill(
    feeds: np.ndarray,
    producer: int,
    port: int,
    longest: int,
    records: int,
    at: int,
    end: int,
    swapped: bool,
    scale: int,
) -> int:
    """Send the records at offsets [at, end) of address `records` until the channel is full; the next offset."""
    feed = feeds[0]
    acquire(feed, producer)
    while at < end:
        room = reserve(feed, feed.batch)
        if room == 0:
            break
        first, filled = published(feed), 0
        while at < end and filled < room:
            record = records + at
            size = number(record + 8, swapped)
            if size > longest:
                feed.too_long += 1
            else:
                slot = slot_of(feed, first + filled)
                request = payload(slot)
                store64(request + TIMESTAMP, number(record, swapped) * SECOND + number(record + 4, swapped) * scale)
                store64(request + OFFLOADS, 0)
                store64(request + CONTROL, port << 32)
                copy(request + FRAME, record + RECORD_HEADER, size)
                set_length(slot, FRAME + size)
                filled += 1
            at += RECORD_HEADER + size
        publish(feed, filled)
    release(feed)
    return at
