"""The common part of all sockets of a router: names, time limits, waiting, local requests, and the end."""

import _thread
import errno
import os
import select
import socket as kernel
import sys
import threading
import time
import warnings
from contextlib import suppress
from socket import SO_ERROR, SOL_SOCKET
from typing import Any, Self

import numpy as np

from scout.endpoints.stack import Stack
from scout.io.endpoints.message import HEADER, HEADER_STRUCT
from scout.io.endpoints.waiting import Waits, begin_wait, end_wait
from scout.ring.segment import address
from scout.sockets.errors import error_of

__all__ = ["Name", "Socket", "data_size", "opened"]

Name = tuple[str, int]
"""An address and an L4 port."""

_NAP = 5e-5  # seconds between two looks whether there is room for a request
_PAUSE = 1e-3  # seconds between two waits of one call


class Socket:
    """A socket of a router, used like a `socket.socket`; `scout.sockets.socket` opens one.

    Parameters
    ----------
    stack : Stack
    kind, proto : int
        SOCK_DGRAM or SOCK_STREAM, and the protocol's number.
    number, offset, bell : int
        Its number in the router, where its area is in the shared memory, and its eventfd.
    request_bytes : int
        Bytes of the longest data of its local requests.

    Attributes
    ----------
    stack : Stack
    """

    family = kernel.AF_INET
    _bell = -1  # until it is open, and once it is closed

    def __init__(
        self, stack: Stack, kind: int, proto: int, number: int, offset: int, bell: int, request_bytes: int
    ) -> None:
        self.type, self.proto = kernel.SocketKind(kind), proto
        self.stack, self._number, self._bell, self._process = stack, number, bell, os.getpid()
        self._area = stack.mapped(offset, stack.socket_bytes)
        self._out = bytearray(HEADER + request_bytes)
        self._out_address = address(np.frombuffer(self._out, np.uint8))
        self._waits = Waits()
        self._receiving, self._sending = threading.Lock(), threading.Lock()
        self._local: Name = ("0.0.0.0", 0)
        self._remote: Name | None = None
        self._error = 0
        self._timeout = kernel.getdefaulttimeout()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        """Close a socket that was forgotten, and warn of it, as Python's sockets do.

        Not by this thread, which may be within a request of the same router when the garbage is collected: closing is
        a request too. A process that was forked meanwhile has copies of its parent's sockets; they stay open.
        """
        if self._bell < 0 or self._process != os.getpid():
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        if not sys.is_finalizing():  # else the process ends, and the router closes all of its sockets
            _thread.start_new_thread(self.close, ())

    def __repr__(self) -> str:
        return f"<scout {type(self).__name__} {self._local} to {self._remote}>"

    # Names.

    def bind(self, name: Name) -> None:
        """Give the socket an address of the router's, or "" for all, and an L4 port, or 0 for any."""
        self._name("bind", name)

    def _name(self, do: str, name: Name) -> None:
        answer, _ = self.stack.ask(do, socket=self._opened(), address=name[0], port=name[1])
        self._local = tuple(answer["local"])
        self._remote = answer["remote"] and tuple(answer["remote"])

    def getsockname(self) -> Name:
        """The socket's own address and L4 port."""
        return self._local

    def getpeername(self) -> Name:
        """The address and L4 port of the other end that the socket is connected to."""
        if self._remote is None:
            raise error_of(errno.ENOTCONN)
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
            raise error_of(errno.ENOPROTOOPT)
        found, self._error = self._error, 0
        return found

    def fileno(self) -> int:
        """An eventfd; -1 if the socket is closed."""
        return self._bell

    # Requests and waiting.

    def _request(self, size: int, deadline: float | None, *header: int) -> None:
        """Make the local request whose data, `size` bytes, are in `_out`; wait until there is room for it.

        `header` is kind, note, remote address and remote port. One thread at a time makes a request.
        """
        kind, note, remote, port = header
        HEADER_STRUCT.pack_into(self._out, 0, kind, self.proto, note, self._opened(), 0, remote, 0, port, 0)
        place = self._out_address
        while not self.stack.submit(place, place + HEADER, size):
            if deadline is not None and time.monotonic() >= deadline:
                raise self._late()
            self._check_stack()
            time.sleep(_NAP)

    def _deadline(self) -> float | None:
        """Until when a call that begins now may wait."""
        return None if self._timeout is None else time.monotonic() + self._timeout

    def _wait(self, deadline: float | None, again: bool = False) -> None:
        """Wait until the eventfd is readable; after a pause if that has ended a wait of the same call already.

        The eventfd may be readable for something else than what the call wants: a call that waits for room would take a
        whole core as long as data waits that nobody reads.
        """
        if again:
            time.sleep(_PAUSE)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            self._check_stack()
            raise self._late()
        waits = self._waits.mine
        if begin_wait(waits, self._opened() and self._bell):
            return
        if self._poll(None if left is None else left * 1000):
            self._check_stack()
        end_wait(waits)

    def _poll(self, milliseconds: float | None) -> bool:
        """Wait until the eventfd is readable; False if nothing else has happened, such as the end of the router."""
        bell = self._opened() and self._bell
        poll = select.poll()  # no two threads may use the same one
        poll.register(bell, select.POLLIN)
        poll.register(self.stack.ended, select.POLLIN)
        return poll.poll(milliseconds) != [(bell, select.POLLIN)]

    def _late(self) -> OSError:
        """The error of a call that has waited long enough."""
        return TimeoutError("timed out") if self._timeout else error_of(errno.EAGAIN)

    def _check_stack(self) -> None:
        """Raise an error if the router has ended."""
        if self.stack.has_ended:
            raise ConnectionResetError(errno.ECONNRESET, "the router has ended")

    def _raise_pending(self) -> None:
        if self._error:
            number, self._error = self._error, 0
            if number == errno.ECONNABORTED:  # a router that stops aborts all connections
                self._check_stack()
            raise error_of(number)

    def _opened(self) -> int:
        """Its number in the router."""
        if self._bell < 0:
            raise error_of(errno.EBADF)
        return self._number

    # The end.

    def close(self) -> None:
        """Close the socket, after what it has sent."""
        if self._bell >= 0:
            bell, self._bell = self._bell, -1
            os.close(bell)
            with suppress(OSError):  # the router has ended, and the socket with it
                self.stack.ask("close", socket=self._number)


def opened(stack: Stack, proto: int) -> tuple[int, int, int]:
    """Open a socket of a router: its number, the place of its area, and its eventfd.

    Raises
    ------
    OSError
        If the router has no such sockets, or no more of them.
    """
    answer, (bell,) = stack.ask("open", protocol=proto)
    return answer["socket"], answer["offset"], bell


def data_size(data: Any) -> int:
    """Bytes of a bytes-like object."""
    return len(data) if isinstance(data, bytes | bytearray) else memoryview(data).nbytes
