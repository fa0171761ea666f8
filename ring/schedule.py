"""Channel schedulers: from which channel a domain dequeues next.

A scheduler is a plain function of the `HEAD`s of all channels, one each; it returns the index of one at which something
waits, or -1. It may keep what it wants to remember in `memory`. Of a domain that serves several channels each replica
decides for itself: requests of one channel have the same order everywhere, those of different channels need not
(PRAM consistency, the paper's section 3.2).

Your own function may have more parameters: the tables of services, by the names `service_table`. So it can go by the
state: "outgoing requests that fill the congestion window before incoming packets".
"""

from typing import Any

import numpy as np

from scout.ring.errors import ScoutError

__all__ = ["HEAD", "SCHEDULERS", "deadline", "priority", "round_robin", "scheduler", "virtual_time", "weighted"]

HEAD = np.dtype(
    [
        ("ready", "i8"),  # requests that are known to wait; 0: none
        ("since", "i8"),  # when the first of them was received, nanoseconds since 1970
        ("weight", "i8"),  # of the path: its share, or its rank
        ("deadline", "i8"),  # nanoseconds after that by which it is wanted
        ("served", "i8"),  # requests dequeued so far
        ("memory", "i8"),  # the scheduler's own
        ("spare", "i8", 2),
    ]
)
"""The head of a channel, as a scheduler sees it; a cache line."""


def round_robin(heads: Any) -> int:
    """The channels in turn, those at which nothing waits left out."""
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

    A channel's virtual time is what was served of it over its weight, and a start in `memory`: one at which nothing
    waited for a while starts anew from the present, and has no claim to what it did not use.
    """
    best = -1
    for index in range(len(heads)):
        if heads[index].ready and (best < 0 or virtual_time(heads[index]) < virtual_time(heads[best])):
            best = index
    if best >= 0:
        present = virtual_time(heads[best])
        for index in range(len(heads)):
            if heads[index].ready == 0 and virtual_time(heads[index]) < present:
                heads[index].memory += present - virtual_time(heads[index])
    return best


def virtual_time(head: Any) -> int:
    """Of a channel: where it would stand if all got their shares. A request over a weight of 2 ** 20 is 1."""
    return head.memory + head.served * SCALE // head.weight


SCALE = 1 << 20

SCHEDULERS = {"round-robin": round_robin, "priority": priority, "deadline": deadline, "weighted": weighted}


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
