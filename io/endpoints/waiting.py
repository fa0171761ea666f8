"""How an application waits at a socket: it looks for a moment before it sleeps, where that has been enough before.

The rule is that of replicas (`scout.io.rest`). Between two looks the thread gives its core to others, and other threads
of its process may run all the time.
"""

import threading

import numba
import numpy as np

from scout.io.rest import LONG, POLL, SHARED, expects_short_wait, remember_wait
from scout.io.system import monotonic_clock, ppoll
from scout.ring.atomics import store64
from scout.ring.jit import entry
from scout.ring.wait import SPINS, YIELD, back_off

__all__ = ["WAITS", "Waits", "begin_wait", "end_wait", "new_waits"]

WAITS = np.dtype(
    [
        ("waits", "i8"),  # as in `scout.io.rest.WAITER`
        ("short", "i8"),
        ("since", "i8"),  # when the wait has begun, nanoseconds
        ("busy", "i8"),  # until when the application does not look, as another process has kept its core
        ("polled", "i8"),  # room for a struct pollfd
        ("time", "i8", 2),  # and for a struct timespec
    ]
)
"""The waits of one thread of an application at one socket. Compiled code works on it without the GIL."""

_POLLED, _TIME = (WAITS.fields[name][1] for name in ("polled", "time"))  # type: ignore[index]
_POLLIN = 1
_WAITS = numba.types.Array(numba.from_dtype(WAITS), 1, "C")


def new_waits() -> np.ndarray:
    """`WAITS`[1]: no waits so far."""
    return np.zeros(1, WAITS)


class Waits(threading.local):
    """The waits at one socket, where several threads may wait at the same time: a reader and a writer, say.

    Attributes
    ----------
    mine : numpy.ndarray
        The `WAITS`[1] of the calling thread, which no other thread gets; private memory, also of a process that was
        forked.
    """

    def __init__(self) -> None:  # in each thread when it first waits, and in the one that opens the socket
        self.mine = new_waits()


@entry(numba.boolean(_WAITS, numba.int64))
def begin_wait(waits: np.ndarray, descriptor: int) -> bool:
    """Look whether a descriptor becomes readable, as long as is worthwhile; True if it is, so that the wait is over."""
    me, time = waits[0], waits.ctypes.data + _TIME
    me.since = moment = monotonic_clock(time)
    if not expects_short_wait(me) or moment < me.busy:
        return False
    polled = waits.ctypes.data + _POLLED
    while moment - me.since < POLL:
        store64(polled, _POLLIN << 32 | descriptor)
        store64(time, 0)
        store64(time + 8, 0)
        if ppoll(polled, 1, time, 0) == 1:
            remember_wait(me, 1)
            return True
        before = monotonic_clock(time)
        back_off(YIELD, SPINS)
        moment = monotonic_clock(time)
        if moment - before > LONG:
            me.busy = moment + SHARED
    return False


@entry(numba.void(_WAITS))
def end_wait(waits: np.ndarray) -> None:
    """Remember a wait that ended with a sleep."""
    me = waits[0]
    remember_wait(me, 1 if monotonic_clock(waits.ctypes.data + _TIME) - me.since < POLL else 0)
