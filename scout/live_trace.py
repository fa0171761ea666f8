"""Live traces: packets that a running router receives, followed stage by stage beside it.

A tap sees the packets that a filter picks. Each goes through its path once more, as plain Python in this process, on a
copy of one replica's state at that moment. So the replicas do no work for it, and nothing that it does reaches the
router or its neighbours. The state is that of the moment when the tap has the packet, which may be some packets earlier
or later than when the router had it.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from scout.io.host.socket_filter import FrameFilter
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.tap import Tap
from scout.paths.compiler.trace import Step, trace
from scout.paths.demux.plain import find_path
from scout.paths.model.path import Path
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor

__all__ = ["LiveTrace", "live_trace"]


class LiveTrace(NamedTuple):
    """A packet that was picked: its path, when it was received (nanoseconds since 1970), as received, and its way."""

    path: Path
    timestamp: int
    frame: bytes
    steps: tuple[Step, ...]


def live_trace(
    supervisor: Supervisor,
    source: str,
    wanted: FrameFilter,
    reason: str | None = None,
    seconds: float = 10.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[LiveTrace]:
    """Follow packets that a running router receives at a port.

    Parameters
    ----------
    supervisor : Supervisor
        Runs the router.
    source : str
        The router that drives the port.
    wanted : FrameFilter
        The packets to pick; the kernel picks them. Those that no path takes are left out.
    reason : str, optional
        Pick of these only packets that are dropped for this reason.
    seconds : float
        How long.
    stopped : callable
        Asked about ten times a second; True ends the trace.

    Raises
    ------
    ScoutError
        If the port is on no interface, or cannot be tapped.
    """
    port = supervisor.port(source)
    if not isinstance(port, AfPacketPort):
        raise ScoutError(f"port {source} is on no interface, so there is nothing to tap; use scout trace FILE --pcap")
    if not port.interface:
        raise ScoutError(f"port {source} has no interface, so there is nothing to tap; add one, or trace another port")
    with Tap(port.interface, port.number, wanted) as tap:
        for tapped in tap.frames(seconds):
            if stopped():
                return
            path = (
                find_path([each for each in supervisor.paths if each.source == source], tapped.frame)
                if tapped
                else None
            )
            if tapped is None or path is None:
                continue
            steps = tuple(
                trace(path, tapped.frame, _state(supervisor, path), timestamp=tapped.timestamp, **tapped.offload)
            )
            if reason is None or (steps[-1].is_drop and steps[-1].outcome == reason):
                yield LiveTrace(path, tapped.timestamp, tapped.frame, steps)


def _state(supervisor: Supervisor, path: Path) -> dict[int, np.ndarray]:
    """The tables of a path as the first replica has them now: copies, but for those that no stage changes."""
    found = {}
    for table in path.tables:
        array = supervisor.table(table)
        found[id(table)] = array if table.kind == "constant" else array.copy()
    return found
