"""A service whose state says exactly which requests it has seen, and in which order."""

import os
import sys
import textwrap

import numpy as np

from scout.io.ports.memory import MemoryPort
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage
from scout.paths.stages.requests import take
from scout.paths.wire.flow import mix
from scout.ring.atomics import load64_acquire, pause
from scout.tools.bench import soak

MOST = 20_000


def folding(port):
    """A graph whose requests go to the service of the soak; the graph and its path."""
    return soak.folding(port, MOST, "folding")


class Out(Router):
    """The end of a path of requests, at port `out`."""

    requires = {"down": "request"}

    def arrive(self, service, below):
        return "take"

    def stage(self, key, graph, attributes):
        return Stage(take, (Outcome("sent", Exit("out")),))


GATE = np.dtype([("number", "i8")])


def linger(frame, end, packet, gate):
    """The primary's work: wait while the gate names this request."""
    while load64_acquire(gate.ctypes.data) == packet.timestamp:
        pause()
    return 0


def source(**options):
    """A port that such a graph receives from."""
    return MemoryPort("02:00:00:00:00:01", **({"entries": 256} | options))


def send(port, timestamps):
    """Send a request with each of these timestamps; more than the channel holds wait for room."""
    for timestamp in timestamps:
        assert port.send(b"request", timestamp=timestamp, timeout=600)


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
    assert supervisor.table("folding.finished")["times"][: len(timestamps)].min() >= 1
    assert supervisor.diverged() == []


def program(folder, text):
    """The command that runs a program in which this folder's modules, and those of the tests, can be imported."""
    file = folder / "program.py"
    here = os.path.dirname(__file__)
    file.write_text(f"import sys\nsys.path[:0] = {[here, os.path.dirname(here)]!r}\n" + textwrap.dedent(text))
    return [sys.executable, str(file)]
