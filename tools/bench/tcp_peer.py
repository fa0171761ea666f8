"""One TCP connection between an application and a peer whose segments are replayed (`scout.tools.bench.tcp_port`).

The peer is this process, and so is the application: both work between two replays only.
"""

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from scout import sockets
from scout.io.endpoints.ciphers import LENGTH, OVERHEAD, SENDING, crypt, new_contexts
from scout.io.endpoints.message import HEADER_STRUCT, WRITE
from scout.io.endpoints.stream import OPENED
from scout.paths.wire.tcp import ACK, SYN
from scout.ring.errors import ScoutError
from scout.tools.bench.tcp_port import LocalRequest, Replay, ReplayPort
from scout.tools.bench.tcp_segments import PREFIX, Segment

__all__ = ["OURS", "PEER", "RECORD", "SEGMENT", "Connection"]

PEER, OURS = "10.0.0.2", "10.0.0.1"
"""Addresses: the peer's, and the router's."""

_ADDRESSES = (int.from_bytes(socket.inet_aton(PEER)), int.from_bytes(socket.inet_aton(OURS)))
PORTS = (40000, 80)
SEGMENT = 1448
"""Bytes of data in a full segment: an MTU of 1500, and timestamps."""

WINDOW, SCALE = 1 << 20, 14  # of the peer: bytes that the router may have under way, and the shift of its window field
SECURED_WINDOW = 1 << 23  # likewise, of a secured stream: those of two replays
RECORD = 11 * SEGMENT
"""Bytes of a sealed record, the length and the tag among them: a whole number of segments."""

KEY, IV = bytes(range(16)), bytes(range(12))
_RING = 1 << 24  # bytes of the room for records of a replay
_READ = 1 << 20  # bytes of one call
_PAUSE = 0.005  # seconds of a round trip outside of replays: long, so that no probe is sent before the next replay
_PATIENCE = 10.0  # seconds
_STEP = 4 * SEGMENT  # bytes that the peer acknowledges at a time, outside of replays
_FIRST = 1000  # the peer's initial sequence number


