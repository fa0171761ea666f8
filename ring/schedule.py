"""Channel schedulers: from which channel a domain dequeues next.

A scheduler is a plain function of an array with one `HEAD` for each channel. It returns the index of a channel at which
requests wait, or -1. It may keep values of its own in `memory`. Each replica of a domain that serves several channels
decides for itself: requests of one channel have the same order in all replicas, those of different channels need not
(PRAM consistency, the paper's section 3.2).

Your own function may have more parameters: the tables of services, by the names `service_table`. So it can go by the
state: "outgoing requests that fill the congestion window before incoming packets".
"""

from typing import Any

import numpy as np

from scout.ring.errors import ScoutError

__all__ = ["HEAD", "SCHEDULERS", "bottleneck", "deadline", "priority", "round_robin", "scheduler", "weighted"]

HEAD = np.dtype(
    [
        ("ready", "i8"),  # requests that are known to wait; 0: none
        ("since", "i8"),  # when the first of them was received, nanoseconds since 1970
        ("weight", "i8"),  # of the path: its share, or its rank
        ("deadline", "i8"),  # nanoseconds after that by which it is wanted
        ("served", "i8"),  # requests dequeued so far
        ("memory", "i8"),  # the scheduler's own
        ("counted", "i8"),  # likewise: the requests that `memory` has counted, of `weighted` and `bottleneck`
        ("places", "i8"),  # requests that can wait there
    ]
)
"""The head of a channel, as a scheduler sees it; a cache line."""


def round_robin(heads: Any) -> int:
    """The channels in turn, without those at which nothing waits."""
    count = len(heads)
    for step in range(1, count + 1):
        index = (heads[0].memory + step) % count
        if heads[index].ready:
            heads[0].memory = index
            return index
    return -1


def priority(heads: Any) -> int:
    """The channel of the greatest weight; of equal ones the first."""
    best = -1
    for index in range(len(heads)):
        if heads[index].ready and (best < 0 or heads[index].weight > heads[best].weight):
            best = index
    return best


def deadline(heads: Any) -> int:
    """The channel whose first request has the earliest deadline."""
    best = -1
    for index in range(len(heads)):
        head = heads[index]
        if head.ready and (best < 0 or head.since + head.deadline < heads[best].since + heads[best].deadline):
            best = index
    return best


def weighted(heads: Any) -> int:
    """Channels in proportion to their weights (start-time fair queueing).

    Each channel has a virtual time, the requests served over its weight, in `memory`. It is relative to the channel
    served now, so it stays small however long the run is. A channel at which nothing waited starts anew from the
    present: it has no claim to a share that it did not use.
    """
    best = -1
    for index in range(len(heads)):
        head = heads[index]
        head.memory += (head.served - head.counted) * SCALE // head.weight
        head.counted = head.served
        if head.ready and (best < 0 or head.memory < heads[best].memory):
            best = index
    if best >= 0:
        present = heads[best].memory
        for index in range(len(heads)):
            heads[index].memory = max(0, heads[index].memory - present)
    return best


def bottleneck(heads: Any) -> int:
    """The channel that will be full first: the time in which its free places fill is the deadline of its requests.

    That is the number of free places over the rate of arrival, which is the mean of the requests that came between two
    calls, over the last 64 calls or so, in `memory`. The time between two calls is the same for all channels, so that
    no clock is needed. Of equal channels the first is chosen.
    """
    best = -1
    for index in range(len(heads)):
        head = heads[index]
        come = head.served + head.ready
        head.memory += max(0, come - head.counted) * SCALE - head.memory >> 6
        head.counted = max(come, head.counted)
        if head.ready == 0:
            continue
        if best < 0 or (head.places - head.ready) * (heads[best].memory + 1) < (
            heads[best].places - heads[best].ready
        ) * (head.memory + 1):
            best = index
    return best


SCALE = 1 << 20
"""Units of virtual time: one request of a channel whose weight is this. Likewise of rates: one request a call."""

SCHEDULERS = {
    "round-robin": round_robin,
    "priority": priority,
    "deadline": deadline,
    "weighted": weighted,
    "bottleneck": bottleneck,
}


def scheduler(given: Any) -> Any:
    """The scheduler that a name or a function stands for.

    Raises
    ------
    ScoutError
        If there is none of that name.
    """
    if callable(given):
        return given
    if given not in SCHEDULERS:
        raise ScoutError(f"schedule {given!r}: use one of {', '.join(SCHEDULERS)}, or a function of the heads")
    return SCHEDULERS[given]
