"""A port whose channel holds a trace before the run, as if a device had written it there, and a generator for it.

The generator only writes time stamps and publishes entries, as a NIC's driver does. So a benchmark measures the
services and not the copy of the frames, which a NIC does by DMA.
"""

import ctypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
from numba.core import types

from scout.io.channels.software import CALLER, Feed
from scout.io.channels.software_operations import FEED, REQUEST, TIMESTAMP
from scout.io.ports.contract import Port
from scout.io.ports.fed import FedPort
from scout.io.ports.memory import MemoryPort
from scout.io.system import clock, nap
from scout.ring.atomics import store64
from scout.ring.errors import ScoutError
from scout.ring.jit import entry
from scout.ring.layout import HEADER, payload, published, slot_of
from scout.ring.producer import acquire, publish, release, reserve

__all__ = ["Offered", "TracePort"]

BURST = 64
NAP = 50_000  # nanoseconds that the generator rests between bursts; its core is a replica's too


class TracePort(MemoryPort):
    """A memory port that receives the same frames again and again.

    Parameters
    ----------
    mac : str
        Its MAC address.
    trace : sequence of bytes
        As many as the channel holds: a power of two.
    """

    def __init__(self, mac: str, trace: Sequence[bytes]) -> None:
        super().__init__(mac, entries=len(trace), capacity=0)
        self._trace = trace

    def channel(self, ports: Mapping[int, FedPort], replicas: int, keeps: bool) -> Feed:
        """Make the channel, with the trace in it."""
        if len(ports) > 1:
            raise ScoutError(f"port {self.interface}: what it plays fills a channel; it cannot share one")
        channel = super().channel(ports, replicas, keeps)
        feed = channel.ring[0]
        for number, frame in enumerate(self._trace):
            request = REQUEST.pack(0, bytes(10), 0, 0, self._index) + frame
            if len(frame) > self.frame_bytes:
                raise ScoutError(
                    f"frame {number} of the trace has {len(frame)} bytes, the port takes {self.frame_bytes}"
                )
            slot = int(feed["ring"] + number * feed["stride"])
            ctypes.memmove(slot, bytes(8) + len(request).to_bytes(8, "little"), HEADER)
            ctypes.memmove(slot + HEADER, request, len(request))
        return channel

    def offer(self, pps: float, seconds: float, most: int = 1 << 62) -> "Offered":
        """Offer packets at a rate.

        Parameters
        ----------
        pps : float
            Packets a second; 0: as many as there is room for.
        seconds : float
        most : int
            End when so many have been offered.
        """
        figures = _offer(self._fed.ring, pps, int(seconds * 1e9), most, np.zeros(2, np.int64))
        return Offered(*(int(figure) for figure in figures))


class Offered(NamedTuple):
    """The result of an offer."""

    packets: int  # offered
    lost: int  # that found the channel full
    stall: int  # nanoseconds for which there was no room, the longest time


_FEEDS = types.Array(numba.from_dtype(FEED), 1, "C")


@entry(types.UniTuple(types.int64, 3)(_FEEDS, types.float64, types.int64, types.int64, types.int64[::1]))
def _offer(feeds: np.ndarray, pps: float, duration: int, most: int, scratch: np.ndarray) -> tuple[int, int, int]:
    feed = feeds[0]
    start = clock(scratch.ctypes.data)
    now, room_at, stall = start, start, 0
    done = lost = 0
    acquire(feed, CALLER)
    while now - start < duration and done < most:
        due = int((now - start) * 1e-9 * pps) if pps > 0 else done + feed.entries
        due = min(due, most)
        while done < due:
            room = reserve(feed, min(due - done, BURST))
            if room == 0:
                if pps > 0:
                    lost += due - done
                    done = due
                break
            if now > room_at:
                stall = max(stall, now - room_at)
                room_at = now
            first = published(feed)
            for index in range(room):
                store64(payload(slot_of(feed, first + index)) + TIMESTAMP, now)
            publish(feed, room)
            done += room
        nap(scratch.ctypes.data, NAP)
        now = clock(scratch.ctypes.data)
    release(feed)
    return done, lost, stall


if TYPE_CHECKING:
    _conforms: type[Port] = TracePort
