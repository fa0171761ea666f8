"""Sockets of a running Scout router, in the shape of Python's `socket` (docs/endpoints.md).

An application in any process of the same user attaches to a router that has an `ApplicationPort`, and opens sockets::

    from scout import sockets

    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as sock:
        sock.bind(("10.0.0.1", 5353))
        data, peer = sock.recvfrom(2048)
        sock.sendto(data, peer)

Without `attach` the first socket attaches to the only router that runs. `fileno` is a descriptor that is readable as
long as a message waits: `select`, `selectors` and asyncio take such a socket like one of the kernel's.
"""

import errno
import os
import select
import socket as kernel
import threading
import time
from collections import deque
from contextlib import suppress
from socket import AF_INET, AF_UNSPEC, IPPROTO_UDP, SO_ERROR, SOCK_DGRAM, SOL_SOCKET, gaierror, herror
from typing import Any, Self

import numpy as np

from scout.endpoints.stack import Stack, attach, newest
from scout.io.endpoints.application import EMPTY, settle, take
from scout.io.endpoints.message import DATA, ERROR, HEADER, HEADER_STRUCT, LONGEST_DATA, SEND
from scout.ring.segment import address

__all__ = [
    "AF_INET",
    "AF_UNSPEC",
    "IPPROTO_UDP",
    "SOCK_DGRAM",
    "SOL_SOCKET",
    "SO_ERROR",
    "Socket",
    "Stack",
    "attach",
    "error",
    "gaierror",
    "herror",
    "socket",
    "timeout",
]

error, timeout = OSError, TimeoutError

LONGEST_DATAGRAM = 65507
"""Bytes of data that a UDP datagram over IPv4 can have."""

_PROTOCOLS: dict[int, int] = {SOCK_DGRAM: IPPROTO_UDP}
_NAP = 5e-5  # seconds between two looks whether there is room for a request


def socket(family: int = AF_INET, type: int = SOCK_DGRAM, proto: int = 0) -> "Socket":
    """Open a socket of the only router that runs, or of the one that this process attached to last; see `Socket`."""
    return Socket(newest(), family, type, proto)


def _error(number: int) -> OSError:
    """The error of a number; Python chooses the class."""
    return OSError(number, os.strerror(number))


def _refuse_flags(flags: int = 0) -> None:
    if flags:
        raise _error(errno.EOPNOTSUPP)


def _destination(name: tuple[str, int]) -> tuple[int, int]:
    """The address, as a number, and the L4 port that a datagram is to be sent to; port 0 is none."""
    host, port = name
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")  # as Python's sockets
    if port == 0:
        raise _error(errno.EINVAL)
    return int.from_bytes(kernel.inet_aton(host)), port


