"""Datagram sockets of a router: UDP."""

import errno
import os
import socket as kernel
from collections import deque
from socket import IPPROTO_UDP, SOCK_DGRAM
from typing import Any

import numpy as np

from scout.endpoints.stack import Stack
from scout.io.endpoints.application import EMPTY, settle, take
from scout.io.endpoints.message import DATA, ERROR, HEADER, HEADER_STRUCT, LONGEST_DATA, SEND
from scout.ring.segment import address
from scout.sockets.base import Name, Socket, data_size, opened
from scout.sockets.errors import error_of, refuse_flags

__all__ = ["DatagramSocket"]

LONGEST_DATAGRAM = 65507
"""Bytes of data that a UDP datagram over IPv4 can have."""


def _destination(name: Name) -> tuple[int, int]:
    """The address, as a number, and the L4 port that a datagram is to be sent to; port 0 is none."""
    host, port = name
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")  # as Python's sockets
    if port == 0:
        raise error_of(errno.EINVAL)
    return int.from_bytes(kernel.inet_aton(host)), port


class DatagramSocket(Socket):
    """A UDP socket of a router; its descriptor is readable as long as a datagram waits.

    A datagram is on its way when `sendto` returns. The reasons why it could not leave (no route, say) are raised by a
    later call, as are ICMP errors, the latter only by sockets that are connected.

    Parameters
    ----------
    stack : Stack

    Raises
    ------
    OSError
        If the router has no such sockets, or no more of them.
    """

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack, SOCK_DGRAM, IPPROTO_UDP, *opened(stack, IPPROTO_UDP), LONGEST_DATA)
        self._ring = (address(self._area), stack.ring_bytes, self._bell)
        self._in = bytearray(HEADER + LONGEST_DATA)
        self._in_address = address(np.frombuffer(self._in, np.uint8))
        self._segments: deque[tuple[bytes, Name]] = deque()  # datagrams that came in one message
        self._were_many = False

    def connect(self, name: Name) -> None:
        """Let the socket send to one other end, and receive only from there."""
        self._name("connect", name)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send a datagram to the other end that the socket is connected to; its size. There are no flags."""
        refuse_flags(flags)
        if self._remote is None:
            raise error_of(errno.EDESTADDRREQ)
        return self._submit(data, 0, 0, 0)

    def sendto(self, data: Any, *flags_and_name: Any) -> int:
        """Send a datagram to an address and L4 port: `sendto(data, name)` or `sendto(data, flags, name)`; its size."""
        *flags, name = flags_and_name
        refuse_flags(*flags)
        return self._submit(data, *_destination(name), 0)

    def send_segments(self, data: Any, segment: int, name: Name | None = None) -> int:
        """Send datagrams of `segment` bytes each, the last one may be shorter, in one request; the bytes sent.

        As the kernel's UDP_SEGMENT (udp(7)), for as many bytes as one datagram can have.
        """
        if not 0 < segment <= LONGEST_DATAGRAM:
            raise error_of(errno.EINVAL)
        if name is None and self._remote is None:
            raise error_of(errno.EDESTADDRREQ)
        return self._submit(data, *(_destination(name) if name else (0, 0)), segment)

    def _submit(self, data: Any, remote: int, port: int, segment: int) -> int:
        self._raise_pending()
        if self._local[1] == 0:
            self.bind(("0.0.0.0", 0))
        size = data_size(data)
        if size > LONGEST_DATAGRAM:
            raise error_of(errno.EMSGSIZE)
        with self._sending:
            self._out[HEADER : HEADER + size] = data
            self._request(size, self._deadline(), SEND, segment, remote, port)
        return size

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive a datagram, of which at most `size` bytes are kept."""
        return self.recvfrom(size, flags)[0]

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Name]:
        """Receive a datagram, of which at most `size` bytes are kept; and from where it came. There are no flags."""
        refuse_flags(flags)
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
        deadline = self._deadline()
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

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Name]:
        """Receive a datagram into a buffer; how many bytes, and from where it came."""
        room = memoryview(buffer).cast("B")
        data, name = self.recvfrom(nbytes or len(room), flags)
        room[: len(data)] = data
        return len(data), name

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive a datagram into a buffer; how many bytes."""
        return self.recvfrom_into(buffer, nbytes, flags)[0]
