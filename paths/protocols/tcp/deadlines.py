"""The times at which connections want timer requests, so that the earliest is known at once.

The loop of a domain makes the request when the earliest time has come (`scout.domain_timers`), the stage `serve` finds
the connections that are due, and `scout.paths.protocols.tcp.timers` does what is due for each.

`deadlines` is int64: the earliest time of all rows, then that of each block of `BLOCK` rows. Both may be too early: a
time that moves back is found when its request is served. The first is one of the clock, the others are in TCP's time,
which is ahead of the clock by `shift` (`scout.paths.protocols.tcp.rows.tell_time`).
"""

from typing import Any

import numpy as np

from scout.paths.protocols.tcp.state import FOREVER

__all__ = ["BLOCK", "new_deadlines", "refresh", "watch"]

BLOCK = 64
"""Rows of a block."""


def new_deadlines(rows: int) -> np.ndarray:
    """The array for so many rows, none of which waits for a time."""
    return np.full(1 + -(-rows // BLOCK), FOREVER, np.int64)


def watch(deadlines: Any, rows: Any, row: int, time: int, shift: int) -> None:
    """A row wants a timer request at this time."""
    rows[row].due = time
    if time < deadlines[1 + row // BLOCK]:
        deadlines[1 + row // BLOCK] = time
        if time - shift < deadlines[0]:
            deadlines[0] = time - shift


def refresh(deadlines: Any, rows: Any, block: int, shift: int) -> None:
    """Find the earliest time of a block, and that of all, anew."""
    soonest = FOREVER
    for row in range(block * BLOCK, min((block + 1) * BLOCK, len(rows))):
        if rows[row].due < soonest:
            soonest = rows[row].due
    deadlines[1 + block] = soonest
    soonest = FOREVER
    for index in range(1, len(deadlines)):
        if deadlines[index] < soonest:
            soonest = deadlines[index]
    deadlines[0] = soonest - shift if soonest < FOREVER else FOREVER
