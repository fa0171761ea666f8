"""From the rings of producers into the channel: a replica that finds a doorbell rung is the producer for a moment.

The producers are the applications, and the replicas themselves (`scout.io.endpoints.replica_requests`). The collector
holds the channel's lock, so there is one order of the requests of all producers and of the registry. The lock
names its holder, and is taken from it when it dies. A request is copied into the channel before it is checked, since
the application could still change the original. Where the replica dies between the publication of requests and the
note of how many it took, the supervisor finds the intent when it frees the lock, so that no request is taken twice.
"""

import numba
import numpy as np
from numba.core import types

from scout.io.byte_order import swapped32
from scout.io.channels.collected import COLLECTOR
from scout.io.channels.software_operations import CONTROL, FEED, FRAME, OFFLOADS, TIMESTAMP, rest_of
from scout.io.endpoints.memory import (
    DOORBELL,
    ENDPOINTS,
    ENTRY,
    HEAD,
    REPLICA_AREA,
    REPLICA_RING,
    RINGS,
    SKIP,
    TAIL,
    entry_bytes,
    number_of,
)
from scout.io.endpoints.message import CONTROL_KINDS, HEADER, LONGEST_DATA, NUMBER, ROW, SOCKET
from scout.io.packet import REACH
from scout.io.system import clock, read
from scout.ring.atomics import (
    compare_exchange,
    copy,
    exchange,
    load32,
    load64,
    load64_acquire,
    store32,
    store64,
    store64_release,
)
from scout.ring.jit import Record, inline
from scout.ring.layout import LOCK, payload, published, set_length, slot_of, word
from scout.ring.linked import viewer
from scout.ring.producer import publish_silently, release, reserve

__all__ = ["APPLICATION_FEED", "NEVER", "collect", "feed_at"]

NEVER = 1 << 62
"""The value of `intent_tail` where there is no intent."""

_ANY = -(1 << 62)
"""No number of a batch."""

_MOST = 1 << 61
"""The greatest TAIL of a ring that is believed: no sum or difference with it overflows."""

APPLICATION_FEED = np.dtype(
    [
        ("here", "i8"),  # address of this record
        ("timespec", "i8"),  # address of a struct timespec for the holder of the lock
        ("port", "i8"),  # index of the port
        # The intent of the holder of the lock: when TAIL of the channel has come to `intent_tail`, then
        # `intent_consumed` bytes were taken from the ring of `intent_producer`.
        ("intent_tail", "i8"),
        ("intent_producer", "i8"),
        ("intent_consumed", "i8"),
        ("turn", "i8"),  # which application's ring is looked at first
        *((name, "i8") for name in ENDPOINTS.names or ()),
        *((name, "i8") for name in FEED.names or ()),
    ]
)
"""A `FEED`, `ENDPOINTS`, and what a producer that collects works with."""

feed_at = viewer(types.Array(numba.from_dtype(APPLICATION_FEED), 1, "C"), (1,))
"""The feed at an address, as an array of one."""

_INTENT_TAIL = int((APPLICATION_FEED.fields or {})["intent_tail"][1])  # type: ignore[index]


@inline
def collect(feed: Record, replica: int) -> None:
    """Copy waiting requests into the channel, those of applications and of replicas, unless another process does so."""
    rung = ours = 0
    for application in range(feed.attached):
        # Acquire, pairs with the application's exchange. An application that rings later is seen at the next look.
        rung |= load64_acquire(_area(feed, application) + DOORBELL)
    for each in range(feed.capacity, feed.capacity + feed.replicas):
        ours |= load64_acquire(_area(feed, each) + DOORBELL)  # pairs with the replica's exchange
    # acq_rel, pairs with the last holder's release. Requests of a replica that is refused here are found by the holder,
    # or by the replica itself, in the next round: neither sleeps before that.
    if rung | ours == 0 or not compare_exchange(word(feed, LOCK), 0, COLLECTOR + replica + 1):
        return
    now = clock(feed.timespec)
    if ours:
        _collect_from_replicas(feed, now)
    if rung:
        _collect_from_applications(feed, now)
    release(feed)


@inline
def _collect_from_applications(feed: Record, now: int) -> None:
    # The bell before the doorbells: an application whose doorbell is found rung rings no bell, one that finds it quiet
    # rings the bell again.
    read(feed.eventfd, feed.scratch, 8)
    # One after the other comes first: an application that always has requests fills the room that there is.
    feed.turn += 1
    for index in range(feed.attached):
        application = (feed.turn + index) % feed.attached
        # seq_cst, as in the application: it stores TAIL and then exchanges, here it is the other way round.
        if exchange(_area(feed, application) + DOORBELL, 0):
            _collect_from(feed, application, now, _ANY)


