"""TCP's requests in one channel, and in two channels that all replicas serve in one interleaving.

The paper's section 3.2 has two ways to keep the states of replicas equal: one channel for all requests, or one for
each of their sources, between which a scheduler chooses by state: "process outgoing requests required to fill the
congestion control window prior to processing incoming packets". This is the second one, on the core of TCP, for
`scout bench tcp` and for tests; docs/tcp.md says why the router has the first one.

State alone cannot choose. That a channel is empty is no state: another replica, which looks later, may find a request
there, and serve it before one of the other channel. So each segment says how many requests of the application were
published before it, its `cover`, and a replica serves of these, before the segment, those that fill the window. A
*mark* is a request of the network's channel without a segment: all that it covers is served. Where the application has
asked for something and no segment is sure to come, the producer publishes a mark.
"""

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from scout.io.transmit.sums import total_of
from scout.paths.compiler.inlining import native_helper
from scout.paths.protocols.tcp.actions import EMIT, OUT
from scout.paths.protocols.tcp.congestion import in_flight
from scout.paths.protocols.tcp.header import SEGMENT
from scout.paths.protocols.tcp.requests import REQUEST, SEND, serve
from scout.paths.protocols.tcp.settings import settings
from scout.paths.protocols.tcp.state import CONNECTION, ESTABLISHED
from scout.ring.atomics import copy, load64
from scout.ring.batch import close_batch, open_batch
from scout.ring.channel import Channel
from scout.ring.jit import Entry
from scout.ring.layout import payload, slot_of
from scout.ring.membership import CHANNELS, MEMBER_RECORDS
from scout.ring.segment import address, shared
from scout.ring.wait import YIELD, wait
from scout.tools.bench.crew import Timed, Worker, together, undisturbed

__all__ = ["MARK", "RECORDED", "RING", "Found", "Recording", "Replay", "comes_first", "measure"]

MARK = -1
"""In place of the kind of a request: a mark."""

RECORDED = np.dtype([("cover", "i8"), ("request", REQUEST), ("segment", SEGMENT)])
"""A request in a channel."""

RING = 1 << 20
"""Bytes of the ring from which data are sent."""

FOUND = np.dtype(
    [
        ("order", "i8"),  # a hash of the order in which requests were served
        ("segments", "i8"),  # segments that were sent as a primary, which a device would cut
        ("bytes", "i8"),  # of their data
        ("filled", "i8"),  # bytes of the transmit ring in use
        ("connection", CONNECTION),  # the state at the end
    ]
)
"""The result of a replica, and its state meanwhile."""

_REQUEST_AT, _SEGMENT_AT = 8, 8 + REQUEST.itemsize
_ORDER = 1_000_003


class Recording(NamedTuple):
    """The requests of a connection."""

    before: np.ndarray
    """The state in front of them, one `CONNECTION`."""
    network: np.ndarray
    """`RECORDED`: the requests of the network's channel; with one channel, all of them."""
    application: np.ndarray
    """Those of the application's channel; with one channel, none."""
    after: np.ndarray
    """The state behind them."""


def comes_first(cover: int, is_mark: bool, served: int, c: Any, kind: int) -> bool:
    """True if the next request of the application comes before a request of the network with this cover.

    Parameters
    ----------
    cover : int
        Requests of the application that were published before.
    is_mark : bool
    served : int
        Requests of the application that were served.
    c
        The connection.
    kind : int
        Of the application's request.
    """
    return served < cover and (is_mark or fills_window(c, kind))


def fills_window(c: Any, kind: int) -> bool:
    """True if a request gives bytes to send, and both windows have room for a segment."""
    if kind != SEND or c.state < ESTABLISHED:
        return False
    return c.cwnd - in_flight(c) >= c.mss and c.snd_una + c.snd_wnd - c.snd_nxt >= c.mss


def serve_recorded(at: int, connections: Any, request: Any, segment: Any, chosen: Any, out: Any) -> None:
    """Serve the request at an address."""
    copy(request.ctypes.data, at + _REQUEST_AT, _SEGMENT_AT - _REQUEST_AT)
    copy(segment.ctypes.data, at + _SEGMENT_AT, segment.itemsize)
    out[0].count = 0
    serve(connections, 0, request[0], segment[0], chosen, out[0])


def carry_out(out: Any, found: Any, ring: int, target: int) -> None:
    """Copy the data of segments to a transmit ring, and sum them up: a primary's work for a device without offloads."""
    for index in range(out.count):
        action = out.actions[index]
        if action.kind == EMIT:
            found.segments += 1
            found.bytes += action.length
            if found.filled + action.length > RING:
                found.filled = 0
            here = target + found.filled
            copy(here, ring + action.offset % RING, action.length)
            found.filled += action.length + total_of(here, action.length) % 2  # the sum is used, so it is computed


