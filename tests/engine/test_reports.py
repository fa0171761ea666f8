"""What a run says on standard error by itself."""

import io
import sys

import pytest

from scout import Supervisor
from scout.testing import ipv4_router


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "count"), [(Terminal(), 3), (io.StringIO(), 0)])
def test_only_a_terminal_is_told_what_is_compiled(
    stream: io.StringIO, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    graph = ipv4_router()
    with Supervisor(graph, [graph.create_path(port) for port in graph.ports], replicas=1):
        pass
    lines = stream.getvalue().splitlines()
    assert len(lines) == count and all(line.startswith("scout: compiling ") for line in lines)
