"""A port for replays of TCP: it receives segments that lie in its channel beforehand, and sends as a device does.

All segments of a replay have one form: they differ in their sequence and acknowledgement numbers, and so in their
checksums. What the port sends goes to a device in memory (`scout.tools.bench.tcp_device`).
"""

import ctypes
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
from numba.core import types

from scout.io.channels.software_operations import FEED, REQUEST, TIMESTAMP
from scout.io.endpoints.application import add
from scout.io.endpoints.collect import APPLICATION_FEED
from scout.io.endpoints.memory import DOORBELL, HEAD, REPLICA_AREA, TAIL
from scout.io.endpoints.message import HEADER as MESSAGE_HEADER
from scout.io.ports.contract import Port, PortOperations
from scout.io.ports.memory import MemoryPort
from scout.io.system import clock, nap
from scout.ring.atomics import exchange, load64_acquire, store64
from scout.ring.bell import ring_bell
from scout.ring.errors import ScoutError
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import HEADER, payload, published, slot_of
from scout.ring.producer import publish, reserve
from scout.tools.bench.priority import on_idle_cores
from scout.tools.bench.tcp_device import TRANSMIT, Device, enqueue, flush
from scout.tools.bench.tcp_segments import CHECKSUM, HEADERS, SEQUENCE, STAMPS, WINDOW, Segment
from scout.tools.bench.trace_port import EVERYONE, foremost, slowest

__all__ = ["LocalRequest", "Replay", "ReplayPort", "run_together"]

_LENGTH, _FRAME = 8, HEADER + REQUEST.size  # offsets in an entry
_LOOK = 20_000  # nanoseconds between two looks whether a replay is over
_PATIENCE = 60_000_000_000  # nanoseconds that a replay may take
_QUIET = 1_000_000_000  # nanoseconds in which nothing is left to be served, so nothing more will come of a replay
_GAP = 10_000_000  # nanoseconds from one look to the next that count at most: the machine may have been asleep


class ReplayPort(MemoryPort):
    """A port that replays segments of a peer, and sends to transmit rings in memory.

    Parameters
    ----------
    mac : str
    entries : int
        Segments of a replay at most, a power of two.
    """

    operations = PortOperations(TRANSMIT, enqueue, flush)

    def __init__(self, mac: str, entries: int) -> None:
        super().__init__(mac, entries=entries)

    @property
    def is_live(self) -> bool:
        """False: a tick of the supervisor would overwrite a segment of a replay."""
        return False

    def open(self, index: int) -> None:
        """Make the transmit rings."""
        device: Any = Device()
        self._open(index, device)
        self._ended = False
        self.forms = [b""] * self.entries

    def send(
        self, frame: bytes, timestamp: int | None = None, offload: bytes = bytes(10), timeout: float = 1.0
    ) -> bool:
        """Let the router receive a frame; as `MemoryPort.send`."""
        self.forms[int(published_segments(self._fed.ring)) % self.entries] = b""
        return super().send(frame, timestamp, offload, timeout)

    def bare(self, is_bare: bool) -> None:
        """Leave the per-byte work of sending out, or not."""
        self.transmits["bare"] = is_bare

    def last(self) -> list[bytes]:
        """The headers of the last frame of each replica that has sent some."""
        return [ctypes.string_at(int(each["last"]), 128) for each in self.transmits if each["sent"]]

    def frames(self) -> int:
        """Frames that were sent."""
        return int(self.transmits["sent"].sum())

    def begin(self, number: int) -> None:
        """The router's data begin at a sequence number."""
        self.transmits["reached"] = number

    def moment(self) -> int:
        """When the last batch was sent by its primary; to be read once all are served (acquire, in `_await`)."""
        return int(self.transmits["moment"].max())

    def reached(self) -> int:
        """The sequence number behind the data that were sent; it does not wrap."""
        return int(self.transmits["reached"].max())