def replay(
    networks: Any,
    network_members: Any,
    applications: Any,
    application_members: Any,
    replica: int,
    requests: int,
    request: Any,
    segment: Any,
    chosen: Any,
    out: Any,
    founds: Any,
    connections: Any,
    ring: int,
    target: int,
) -> None:
    """Serve so many requests of the network's channel as a replica, and those of the other channel in between."""
    network, member = networks[0], network_members[replica]
    application, other = applications[0], application_members[replica]
    found, idle, inside = founds[replica], 0, 0
    while member.head < requests:
        count = open_batch(network, member, replica)
        if count == 0:
            wait(network, YIELD, member.head, idle)
            idle += 1
            continue
        idle = 0
        for index in range(count):
            at = payload(slot_of(network, member.head + index))
            cover, is_mark = load64(at), load64(at + _REQUEST_AT) == MARK
            while other.head + inside < cover:
                # They were published before the network's request, which was seen by an acquire.
                if other.open == 0:
                    open_batch(application, other, replica)
                given = payload(slot_of(application, other.head + inside))
                kind = load64(given + _REQUEST_AT)
                if not comes_first(cover, is_mark, other.head + inside, connections[0], kind):
                    break
                serve_recorded(given, connections, request, segment, chosen, out)
                found.order = found.order * _ORDER + 1
                if other.primary:
                    carry_out(out[0], found, ring, target)
                inside += 1
                if inside == other.count:
                    close_batch(application, other, replica)
                    inside = 0
            if not is_mark:
                serve_recorded(at, connections, request, segment, chosen, out)
                found.order = found.order * _ORDER + 2
                if member.primary:
                    carry_out(out[0], found, ring, target)
        close_batch(network, member, replica)


def _array(dtype: np.dtype) -> Any:
    return types.Array(numba.from_dtype(dtype), 1, "C")


@cache
def _replay() -> Entry:
    signature = types.void(
        CHANNELS,
        MEMBER_RECORDS,
        CHANNELS,
        MEMBER_RECORDS,
        types.int64,
        types.int64,
        _array(REQUEST),
        _array(SEGMENT),
        types.int64[::1],
        _array(OUT),
        _array(FOUND),
        _array(CONNECTION),
        types.int64,
        types.int64,
    )
    return Entry(native_helper(replay).py_func, signature)


class Found(NamedTuple):
    """The result of a replay."""

    ns: float
    """Nanoseconds of a request, the marks among them."""
    requests: int
    segments: int
    """Segments that were sent, uncut."""
    bytes: int
    """Of their data."""
    orders: list[int]
    """For each replica a hash of the order in which it has served requests."""
    states: list[np.ndarray]
    """The state of each replica behind them, one `CONNECTION`."""

    @property
    def gbps(self) -> float:
        """The rate of the data."""
        return 8 * self.bytes / (self.ns * self.requests)


class Replay:
    """Replicas in processes of their own, which serve a recording.

    Parameters
    ----------
    recording : Recording
    replicas : int
    """

    def __init__(self, recording: Recording, replicas: int) -> None:
        self._recording, self._replicas = recording, replicas
        self._found = shared(replicas, FOUND)
        self._ring, self._targets = shared(2 * RING, np.uint8), shared((replicas, 2 * RING), np.uint8)
        self.channels = [_channel(len(each), replicas) for each in (recording.network, recording.application)]

    def publish(self, which: int, first: int, last: int) -> None:
        """Publish some requests of the network (`which` 0) or the application (1)."""
        requests = (self._recording.network, self._recording.application)[which][first:last]
        for each in requests:
            self.channels[which].send(each.tobytes())

    def publish_all(self) -> None:
        """Publish all requests."""
        self.publish(1, 0, len(self._recording.application))
        self.publish(0, 0, len(self._recording.network))

    def serve(self, replica: int) -> None:
        """Serve all requests as one replica, in this process."""
        connections = self._recording.before.copy()
        network, application = self.channels
        scratch = np.zeros(1, REQUEST), np.zeros(1, SEGMENT), settings(), np.zeros(1, OUT)
        ends = network.record, network.members, application.record, application.members
        count, rings = len(self._recording.network), (address(self._ring), address(self._targets[replica]))
        _replay()(*ends, replica, count, *scratch, self._found, connections, *rings)
        self._found["connection"][replica] = connections[0]

    def prepare(self) -> None:
        """Have the loop compiled."""
        _ = _replay().native

    def warm_up(self, replica: int) -> None:
        """Have the kernel map the memory of a replica in this process, and its code too, by a replay of its own."""
        self._targets[replica] = self._ring
        for channel in self.channels:
            channel._ring.sum()
        alone = Replay(self._recording, 1)
        alone.publish_all()
        alone.serve(0)

    def found(self, ns: float = 0.0) -> Found:
        """The result, once all replicas have come to the end, in so many nanoseconds."""
        found, count = self._found, len(self._recording.network) + len(self._recording.application)
        states = [found["connection"][each : each + 1] for each in range(self._replicas)]
        orders = [int(order) for order in found["order"]]
        return Found(ns / count, count, int(found["segments"].sum()), int(found["bytes"].sum()), orders, states)


def measure(recording: Recording, replicas: int) -> Found:
    """Replay a recording whose requests are all published before."""
    made: list[Replay] = []

    def once() -> list[Timed]:
        made.append(Replay(recording, replicas))
        made[-1].prepare()
        made[-1].publish_all()
        return together([_worker(made[-1], replica) for replica in range(replicas)])

    timed = undisturbed(once)
    return made[-1].found(max(each.end for each in timed) - min(each.start for each in timed))


def _worker(replay: Replay, replica: int) -> Worker:
    return Worker(lambda: replay.warm_up(replica), lambda: replay.serve(replica))


def _channel(requests: int, replicas: int) -> Channel:
    return Channel(max(32, 1 << (requests - 1).bit_length()), RECORDED.itemsize, replicas)
