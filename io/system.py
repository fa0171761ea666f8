"""System calls from compiled code; all by the C library, which every Python process has loaded."""

from typing import Any

from numba import types

from scout.ring.atomics import load32, load64, store64
from scout.ring.jit import inline

__all__ = [
    "MESSAGE",
    "MESSAGE_VECTOR",
    "MESSAGE_VECTORS",
    "VECTOR",
    "VECTORS",
    "VNET_HEADER",
    "clock",
    "epoll_wait",
    "error_number",
    "monotonic_clock",
    "nap",
    "ppoll",
    "read",
    "readv",
    "sendmmsg",
    "write",
    "writev",
]

_int: Any = types.int32
_long: Any = types.int64


def _function(name: str, signature: Any) -> Any:
    return types.ExternalFunction(name, signature)


epoll_wait = _function("epoll_wait", _int(_int, _long, _int, _int))
ppoll = _function("ppoll", _int(_long, _long, _long, _long))
sendmmsg = _function("sendmmsg", _int(_int, _long, types.uint32, _int))
read = _function("read", _long(_int, _long, _long))
readv = _function("readv", _long(_int, _long, _int))
write = _function("write", _long(_int, _long, _long))
writev = _function("writev", _long(_int, _long, _int))
nanosleep = _function("nanosleep", _int(_long, _long))
clock_gettime = _function("clock_gettime", _int(_int, _long))
_errno_location = _function("__errno_location", _long())


@inline
def error_number() -> int:
    """`errno` of this thread, after a call that failed."""
    return load32(_errno_location())


# struct mmsghdr (64 bytes) and two struct iovec (16 bytes each) for every packet, x86-64 and aarch64.
MESSAGE, MESSAGE_VECTOR, MESSAGE_VECTORS, VECTOR, VECTORS = 64, 16, 24, 16, 32
VNET_HEADER = 10  # struct virtio_net_hdr

CLOCK_REALTIME, CLOCK_MONOTONIC = 0, 1


@inline
def clock(timespec: int) -> int:
    """Nanoseconds since 1970, by the struct timespec at an address."""
    clock_gettime(CLOCK_REALTIME, timespec)
    return load64(timespec) * 1_000_000_000 + load64(timespec + 8)


@inline
def monotonic_clock(timespec: int) -> int:
    """Nanoseconds since some moment, never set back, by the struct timespec at an address."""
    clock_gettime(CLOCK_MONOTONIC, timespec)
    return load64(timespec) * 1_000_000_000 + load64(timespec + 8)


@inline
def nap(timespec: int, nanoseconds: int) -> None:
    """Sleep, by the struct timespec at an address."""
    store64(timespec, 0)
    store64(timespec + 8, nanoseconds)
    nanosleep(timespec, 0)