@inline
def _collect_from_replicas(feed: Record, now: int) -> None:
    """Take the requests of replicas in the order of the batches that these had, as far as there is room.

    Batches that leave in channel order become requests in that order.
    """
    for each in range(feed.capacity, feed.capacity + feed.replicas):
        exchange(_area(feed, each) + DOORBELL, 0)  # seq_cst, as in the replica, before the loads of TAIL
    moved = True
    while moved:
        chosen = _first_producer(feed)
        first = _next_batch(feed, chosen) if chosen >= 0 else 0
        moved = chosen >= 0 and _collect_from(feed, chosen, now, first)
        if chosen >= 0 and not moved:
            exchange(_area(feed, chosen) + DOORBELL, 1)  # the channel is full: look again


@inline
def _first_producer(feed: Record) -> int:
    """The replica with the request of the earliest batch; -1 if none has a request.

    A replica publishes requests before it lets the next batch leave. So those of earlier batches than the one found are
    there once that one is, and a look at all rings behind it finds them; one that began before may have missed them.
    """
    chosen, first, found = -1, 0, True
    while found:
        found = False
        for each in range(feed.capacity, feed.capacity + feed.replicas):
            number = _next_batch(feed, each)
            if number != _ANY and (chosen < 0 or number < first):
                chosen, first, found = each, number, True
    return chosen


@inline
def _next_batch(feed: Record, producer: int) -> int:
    """The number of the batch that the next request of a replica belongs to; `_ANY` if there is no request."""
    area = _area(feed, producer)
    taken = load64(feed.consumed + producer * 8)
    if load64_acquire(area + TAIL) == taken:  # pairs with the replica's store: its requests can be read
        return _ANY
    entry = area + RINGS + (taken & (REPLICA_RING - 1))
    return load64((area + RINGS if load64(entry) == SKIP else entry) + 8)


@inline
def _area(feed: Record, producer: int) -> int:
    if producer < feed.capacity:
        return feed.applications + producer * feed.application_bytes
    return feed.replica_areas + (producer - feed.capacity) * REPLICA_AREA


@inline
def _collect_from(feed: Record, producer: int, now: int, batch: int) -> bool:
    """Take the requests of one producer, as many as there is room for; of a replica those of one batch.

    False if none could be taken.
    """
    area = _area(feed, producer)
    size = feed.request_bytes if producer < feed.capacity else REPLICA_RING
    tail = load64_acquire(area + TAIL)  # pairs with the producer's store: its requests can be read
    taken = load64(feed.consumed + producer * 8)
    room, first, count = reserve(feed, feed.batch), published(feed), 0
    waits = taken <= tail <= min(taken + size, _MOST)
    while waits and taken < tail and count < room:
        at = taken & (size - 1)
        entry = area + RINGS + at
        length = load64(entry)
        if length == SKIP:
            taken += size - at
            continue
        if batch != _ANY and load64(entry + 8) != batch:
            break
        waits = HEADER <= length <= HEADER + LONGEST_DATA and at + entry_bytes(length) <= size
        if waits:
            count += _take(feed, entry + ENTRY, length, producer, now, first + count)
            taken += entry_bytes(length)
    if not waits or taken > tail:  # no library of ours writes such a ring: what is left of it has no meaning
        waits = False
        if 0 <= tail <= _MOST:
            taken = tail & ~7  # entries begin at multiples of 8: nothing is read behind the ring
        feed.bad_requests += 1
    if count:
        feed.intent_producer = producer
        feed.intent_consumed = taken
        store64_release(feed.here + _INTENT_TAIL, first + count)  # a supervisor that finds it finds all of the intent
        publish_silently(feed, count)  # every replica that is awake looks here in each round
    store64(feed.consumed + producer * 8, taken)
    store64_release(feed.here + _INTENT_TAIL, NEVER)
    store64_release(area + HEAD, taken)  # pairs with the producer's load: it may write there again
    if batch == _ANY and waits and taken < tail:
        exchange(area + DOORBELL, 1)  # the channel is full: look again
    return count > 0


@inline
def _take(feed: Record, source: int, length: int, producer: int, now: int, position: int) -> int:
    """Copy a request into an entry of the channel; 1 if it is one that the producer may make, else 0."""
    slot = slot_of(feed, position)
    request = payload(slot)
    frame = request + FRAME
    copy(frame, source, min(length, REACH))
    copy(rest_of(feed, position), source + REACH, max(0, length - REACH))
    number = swapped32(load32(frame + SOCKET))
    row = number & ROW
    if producer < feed.capacity and (
        load32(frame) & 0xFF <= CONTROL_KINDS
        or row >= feed.sockets
        or number_of(feed, row) != number
        or load64(feed.owners + row * 8) != producer
    ):
        feed.bad_requests += 1
        return 0
    store32(frame + NUMBER, swapped32(position))
    store64(request + TIMESTAMP, now)
    store64(request + OFFLOADS, 0)
    store64(request + CONTROL, feed.port << 32)  # and the end of the offloads: nothing was left to a device
    set_length(slot, FRAME + length)
    return 1
