"""Timers: events that are raised later. They are replicated state: every replica fires them at the same request.

A timer fires before the first request whose time (the service's, `scout.paths.framework.clock`) is not less than when
it is due, in the order of (due, handle). The table is bounded; a timer that does not fit is refused and counted.

The table holds a binary heap of the timers' rows and a list of the free rows. Row 0 is the head, and no timer.
"""

from typing import Any

import numpy as np

from scout.paths.framework.events import raise_event
from scout.ring.errors import ScoutError

__all__ = ["MOST_TIMERS", "TIMER", "after", "cancel", "fire", "is_due", "new_timers", "newest"]

TIMER = np.dtype(
    [
        ("due", "i8"),  # nanoseconds, of the service's time
        ("handle", "i8"),  # 0: not set; in the head: how many timers were ever set
        ("event", "i8"),
        ("argument", "i8"),
        ("heap", "i8"),  # in row i, of the heap's place i: the row of its timer; in the head: how many are set
        ("place", "i8"),  # the timer's place in the heap; of a free row the next free row; in the head: the first one
        ("refused", "i8"),  # in the head: how many timers did not fit
    ]
)
"""A row of the table of timers."""

ROW_BITS = 16  # the low bits of a handle are its timer's row; those above count the timers ever set, so handles rise

MOST_TIMERS = (1 << ROW_BITS) - 1
"""The most timers that a table can hold."""


def new_timers(capacity: int) -> np.ndarray:
    """A table for `capacity` timers, with none set."""
    if not 1 <= capacity <= MOST_TIMERS:
        raise ScoutError(f"a table of {capacity} timers; give 1 to {MOST_TIMERS}")
    timers = np.zeros(capacity + 1, TIMER)
    timers["place"][:capacity] = np.arange(1, capacity + 1)
    return timers


def after(timers: Any, packet: Any, delay: int, event: int, argument: int) -> int:
    """Have the handlers of `event` run, with `argument`, `delay` nanoseconds after the present request.

    Parameters
    ----------
    timers, packet
        The handler's parameters of these names.
    delay : int
        Nanoseconds; less than 0 counts as 0. The timer fires before the next request at the soonest.
    event : Event
    argument : int
        An int64, for the handlers' parameter `argument`.

    Returns
    -------
    int
        The timer's handle, for `cancel`; 0 if there was no room, which is counted.
    """
    head = timers[0]
    row = head.place
    if row == 0:
        head.refused += 1
        return 0
    timer = timers[row]
    head.place = timer.place
    head.handle += 1
    head.heap += 1
    timer.due = packet.timestamp + max(delay, 0)
    timer.handle = head.handle << ROW_BITS | row
    timer.event = event
    timer.argument = argument
    _rise(timers, head.heap, row)
    return timer.handle


def cancel(timers: Any, handle: int) -> int:
    """Cancel a timer; 1 if it was set, 0 if it has fired or was cancelled before."""
    row = handle & MOST_TIMERS
    if row == 0 or row >= len(timers) or timers[row].handle != handle:
        return 0
    _take_out(timers, row)
    return 1


# The generated function of a service calls the rest.


def newest(timers: Any) -> int:
    """A handle above that of every timer set so far: timers set from now on wait for the next request."""
    return timers[0].handle + 1 << ROW_BITS


def is_due(timers: Any, now: int, before: int) -> bool:
    """True if a timer with a handle less than `before` is due."""
    if timers[0].heap == 0:
        return False
    first = timers[timers[1].heap]
    return first.due <= now and first.handle < before


def fire(timers: Any, events: Any) -> None:
    """Take the timer that is due first out, and raise its event."""
    row = timers[1].heap
    event, argument = timers[row].event, timers[row].argument
    _take_out(timers, row)
    raise_event(events, event, argument)


def _sooner(timers: Any, one: int, other: int) -> bool:
    """True if the timer in row `one` fires before that in row `other`."""
    if timers[one].due != timers[other].due:
        return timers[one].due < timers[other].due
    return timers[one].handle < timers[other].handle


def _rise(timers: Any, place: int, row: int) -> None:
    """Put the timer in `row` at a place of the heap, or as far above as it belongs."""
    while place > 1 and _sooner(timers, row, timers[place >> 1].heap):
        above = timers[place >> 1].heap
        timers[place].heap = above
        timers[above].place = place
        place >>= 1
    timers[place].heap = row
    timers[row].place = place


def _sink(timers: Any, place: int, row: int) -> None:
    """Put the timer in `row` at a place of the heap, or as far below as it belongs."""
    count = timers[0].heap
    while place * 2 <= count:
        child = place * 2
        if child < count and _sooner(timers, timers[child + 1].heap, timers[child].heap):
            child += 1
        below = timers[child].heap
        if not _sooner(timers, below, row):
            break
        timers[place].heap = below
        timers[below].place = place
        place = child
    timers[place].heap = row
    timers[row].place = place


def _take_out(timers: Any, row: int) -> None:
    """Take a timer out of the heap and free its row."""
    head, place = timers[0], timers[row].place
    last = timers[head.heap].heap
    timers[head.heap].heap = 0
    head.heap -= 1
    if last != row:  # the last one fills the gap, and moves up or down from there
        _rise(timers, place, last)
        _sink(timers, timers[last].place, last)
    timers[row].handle = 0
    timers[row].place = head.place
    head.place = row