class LocalRequest(NamedTuple):
    """A request that an application is about to make."""

    area: int  # address of the application's area
    request_bytes: int  # of its ring
    message: np.ndarray  # uint8: a header, and data


class Replay:
    """One replay: segments that are written to the next entries of a port's channel, and published at once.

    Parameters
    ----------
    port : ReplayPort
        Its channel is empty, or about to be; nobody else sends to it meanwhile.
    requests : numpy.ndarray
        The channel of the `ApplicationPort`, one `APPLICATION_FEED`: segments become requests there.
    segment : Segment
    sequences, acknowledgements : numpy.ndarray
        The numbers of the segments.
    data : numpy.ndarray, optional
        uint8[segment, byte]: their data, if they are to have other data than `segment`.
    words : numpy.ndarray, optional
        int64: words that replicas raise.
    wanted : int
        The replay is over when one of these words has this value or a greater one, and all requests are served; or if
        none has it a second after all requests were served: a segment was lost then.
    local : LocalRequest, optional
        A request that the application makes at the same moment.
    windows : numpy.ndarray, optional
        The window fields of the segments, if they are to differ.

    Attributes
    ----------
    requests : int
        Requests that the segments became, once it is over.
    """

    def __init__(
        self,
        port: ReplayPort,
        requests: np.ndarray,
        segment: Segment,
        sequences: np.ndarray,
        acknowledgements: np.ndarray,
        data: np.ndarray | None = None,
        words: np.ndarray | None = None,
        wanted: int = 0,
        local: LocalRequest | None = None,
        windows: np.ndarray | None = None,
    ) -> None:
        self._words, self._wanted = np.zeros(0, np.int64) if words is None else words, wanted
        self._local = local or LocalRequest(0, 0, np.zeros(0, np.uint8))
        self.requests = 0
        self._feed, self._requests, self._count = port._fed.ring, requests, len(sequences)
        self._scratch, self._port = np.zeros(2, np.int64), port
        first = _await_room(self._feed, self._count, self._scratch)
        if first < 0:
            raise ScoutError("the replicas do not come to the end of a replay")
        feed = self._feed[0]
        entries, stride = int(feed["entries"]), int(feed["stride"])
        size = entries * stride
        memory: Any = (ctypes.c_uint8 * size).from_address(int(feed["ring"]))
        ring = np.frombuffer(memory, np.uint8).reshape(entries, stride)
        places = (first + np.arange(self._count)) % entries
        request = REQUEST.pack(0, bytes(10), 0, 0, port._index) + segment.frame
        form = segment.frame[:SEQUENCE] + bytes(data is not None)
        # Segments of an earlier replay stay in the channel and get other numbers: each line that is written here has
        # to come to the replicas from another core.
        new = places[[port.forms[place] != form for place in places]]
        for place in new:
            port.forms[place] = form
        ring[new, HEADER : HEADER + len(request)] = np.frombuffer(request, np.uint8)
        _write(ring, new, _LENGTH, np.full(len(new), len(request)), "<i8")
        _write(ring, places, _FRAME + SEQUENCE, sequences & 0xFFFFFFFF, ">u4")
        _write(ring, places, _FRAME + SEQUENCE + 4, acknowledgements & 0xFFFFFFFF, ">u4")
        if data is not None:
            ring[places, _FRAME + HEADERS : _FRAME + HEADERS + data.shape[1]] = data
        if windows is None:
            windows = np.full(self._count, segment.window)
        _write(ring, places, _FRAME + WINDOW, windows, ">u2")
        checks = segment.checksums(sequences & 0xFFFFFFFF, acknowledgements & 0xFFFFFFFF, data, windows)
        _write(ring, places, _FRAME + CHECKSUM, checks, ">u2")
        stamps = np.frombuffer(segment.stamps, np.uint8)
        ring[places, _FRAME + STAMPS : _FRAME + STAMPS + len(stamps)] = stamps

    def publish(self) -> int:
        """Publish the segments; the time, in nanoseconds."""
        self._first, local = published_requests(self._requests), self._local
        request = local.area, local.request_bytes, local.message.ctypes.data, len(local.message) - MESSAGE_HEADER
        start = int(_publish(self._feed, self._count, *request, self._scratch))
        if start == 0:
            raise ScoutError("the ring of local requests is full")
        return start

    def finish(self, replicas: int = EVERYONE, before: int = 0) -> int:
        """Wait until these replicas have served all requests that the segments became; the time, in nanoseconds.

        `requests` says then how many these were.

        Parameters
        ----------
        replicas : int
            As bits.
        before : int
            The time until which this process sleeps, as `now` tells it: the end is not expected earlier.
        """
        words = self._words.ctypes.data, len(self._words), self._words.strides[0], self._wanted
        end = int(_await(self._feed, self._requests, replicas, before, *words, self._scratch))
        if end == 0:
            raise ScoutError("the replicas do not come to the end of a replay")
        self.requests = published_requests(self._requests) - self._first
        return end

    def moment(self) -> int:
        """When the last batch of the replay was served by its primary, once it is over; as `now` tells it.

        Replicas look for more work for a while when they have no more, so `finish`, for which they leave no core, sees
        the end some 100 microseconds late: a tenth of a replay.
        """
        return self._port.moment()

    def settle(self) -> None:
        """Wait until all replicas have served what came before the replay, requests of the application too."""
        if not _await(self._feed, self._requests, EVERYONE, 0, 0, 0, 0, 0, self._scratch):
            raise ScoutError("the replicas do not come to the beginning of a replay")

    def now(self) -> int:
        """The clock's time, in nanoseconds."""
        return int(_clock(self._scratch))


