"""A router that `scout run` runs, seen and steered from outside: `scout ctl`, `scout top`, `scout draw --live`."""

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from commands import LESSON, PATIENCE, here, scout, start

from scout.control_socket.client import ask
from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.loader import load_router
from scout.testing import await_until
from scout.tools.commands import draw, top
from scout.tools.traffic.peers import ping
from scout.tools.traffic.two_hosts import MACS, RIGHT, two_hosts

BEHIND = "10.9.0.1"  # an address of the right host that no route leads to at first


@pytest.fixture(autouse=True)
def runtime(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime directory without the sockets of other tests."""
    is_shared = "shared" in request.fixturenames
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(request.getfixturevalue("shared").folder if is_shared else tmp_path))


@contextmanager
def made_lab(name: str) -> Iterator[SimpleNamespace]:
    with Lab(name) as made:
        left, router, right = two_hosts(made)
        yield SimpleNamespace(left=left, router=router, right=right)


@pytest.fixture
def lab() -> Iterator[SimpleNamespace]:
    with made_lab("live") as made:
        yield made


def run(namespace: Namespace, *options: str, file: str = LESSON) -> subprocess.Popen[str]:
    """Start `scout run` of a router file, and wait until it is ready."""
    with namespace.entered():
        process = start("run", file, *options)
    assert process.stderr
    while "ready" not in (line := process.stderr.readline()):
        assert line, "it ended before it was ready"
    return process


@contextmanager
def ran(lab: SimpleNamespace, folder: Path) -> Iterator[SimpleNamespace]:
    """`scout run` of the first lesson on the interfaces of a lab; its socket is in `folder`."""
    lab.folder, lab.report, lab.socket = folder, folder / "run.json", folder / "scout" / "01_router.sock"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        lab.process = run(lab.router, "--replicas", "1", "--json", str(lab.report))
    try:
        yield lab
    finally:
        lab.process.kill()
        lab.process.wait(PATIENCE)


@pytest.fixture
def running(lab: SimpleNamespace, tmp_path: Path) -> Iterator[SimpleNamespace]:
    with ran(lab, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """One for all tests that leave it running."""
    with made_lab("shared") as lab, ran(lab, tmp_path_factory.mktemp("runtime")) as made:
        yield made


def ctl(*arguments: str) -> list[dict[str, Any]]:
    """The rows that a request answers."""
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        assert here("ctl", *arguments, "--json", str(answer)) == 0
        rows: list[dict[str, Any]] = json.loads(answer.read_text())["results"]
    return rows


def ended(process: subprocess.Popen[str], report: Path) -> list[dict[str, Any]]:
    """The account of a router that has ended by itself."""
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    rows: list[dict[str, Any]] = json.loads(report.read_text())["results"]
    return rows


@pytest.mark.needs_namespaces
def test_a_running_router_is_seen_steered_and_stopped(running: SimpleNamespace) -> None:
    assert ping(running.left, RIGHT, 3)["received"] == 3
    (router,) = ctl("show", "router")
    assert router["pid"] == running.process.pid and router["file"] == str(Path(LESSON).resolve())
    (again,) = ctl("show", "router", "--socket", str(running.socket))
    assert again["pid"] == router["pid"]
    edges = ctl("show", "edges")
    assert edges and all(row["packets"] for row in edges)
    assert len(ctl("show", "edges", "--empty")) > len(edges)
    assert ctl("reload", "--dry-run") == []
    ports = {row["port"]: row for row in ctl("show", "ports")}
    assert ports["left"]["interface"] == "r0" and ports["left"]["mtu_bytes"] == 1500
    assert (ports["left"]["single_frames_by"] == "AF_XDP") == (ports["left"]["because"] == "")
    assert ports["left"]["sent"] >= 3 and ports["right"]["sent"] >= 3 and ports["left"]["not_sent"] == 0
    routes = {row["prefix"]: row for row in ctl("show", "routes")}
    assert routes["10.0.1.0/24"] | {"kind": "connected", "port": "right"} == routes["10.0.1.0/24"]
    neighbours = {row["address"]: row for row in ctl("show", "neighbours")}
    assert neighbours[RIGHT]["port"] == "right" and neighbours[RIGHT]["mac"] == MACS[3]
    (joined,) = ctl("add-replica")
    assert {row["replica"] for row in ctl("show", "channels")} == {0, joined["replica"]}
    ctl("remove-replica", "0")
    assert ping(running.left, RIGHT, 3)["received"] == 3
    shown = scout("ctl", "show", "replicas").stdout
    assert "takes part" in shown and "has left" in shown
    seen = {row.get("port"): row["packets"] for row in ctl("show", "account") if row["name"] == "out"}
    assert ctl("stop")[0]["state"] == "stopping"
    rows = ended(running.process, running.report)
    out = {row["port"]: row["packets"] for row in rows if row["name"] == "out"}
    assert all(out[port] >= packets >= 6 for port, packets in seen.items())
    account = sum(row["packets"] for row in rows if row["name"] in ("out", "ended", "dropped"))
    assert account == next(row["packets"] for row in rows if row["name"] == "received")
    assert not running.socket.exists()
    result = scout("ctl", "show", "router")
    assert (result.returncode, result.stderr) == (2, "scout: no router runs; start one by scout run FILE\n")


@pytest.mark.needs_namespaces
def test_addresses_routes_and_neighbours_are_changed_while_packets_flow(shared: SimpleNamespace) -> None:
    def answered() -> int:
        return int(ping(shared.left, BEHIND, 1)["received"])

    ctl("address", "add", "left", "10.0.5.1/24")
    assert {"router": "ip", "port": "left", "address": "10.0.5.1/24"} in ctl("show", "addresses")
    assert ping(shared.left, "10.0.5.1", 1)["received"]
    ctl("address", "delete", "left", "10.0.5.1/24")
    assert not ping(shared.left, "10.0.5.1", 1)["received"]
    shared.right.address("eth0", f"{BEHIND}/32")
    assert not answered()
    ctl("route", "add", "10.9.0.0/16", RIGHT)
    assert answered()
    (route,) = (row for row in ctl("show", "routes") if row["prefix"] == "10.9.0.0/16")
    assert route | {"kind": "gateway", "gateway": RIGHT, "port": "right", "source": "10.0.1.1"} == route
    refused = scout("ctl", "route", "add", "10.9.0.0/16", RIGHT)
    assert refused.returncode == 2 and "is routed to 10.0.1.2 already" in refused.stderr
    ctl("neighbour", "set", "right", "10.0.1.9", MACS[3])
    ctl("route", "replace", "10.9.0.0/16", "10.0.1.9")
    assert answered()
    (neighbour,) = (row for row in ctl("show", "neighbours") if row["address"] == "10.0.1.9")
    assert neighbour | {"mac": MACS[3], "state": "static", "expires_in_s": None} == neighbour
    ctl("neighbour", "delete", "right", "10.0.1.9")
    assert not answered()  # nobody answers for that address
    ctl("route", "delete", "10.9.0.0/16")
    assert "10.9.0.0/16" not in {row["prefix"] for row in ctl("show", "routes")}
    assert ping(shared.left, RIGHT, 1)["received"] == 1


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_paths_are_created_and_deleted_while_packets_flow(lab: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "udp.py"
    more = 'paths.append(graph.create_path("left", order="channel", protocol="udp"))'
    file.write_text(f"{Path(LESSON).read_text()}\n{more}\n")
    wishes = ("--most-paths", "8", "--path-schedule", "deadline")
    process = run(lab.router, "--replicas", "1", *wishes, file=str(file))
    try:
        names = {row["path"] for row in ctl("show", "paths")}
        (udp,) = (name for name in names if "udp" in name)
        (created,) = ctl("path", "create", udp, "--source", "10.0.0.2/32", "--account", "--idle", "600.5")
        with lab.left.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", (RIGHT, 9))
        await_until(lambda: _packets(created["path"]) == 1)
        assert _packets(udp) == 0
        assert next(row["bytes"] for row in ctl("show", "paths") if row["path"] == created["path"]) > 0
        ctl("path", "delete", created["path"])
        assert {row["path"] for row in ctl("show", "paths")} == names
        assert scout("ctl", "path", "delete", "left").returncode == 2  # it takes all other packets
        refused = scout("ctl", "path", "create", udp, "--source", "10.0.0.3/32", "--queue", "8")
        assert refused.returncode == 2 and "channel" in refused.stderr and len(refused.stderr.splitlines()) == 1
    finally:
        process.kill()
        process.wait(PATIENCE)


def _packets(path: str) -> int:
    return next(int(row["packets"]) for row in ctl("show", "paths") if row["path"] == path)


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_top_and_draw_show_the_rates_of_a_running_router(shared: SimpleNamespace, tmp_path: Path) -> None:
    assert ping(shared.left, RIGHT, 3)["received"] == 3
    result = scout("top", "--once", "--interval", "0.2", "--json", "-")
    report = json.loads(result.stdout)
    assert report["command"] == "top" and report["parameters"]["file"] == str(Path(LESSON).resolve())
    rows = report["results"]
    replies = {(row["path"], row["from"], row["to"]): row for row in rows if row["name"] == "edge"}
    assert replies["left", "right.out", "to right"]["packets"] >= 3
    ports = {row["port"]: row for row in rows if row["name"] == "port"}
    assert ports["right"]["sent"] >= replies["left", "right.out", "to right"]["packets"]
    (replica,) = (row for row in rows if row["name"] == "replica")
    assert replica["lag"] == 0 and replica["primary"] >= 6 and "p99_us" in replica
    assert psutil.Process(replica["pid"]).ppid() == shared.process.pid

    def rates(*extra: str) -> dict[str, str]:
        picture = tmp_path / "live.mmd"
        assert scout("draw", LESSON, "-o", str(picture), "--live", *extra).returncode == 0
        return dict(re.findall(r'\|"([^"|]*)<br>([0-9.]+ k?pps)"\|', picture.read_text()))

    # Else the kernels would ask by ARP whether the router is still there.
    shared.left.neighbour("eth0", "10.0.0.1", MACS[1])
    shared.right.neighbour("eth0", "10.0.1.1", MACS[2])
    assert set(rates("--path", "left").values()) == {"0 pps"}  # nobody sends any more
    assert set(rates().values()) == {"0 pps"}  # between the routers of the graph


@pytest.mark.needs_namespaces
def test_a_picture_is_drawn_again_and_again(shared: SimpleNamespace, tmp_path: Path) -> None:
    picture = tmp_path / "live.svg"
    with start("draw", LESSON, "-o", str(picture), "--every", "0.1") as process:
        drawn: set[int] = set()

        def are_three() -> bool:
            if picture.exists():
                drawn.add(picture.stat().st_mtime_ns)  # each picture is a new file
            return len(drawn) > 2 or process.poll() is not None

        await_until(are_three, PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert picture.read_text().startswith("<") and list(tmp_path.glob(".live*")) == []


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_a_killed_router_leaves_a_socket_that_the_next_start_removes(lab: SimpleNamespace, tmp_path: Path) -> None:
    first = run(lab.router, "--replicas", "1")
    first.kill()
    first.wait(PATIENCE)
    left = tmp_path / "scout" / "01_router.sock"
    assert left.is_socket()
    result = scout("ctl", "show", "router")
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    second = run(lab.router, "--replicas", "1")
    assert [path.name for path in left.parent.iterdir()] == [left.name]
    assert ask(left, "show router")["rows"][0]["pid"] == second.pid
    third = scout("run", LESSON, "--control", str(left))
    assert third.returncode == 2 and "a running process listens there" in third.stderr.splitlines()[-1]
    second.send_signal(signal.SIGINT)
    assert second.wait(PATIENCE) == 0
    assert not left.exists()


def test_rates_are_those_of_the_counts_between_two_answers() -> None:
    def answer(time_s: float, packets: int, pid: int, cpu_s: float) -> dict[str, Any]:
        edge = {"name": "edge", "path": "left", "from": "a", "to": "b", "packets": packets}
        counts = dict.fromkeys(("primary", "seen", "replayed"), packets)
        return {
            "time_s": time_s,
            "rows": [edge, {"name": "replica", "replica": 0, "pid": pid, "cpu_s": cpu_s, **counts}],
        }

    edge, replica = top.rates(answer(10.0, 100, 7, 3.0), answer(12.0, 500, 7, 4.0))
    assert edge["pps"] == 200.0 and replica["primary_pps"] == 200.0 and replica["cpu_percent"] == 50.0
    assert replica["p50_us"] is None
    _, successor = top.rates(answer(10.0, 100, 7, 3.0), answer(12.0, 500, 8, 0.5))
    assert successor["cpu_percent"] == 25.0 and successor["seen_pps"] == 200.0


def test_percentiles_are_of_the_packets_between_two_answers() -> None:
    def answer(time_s: float, *counts: int) -> dict[str, Any]:
        figures = dict.fromkeys(("pid", "cpu_s", "primary", "seen", "replayed"), 0)
        rows: list[dict[str, Any]] = [{"name": "replica", "replica": 1, **figures}]
        bins = zip((10.0, 20.0, 30.0), counts, strict=True)
        rows += [{"name": "latency", "replica": 1, "below_us": edge, "packets": count} for edge, count in bins if count]
        rows.append({"name": "latency", "replica": 2, "below_us": 99.0, "packets": int(time_s)})
        return {"time_s": time_s, "rows": rows}

    (replica,) = top.rates(answer(1.0, 0, 70, 0), answer(3.0, 50, 110, 10))
    assert {name: replica[name] for name in ("p50_us", "p90_us", "p99_us", "max_us")} == {
        "p50_us": 10.0, "p90_us": 20.0, "p99_us": 30.0, "max_us": 30.0,
    }  # fmt: skip


def test_rates_of_the_router_graph_are_those_of_all_paths_in_both_directions() -> None:
    graph, paths = load_router(LESSON)
    counted = {path.source: dict.fromkeys(path.edges(), 1.0) for path in paths}
    for _ in range(2):  # a second picture does not add to the first
        draw._add_to_routers(graph, paths, counted)
    between = [
        {path.nodes[tail]["router"], path.nodes[head]["router"]}
        for path in paths
        for tail, head in counted[path.source]
    ]
    for upper, lower, data in graph.edges(data=True):
        assert data.get("rate", 0) == between.count({upper, lower})
