"""Sending the frames of a capture, again and again, as they were captured: without sequence numbers of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np

from scout.io.ports.pcap_file import open_records
from scout.io.ports.records import RECORD_HEADER, number
from scout.io.system import MESSAGE, MESSAGE_VECTOR, MESSAGE_VECTORS, VECTOR, VECTORS, VNET_HEADER
from scout.ring.atomics import store64
from scout.ring.errors import ScoutError
from scout.ring.jit import entry
from scout.ring.segment import address, private
from scout.tools.traffic.generator import BATCH, Generator, packet_socket, transmit

__all__ = ["Replay"]


class Replay(Generator):
    """Sends the frames of a pcap or pcapng file, from the first again after the last.

    Parameters
    ----------
    path : str or os.PathLike

    Attributes
    ----------
    frames : int
        How many frames the file has.

    Raises
    ------
    PortError
        If the file cannot be read, or is damaged.
    ScoutError
        If it holds no frame.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._data, self._start, self._swapped, _ = open_records(path)
        if self._start >= len(self._data):
            raise ScoutError(f"{path}: holds no frame; capture some")
        self._at, self._descriptor = self._start, -1
        # A message is a virtio-net header, the same for all, and a frame in the file.
        self._header = private(VNET_HEADER, np.uint8)
        self._vectors = private((BATCH, VECTORS // 8), np.int64)
        self._vectors[:, :2] = address(self._header), VNET_HEADER
        self._messages = private((BATCH, MESSAGE // 8), np.int64)
        self._messages[:, MESSAGE_VECTOR // 8] = address(self._vectors) + np.arange(BATCH) * VECTORS
        self._messages[:, MESSAGE_VECTORS // 8] = 2
        _ = _send.native  # compiled before a process is forked that runs it

    @property
    def frames_per_message(self) -> int:
        return 1

    @contextmanager
    def attached(self, interface: str) -> Iterator[None]:
        """Open a socket."""
        with packet_socket(interface) as sender:
            self._descriptor = sender.fileno()
            yield

    def send(self, messages: int) -> int:
        """Send the next frames."""
        place, end = address(self._data), len(self._data)
        lines = address(self._vectors), address(self._messages)
        self._at = int(
            _send(place, self._start, self._at, end, self._swapped, *lines, self._descriptor, self.words, messages)
        )
        return messages


_INT = numba.int64


@entry(_INT(_INT, _INT, _INT, _INT, numba.boolean, _INT, _INT, _INT, _INT[::1], _INT))
def _send(
    records: int,
    start: int,
    at: int,
    end: int,
    swapped: bool,
    vectors: int,
    messages: int,
    descriptor: int,
    words: np.ndarray,
    left: int,
) -> int:
    """Send `left` frames, from the record at offset `at` on; the offset of the next one."""
    while left > 0:
        count = min(left, BATCH)
        for index in range(count):
            size = number(records + at + 8, swapped)
            frame = vectors + index * VECTORS + VECTOR
            store64(frame, records + at + RECORD_HEADER)
            store64(frame + 8, size)
            at += RECORD_HEADER + size
            if at >= end:
                at = start
        transmit(descriptor, messages, count, 1, words)
        left -= count
    return at
