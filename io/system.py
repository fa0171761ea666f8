"""System calls from compiled code; all by the C library, which every Python process has loaded."""

from typing import Any

import numpy as np
from numba import types

from scout.ring.atomics import load32, load64, store64
from scout.ring.jit import inline
from scout.ring.wait import SPINS, back_off

__all__ = [
    "MESSAGE",
    "MESSAGE_VECTOR",
    "MESSAGE_VECTORS",
    "VECTOR",
    "VECTORS",
    "VNET_HEADER",
    "WAITER",
    "clock",
    "error_number",
    "nap",
    "now",
    "poll",
    "read",
    "readv",
    "rest",
    "sendmmsg",
    "write",
    "writev",
]

_int: Any = types.int32
_long: Any = types.int64


def _function(name: str, signature: Any) -> Any:
    return types.ExternalFunction(name, signature)


poll = _function("poll", _int(_long, _long, _int))
sendmmsg = _function("sendmmsg", _int(_int, _long, types.uint32, _int))
read = _function("read", _long(_int, _long, _long))
readv = _function("readv", _long(_int, _long, _int))
write = _function("write", _long(_int, _long, _long))
writev = _function("writev", _long(_int, _long, _int))
nanosleep = _function("nanosleep", _int(_long, _long))
clock_gettime = _function("clock_gettime", _int(_int, _long))
getsockopt = _function("getsockopt", _int(_int, _int, _int, _long, _long))
_errno_location = _function("__errno_location", _long())


@inline
def error_number() -> int:
    """`errno` of this thread, after a call that failed."""
    return load32(_errno_location())


# struct mmsghdr (64 bytes) and two struct iovec (16 bytes each) for every packet, x86-64 and aarch64.
MESSAGE, MESSAGE_VECTOR, MESSAGE_VECTORS, VECTOR, VECTORS = 64, 16, 24, 16, 32
VNET_HEADER = 10  # struct virtio_net_hdr

CLOCK_REALTIME = 0
SOL_SOCKET, SO_ERROR = 1, 4
POLLIN, POLLERR = 1, 8

NAP = 50_000  # nanoseconds: another replica still holds frames, poll would return at once

WAITER = np.dtype(
    [
        ("descriptors", "i8"),  # address of the struct pollfds
        ("count", "i8"),
        ("timeout", "i8"),  # milliseconds; 0 if there are channels that poll knows nothing of
        ("errors", "i8"),  # errors that sockets reported (interfaces that went down)
        ("time", "i8", 2),  # a struct timespec
        ("scratch", "i8", 2),
        ("strategy", "i8"),  # SPIN, YIELD or BLOCK of `scout.ring.wait`
        ("ready", "i8"),  # 1 if the last poll said that packets wait
    ]
)
"""The state with which a replica waits for packets; written by it alone."""


@inline
def now(waiter: np.ndarray) -> int:
    """Nanoseconds since 1970, the clock of the kernel's time stamps. Never for replicated work."""
    return clock(waiter.ctypes.data + 32)


@inline
def clock(timespec: int) -> int:
    """Nanoseconds since 1970, by the struct timespec at an address."""
    clock_gettime(CLOCK_REALTIME, timespec)
    return load64(timespec) * 1_000_000_000 + load64(timespec + 8)


@inline
def nap(timespec: int, nanoseconds: int) -> None:
    """Sleep, by the struct timespec at an address."""
    store64(timespec, 0)
    store64(timespec + 8, nanoseconds)
    nanosleep(timespec, 0)


@inline
def rest(waiter: np.ndarray, idle: int) -> None:
    """Wait for packets, after `idle` rounds in vain, by the replica's strategy; to block is to poll.

    Where poll does not wait (another replica still holds frames, or there is a channel without a descriptor) it naps,
    before it polls again and never after: a packet that ends a wait is dealt with at once.
    """
    me = waiter[0]
    if back_off(me.strategy, idle):
        return
    if idle > SPINS and (me.ready or me.timeout == 0):
        nap(waiter.ctypes.data + 32, NAP)
    me.ready = poll(me.descriptors, me.count, me.timeout) > 0
    if me.ready:
        for index in range(me.count):
            descriptor = me.descriptors + index * 8
            if load32(descriptor + 4) >> 16 & POLLERR:
                # Reading the error clears it; else poll would return at once for ever.
                store64(waiter.ctypes.data + 56, 4)
                getsockopt(load32(descriptor), SOL_SOCKET, SO_ERROR, waiter.ctypes.data + 48, waiter.ctypes.data + 56)
                me.errors += 1
