"""The time of a service: it follows the timestamps of requests, and never runs backwards.

Timestamps can step back. Ports that share a channel are read in turns, so their packets may be a little out of order;
and AF_PACKET's timestamps are the wall clock's, which NTP may set back while packets flow. A service would then wait
until the old time is reached again: token buckets would not fill, timers would not fire, rows would not expire.

So a service reads its own clock. A step back of less than `STEP` counts as reordering: the service's time stands still
until the timestamps reach it again. A larger one counts as a clock that was set: from then on the service's time goes
on from where it was, at the rate of the timestamps. Each port has its own offset, because captures that are replayed
together need not begin at one time.

A clock that is set forward cannot be told from a time without packets, but where the supervisor ticks, as it does for
services with timers: there requests come all the time. So once a tick has come, a step of `LEAP` or more says that the
clock was set, and time stands still for it: else all rows would expire at once.
"""

from typing import Any

import numpy as np

from scout.io.packet import CONTROL_TICK

__all__ = ["CLOCK", "LEAP", "STEP", "advance", "new_clock"]

STEP = 1_000_000_000
"""Nanoseconds: a step back of this size or more says that the clock was set."""

LEAP = 10_000_000_000
"""Nanoseconds: a step forward of this size or more says that the clock was set, where ticks come. Should the supervisor
have stood still for so long, rows live longer by that."""

CLOCK = np.dtype(
    [
        ("offset", "i8"),  # nanoseconds: the service's time is the timestamp plus this; one row for each port
        ("latest", "i8"),  # nanoseconds: the service's time at the last request; in the first row alone
        ("ticked", "i8"),  # 1: a tick has come; likewise
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
    if head.ticked and now - head.latest >= LEAP:
        port.offset -= now - head.latest
        return head.latest
    if packet.control == CONTROL_TICK:
        head.ticked = 1
    if now >= head.latest:
        head.latest = now
        return now
    if head.latest - now >= STEP:
        port.offset += head.latest - now
    return head.latest
