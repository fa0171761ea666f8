"""A service whose state says exactly which requests it has seen, and in which order."""

import numpy as np

from scout.io.ports.memory import MemoryPort
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.table import Table
from scout.paths.stages.requests import End, Requests
from scout.paths.wire.flow import mix
from scout.ring.segment import shared

MOST = 20_000
STATE = np.dtype([("requests", "i8"), ("digest", "i8")])


def fold(frame, end, packet, state):
    """Replicated work: count the request, and fold its timestamp into the digest."""
    state[0].digest = mix(state[0].digest ^ packet.timestamp ^ state[0].requests)
    state[0].requests += 1
    return 0


def finish(frame, end, state, finished):
    """The primary's work: note that this request had a primary."""
    finished[state[0].requests - 1] += 1
    return 0


def folding(port):
    """A graph whose requests go to one service; the graph and its path."""
    finished = Table(shared(MOST, np.uint8), "shared")
    handlers = [Handler(fold), Handler(finish, run="primary")]
    graph = RouterGraph("folding")
    graph.add(Requests("requests", port))
    graph.add(Service("folding", {"state": np.zeros(1, STATE)}, handlers, "request", finished=finished))
    graph.add(End("done", "request"))
    graph.connect("done", "folding", "requests")
    return graph, graph.create_path("requests")


def source(**options):
    """A port that such a graph receives from."""
    return MemoryPort("02:00:00:00:00:01", **({"entries": 256} | options))


def send(port, timestamps):
    """Send a request with each of these timestamps; more than the channel holds wait for room."""
    for timestamp in timestamps:
        assert port.send(b"request", timestamp=timestamp, timeout=60)


def digest_of(timestamps):
    """The digest of a state that has seen requests with these timestamps."""
    digest = 0
    for number, timestamp in enumerate(timestamps):
        digest = mix(digest ^ timestamp ^ number)
    return digest


def check_states(supervisor, timestamps):
    """Every replica that takes part has seen exactly these requests, and each request had a primary."""
    wanted = [(len(timestamps), digest_of(timestamps))]
    for replica in supervisor.taking_part:
        assert supervisor.table("folding.state", replica).tolist() == wanted
    assert supervisor.table("folding.finished")[: len(timestamps)].min() >= 1
    assert supervisor.diverged() == []
