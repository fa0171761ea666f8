"""Requests that replicas make: segments whose per-byte work has succeeded, and the times of timers.

A replica is a producer like an application: it has a ring of requests, from which whichever replica holds the channel's
lock copies them into the channel (`scout.io.endpoints.collect`). So it never waits for the lock, and if it dies its
requests are collected all the same. No application can write to these rings.
"""

from scout.io.endpoints.collect import collect, feed_at
from scout.io.endpoints.memory import DOORBELL, ENTRY, HEAD, REPLICA_RING, RINGS, SKIP, TAIL, entry_bytes
from scout.ring.atomics import copy, exchange, load64_acquire, store64, store64_release
from scout.ring.jit import Record, inline

__all__ = ["LONGEST_REQUEST", "RESERVED", "bring", "new_request"]

LONGEST_REQUEST = 256
"""Bytes of the longest request: a message's header, an IP header and a transport's header."""


RESERVED = REPLICA_RING // 4
"""Bytes that segments and ICMP errors leave free: they may be lost, what is told of records may not."""


@inline
def new_request(transmit: Record, source: int, size: int, reserved: int) -> int:
    """Add a request of `size` bytes at address `source`; the address of the copy, 0 if there is no room.

    `reserved` bytes stay free.
    Nobody sees it before `bring`.
    """
    area, tail = transmit.requests, transmit.request_tail
    wanted = entry_bytes(size)
    at = tail & (REPLICA_RING - 1)
    skipped = REPLICA_RING - at if at + wanted > REPLICA_RING else 0
    # Acquire, pairs with the store in `scout.io.endpoints.collect`: what is overwritten now was copied.
    if tail + skipped + wanted - load64_acquire(area + HEAD) > REPLICA_RING - reserved:
        return 0
    if skipped:
        store64(area + RINGS + at, SKIP)
        at = 0
    entry = area + RINGS + at
    store64(entry, size)
    store64(entry + 8, transmit.number)
    copy(entry + ENTRY, source, size)
    transmit.request_tail = tail + skipped + wanted
    transmit.requested += 1
    return entry + ENTRY


@inline
def bring(transmit: Record) -> None:
    """Bring the requests that were added since into the channel, unless another process does so."""
    store64_release(transmit.requests + TAIL, transmit.request_tail)  # pairs with the collector's load: they are whole
    # seq_cst, behind the store of TAIL: a collector silences the doorbell, and then loads TAIL.
    exchange(transmit.requests + DOORBELL, 1)
    transmit.requested = 0
    if transmit.feed:
        collect(feed_at(transmit.feed)[0], transmit.replica)
