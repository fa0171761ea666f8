"""Packets that leave by an application port, by the port's own code: what tests of both sides of it share."""

import ctypes
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numba.core import types

from scout.io.batch import new_batch
from scout.io.endpoints.deliver import TRANSMIT, enqueue, flush, prepare
from scout.io.endpoints.memory import ENTRY, REPLICA_AREA, RINGS, entry_bytes
from scout.io.packet import HEADROOM
from scout.paths.compiler.native import BATCH
from scout.ring.jit import entry
from scout.ring.segment import address


@entry(types.void(types.Array(numba.from_dtype(TRANSMIT), 1, "C"), BATCH, types.boolean, types.boolean))
def _deliver(transmits: Any, batch: Any, prepares: bool, flushes: bool) -> None:
    if prepares:
        prepare(transmits[0], batch[0])
    enqueue(transmits[0], batch[0], batch.ctypes.data)
    if flushes:
        flush(transmits[0])


class Leaving:
    """A packet at a time that leaves by a port."""

    def __init__(self) -> None:
        self._batch, self._slots = new_batch(1)

    def leave(
        self, transmits: np.ndarray, frame: bytes, linear: int, prepares: bool = False, flushes: bool = True
    ) -> None:
        """Let a packet leave, by one `TRANSMIT`: its first `linear` bytes are in the batch's slot, the rest elsewhere.

        Parameters
        ----------
        transmits : numpy.ndarray
            `TRANSMIT[1]`.
        frame : bytes
        linear : int
        prepares, flushes : bool
            Whether the port's `prepare` is called before, and its `flush` behind.
        """
        self._slots[HEADROOM : HEADROOM + len(frame[:linear])] = np.frombuffer(frame[:linear], np.uint8)
        self._rest = np.frombuffer(frame[linear:] or b"\0", np.uint8)
        self._batch["end"] = self._batch["frame"] + len(frame[:linear])
        self._batch["tail"], self._batch["tail_bytes"] = address(self._rest), max(0, len(frame) - linear)
        _deliver(transmits, self._batch, prepares, flushes)


class Requests:
    """The requests that a replica makes of segments which leave in one batch, without a channel that takes them.

    Parameters
    ----------
    sockets : int
        Rows of the port.
    """

    def __init__(self, sockets: int) -> None:
        self.transmits, self._area = np.zeros(1, TRANSMIT), np.zeros(REPLICA_AREA, np.uint8)
        self.transmits["sockets"], self.transmits["requests"] = sockets, address(self._area)

    def __iter__(self) -> Iterator[bytes]:
        at, end = 0, int(self.transmits["request_tail"][0])
        while at < end:
            place = address(self._area) + RINGS + at
            size = int.from_bytes(ctypes.string_at(place, 8), "little")
            yield ctypes.string_at(place + ENTRY, size)
            at += entry_bytes.py_func(size)
