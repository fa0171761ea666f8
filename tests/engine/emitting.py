"""A router whose stage makes several packets for one request: what `Emission` is for."""

import numpy as np

from scout.io.access import load8, store64, trim
from scout.io.ports.memory import MemoryPort
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.stage import Emission, Exit, Outcome, Stage
from scout.paths.model.table import Table

MOST = 255
"""Packets that a request can have made."""

SIZE = 24
STATE = np.dtype([("requests", "i8"), ("packets", "i8")])
OUTBOX = np.dtype([("request", "i8"), ("index", "i8")])
QUEUE = np.dtype([("taken", "i8"), ("given", "i8")])


def request(data):
    """A request for so many packets."""
    return bytes([data, *bytes(15)])


def order(frame, end, packet, primary, state, outbox, queue, waiting):
    """Count the request, and have so many packets made as its first byte says."""
    count = load8(frame, 0)
    state[0].requests += 1
    state[0].packets += count
    if primary:
        if waiting[0] == 0:
            queue[0].taken = queue[0].given = 0
        for index in range(count):
            outbox[queue[0].given].request = state[0].requests - 1
            outbox[queue[0].given].index = index
            queue[0].given += 1
        waiting[0] += count
    return 0


def make(frame, end, packet, outbox, queue, waiting):
    """Make a packet: the number of its request, its own number, and its time."""
    row = outbox[queue[0].taken]
    store64(frame, 0, row.request)
    store64(frame, 8, row.index)
    store64(frame, 16, packet.timestamp)
    trim(frame, end, packet, SIZE)
    queue[0].taken += 1
    waiting[0] -= 1
    return 0


class Maker(Router):
    """Requests come in, and packets leave by port `out`."""

    def __init__(self, name, port, target="out"):
        super().__init__(name)
        self.port, self.target = port, target
        self.waiting = Table(np.zeros(1, np.int64), "private")
        self.state = Table(np.zeros(1, STATE))
        self.outbox, self.queue = Table(np.zeros(64 * MOST, OUTBOX), "private"), Table(np.zeros(1, QUEUE), "private")

    def stage(self, key, graph, attributes):
        given = {"outbox": self.outbox, "queue": self.queue, "waiting": self.waiting}
        if key == "make":
            return Stage(make, (Outcome("made", Exit(self.target)),), given)
        emits = Emission("make", self.waiting)
        return Stage(order, (Outcome("done", Exit()),), given | {"state": self.state}, emits=emits)


class Out(Router):
    """A port that only sends."""

    def __init__(self, name):
        super().__init__(name)
        self.port = MemoryPort("02:00:00:00:00:02", frames=[])

    def stage(self, key, graph, attributes):
        raise AssertionError("no path begins here")


def emitting(**options):
    """A graph with such a router, and its two ports: of requests, and of the packets that are made."""
    graph = RouterGraph("emitting")
    maker = graph.add(Maker("maker", MemoryPort("02:00:00:00:00:01", **({"entries": 256} | options))))
    out = graph.add(Out("out"))
    return graph, maker.port, out.port


def made(frames):
    """The (request, index) of each packet."""
    frames = list(frames)
    assert all(len(frame) == SIZE for frame in frames)
    return [(int.from_bytes(frame[:8]), int.from_bytes(frame[8:16])) for frame in frames]


def wanted(counts):
    """What `made` is if nothing is missing or made twice."""
    return [(request, index) for request, count in enumerate(counts) for index in range(count)]
