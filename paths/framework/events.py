"""Events: when the handlers of a service run, and how one handler makes others run.

An event that a handler raises is queued. Its handlers run after that handler has returned, within the same request;
events run in the order raised. The queue is bounded, so that every request comes to an end; events that do not fit are
lost and counted.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scout.paths.framework.state import add_to
from scout.paths.model.stage import parameters_of
from scout.ring.errors import ScoutError

__all__ = ["ARRIVAL", "HALT", "QUEUE", "QUEUED", "RUNS", "Event", "Handler", "new_queue", "raise_event"]


class Event(int):
    """A kind of event. Make it once, at the top of a module.

    Its number depends on the name alone, so that it is the same in every process, and compiled code in the cache stays
    valid.

    Raises
    ------
    ScoutError
        If another event has the same number.

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
"""The event of a packet that has come to the service."""

HALT = 1
"""The verdict of a handler after which no more handlers of the event run; the packet goes on."""

RUNS = ("all", "primary", "others")


@dataclass(frozen=True)
class Handler:
    """A function that runs at an event.

    Parameters
    ----------
    function : callable
        `function(frame, end, ...)` returns 0 (the next handler runs), `HALT`, or a `drop(...)`, after which no more
        handlers of the event run either. See `Service` for its other parameters.
    event : Event or None
        The event that it runs at; a packet's arrival by default. With None it never runs: other handlers look in
        `mask` whether it is bound.
    run : {"all", "primary", "others"}
        Where it runs. "all": on every replica, to keep the state. "primary": on the request's primary alone, to have
        the effects. "others": on all replicas but the primary.
    bound : bool
        False if it does not run before `Supervisor.bind` binds it.
    """

    function: Callable[..., int]
    event: Event | None = ARRIVAL
    run: str = "all"
    bound: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """The function's parameters after `frame` and `end`."""
        return parameters_of(self.function)


QUEUED = 16
"""How many events the replicated handlers of one request may raise; those that run on one replica may raise as many."""

UNTIL_END = 64
"""`until` of an event that no handler has halted: more than a service can have handlers."""

QUEUE = np.dtype(
    [
        ("event", "i8"),
        ("argument", "i8"),
        ("until", "i8"),  # handlers from this number on do not run: one before has halted the event
        # Of the whole queue; in the first row alone.
        ("count", "i8"),  # events queued
        ("limit", "i8"),  # events that fit at present
        ("lost", "i8"),  # events of this request that did not fit
        ("lost_alone", "i8"),  # events of all requests, raised on this replica alone, that did not fit
    ]
)
"""A row of the queue of events that the present request has raised."""


def new_queue() -> np.ndarray:
    """An empty queue."""
    queue = np.zeros(2 * QUEUED, QUEUE)
    queue[0]["limit"] = QUEUED
    return queue


def raise_event(events: Any, event: int, argument: int) -> None:
    """Have the handlers of `event` run, with `argument`, when the present handler has returned.

    Parameters
    ----------
    events : array
        The handler's parameter of that name.
    event : Event
    argument : int
        An int64, for the handlers' parameter `argument`.
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


# The generated function of a service calls the rest.


def close_replicated(events: Any, counts: Any) -> None:
    """End the replicated part of a request: count the events lost, and make room for those that one replica raises."""
    head = events[0]
    if head.lost:
        add_to(counts, 0, "events_lost", head.lost)
        head.lost = 0
    head.limit = head.count + QUEUED


def close_request(events: Any) -> None:
    """End a request: empty the queue for the next one."""
    head = events[0]
    head.lost_alone += head.lost
    head.lost = 0
    head.count = 0
    head.limit = QUEUED
