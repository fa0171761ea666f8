"""Events: what handlers of a service run at, and how one handler makes others run.

An event that a handler raises is queued and runs after the handler at hand has returned, in the order
raised, within the same request. The queue is bounded, so that every request comes to an end; what does not
fit is counted.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scout.paths.framework.state import add_to
from scout.ring.errors import ScoutError

__all__ = ["ARRIVAL", "HALT", "QUEUE", "QUEUED", "RUNS", "Event", "Handler", "new_queue", "raise_event"]


class Event(int):
    """A kind of event. Make it once, at the top of a module.

    Its number depends on the name alone, so that it is the same in every process, and compiled code in the
    cache stays true.

    Examples
    --------
    >>> ALERT = Event("alert")
    >>> ALERT == Event("alert"), ALERT > 0
    (True, True)
    """

    name: str

    def __new__(cls, name: str) -> "Event":
        code = (zlib.crc32(name.encode()) & 0x3FFFFFFF) + 16
        known = _events.get(code)
        if known is None:
            known = _events[code] = super().__new__(cls, code)
            known.name = name
        elif known.name != name:
            raise ScoutError(f"events {known.name!r} and {name!r} have the same number; rename one")
        return known

    def __repr__(self) -> str:
        return f"Event({self.name!r})"


_events: dict[int, Event] = {}

ARRIVAL = Event("arrival")
"""A packet has come to the service."""

HALT = 1
"""What a handler returns so that no more handlers of this event run."""

RUNS = ("all", "primary", "others")


@dataclass(frozen=True)
class Handler:
    """A function that runs at an event.

    Parameters
    ----------
    function : callable
        `function(frame, end, ...)` returns 0 (the next handler runs), `HALT`, or a `drop(...)` (which halts
        too). See `Service` for its other parameters.
    event : Event
        What it runs at; a packet's arrival by default.
    run : {"all", "primary", "others"}
        On every replica (it keeps the state), on the request's primary alone (it has the effects), or on the
        others alone.
    bound : bool
        False if it does not run until it is bound by a request.
    """

    function: Callable[..., int]
    event: Event = ARRIVAL
    run: str = "all"
    bound: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """The function's parameters after `frame` and `end`."""
        code = self.function.__code__
        return code.co_varnames[2 : code.co_argcount]


QUEUED = 16
"""Events that the replicated handlers of one request may raise; those that run on one replica may raise as many."""

UNTIL_END = 64
"""`until` of an event that no handler has halted: more than there can be handlers."""

QUEUE = np.dtype(
    [
        ("event", "i8"),
        ("argument", "i8"),
        ("until", "i8"),  # handlers from this place on do not run: one before halted the event
        # Of the whole queue; in the first row alone.
        ("count", "i8"),
        ("limit", "i8"),  # more do not fit now
        ("lost", "i8"),  # what did not fit, in this request
        ("lost_alone", "i8"),  # what did not fit of events raised on this replica alone, in all
    ]
)
"""A row of the queue of events that the request at hand has raised."""


def new_queue() -> np.ndarray:
    """An empty queue."""
    queue = np.zeros(2 * QUEUED, QUEUE)
    queue[0]["limit"] = QUEUED
    return queue


def raise_event(events: Any, event: int, argument: int) -> None:
    """Have the handlers of `event` run, with `argument`, when the handler at hand has returned.

    Parameters
    ----------
    events : array
        The handler's parameter of that name.
    event : Event
    argument : int
        An int64 for the handlers' parameter `argument`.
    """
    head = events[0]
    if head.count >= head.limit:
        head.lost += 1
        return
    row = events[head.count]
    row.event = event
    row.argument = argument
    row.until = UNTIL_END
    head.count += 1


# What the dispatch function of a service calls.


def close_replicated(events: Any, counts: Any) -> None:
    """The replicated handlers are through: count what did not fit, make room for what one replica raises."""
    head = events[0]
    if head.lost:
        add_to(counts, 0, "events_lost", head.lost)
        head.lost = 0
    head.limit = head.count + QUEUED


def close_request(events: Any) -> None:
    """The request is through: empty the queue for the next."""
    head = events[0]
    head.lost_alone += head.lost
    head.lost = 0
    head.count = 0
    head.limit = QUEUED
