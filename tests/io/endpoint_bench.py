"""An application port and two applications for tests.

Both sides are called in turn in one process, so nothing depends on how fast anything is.
"""

import ctypes
import select
from typing import Any

import numba
import numpy as np
from leaving import Leaving
from numba.core import types

from scout.io.channels.software_operations import FRAME
from scout.io.endpoints.application import EMPTY, submit, take
from scout.io.endpoints.collect import APPLICATION_FEED, collect
from scout.io.endpoints.message import DATA, HEADER, HEADER_STRUCT, LONGEST_DATA, REPORT, ROW, SEGMENT, SEND, SERIAL
from scout.io.endpoints.stream import WORDS
from scout.io.packet import REACH
from scout.io.ports.applications import ApplicationPort
from scout.ring.jit import entry
from scout.ring.segment import address

RING, STREAM = 1 << 17, 1 << 13
APPLICATION, OTHER = 1, 2
HEADERS = bytes(range(40))
"""The IP header and the transport's header of a segment."""
MINE, THEIRS = 1 << 16 | 0, 1 << 16 | 1  # sockets of these two


@entry(types.void(types.Array(numba.from_dtype(APPLICATION_FEED), 1, "C")))
def collect_once(feeds: Any) -> None:
    collect(feeds[0], 0)


class Bench:
    """A port, and two applications with a socket each."""

    def __init__(self, stream_bytes: int = STREAM) -> None:
        self.port = ApplicationPort(
            "bench",
            sockets=2,
            applications=2,
            receive_bytes=RING,
            send_bytes=RING,
            stream_bytes=stream_bytes,
            entries=64,
        )
        self.stream_bytes = stream_bytes
        self.port.open(0)
        self.memory = self.port.memory
        self.feed = self.port.channel({0: self.port}, 1, keeps=False)
        for replica in range(3):
            self.port.enlist(replica)
        for application, number in ((APPLICATION, MINE), (OTHER, THEIRS)):
            self.memory.clear_application(application)
            self.memory.clear_socket(number & ROW, self.port.tails)
            self.memory.attach(application)
            self.memory.numbers[number & ROW], self.memory.owners[number & ROW] = number, application
        self._leaving = Leaving()
        self._room = np.zeros(HEADER + LONGEST_DATA, np.uint8)

    # The application's side.

    def area(self, application: int) -> int:
        return address(self.memory.bytes) + self.memory.offset_of_application(application)

    def ask(self, data: bytes, kind: int = SEND, socket: int = MINE, application: int = APPLICATION) -> bool:
        header = np.frombuffer(HEADER_STRUCT.pack(kind, 17, 0, socket, 1, 2, 3, 4, 0), np.uint8)
        body = np.frombuffer(data or b"\0", np.uint8)
        names = address(header), address(body), len(data)
        return bool(submit(self.area(application), RING, self.memory.bell, *names))

    def take(self, socket: int = MINE) -> bytes | None:
        """The data of the next message to a socket."""
        row = socket & ROW
        ring = address(self.memory.bytes) + self.memory.offset_of_socket(row), RING, int(self.memory.bells[row])
        length = int(take(*ring, address(self._room), len(self._room)))
        return None if length == EMPTY else self._room[HEADER:length].tobytes()

    def readable(self, socket: int = MINE) -> bool:
        poll = select.poll()
        poll.register(int(self.memory.bells[socket & ROW]), select.POLLIN)
        return bool(poll.poll(0))

    # The stack's side.

    def collect(self) -> list[bytes]:
        """The data of the requests that are new in the channel."""
        collect_once(self.feed.ring)
        return [request[HEADER:] for request in self.requests()]

    def requests(self) -> list[bytes]:
        """The requests that are new in the channel, with their headers."""
        channel = self.feed.ring[0]
        found = []
        for number in range(int(self.feed.cursors["head"][0]), self.feed.sent):
            at = int(channel["ring"]) + (number & int(channel["entries"]) - 1) * int(channel["stride"])
            length = int.from_bytes(_bytes(at + 8, 8), "little") - FRAME
            rest = int(channel["rests"]) + (number & int(channel["entries"]) - 1) * int(channel["rest_bytes"])
            found.append(_bytes(at + 16 + FRAME, min(length, REACH)) + _bytes(rest, max(0, length - REACH)))
        self.feed.cursors["head"][0] = self.feed.cursors["floor"][0] = self.feed.sent
        return found

    def deliver(self, data: bytes, replica: int = 0, number: int = 0, socket: int = MINE, flushes: bool = True) -> None:
        """Send a message: the first 500 bytes in the batch's slot, the rest elsewhere."""
        frame = HEADER_STRUCT.pack(DATA, 17, 0, socket, 1, 2, 3, 4, HEADER << 16 | len(data)) + data
        self.leave(frame, 500, replica, number, flushes)

    # Streams.

    def word(self, offset: int, socket: int = MINE) -> np.ndarray:
        """A word of a socket's stream."""
        at = self.memory.offset_of_socket(socket & ROW) + self.memory.sizes.stream_offset + offset
        return self.memory.bytes[at : at + 8].view(np.int64)

    def received(self, first: int, size: int, socket: int = MINE) -> bytes:
        """Bytes of a receive ring, by their positions in the stream."""
        at = self.memory.offset_of_socket(socket & ROW) + self.memory.sizes.stream_offset + WORDS
        ring = self.memory.bytes[at : at + STREAM]
        return ring[np.arange(first, first + size) & STREAM - 1].tobytes()

    def ring(self, index: int, first: int, size: int, socket: int = MINE) -> np.ndarray:
        """The places of bytes of a ring, by their positions in the stream, to read and to write."""
        at = self.memory.offset_of_socket(socket & ROW) + self.memory.sizes.stream_offset + WORDS
        return at + index * self.stream_bytes + (np.arange(first, first + size) & self.stream_bytes - 1)

    def segment(
        self,
        data: bytes,
        position: int,
        linear: int = 0,
        replica: int = 0,
        number: int = 0,
        socket: int = MINE,
        flushes: bool = True,
        serial: int = 0,
        prepares: bool = False,
    ) -> None:
        """Let a segment leave: of its data the first `linear` bytes are in the batch's slot."""
        frame = bytearray(
            HEADER_STRUCT.pack(SEGMENT, 6, 0, socket, 0, 2, 3, 4, len(HEADERS) + HEADER << 16 | len(data))
        )
        frame[8:16] = position.to_bytes(8, signed=True)
        frame[SERIAL : SERIAL + 8] = serial.to_bytes(8)
        self.leave(bytes(frame) + HEADERS + data, HEADER + len(HEADERS) + linear, replica, number, flushes, prepares)

    def report(self, *words: int, socket: int = MINE) -> None:
        """Let a report leave."""
        data = b"".join(word.to_bytes(8) for word in words)
        self.leave(HEADER_STRUCT.pack(REPORT, 6, 0, socket, 1, 2, 3, 4, HEADER << 16 | len(data)) + data, 500)

    def leave(
        self,
        frame: bytes,
        linear: int,
        replica: int = 0,
        number: int = 0,
        flushes: bool = True,
        prepares: bool = False,
    ) -> None:
        """Let a packet leave by the port, whose first `linear` bytes are in the batch's slot and the rest elsewhere."""
        self.port.transmits["number"][replica] = number
        self._leaving.leave(self.port.transmits[replica : replica + 1], frame, linear, prepares, flushes)


def _bytes(place: int, size: int) -> bytes:
    return ctypes.string_at(place, size)