def run_together(replays: Sequence[Replay], expected: int = 0) -> int:
    """Nanoseconds from the first segment of these replays to the end of all.

    Parameters
    ----------
    replays : sequence of Replay
        Of different ports.
    expected : int
        Nanoseconds that it takes at least; this process sleeps meanwhile.
    """
    for replay in replays:
        replay.settle()  # else the window that the application has opened may not be known yet
    return on_idle_cores(partial(_run, replays, expected))


def _run(replays: Sequence[Replay], expected: int) -> int:
    start = min([replay.publish() for replay in replays])
    # A time, and not how long: a replica may have taken this process's core as soon as it was woken.
    before = start + expected if expected else 0
    for replay in replays:
        replay.finish(before=before)
    return max([replay.moment() for replay in replays]) - start


def _write(ring: np.ndarray, places: np.ndarray, offset: int, values: np.ndarray, kind: str) -> None:
    """Write a number of a kind to each of these entries."""
    size = np.dtype(kind).itemsize
    ring[places, offset : offset + size] = values.astype(kind).view(np.uint8).reshape(len(places), size)


_FEEDS, _REQUESTS = (types.Array(numba.from_dtype(each), 1, "C") for each in (FEED, APPLICATION_FEED))
_SCRATCH = types.int64[::1]


@entry(types.int64(_FEEDS, types.int64, _SCRATCH))
def _await_room(feeds: np.ndarray, count: int, scratch: np.ndarray) -> int:
    """Wait for room for so many entries; the position of the first, -1 if it takes too long."""
    last, waited, feed = clock(scratch.ctypes.data), 0, feeds[0]
    while reserve(feed, count) < count:
        now = clock(scratch.ctypes.data)
        last, waited = now, waited + min(now - last, _GAP)
        if waited > _PATIENCE:
            return -1
        nap(scratch.ctypes.data, _LOOK)
    return published(feed)


