"""Sockets of a running Scout router, in the shape of Python's `socket` (docs/endpoints.md).

An application in any process of the same user attaches to a router that has an `ApplicationPort`, and opens sockets::

    from scout import sockets

    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as sock:
        sock.bind(("10.0.0.1", 5353))
        data, peer = sock.recvfrom(2048)
        sock.sendto(data, peer)

Without `attach` the first socket attaches to the only router that runs. `fileno` is a descriptor that is readable as
long as something waits: `select`, `selectors` and asyncio take such a socket like one of the kernel's.
"""

import errno
from socket import (
    AF_INET,
    AF_UNSPEC,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_CONGESTION,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_NODELAY,
    TCP_USER_TIMEOUT,
    gaierror,
    herror,
)
from typing import Any

from scout.endpoints.stack import Stack, attach, newest
from scout.sockets.base import Socket
from scout.sockets.datagram import DatagramSocket
from scout.sockets.errors import error_of
from scout.sockets.splicing import splice
from scout.sockets.stream import StreamSocket

__all__ = [
    "AF_INET",
    "AF_UNSPEC",
    "IPPROTO_TCP",
    "IPPROTO_UDP",
    "SHUT_RD",
    "SHUT_RDWR",
    "SHUT_WR",
    "SOCK_DGRAM",
    "SOCK_STREAM",
    "SOL_SOCKET",
    "SO_ERROR",
    "SO_KEEPALIVE",
    "SO_LINGER",
    "SO_REUSEADDR",
    "TCP_CONGESTION",
    "TCP_KEEPCNT",
    "TCP_KEEPIDLE",
    "TCP_KEEPINTVL",
    "TCP_NODELAY",
    "TCP_USER_TIMEOUT",
    "DatagramSocket",
    "Socket",
    "Stack",
    "StreamSocket",
    "attach",
    "error",
    "gaierror",
    "herror",
    "socket",
    "splice",
    "timeout",
]

error, timeout = OSError, TimeoutError

_PROTOCOLS: dict[int, int] = {SOCK_DGRAM: IPPROTO_UDP, SOCK_STREAM: IPPROTO_TCP}


def socket(family: int = AF_INET, type: int = SOCK_DGRAM, proto: int = 0, *, stack: Stack | None = None) -> Any:
    """Open a socket, a `DatagramSocket` or a `StreamSocket`.

    Parameters
    ----------
    family, type, proto : int
        AF_INET; SOCK_DGRAM or SOCK_STREAM; and 0 or the protocol of this type.
    stack : Stack, optional
        The router; by default the one that this process attached to last, or the only one that runs.

    Raises
    ------
    OSError
        If the router has no such sockets, or no more of them.
    """
    if family != AF_INET:
        raise error_of(errno.EAFNOSUPPORT)
    if type not in _PROTOCOLS or proto not in (0, _PROTOCOLS[type]):
        raise error_of(errno.EPROTONOSUPPORT)
    return (StreamSocket if type == SOCK_STREAM else DatagramSocket)(stack or newest())
