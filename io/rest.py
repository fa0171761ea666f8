"""How a replica waits for packets and control requests, whatever channels they come by."""

import numpy as np

from scout.io.system import clock, epoll_wait
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

_MILLISECOND = 1_000_000
_FIRST, _NEXT = 1, 10
"""Milliseconds that a replica sleeps at most: after requests, and after a sleep in vain. While packets flow, replicas
come to those of a lookout that gets no processor, and return frames to the kernel, within the first."""


@inline
def now(waiter: np.ndarray) -> int:
    """Nanoseconds since 1970, the clock of the kernel's time stamps. Never for replicated work."""
    return clock(waiter.ctypes.data + _TIME)


@inline
def rest(waiter: np.ndarray, idle: int) -> None:
    """Wait for requests, after `idle` rounds in vain, by the replica's strategy; to block is to sleep on the bell.

    Before each sleep the replica announces it, and has one more round. The lookout wakes at `until`, or up to a
    millisecond later.
    """
    me = waiter[0]
    if back_off(me.strategy, idle):
        return
    if (idle - SPINS) & 1 == 0:
        announce_sleep(me.bell)
        return
    longest = _FIRST if idle == SPINS + 1 else _NEXT
    if not is_lookout(me.bell, me.replica):
        epoll_wait(me.own, waiter.ctypes.data + _EVENT, 1, longest)
        return
    if me.until != NEVER:
        longest = max(0, min(longest, (me.until - now(waiter) + _MILLISECOND - 1) // _MILLISECOND))
    epoll_wait(me.watch, waiter.ctypes.data + _EVENT, 1, longest)
