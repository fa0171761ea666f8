"""How a replica waits for packets and control requests, whatever channels they come by."""

import numpy as np

from scout.io.system import clock, epoll_wait, ppoll
from scout.ring.atomics import store64
from scout.ring.bell import announce_sleep, is_lookout
from scout.ring.jit import inline
from scout.ring.wait import SPINS, back_off

__all__ = ["NEVER", "WAITER", "now", "rest"]

WAITER = np.dtype(
    [
        ("strategy", "i8"),  # SPIN, YIELD or BLOCK of `scout.ring.wait`
        ("replica", "i8"),
        ("bell", "i8"),  # address of the bell (`scout.ring.bell`)
        ("watch", "i8"),  # what the lookout sleeps on: an epoll instance
        ("own", "i8"),  # what this replica sleeps on while it is not the lookout
        ("event", "i8", 2),  # room for a struct epoll_event
        ("time", "i8", 2),  # a struct timespec
        ("until", "i8"),  # when the replica is to be awake if it is the lookout, nanoseconds since 1970, or `NEVER`
    ]
)
"""The state with which a replica waits; private to its process."""

_EVENT, _TIME = (WAITER.fields[name][1] for name in ("event", "time"))  # type: ignore[index]

NEVER = 1 << 62
"""A time that does not come."""

_MILLISECOND, _POLLIN = 1_000_000, 1
_FIRST, _NEXT = 1, 10
"""Milliseconds that a replica sleeps at most: after requests, and after a sleep in vain. While packets flow, replicas
come to those of a lookout that gets no processor, and return frames to the kernel, within the first."""


@inline
def now(waiter: np.ndarray) -> int:
    """Nanoseconds since 1970, the clock of the kernel's time stamps. Never for replicated work."""
    return clock(waiter.ctypes.data + _TIME)


@inline
def rest(waiter: np.ndarray, idle: int, until: int) -> None:
    """Wait for requests, after `idle` rounds in vain, by the replica's strategy; to block is to sleep on the bell.

    Before each sleep the replica announces it, and has one more round. It sleeps no longer than `until`, a time of
    `now`, or `NEVER`; nor, as the lookout, than the time that the record says.
    """
    me = waiter[0]
    if back_off(me.strategy, idle):
        return
    if (idle - SPINS) & 1 == 0:
        announce_sleep(me.bell)
        return
    longest = _FIRST if idle == SPINS + 1 else _NEXT
    sleeps_on = me.own
    if is_lookout(me.bell, me.replica):
        sleeps_on, until = me.watch, min(until, me.until)
    if until != NEVER:
        _sleep(waiter, sleeps_on, min(longest * _MILLISECOND, until - now(waiter)))
        longest = 0  # the event that ended the sleep is not to end the next one
    epoll_wait(sleeps_on, waiter.ctypes.data + _EVENT, 1, longest)


@inline
def _sleep(waiter: np.ndarray, sleeps_on: int, nanoseconds: int) -> None:
    """Sleep, more exactly than epoll_wait(2) does, until an event or for so many nanoseconds."""
    if nanoseconds > 0:
        poll, time = waiter.ctypes.data + _EVENT, waiter.ctypes.data + _TIME
        store64(poll, _POLLIN << 32 | sleeps_on)  # struct pollfd
        store64(time, 0)
        store64(time + 8, nanoseconds)
        ppoll(poll, 1, time, 0)
