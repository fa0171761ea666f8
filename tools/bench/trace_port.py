"""A port whose channel holds a trace before the run, as if a device had written it there, and a generator for it.

The generator only writes time stamps and publishes entries, as a NIC's driver does. So a benchmark measures the
services and not the copy of the frames, which a NIC does by DMA. `TracePort.offer` publishes entries at a rate;
`drain` publishes all entries at once, and takes the time until the replicas have released them.
"""

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
from numba.core import types

from scout.io.channels.software import CALLER, Feed
from scout.io.channels.software_operations import FEED, REQUEST, TIMESTAMP
from scout.io.host.process import Child
from scout.io.ports.contract import Port
from scout.io.ports.fed import BATCH, FedPort
from scout.io.ports.memory import MemoryPort
from scout.io.system import clock, nap
from scout.ring.atomics import load64_acquire, store64
from scout.ring.errors import ScoutError
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import GATING, HEADER, head_of, payload, published, slot_of, word
from scout.ring.membership import MOST_REPLICAS
from scout.ring.producer import acquire, publish, release, reserve

__all__ = ["EVERYONE", "Offered", "TracePort", "drain", "follow", "foremost", "slowest"]

BURST = 64
NAP, NAP_FLAT_OUT = 1_000_000, 50_000
"""Nanoseconds that the generator sleeps between bursts, at a rate and flat out. Its core is a replica's too, and one
sleep takes a virtual machine over 10 µs: with these it uses 2 to 4 % of a core at a rate, and some 15 % flat out."""

_LOOK, _LOOK_SPINNING = 20_000, 2_000
"""Nanoseconds between two looks whether a channel is drained. A sleep takes some 80 µs with the kernel's timer slack,
so what is short is measured by a process that spins. Each look takes a cache line from the replica."""

_PATIENCE = 10_000_000_000  # nanoseconds that a channel may take to be drained
_LENGTH = 8  # offset of an entry's length in its header
EVERYONE = (1 << MOST_REPLICAS) - 1


class TracePort(MemoryPort):
    """A memory port that receives the same frames again and again.

    Parameters
    ----------
    mac : str
        Its MAC address.
    trace : sequence of bytes
        As many as the channel holds: a power of two.
    batch : int, optional
        Packets that are received together at most; as of other memory ports by default.
    """

    def __init__(self, mac: str, trace: Sequence[bytes], batch: int = BATCH) -> None:
        super().__init__(mac, entries=len(trace), batch=batch, capacity=0)
        self._trace = trace

    @property
    def is_live(self) -> bool:
        """False: time stands still between offers. A tick of the supervisor would overwrite a frame of the trace."""
        return False

    def channel(self, ports: Mapping[int, FedPort], replicas: int, keeps: bool) -> Feed:
        """Make the channel, with the trace in it."""
        if len(ports) > 1:
            raise ScoutError(f"port {self.interface}: what it plays fills a channel; it cannot share one")
        for number, frame in enumerate(self._trace):
            if len(frame) > self.frame_bytes:
                raise ScoutError(
                    f"frame {number} of the trace has {len(frame)} bytes, the port takes {self.frame_bytes}"
                )
        channel = super().channel(ports, replicas, keeps)
        self._write(channel.ring[0])
        return channel

    def settle(self) -> None:
        """Wait until all that was offered is served."""
        _in_time(_await(self._fed.ring, EVERYONE, 0, False, np.zeros(2, np.int64)))

    def restore(self) -> None:
        """Write the trace again, once all requests are served: a control request takes the place of a frame.

        It would be published again where a frame should be. And frames are offered until the next request has the place
        of the first frame: replicas save their state there, and then there is room for a whole trace.
        """
        self.settle()
        self._write(self._fed.ring[0])
        self.offer(0.0, 1.0, -self._fed.position(0) % len(self._trace))
        self.settle()

    def _write(self, feed: Record) -> None:
        for number, frame in enumerate(self._trace):
            request = REQUEST.pack(0, bytes(10), 0, 0, self._index) + frame
            slot = int(feed["ring"] + number * feed["stride"])
            ctypes.memmove(slot + _LENGTH, len(request).to_bytes(8, "little"), 8)
            ctypes.memmove(slot + HEADER, request, len(request))

    def offer(self, pps: float, seconds: float, most: int = 1 << 62) -> "Offered":
        """Offer packets at a rate, or as fast as they are taken; at a rate once those of earlier offers are served.

        Parameters
        ----------
        pps : float
            Packets a second; 0: as many as there is room for.
        seconds : float
        most : int
            End when so many have been offered.
        """
        scratch = np.zeros(2, np.int64)
        if pps > 0:
            _in_time(_await(self._fed.ring, EVERYONE, 0, False, scratch))
        nap_ns = NAP if pps > 0 else NAP_FLAT_OUT
        figures = _offer(self._fed.ring, pps, int(seconds * 1e9), most, nap_ns, scratch)
        return Offered(*(int(figure) for figure in figures))


class Offered(NamedTuple):
    """The result of an offer."""

    packets: int  # offered
    lost: int  # that found the channel full
    served: int  # that the slowest replica released meanwhile
    stall: int  # nanoseconds for which there was no room, the longest time


def drain(ports: Sequence[TracePort], expected: int = 0, spins: bool = False) -> int:
    """Publish the whole trace of each port at once; nanoseconds until the replicas have released all entries.

    Parameters
    ----------
    ports : sequence of TracePort
        Their channels are empty, or about to be. Nobody else sends to them.
    expected : int
        Nanoseconds that it takes at least; this process sleeps meanwhile.
    spins : bool
        True if this process spins instead of sleeping: it has a core that no replica has, and the time is a short one.

    Raises
    ------
    ScoutError
        If that takes more than 10 seconds.
    """
    feeds, scratch = np.concatenate([port._fed.ring for port in ports]), np.zeros(2, np.int64)
    _in_time(_prepare(feeds, scratch))
    start = _publish(feeds, scratch)
    return _in_time(_await(feeds, EVERYONE, expected, spins, scratch)) - start


