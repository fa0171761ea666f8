"""A running router seen from outside: what it publishes, and the pictures that `scout draw --live` makes of it."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import LESSON, MEMORY_ROUTER, PATIENCE, scout, start

from scout.io.host.lab import Lab
from scout.loader import load_router
from scout.ring.errors import ScoutError
from scout.tools.commands import draw
from scout.tools.drawing.live import Published, read
from scout.tools.traffic.peers import ping
from scout.tools.traffic.two_hosts import RIGHT, two_hosts


class Counting:
    """What `Published` asks of a supervisor."""

    def __init__(self, edges: int, count: int) -> None:
        self.paths = [SimpleNamespace(source="left")]
        self._flows = {(f"stage {number}", "a stage with a long name"): count for number in range(edges)}

    def flows(self, path: Any) -> dict[tuple[str, str], int]:
        return self._flows


def test_readers_find_the_newest_counters_however_many(tmp_path: Path) -> None:
    file = str(tmp_path / "router.py")
    published = Published(file)
    for edges, count in ((3, 1), (100_000, 2), (2, 3)):  # the second time over 1 MiB of text
        supervisor: Any = Counting(edges, count)
        published.update(supervisor)
        flows = read(file)["flows"]["left"]
        assert len(flows) == edges and {found for _, _, found in flows} == {count}


def test_a_router_that_compiles_is_no_router_that_does_not_run(tmp_path: Path) -> None:
    file = str(tmp_path / "router.py")
    with pytest.raises(ScoutError, match="no process runs"):
        read(file)
    published = Published(file)
    with pytest.raises(ScoutError, match="still compiling"):
        read(file)
    supervisor: Any = Counting(1, 1)
    published.update(supervisor)
    assert read(file)["flows"]


def test_a_router_that_does_not_publish_is_said_to_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "router.py"
    file.write_text(MEMORY_ROUTER)
    published = Published(str(file))
    supervisor: Any = Counting(1, 1)
    published.update(supervisor)
    monkeypatch.setattr(draw, "SPAN", 0.0)
    with pytest.raises(ScoutError, match="does not publish; is it stopped"):
        draw.run(str(file), str(tmp_path / "x.dot"), None, live=True)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Any]:
    """`scout run` of the first lesson on the interfaces of a lab."""
    with Lab("live") as lab:
        left, router, _ = two_hosts(lab)
        with router.entered():
            process = start("run", LESSON, "--replicas", "1", "--json", str(tmp_path / "run.json"))
        assert process.stderr
        for line in process.stderr:
            if "ready" in line:
                break
        try:
            yield SimpleNamespace(process=process, left=left, report=tmp_path / "run.json")
        finally:
            process.kill()
            process.wait(PATIENCE)


@pytest.mark.needs_namespaces
def test_a_router_on_interfaces_is_drawn_with_its_rates_and_gives_its_account(running: Any, tmp_path: Path) -> None:
    def rates(*extra: str) -> dict[str, str]:
        picture = tmp_path / "live.mmd"
        assert scout("draw", LESSON, "-o", str(picture), "--live", *extra).returncode == 0
        return dict(re.findall(r'\|"([^"|]*)<br>([0-9.]+ k?pps)"\|', picture.read_text()))

    assert ping(running.left, RIGHT, 3)["received"] == 3
    assert set(rates("--path", "left").values()) == {"0 pps"}  # nobody sends any more
    assert set(rates().values()) == {"0 pps"}  # between the routers of the graph
    running.process.send_signal(signal.SIGINT)
    output, errors = running.process.communicate(timeout=PATIENCE)
    assert running.process.returncode == 0, errors
    rows = json.loads(running.report.read_text())["results"]
    passed = {row["port"]: row["packets"] for row in rows if row["name"] == "out"}
    assert passed["left"] >= 3 and passed["right"] >= 3
    account = sum(row["packets"] for row in rows if row["name"] in ("out", "ended", "dropped"))
    (received,) = (row["packets"] for row in rows if row["name"] == "received")
    assert account == received and f"{received:,}" in output


def test_rates_of_the_router_graph_are_those_of_all_paths_in_both_directions() -> None:
    graph, paths = load_router(LESSON)
    counted = {path.source: dict.fromkeys(path.edges(), 1.0) for path in paths}
    draw._add_to_routers(graph, paths, counted)
    between = [
        {path.nodes[tail]["router"], path.nodes[head]["router"]}
        for path in paths
        for tail, head in counted[path.source]
    ]
    for upper, lower, data in graph.edges(data=True):
        assert data.get("rate", 0) == between.count({upper, lower})