@entry(types.int64(_FEEDS, *[types.int64] * 5, _SCRATCH))
def _publish(
    feeds: np.ndarray, count: int, area: int, request_bytes: int, message: int, size: int, scratch: np.ndarray
) -> int:
    """Write the time to the next entries, and publish them, and a local request of an area, if one is given; the time.

    0 if there is no room for the request.
    """
    feed = feeds[0]
    first, now = published(feed), clock(scratch.ctypes.data)
    for index in range(count):
        store64(payload(slot_of(feed, first + index)) + TIMESTAMP, now)
    start = clock(scratch.ctypes.data)
    if area:
        if not add(area, request_bytes, message, message + MESSAGE_HEADER, size):
            return 0
        # seq_cst, as in `submit`. The bell comes with the segments: a replica that it woke before could take the core.
        exchange(area + DOORBELL, 1)
    if reserve(feed, count) == count:  # notes the replicas that take part now
        publish(feed, count)
    return start


@inline
def _outside(following: Record) -> int:
    """Bytes of the requests that applications and replicas have made and that are not in the channel yet."""
    waiting = 0
    for application in range(following.attached):
        waiting += _waiting(following.applications + application * following.application_bytes)
    for replica in range(following.replicas):
        waiting += _waiting(following.replica_areas + replica * REPLICA_AREA)
    return waiting


@inline
def _waiting(area: int) -> int:
    """The same of one producer, whose area is at an address."""
    taken = load64_acquire(area + HEAD)  # pairs with the collector's store, behind its publication of requests
    return load64_acquire(area + TAIL) - taken  # pairs with the producer's store


@inline
def _is_served(feed: Record, following: Record, replicas: int) -> bool:
    """True if these replicas have released both channels, and no request is left outside."""
    if slowest(feed, replicas) < published(feed) or _outside(following):
        return False
    # A replica publishes the requests that it makes before it releases those that they came from: so look again.
    end = published(following)
    return slowest(following, replicas) >= end and _outside(following) == 0 and published(following) == end


@entry(types.int64(_FEEDS, _REQUESTS, *[types.int64] * 6, _SCRATCH))
def _await(
    feeds: np.ndarray,
    requests: np.ndarray,
    replicas: int,
    before: int,
    words: int,
    count: int,
    stride: int,
    wanted: int,
    scratch: np.ndarray,
) -> int:
    """Wait until these replicas have released both channels; the time, 0 if it takes too long.

    One of `count` words, from address `words` on, is to come to the value that is wanted before. None will if nothing
    has been left to do for a while.
    """
    feed, following = feeds[0], requests[0]
    early = before - clock(scratch.ctypes.data)
    if early > 0:
        nap(scratch.ctypes.data, early)
    last, waited, quiet = clock(scratch.ctypes.data), 0, 0
    while True:
        is_reached = _is_reached(words, count, stride, wanted)  # before the look at the channels
        is_served = _is_served(feed, following, replicas)
        now = clock(scratch.ctypes.data)
        gap = min(now - last, _GAP)
        last, waited, quiet = now, waited + gap, quiet + gap if is_served else 0
        if is_served and (is_reached or quiet > _QUIET):
            return now
        # One that sleeps has not seen the last requests of the others. Further segments would wake it now. While
        # there is work that no replica has done, it has to be woken as in a router: it would share that work.
        if foremost(feed) >= published(feed) and foremost(following) >= published(following):
            ring_bell(feed.bell)
        if waited > _PATIENCE:
            return 0
        nap(scratch.ctypes.data, _LOOK)


@inline
def _is_reached(words: int, count: int, stride: int, wanted: int) -> bool:
    """True if one of these words, if there are any, has a value."""
    for index in range(count):
        if load64_acquire(words + index * stride) >= wanted:  # pairs with the store of the replica that raises it
            return True
    return count == 0


@entry(types.int64(_REQUESTS))
def published_requests(requests: np.ndarray) -> int:
    """The requests that were published in the channel of an `ApplicationPort`."""
    return published(requests[0])


@entry(types.int64(_FEEDS))
def published_segments(feeds: np.ndarray) -> int:
    """The frames that were published in the channel of a port."""
    return published(feeds[0])


@entry(types.int64(_SCRATCH))
def _clock(scratch: np.ndarray) -> int:
    return clock(scratch.ctypes.data)


if TYPE_CHECKING:
    _conforms: type[Port] = ReplayPort
