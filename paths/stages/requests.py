"""Requests: services without a network. Where requests come from, and where they end.

Usage: Requests(name, port), End(name, service)
Provides: request (Requests). Requires: one service, of the type that is given (End).
Drops: nothing.

A request is whatever bytes are sent to the port; `frame` is at its first. Between the two stand the services::

    graph.add(Requests("requests", port))
    graph.add(service)  # a Service(..., service="request")
    graph.add(End("done", "request"))
    graph.connect("done", service.name, "requests")
"""

from typing import Any

from scout.paths.model.graph import Router, RouterGraph
from scout.paths.model.stage import Exit, Outcome, Stage, Via

__all__ = ["End", "Requests", "take"]


def take(frame: Any, end: Any) -> int:
    """Take what comes: there is nothing to look at."""
    return 0


class Requests(Router):
    """The beginning of a path of requests.

    Parameters
    ----------
    name : str
    port : Port
        What brings the requests: a `MemoryPort`, or a `PcapPort`.
    """

    provides = {"up": "request"}

    def __init__(self, name: str, port: Any) -> None:
        super().__init__(name)
        self.port = port

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
        return Stage(take, (Outcome("request", Via("up")),), writes=False)


class End(Router):
    """The end of all that reaches it: it was dealt with.

    Parameters
    ----------
    name : str
    service : str
        Type of the service that it stands on.
    """

    def __init__(self, name: str, service: str) -> None:
        super().__init__(name)
        self.requires = {"down": service}

    def arrive(self, service: str, below: bool) -> str:
        return "take"

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
        return Stage(take, (Outcome("done", Exit()),), writes=False)
