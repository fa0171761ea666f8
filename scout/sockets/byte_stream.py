"""The two byte rings of a connection, as the application sees them (`scout.io.endpoints.stream`).

A `ByteStream` copies bytes and keeps positions. It makes no requests: `StreamSocket` tells the stack how far bytes were
written (`written`) and read (`owed`).
"""

import numpy as np

from scout.io.endpoints import application_stream as words
from scout.io.endpoints.stream import CLOSED, RECEIVE_RING, SEND_RING, WORDS
from scout.ring.segment import address

__all__ = ["ByteStream"]

_READ_STEP = 4
"""The stack is told of bytes read when they are this part of the ring: the window that the peer sees stays above the
other parts, so it never waits for less."""


class ByteStream:
    """The rings of one connection.

    Parameters
    ----------
    area : numpy.ndarray
        The socket's area, bytes.
    offset, size : int
        Where the stream is in the area, and the bytes of each ring.
    bell : int
        The socket's eventfd.

    Attributes
    ----------
    written : int
        Bytes that were put into the send ring.
    awaits_room : bool
        True if the application is to be woken when there is room.
    """

    wants = 0
    """Bits that all calls of `settle` have."""

    def __init__(self, area: np.ndarray, offset: int, size: int, bell: int) -> None:
        self._area, self._stream, self._bell, self._size = address(area), address(area) + offset, bell, size
        self._rings = area.data[offset + WORDS :]
        self._receive, self._send = self._ring(RECEIVE_RING), self._ring(SEND_RING)
        self.written, self.awaits_room = 0, False
        self._freed = self._told = self._safe = 0

    def _ring(self, index: int) -> memoryview:
        return self._rings[index * self._size : (index + 1) * self._size]

    # Reading.

    def readable(self) -> int:
        """Bytes that wait to be read."""
        return int(words.readable(self._stream))

    def ended(self) -> bool:
        """True if the peer's stream has ended and was read whole."""
        return bool(words.ends_at(self._stream) == self._freed)

    def is_coming(self) -> bool:
        """True if bytes have come that cannot be read yet, but will be without the peer."""
        return False

    def was_cut(self) -> bool:
        """True if the peer's stream has ended before it was complete, which only records tell."""
        return False

    @property
    def position(self) -> int:
        """Bytes of the peer's stream that were read."""
        return self._freed

    def read_view(self) -> memoryview:
        """The bytes that wait, up to the end of the ring."""
        at = self._freed & self._size - 1
        return self._receive[at : min(at + self.readable(), self._size)].toreadonly()

    def take(self, count: int) -> bytes:
        """Read so many bytes that wait."""
        pieces = self._pieces(self._receive, self._freed, count)
        data = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
        self.free(count)
        return data

    def take_into(self, target: memoryview, count: int) -> None:
        """Read so many bytes that wait, into a buffer."""
        at = 0
        for piece in self._pieces(self._receive, self._freed, count):
            target[at : at + len(piece)] = piece
            at += len(piece)
        self.free(count)

    def free(self, count: int) -> None:
        """Let the next bytes that wait be written over."""
        self._freed += count
        self._safe = int(words.free(self._stream, self._freed))

    def owed(self, least: int = 0) -> int:
        """The position that the stack is to be told as read; 0 if it need not be told. `told` follows.

        It need not be told of less than `least` bytes, by default a part of the ring.
        """
        if self._freed - self._told < (least or self._size // _READ_STEP):
            return 0
        if self._safe < self._freed:  # a replica was still writing there
            self.free(0)
        return self._safe if self._safe > self._told else 0

    def read_position(self) -> int:
        """The position up to which bytes were read; -1 as long as a replica is still writing before it."""
        self.free(0)
        return self._freed if self._safe == self._freed else -1

    def told(self, position: int) -> None:
        """Note that the stack was told of a position."""
        self._told = position

    # Writing.

    def room(self) -> int:
        """Bytes that can be written; -1 if the connection is closed."""
        return int(words.room(self._stream, self._size, self.written))

    def write_view(self) -> memoryview:
        """The free part of the send ring, up to the end of the ring."""
        at = self.written & self._size - 1
        return self._send[at : min(at + max(self.room(), 0), self._size)]

    def commit(self, count: int) -> None:
        """Have written bytes to `write_view`."""
        self.written += count

    def finish(self) -> bool:
        """Write what ends the stream, if it needs something; True if it was written now."""
        return False

    def put(self, data: memoryview) -> None:
        """Write bytes, for which there is room."""
        at = 0
        for piece in self._pieces(self._send, self.written, len(data)):
            piece[:] = data[at : at + len(piece)]
            at += len(piece)
        self.written += at

    def await_room(self, waits: bool) -> None:
        """Have the application woken when a part of the full send ring is free again, or not any more."""
        self.awaits_room = waits
        words.await_room(self._stream, self.written - self._size + self._size // _READ_STEP if waits else 0)

    def _pieces(self, ring: memoryview, position: int, count: int) -> list[memoryview]:
        at = position & self._size - 1
        over = at + count - self._size
        return [ring[at : at + count]] if over <= 0 else [ring[at:], ring[:over]]

    # The connection.

    def phase(self) -> tuple[int, int]:
        """The phase of the connection, and the reason of its end."""
        return divmod(int(words.phase(self._stream)), 256)

    def closed(self) -> bool:
        """True if nothing more will come of the connection."""
        return self.phase()[0] == CLOSED

    def soft_error(self) -> int:
        """The number (errno) of an ICMP error that did not end the connection; 0: there was none."""
        return int(words.soft_error(self._stream))

    def errors(self) -> int:
        """How many errors were told that did not end the connection."""
        return int(words.errors(self._stream))

    def settle(self, wants: int) -> None:
        """Let the eventfd be readable as long as something waits that the application wants, or room that it awaits."""
        is_owed = self._freed - self._told >= self._size // _READ_STEP  # so that the application calls again
        words.settle(self._area, self._stream, self._bell, wants | self.wants | (words.NOW if is_owed else 0))