class Connection:
    """A connection of a running host, opened by the peer.

    Parameters
    ----------
    port : ReplayPort
    requests : numpy.ndarray
        The channel of the `ApplicationPort`, one `APPLICATION_FEED`.
    name : str
        The name of the `ApplicationPort`.
    secured : bool
        True if the data are sealed records.
    """

    def __init__(self, port: ReplayPort, requests: np.ndarray, name: str, secured: bool = False) -> None:
        self._port, self._requests = port, requests
        self._stack = sockets.attach(name)
        self._listener: Any = sockets.StreamSocket(self._stack)
        self._listener.bind((OURS, PORTS[1]))
        self._listener.listen(1)
        self._echo, self._window = 0, SECURED_WINDOW if secured else WINDOW
        self._send(self._segment(SYN, b"\2\4\5\xb4\4\2" + self._timestamp() + b"\1\3\3" + bytes([SCALE])), _FIRST, 0)
        _await(lambda: self._port.frames() > 0, "the router does not answer a SYN")
        (answer,) = self._port.last()
        self._theirs = int.from_bytes(answer[PREFIX + 24 : PREFIX + 28]) + 1  # the number of the first byte
        self._see_echo()
        self._ours, self._read, self._acknowledged = _FIRST + 1, 0, 0
        self._port.begin(self._theirs)
        self._acknowledge(0)
        self._socket, _ = self._listener.accept()
        self._socket.settimeout(_PATIENCE)
        self._sealer = Sealer() if secured else None
        self._opened = self._socket._area[self._stack.stream_offset + OPENED :][:8].view(np.int64)
        if secured:
            self._socket.secure("AES-128-GCM", KEY[::-1], IV, KEY, IV)
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Leave the router."""
        self._stack.close()

    # Receiving: the peer sends data.

    def arriving(self, count: int, size: int, windows: int = 1) -> Replay:
        """A replay of so many segments with data, of so many bytes each, which tell so many windows in turn."""
        sequences = self._ours + size * np.arange(count)
        acknowledgements = np.full(count, self._theirs + self._acknowledged)
        self._ours += count * size
        segment = self._segment(ACK, b"\1\1" + self._timestamp(), size)
        told = segment.window + np.arange(count) % windows
        data: tuple[Any, ...] = ()
        if self._sealer:
            data = self._sealer.seal(count * size).reshape(count, size), self._opened, self._received()
        self._arrive = partial(self._replay, segment, sequences, acknowledgements, *data, windows=told)
        return self._arrive()

    def _received(self) -> int:
        """Bytes of the peer's stream so far."""
        return self._ours - _FIRST - 1

    def _has_all(self) -> bool:
        """True if all that the peer has sent is there for the application."""
        if self._sealer:
            return bool(self._opened[0] >= self._received())
        return bool(self._read + self._socket.stream.readable() >= self._received())

    def read(self) -> bool:
        """Have the application read all that the peer has sent; True if it was there when the replay had ended.

        It was not if a replica had no room for the request that a segment was to become, as another one was not running
        while it brought requests into the channel: on a busy machine. The peer sends all of them again then.
        """
        is_whole, deadline = self._has_all(), time.monotonic() + _PATIENCE
        while not self._has_all():
            if time.monotonic() > deadline:
                raise ScoutError("the application has not received all bytes of a replay")
            again = self._arrive()
            again.publish()
            again.finish()
        if self._sealer is None:
            self._read_bytes()
        else:
            buffer = memoryview(bytearray(_READ))
            while self._read < self._sealer.plain:
                self._read += self._socket.recv_into(buffer)
        time.sleep(_PAUSE)
        self._see_echo()
        return is_whole

    def _read_bytes(self) -> None:
        while left := self._received() - self._read:
            size = min(left, len(self._socket.read_view()))
            self._socket.consume(size)
            self._read += size

    # Sending: the application sends data, and the peer acknowledges them.

    def _sent(self) -> int:
        """Bytes that the router has sent."""
        return self._port.reached() - self._theirs

    def acknowledging(self, count: int, size: int) -> Replay:
        """A replay of so many acknowledgements, of which each lets the router send so many more bytes.

        The peer's window is full before: what an acknowledgement takes off it is sent at once.
        """
        self._fill(WINDOW)
        self._write(self._acknowledged + WINDOW + count * size)
        return self._acknowledgements(count, size)

    def sealing(self, count: int, size: int) -> Replay:
        """A replay in which the router seals so many times so many bytes of records, and sends them.

        The application has written them before, and tells it when the replay begins. As many that were sent before are
        acknowledged meanwhile.
        """
        self._fill(2 * count * size)
        self._acknowledge_sent(self._acknowledged + count * size)
        stream, reached = self._socket.stream, self._port.transmits["reached"]
        self._write(stream.written + count * size, tells=False)
        told = stream.written
        return self._acknowledgements(count, size, None, reached, self._theirs + told, self._write_request(told))

    def _write_request(self, position: int) -> LocalRequest:
        """The request by which the application tells that it has written up to a position."""
        of = self._socket
        header = HEADER_STRUCT.pack(WRITE, of.proto, 0, of._opened(), 0, 0, 0, 0, 0)
        message = np.frombuffer(header + position.to_bytes(8), np.uint8)
        return LocalRequest(self._stack._here, self._stack._request_bytes, message)

    def _fill(self, size: int) -> None:
        """Have so many bytes under way."""
        deadline = time.monotonic() + _PATIENCE
        self._write(self._acknowledged + size)
        time.sleep(_PAUSE)
        while self._sent() < self._acknowledged + size:  # the congestion window has to grow
            if time.monotonic() > deadline:
                raise ScoutError(f"the router has {self._sent() - self._acknowledged} bytes under way, not {size}")
            self._acknowledge_sent(self._sent())
            self._write(self._acknowledged + size)
            time.sleep(_PAUSE)

    def _acknowledgements(self, count: int, size: int, *arguments: Any) -> Replay:
        acknowledgements = self._theirs + self._acknowledged + size * np.arange(1, count + 1)
        self._acknowledged += count * size
        segment = self._segment(ACK, b"\1\1" + self._timestamp())
        return self._replay(segment, np.full(count, self._ours), acknowledgements, *arguments)

    def finish(self) -> bool:
        """Acknowledge all that was written, as it is sent; True if the replay has let the router send all of it.

        It has not if a timer of the router fired meanwhile, since the machine was busy: the congestion window is small
        then.
        """
        written, deadline = self._socket.stream.written, time.monotonic() + _PATIENCE
        is_whole = self._sent() == written
        while self._acknowledged != written or self._sent() != written:
            if time.monotonic() > deadline:
                raise ScoutError(f"the router has sent {self._sent()} of {written} bytes")
            self._acknowledge_sent(self._sent())
            time.sleep(_PAUSE)
        self._see_echo()
        return is_whole

    def _acknowledge_sent(self, last: int) -> None:
        """Acknowledge what the router has sent, up to a position, in steps, so that its congestion window grows."""
        for position in range(self._acknowledged + _STEP, last, _STEP):
            self._acknowledge(position)
        self._acknowledge(last)

    def _write(self, position: int, tells: bool = True) -> None:
        """Have the application write up to a position; the bytes are those in its ring."""
        stream = self._socket.stream
        while (left := position - stream.written) > 0:  # less than nothing with records, which are written whole
            size = min(left, len(self._socket.write_view())) if self._sealer is None else RECORD - OVERHEAD
            _await(partial(_has_room, stream, size), "the router does not take acknowledgements")
            (self._socket if tells else stream).commit(size)

    # Segments.

    def _segment(self, flags: int, options: bytes, size: int = 0) -> Segment:
        return Segment(_ADDRESSES, PORTS, flags, self._window >> (0 if flags == SYN else SCALE) & 0xFFFF, options, size)

    def _timestamp(self) -> bytes:
        return b"\x08\x0a" + (time.time_ns() // 1_000_000 & 0xFFFFFFFF).to_bytes(4) + self._echo.to_bytes(4)

    def _see_echo(self) -> None:
        """Take the newest timestamp of the router, to be echoed."""
        for frame in self._port.last():
            at = PREFIX + 40
            while frame[at] != 8:  # the options of the router's segments have timestamps
                at += 1 if frame[at] == 1 else frame[at + 1]
            stamp = int.from_bytes(frame[at + 2 : at + 6])
            if self._echo == 0 or 0 < stamp - self._echo & 0xFFFFFFFF < 1 << 31:
                self._echo = stamp

    def _acknowledge(self, position: int) -> None:
        self._acknowledged = position
        self._send(self._segment(ACK, b"\1\1" + self._timestamp()), self._ours, self._theirs + position)

    def _send(self, segment: Segment, sequence: int, acknowledgement: int) -> None:
        if not self._port.send(segment.numbered(sequence & 0xFFFFFFFF, acknowledgement & 0xFFFFFFFF)):
            raise ScoutError("the channel of a replay is full")

    def _replay(self, segment: Segment, *arguments: Any, **named: Any) -> Replay:
        return Replay(self._port, self._requests, segment, *arguments, **named)


class Sealer:
    """The peer's records.

    Attributes
    ----------
    plain : int
        Bytes of plaintext that were sealed.
    """

    def __init__(self) -> None:
        self._contexts, self._number, self.plain = new_contexts(), 0, 0
        secret = bytes(8) + IV.ljust(16, b"\0") + KEY.ljust(32, b"\0")  # cipher 0
        self._secret = np.frombuffer(secret, np.uint8).copy()
        self._from, self._to = np.zeros(_RING, np.uint8), np.zeros(_RING, np.uint8)
        length = np.frombuffer((RECORD - LENGTH).to_bytes(LENGTH), np.uint8)
        for at in range(0, _RING - RECORD, RECORD):
            self._from[at : at + LENGTH] = length

    def seal(self, size: int) -> np.ndarray:
        """The next records, of so many bytes in all: a multiple of `RECORD`."""
        extent, count = np.array([0, size]), size // RECORD
        places = (each.ctypes.data for each in (self._from, self._to))
        done = crypt(
            self._contexts.ctypes.data,
            SENDING,
            self._secret.ctypes.data,
            self._number,
            *places,
            _RING,
            extent.ctypes.data,
        )
        if done != size:
            raise ScoutError(f"{done} of {size} bytes were sealed")
        self._number += count
        self.plain += count * (RECORD - OVERHEAD)
        return self._to[:size]


def _has_room(stream: Any, size: int) -> bool:
    return bool(stream.room() >= size)


def _await(condition: Callable[[], bool], message: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise ScoutError(message)
        time.sleep(1e-4)
