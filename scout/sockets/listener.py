"""The connections that wait at a listener.

A connection needs a socket of the application before it can be opened: the listener offers *spare* ones, and the stack
says which of them a connection has got (`ACCEPTED`).
"""

import os
import socket as kernel
import threading
from contextlib import suppress

import numpy as np

from scout.endpoints.stack import Stack
from scout.io.endpoints.application import EMPTY, take
from scout.io.endpoints.memory import ENTRY
from scout.io.endpoints.message import ACCEPTED, HEADER, HEADER_STRUCT
from scout.ring.segment import address
from scout.sockets.base import Name

__all__ = ["Listener"]

_MESSAGE = ENTRY + HEADER + 8  # bytes of a message ACCEPTED in a ring; of a replica that has died it may come twice
_MOST = 64  # spare sockets that one request to the registry opens at most


class Listener:
    """The spare sockets of a listener.

    Parameters
    ----------
    stack : Stack
    number : int
        The number of its socket in the router.
    place : tuple of numpy.ndarray and int
        The area of its socket, and the eventfd.

    Attributes
    ----------
    backlog : int
        Connections that may wait.
    """

    def __init__(self, stack: Stack, number: int, place: tuple[np.ndarray, int]) -> None:
        self._stack, self._number, self.backlog = stack, number, 1
        area, bell = place
        self._ring = (address(area), stack.ring_bytes, bell)
        self._in = bytearray(HEADER + 8)
        self._in_address = address(np.frombuffer(self._in, np.uint8))
        self._filling, self._closed = threading.Lock(), False
        self._spares: dict[int, tuple[int, int, int]] = {}  # by number: number, offset of the area, eventfd

    def set_backlog(self, wanted: int) -> None:
        """Let so many connections wait, if all of them could tell of themselves in the ring of one replica.

        One listener takes no more than half of the router's sockets.
        """
        self.backlog = max(min(wanted, self._ring[1] // (2 * _MESSAGE), self._stack.sockets // 2), 1)

    def refill(self) -> None:
        """Offer spare sockets, so that as many connections as `backlog` can wait.

        Raises
        ------
        OSError
            If the router has no more sockets, and none is offered.
        """
        with self._filling:
            while (wanted := self.backlog - len(self._spares)) > 0 and not self._closed:
                try:
                    answer, bells = self._stack.ask("spares", socket=self._number, count=min(wanted, _MOST))
                except OSError:
                    if not self._spares:
                        raise
                    return
                for (number, offset), bell in zip(answer["sockets"], bells, strict=True):
                    self._spares[number] = (number, offset, bell)

    def top_up(self) -> None:
        """Offer spare sockets again, if half of them or one request's are in use, and the router has more."""
        if self.backlog - len(self._spares) >= min(self.backlog // 2, _MOST):
            with suppress(OSError):
                self.refill()

    def next(self) -> tuple[tuple[int, int, int], Name, Name] | None:
        """The next connection: number, area and eventfd of its socket, its own name and that of the other end."""
        while take(*self._ring, self._in_address, len(self._in)) != EMPTY:
            kind, _, _, _, local, remote, local_port, remote_port, _ = HEADER_STRUCT.unpack_from(self._in)
            # A message may come twice, when a replica dies; its socket is no spare one then.
            found = self._spare(int.from_bytes(self._in[HEADER : HEADER + 4]))
            if kind == ACCEPTED and found:
                self.top_up()
                return found, _name(local, local_port), _name(remote, remote_port)
        return None

    def _spare(self, number: int) -> tuple[int, int, int] | None:
        """Take the spare socket of a number. Another thread may be offering it: then it has not noted it yet."""
        if number not in self._spares:
            with self._filling:
                return self._spares.pop(number, None)
        return self._spares.pop(number)

    def close(self) -> None:
        """Close the spare sockets, also those that have got a connection which nobody has accepted."""
        with self._filling:
            self._closed = True
            for number, _, bell in self._spares.values():
                os.close(bell)
                with suppress(OSError):  # the router has ended
                    self._stack.ask("close", socket=number)
            self._spares.clear()


def _name(address: int, port: int) -> Name:
    return kernel.inet_ntoa(address.to_bytes(4)), port
