"""When the descriptor of a stream socket is readable: for its reader, its writer, or one who opens a connection."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from scout.io.endpoints.application_stream import CONNECT, READ
from scout.sockets.byte_stream import ByteStream

__all__ = ["Readiness"]


class Readiness:
    """The part of a stream socket that says for what its descriptor is readable.

    A call that waits for room would not wait at all if the descriptor were readable as long as data waits that nobody
    reads. So data does not make it readable meanwhile, unless another thread waits for data.
    """

    stream: ByteStream
    _connecting: bool

    def __init__(self) -> None:
        self._settling = threading.Lock()
        self._watches_data = True
        self._awaits_data = self._awaits_room = False  # a thread waits within a call

    def watch_data(self, watches: bool) -> None:
        """Let the descriptor be readable as long as data or the end waits, or only for other reasons."""
        self._watches_data = watches
        self._settle()

    def _settle(self) -> None:
        """Let the descriptor be readable as long as something waits."""
        with self._settling:  # of two threads the one that is later knows what both wait for
            data = self._watches_data and (self._awaits_data or not self._awaits_room)
            self.stream.settle((READ if data else 0) | (CONNECT if self._connecting else 0))

    def _await_part(self, waits: bool) -> None:
        """Let the descriptor be readable when a part of the full send ring is free again, or not any more."""
        self.stream.await_room(waits)
        self._settle()

    @contextmanager
    def _awaiting_data(self) -> Iterator[None]:
        """Within it, a thread waits for data."""
        self._awaits_data = True
        try:
            self._settle()
            yield
        finally:
            self._awaits_data = False

    @contextmanager
    def _awaiting_room(self) -> Iterator[None]:
        """Within it, a thread waits for room."""
        self._awaits_room = True
        try:
            self._await_part(True)
            yield
        finally:
            self._awaits_room = False
            self._settle()
