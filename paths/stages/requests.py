"""Requests and End: where a path begins that carries requests of a program and no frames, and where it ends.

Usage: Requests(name, port), End(name, connects)
Provides: request (Requests).
Requires: one service, of the type `connects` (End).
Drops: nothing.

A request is any bytes that are sent to the port; `frame` is at the first. The services stand between the two.

Example
    graph.add(Requests("requests", port))
    graph.add(service)  # a Service(..., connects="request")
    graph.add(End("done", "request"))
    graph.connect("done", service.name, "requests")
"""

from typing import Any

from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage, Via

__all__ = ["End", "Requests", "take"]


def take(frame: Any, end: Any) -> int:
    """Take every request; a request has no header to look at."""
    return 0


class Requests(Router):
    """The beginning of a path of requests, each any bytes that are sent to the port; `frame` is at the first.

    Parameters
    ----------
    name : str
    port : Port
        A `MemoryPort`, or a `PcapPort`, that the requests come from.

    Examples
    --------
    Services stand between `Requests` and `End`:

    >>> from scout import Counter, MemoryPort, RouterGraph
    >>> graph = RouterGraph("counted")
    >>> port = MemoryPort("02:00:00:00:00:01")
    >>> for router in (Requests("requests", port), Counter("count", "request"), End("done", "request")):
    ...     _ = graph.add(router)
    >>> graph.connect("done", "count", "requests")
    >>> graph.create_path("requests").run(b"any bytes")
    ('done', b'any bytes')
    """

    provides = {"up": "request"}

    def __init__(self, name: str, port: Any) -> None:
        super().__init__(name)
        self.port = port

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        return Stage(take, (Outcome("request", Via("up")),))


class End(Router):
    """The end of all packets that reach it; they are counted as dealt with.

    Parameters
    ----------
    name : str
    connects : str
        Type of the service that it stands on.

    Examples
    --------
    >>> done = End("done", "request")
    """

    def __init__(self, name: str, connects: str) -> None:
        super().__init__(name)
        self.requires = {"down": connects}

    def arrive(self, service: str, below: bool) -> str:
        return "take"

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        return Stage(take, (Outcome("done", Exit()),))
