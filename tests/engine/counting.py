"""A small router that counts requests, quick to compile: a service with handlers that can be bound, and no network."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from scout import End, Event, Handler, MemoryPort, Requests, RouterGraph, Service, Setting, Table, raise_event

HUNDRED = Event("hundred")


def count(frame: Any, end: Any, total: Any, events: Any, every: int) -> int:
    total[0].requests += 1
    if total[0].requests % every == 0:
        raise_event(events, HUNDRED, total[0].requests)
    return 0


def report(frame: Any, end: Any, argument: int, reports: Any) -> int:
    reports[0] += 1
    return 0


def counting_router(every: int = 100) -> SimpleNamespace:
    """`graph`, `paths`, `port`, and the service `hundreds`, which counts requests and reports every hundredth.

    Its setting `every` is 100 at first, unless another value is given.
    """
    reports = Table(np.zeros(1, np.int64), "private")
    handlers = [Handler(count), Handler(report, HUNDRED, run="primary")]
    bindings: dict[str, Any] = {"reports": reports, "every": Setting(every)}
    service = Service("hundreds", {"total": np.zeros(1, [("requests", "i8")])}, handlers, "request", **bindings)
    port = MemoryPort("02:00:00:00:00:01")
    graph = RouterGraph("counting")
    graph.add(Requests("requests", port))
    graph.add(service)
    graph.add(End("done", "request"))
    graph.connect("done", "hundreds", "requests")
    return SimpleNamespace(graph=graph, paths=[graph.create_path("requests")], port=port, service=service)