def follow(port: TracePort, replica: int, process: Child, expected: int = 0) -> int:
    """Have the other replicas drain a trace, and then `replica`: nanoseconds that it takes as no request's primary.

    Parameters
    ----------
    port : TracePort
        Its channel is empty, or about to be.
    replica : int
    process : Child
        The process of that replica; it is stopped until the other replicas have released all entries.
    expected : int
        As of `drain`, for the other replicas.
    """
    feeds, scratch = port._fed.ring, np.zeros(2, np.int64)
    _in_time(_prepare(feeds, scratch))  # so the replica is idle
    os.kill(process.pid, signal.SIGSTOP)
    try:
        _publish(feeds, scratch)
        start = _in_time(_await(feeds, EVERYONE & ~(1 << replica), expected, False, scratch))
    finally:
        os.kill(process.pid, signal.SIGCONT)
    return _in_time(_await(feeds, EVERYONE, 0, False, scratch)) - start


def _in_time(time: int) -> int:
    if not time:
        raise ScoutError(f"the replicas have not released a trace in {_PATIENCE / 1e9:.0f} seconds")
    return int(time)


_FEEDS = types.Array(numba.from_dtype(FEED), 1, "C")
_SCRATCH = types.int64[::1]


@inline
def slowest(feed: Record, replicas: int) -> int:
    """Requests that all of these replicas have released, of those that take part."""
    slowest = published(feed)
    members = load64_acquire(word(feed, GATING)) & replicas  # pairs with join and leave
    for replica in range(MOST_REPLICAS):
        if members >> replica & 1:
            slowest = min(slowest, load64_acquire(head_of(feed, replica)))  # pairs with close_batch
    return slowest


@inline
def foremost(feed: Record) -> int:
    """Requests that at least one replica has released, of those that take part."""
    foremost, members = 0, load64_acquire(word(feed, GATING))  # pairs with join and leave
    for replica in range(MOST_REPLICAS):
        if members >> replica & 1:
            foremost = max(foremost, load64_acquire(head_of(feed, replica)))  # pairs with close_batch
    return foremost


@inline
def _stamp(feed: Record, count: int, now: int) -> None:
    """Write the time to the next `count` entries."""
    first = published(feed)
    for index in range(count):
        store64(payload(slot_of(feed, first + index)) + TIMESTAMP, now)


@entry(types.UniTuple(types.int64, 4)(_FEEDS, types.float64, types.int64, types.int64, types.int64, _SCRATCH))
def _offer(
    feeds: np.ndarray, pps: float, duration: int, most: int, nap_ns: int, scratch: np.ndarray
) -> tuple[int, int, int, int]:
    feed = feeds[0]
    start = clock(scratch.ctypes.data)
    now, room_at, stall = start, start, 0
    done = lost = 0
    served = slowest(feed, EVERYONE)
    acquire(feed, CALLER)
    elapsed = -1
    while elapsed < duration and done < most:
        elapsed = min(now - start, duration)
        due = int(elapsed * 1e-9 * pps) if pps > 0 else done + feed.entries
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
            _stamp(feed, room, now)
            publish(feed, room)
            done += room
        nap(scratch.ctypes.data, nap_ns)
        now = clock(scratch.ctypes.data)
    release(feed)
    return done, lost, slowest(feed, EVERYONE) - served, stall


@entry(types.int64(_FEEDS, _SCRATCH))
def _prepare(feeds: np.ndarray, scratch: np.ndarray) -> int:
    """Wait for room for all entries of each channel, and write the time to them; that time, or 0 if it takes too long.

    Replicas raise their floors, and so make room, only after they have released requests and saved their state.
    """
    start = clock(scratch.ctypes.data)
    for index in range(len(feeds)):
        feed = feeds[index]
        while reserve(feed, feed.entries) < feed.entries:
            if clock(scratch.ctypes.data) - start > _PATIENCE:
                return 0
            nap(scratch.ctypes.data, _LOOK)
        _stamp(feed, feed.entries, start)
    return start


@entry(types.int64(_FEEDS, _SCRATCH))
def _publish(feeds: np.ndarray, scratch: np.ndarray) -> int:
    """Publish as many entries as each channel has; the time, in nanoseconds."""
    start = clock(scratch.ctypes.data)
    for index in range(len(feeds)):
        publish(feeds[index], feeds[index].entries)
    return start


@entry(types.int64(_FEEDS, types.int64, types.int64, types.boolean, _SCRATCH))
def _await(feeds: np.ndarray, replicas: int, expected: int, spins: bool, scratch: np.ndarray) -> int:
    """Wait until these replicas have released all that is published; when they had, or 0 if they take too long."""
    start = clock(scratch.ctypes.data)
    if expected:
        nap(scratch.ctypes.data, expected)
    for index in range(len(feeds)):
        while slowest(feeds[index], replicas) < published(feeds[index]):
            looked = clock(scratch.ctypes.data)
            if looked - start > _PATIENCE:
                return 0
            if spins:
                while clock(scratch.ctypes.data) - looked < _LOOK_SPINNING:
                    pass
            else:
                nap(scratch.ctypes.data, _LOOK)
    return clock(scratch.ctypes.data)


if TYPE_CHECKING:
    _conforms: type[Port] = TracePort
