"""Answers to requests for live traces. They take as long as the client wants to wait for packets."""

from itertools import islice
from typing import Any

from scout.control_socket.protocol import answer
from scout.io.host.socket_filter import FrameFilter
from scout.live_trace import live_trace
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.trace_rows import trace_rows

__all__ = ["Traces"]


class Traces:
    """A method for each such request; the parameters are those of `scout.control_socket.requests`."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def trace(
        self,
        source: str,
        host: str | None,
        port: int | None,
        proto: str | None,
        reason: str | None,
        count: int,
        seconds: int,
    ) -> dict[str, Any]:
        sources = {each.source for each in self._supervisor.paths}
        if source not in sources:
            raise ScoutError(f"no path begins at {source!r}; paths begin at {', '.join(sorted(sources))}")
        picked = live_trace(
            self._supervisor,
            source,
            FrameFilter(None if host is None else str(host), port, proto),
            reason,
            seconds,
            lambda: not self._supervisor.taking_part,
        )
        rows: list[dict[str, Any]] = []
        for number, each in enumerate(islice(picked, count), 1):
            rows += trace_rows(each.path, number, each.timestamp, each.frame, each.steps)
        return answer(rows)