class Socket:
    """A UDP socket of a router, used like a `socket.socket`.

    A datagram is on its way when `sendto` returns. The reasons why it could not leave (no route, say) are raised by a
    later call, as are ICMP errors, the latter only by sockets that are connected.

    Parameters
    ----------
    stack : Stack
    family, type, proto : int
        AF_INET, SOCK_DGRAM, and 0 or IPPROTO_UDP.

    Raises
    ------
    OSError
        If the router has no such sockets, or no more of them.
    """

    def __init__(self, stack: Stack, family: int = AF_INET, type: int = SOCK_DGRAM, proto: int = 0) -> None:
        self.family, self.type = kernel.AddressFamily(family), kernel.SocketKind(type)
        if family != AF_INET:
            raise _error(errno.EAFNOSUPPORT)
        self.proto = proto or _PROTOCOLS.get(type, 0)
        self._stack = stack
        answer, (self._bell,) = stack.ask("open", protocol=self.proto)
        self._number = answer["socket"]
        self._area = stack.mapped(answer["offset"], stack.socket_bytes)
        self._ring = (address(self._area), stack.ring_bytes, self._bell)
        self._in, self._out = (bytearray(HEADER + LONGEST_DATA) for _ in range(2))
        self._in_address, self._out_address = (address(np.frombuffer(each, np.uint8)) for each in (self._in, self._out))
        self._receiving, self._sending = threading.Lock(), threading.Lock()
        self._segments: deque[tuple[bytes, tuple[str, int]]] = deque()  # datagrams that came in one message
        self._were_many = False
        self._local: tuple[str, int] = ("0.0.0.0", 0)
        self._remote: tuple[str, int] | None = None
        self._error = 0
        self._timeout = kernel.getdefaulttimeout()
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._poll.register(stack.connection, 0)  # only for its end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<scout Socket {self._local} to {self._remote}>"

    # Names.

    def bind(self, name: tuple[str, int]) -> None:
        """Give the socket an address of the router's, or "" for all, and an L4 port, or 0 for any."""
        self._name("bind", name)

    def connect(self, name: tuple[str, int]) -> None:
        """Let the socket send to one other end, and receive only from there."""
        self._name("connect", name)

    def _name(self, do: str, name: tuple[str, int]) -> None:
        answer, _ = self._stack.ask(do, socket=self._opened(), address=name[0], port=name[1])
        self._local = tuple(answer["local"])
        self._remote = answer["remote"] and tuple(answer["remote"])

    def getsockname(self) -> tuple[str, int]:
        """The socket's own address and L4 port."""
        return self._local

    def getpeername(self) -> tuple[str, int]:
        """The address and L4 port of the other end that the socket is connected to."""
        if self._remote is None:
            raise _error(errno.ENOTCONN)
        return self._remote

    # Options.

    def settimeout(self, value: float | None) -> None:
        """Let calls wait at most so many seconds; None: as long as it takes, 0: not at all."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = value

    def gettimeout(self) -> float | None:
        """The seconds that calls wait at most."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """Let calls wait as long as it takes, or not at all."""
        self.settimeout(None if flag else 0.0)

    def getsockopt(self, level: int, option: int) -> int:
        """The error that is pending, for `SO_ERROR`, which clears it."""
        if (level, option) != (SOL_SOCKET, SO_ERROR):
            raise _error(errno.ENOPROTOOPT)
        found, self._error = self._error, 0
        return found

    def fileno(self) -> int:
        """A descriptor that is readable as long as a message waits; -1 if the socket is closed."""
        return self._bell

    # Data.

    def send(self, data: Any, flags: int = 0) -> int:
        """Send a datagram to the other end that the socket is connected to; its size. There are no flags."""
        _refuse_flags(flags)
        if self._remote is None:
            raise _error(errno.EDESTADDRREQ)
        return self._submit(data, 0, 0, 0)

    def sendto(self, data: Any, *flags_and_name: Any) -> int:
        """Send a datagram to an address and L4 port: `sendto(data, name)` or `sendto(data, flags, name)`; its size."""
        *flags, name = flags_and_name
        _refuse_flags(*flags)
        return self._submit(data, *_destination(name), 0)

    def send_segments(self, data: Any, segment: int, name: tuple[str, int] | None = None) -> int:
        """Send datagrams of `segment` bytes each, the last one may be shorter, in one request; the bytes sent.

        As the kernel's UDP_SEGMENT (udp(7)), for as many bytes as one datagram can have.
        """
        if not 0 < segment <= LONGEST_DATAGRAM:
            raise _error(errno.EINVAL)
        if name is None and self._remote is None:
            raise _error(errno.EDESTADDRREQ)
        return self._submit(data, *(_destination(name) if name else (0, 0)), segment)

    def _submit(self, data: Any, remote: int, port: int, segment: int) -> int:
        self._raise_pending()
        if self._local[1] == 0:
            self.bind(("0.0.0.0", 0))
        size = len(data) if isinstance(data, bytes | bytearray) else memoryview(data).nbytes
        if size > LONGEST_DATAGRAM:
            raise _error(errno.EMSGSIZE)
        place = self._out_address
        with self._sending:
            HEADER_STRUCT.pack_into(self._out, 0, SEND, self.proto, segment, self._opened(), 0, remote, 0, port, 0)
            self._out[HEADER : HEADER + size] = data
            if not self._stack.submit(place, place + HEADER, size):
                self._submit_later(place, size)
        return size

    def _submit_later(self, place: int, size: int) -> None:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while not self._stack.submit(place, place + HEADER, size):
            if deadline is not None and time.monotonic() >= deadline:
                raise self._late()
            self._check_stack()
            time.sleep(_NAP)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive a datagram, of which at most `size` bytes are kept."""
        return self.recvfrom(size, flags)[0]

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, tuple[str, int]]:
        """Receive a datagram, of which at most `size` bytes are kept; and from where it came. There are no flags."""
        _refuse_flags(flags)
        with self._receiving:
            if not self._segments:
                self._next()
            data, name = self._segments.popleft()
            if self._were_many and not self._segments:
                self._were_many = False
                settle(*self._ring)
        return data[:size], name

    def _next(self) -> None:
        """Wait for data, and put its datagrams into `_segments`."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            length = take(*self._ring, self._in_address, len(self._in)) if self._opened() else EMPTY
            if length == EMPTY:
                self._wait(deadline)
                continue
            kind, _, note, _, _, remote, _, port, _ = HEADER_STRUCT.unpack_from(self._in)
            if kind != DATA:
                self._error = note if kind != ERROR or self._remote else 0
                self._raise_pending()
                continue
            data, name = memoryview(self._in)[HEADER:length], (kernel.inet_ntoa(remote.to_bytes(4)), port)
            step = note or max(1, len(data))
            self._segments.extend((bytes(data[at : at + step]), name) for at in range(0, max(1, len(data)), step))
            if len(self._segments) > 1:
                self._were_many = True
                os.eventfd_write(self._bell, 1)
            return

    def _wait(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            self._check_stack()
            raise self._late()
        self._poll.poll(None if left is None else left * 1000)
        self._check_stack()

    def _late(self) -> OSError:
        """The error of a call that has waited long enough."""
        return TimeoutError("timed out") if self._timeout else _error(errno.EAGAIN)

    def _check_stack(self) -> None:
        """Raise an error if the router has ended."""
        if any(descriptor != self._bell for descriptor, _ in self._poll.poll(0)):
            raise ConnectionResetError(errno.ECONNRESET, "the router has ended")

    def _raise_pending(self) -> None:
        if self._error:
            number, self._error = self._error, 0
            raise _error(number)

    def _opened(self) -> int:
        """Its number in the router."""
        if self._bell < 0:
            raise _error(errno.EBADF)
        return self._number

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, tuple[str, int]]:
        """Receive a datagram into a buffer; how many bytes, and from where it came."""
        room = memoryview(buffer).cast("B")
        data, name = self.recvfrom(nbytes or len(room), flags)
        room[: len(data)] = data
        return len(data), name

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive a datagram into a buffer; how many bytes."""
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    # The end.

    def close(self) -> None:
        """Close the socket, after what it has sent."""
        if self._bell >= 0:
            bell, self._bell = self._bell, -1
            os.close(bell)
            with suppress(OSError):  # the router has ended, and the socket with it
                self._stack.ask("close", socket=self._number)
