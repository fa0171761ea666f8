"""The time of a service: it follows the timestamps of requests, and never runs backwards.

Timestamps can step back. Ports that share a channel are read in turns, so their packets may be a little out of order;
and AF_PACKET's timestamps are the wall clock's, which NTP may set back while packets flow. A service would then wait
until the old time is reached again: token buckets would not fill, timers would not fire, rows would not expire.

So a service reads its own clock. A step back of less than `STEP` counts as reordering: the service's time stands still
until the timestamps reach it again. A larger one counts as a clock that was set: from then on the service's time goes
on from where it was, at the rate of the timestamps. Each port has its own offset, because captures that are replayed
together need not begin at one time.
"""

from typing import Any

import numpy as np

__all__ = ["CLOCK", "STEP", "advance", "new_clock"]

STEP = 1_000_000_000
"""Nanoseconds: a step back of this size or more says that the clock was set."""

CLOCK = np.dtype(
    [
        ("offset", "i8"),  # nanoseconds: the service's time is the timestamp plus this; one row for each port
        ("latest", "i8"),  # nanoseconds: the service's time at the last request; in the first row alone
    ]
)
"""A row of a service's clock: row i belongs to port i."""


def new_clock(ports: int) -> np.ndarray:
    """A clock for requests from so many ports, before the first request."""
    return np.zeros(max(ports, 1), CLOCK)


def advance(clock: Any, packet: Any) -> int:
    """The service's time of a request, in nanoseconds: never less than that of the request before."""
    head, port = clock[0], clock[packet.port]
    now = packet.timestamp + port.offset
    if now >= head.latest:
        head.latest = now
        return now
    if head.latest - now >= STEP:
        port.offset += head.latest - now
    return head.latest
