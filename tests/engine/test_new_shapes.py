"""Paths of new shapes, created while packets flow: linked at once, fused later, in all replicas at one request."""

import os
import signal
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

import lab_router
import numpy as np
import pytest
from lab_router import caught_up, running
from port_router import LEFT, RIGHT, finished
from queued import BULK, VOICE, Queued
from several import count_one, entered, numbered, numbers, router

from scout import live_shapes
from scout.control_socket.client import ask
from scout.control_socket.server import ControlSocket
from scout.io.access import load8, load16, require
from scout.io.ports.memory import MemoryPort
from scout.paths.compiler.objects import Unit
from scout.paths.compiler.plan import lower
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.path import Path
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.ring.errors import ScoutError
from scout.shape_memory import ShapeMemory
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.traffic.peers import ping

TO_RIGHT = "10.0.1.0/24"
ODD_PORT = drop("odd-port")
NEW = time.time_ns()
"""A value that compiled code depends on, so that no cache has it."""


def no_odd_ports(frame: Any, end: Any, least: int) -> int:
    if NEW and require(frame, end, 24) and load16(frame, 22) >= least and load8(frame, 23) & 1:
        return ODD_PORT
    return 0


def count_here(frame: Any, end: Any, seen: Any) -> int:
    seen[0] += 1
    return 0


def started(replicas: int = 2, order: str = "channel", **options: Any) -> Any:
    """Two ports, a router with a service on all paths from the left, and a supervisor that does not run yet."""
    left, right = MemoryPort(LEFT, entries=256), MemoryPort(RIGHT, entries=256)
    service = Service("counting", {"seen": np.zeros(1, np.int64)}, [Handler(count_one)], "ipv4")
    graph = router(left, right, service)
    paths = [graph.create_path("left", order=order), graph.create_path("right", order=order)]
    return left, right, Supervisor(graph, paths, replicas, most_paths=64, report=options.pop("said", []).append)


def new_shape(supervisor: Supervisor, port: int = 53, **attributes: Any) -> Path:
    """A path for some datagrams from the left, whose next hop is looked up when it is created."""
    given = {"protocol": "udp", "destination": TO_RIGHT, "destination_port": port, "order": "channel"} | attributes
    return supervisor.graph.create_path("left", **given)


def send(left: MemoryPort, *frames: bytes) -> None:
    for each in frames:
        assert left.send(each, timeout=60)


@pytest.mark.parametrize("kills", [False, True])
def test_it_is_linked_and_then_fused_and_nothing_is_lost_or_overtaken(kills: bool) -> None:
    left, right, supervisor = started()
    with supervisor:
        path = new_shape(supervisor)
        number, tiers = 0, []

        def go_on(count: int) -> None:
            nonlocal number
            for _ in range(count):
                send(left, numbered(number, ports=(1, 53 if number % 3 else 54)))
                number += 1

        go_on(100)
        supervisor.create_path(path)
        tiers.append(path.tier)
        if kills:
            os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        while path.tier == "linked":
            go_on(10)
            time.sleep(0.01)  # the builder has the lowest priority
        tiers.append(path.tier)
        if kills:
            os.kill(supervisor.processes[1].pid, signal.SIGKILL)
        go_on(500)
        supervisor.delete_path(path)
        go_on(100)
        left.end()
        right.end()
        assert supervisor.wait(600)
        assert [int(supervisor.table("counting.seen", replica)[0]) for replica in (0, 1)] == [number, number]
        assert supervisor.failures == [] and supervisor.diverged() == []
    assert tiers == ["linked", "fused"]
    sent = numbers(right.sent())
    if kills:  # a successor may send again what its predecessor had sent
        assert sorted(set(sent)) == list(range(number))
    else:
        assert sent == list(range(number))
        assert supervisor.account()["out"] == {"right": number}


def test_a_shape_is_compiled_once_and_counts_as_the_others_do() -> None:
    left, right, supervisor = started(replicas=1)
    with supervisor:
        one, other = (new_shape(supervisor, port) for port in (53, 54))
        supervisor.create_path(one)
        supervisor.create_path(other)
        assert "in the linked tier" in one.explain() or one.tier == "fused"
        shapes = supervisor.memory.paths.shapes
        assert len(shapes) == 3 and shapes.find(one) is shapes.find(other)
        send(left, *(numbered(number, ports=(1, 53 + number % 3)) for number in range(30)))
        await_until(lambda: one.tier == other.tier == "fused")
        assert f"fused into {shapes.find(one).file}" in one.explain()
        send(left, *(numbered(number, ports=(1, 53 + number % 3)) for number in range(30)))
        left.end()
        right.end()
        account = finished(supervisor)
        assert [entered(supervisor, path) for path in (one, other)] == [20, 20]
        assert account["out"] == {"right": 60}


@pytest.mark.long
def test_a_stage_that_no_path_has_had_is_compiled_first_and_the_packets_go_on(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = tmp_path / "go on"

    def build(units: Sequence[Unit]) -> None:
        """Other shapes are fused so slowly that no path can wait for it."""
        while units[0].of.name.startswith("path_") and not go_on.exists():
            time.sleep(0.01)
        original(units)

    original = live_shapes._build
    monkeypatch.setattr(live_shapes, "_build", build)
    said: list[str] = []
    left, right, supervisor = started(replicas=1, said=said)
    with supervisor:
        supervisor.create_path(new_shape(supervisor, 80))
        draft = supervisor.graph.draft_path("left", protocol="udp", destination=TO_RIGHT, order="channel")
        draft.insert("ip.lookup", "ip.forward", "odd", Stage(no_odd_ports, bindings={"least": 50}))
        path = draft.establish()
        send(left, *(numbered(number, ports=(1, 50 + number % 2)) for number in range(10)))
        supervisor.create_path(path)
        assert said[-1].startswith(f"path {path.name!r} has its packets when its new stages are compiled: ")
        assert "odd.in" in said[-1]
        assert {each.tier for each in supervisor.paths[2:]} == {"linked"}
        send(left, *(numbered(number, ports=(1, 50 + number % 2)) for number in range(10, 20)))
        go_on.touch()
        await_until(lambda: all(each.tier == "fused" for each in supervisor.paths))
        send(left, *(numbered(number, ports=(1, 50 + number % 2)) for number in range(20, 30)))
        left.end()
        right.end()
        account = finished(supervisor)
    assert numbers(right.sent()) == [*range(10), *range(10, 30, 2)]
    assert account["drops"] == {"odd-port": 10}


def test_a_replica_that_joins_while_a_shape_is_placed_gets_the_tables_of_its_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(replica: int, channel: int, table: Table) -> int:
        asked.append(channel)
        return 0

    def set_code(*given: Any) -> None:
        live.enlist(1, find)
        original(*given)

    asked: list[int] = []
    live = ShapeMemory([], [], 4, grows=True)
    live.enlist(0, find)
    original = live._set_code
    monkeypatch.setattr(live, "_set_code", set_code)
    left, right = MemoryPort(LEFT, entries=256), MemoryPort(RIGHT, entries=256)
    plan = lower(router(left, right).create_path("left"))
    live.place(0, plan, 5, dict.fromkeys(plan.blocks, 0))
    assert set(asked) == {5}


def test_a_deleted_path_comes_back_in_the_tier_of_its_shape_and_a_replica_may_join() -> None:
    left, right, supervisor = started()
    with supervisor:
        path, next_hop = new_shape(supervisor), new_shape(supervisor, 60, destination="10.0.1.2/32")
        for number in range(40):
            if number == 10:
                supervisor.create_path(path)
            elif number == 20:
                supervisor.delete_path(path)
                supervisor.create_path(next_hop)
                supervisor.add_replica()
            elif number == 30:
                assert path.tier == ""
                supervisor.create_path(path)
                assert path.tier in ("linked", "fused")
            send(left, numbered(number, ports=(1, 53 + 7 * (number % 2))))
        left.end()
        right.end()
        assert supervisor.wait(600)
        assert [int(supervisor.table("counting.seen", each)[0]) for each in range(3)] == [40, 40, 40]
        assert supervisor.diverged() == []
        assert (entered(supervisor, path), entered(supervisor, next_hop)) == (5, 10)
    assert numbers(right.sent()) == list(range(40))


def test_a_path_of_a_new_shape_may_have_a_queue() -> None:
    router = Queued({VOICE: {}, BULK: {"cpu": 0.5}})  # the domain is that of `test_path_accounts`, compiled once
    with router.supervisor(most_paths=8, path_schedule="round-robin", queue_memory=150_000) as supervisor:
        path = router.graph.create_path(
            "left", protocol="udp", destination=TO_RIGHT, queue=64, memory=100_000, account=True
        )
        supervisor.create_path(path)
        send(router.left, *(numbered(number) for number in range(20)))
        router.end()
        account = finished(supervisor)
        assert account["out"] == {"right": 20} and entered(supervisor, path) == 20


def test_shapes_that_need_what_was_not_there_at_the_start_are_refused() -> None:
    left, right, supervisor = started(replicas=1)
    graph = supervisor.graph
    with supervisor:
        seen = graph.draft_path("left", protocol="udp", order="channel")
        seen.insert(
            "ip.lookup", "ip.forward", "own", Stage(count_here, bindings={"seen": Table(np.zeros(1, np.int64))})
        )
        cases = [(seen.establish(), "no path had the tables of stage own.in at the start")]
        for path, words in cases:
            with pytest.raises(ScoutError, match=words):
                supervisor.create_path(path)
        assert supervisor.paths == supervisor.plan.paths
        left.end()
        right.end()
        finished(supervisor)


@pytest.mark.long
def test_the_control_socket_creates_paths_of_new_shapes(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    left, right, supervisor = started(replicas=1)
    with ControlSocket(supervisor, "router.py") as control, supervisor:

        def tiers() -> dict[str, str]:
            return {row["path"]: row["tier"] for row in ask(control.path, "show paths")["rows"]}

        wish = {"of": "left", "protocol": "udp", "destination": TO_RIGHT, "egress": "right"}
        (row,) = ask(control.path, "path create", wish, 120)["rows"]
        assert tiers()[row["path"]] in ("linked", "fused")
        await_until(lambda: tiers()[row["path"]] == "fused")
        send(left, numbered(0))
        left.end()
        right.end()
        finished(supervisor)
    assert numbers(right.sent()) == [0]


@pytest.mark.long
@pytest.mark.parametrize("order", ["completed", "channel"])
def test_between_kernels_nothing_is_lost_or_overtaken_while_new_shapes_come(order: str) -> None:
    """The datagrams carry numbers; at most 64 of them are under way, so that no queue overflows."""
    with running(2, order, most_paths=20) as run:
        assert ping(run.left, lab_router.RIGHT, 2)["received"] == 2
        create: Any = run.supervisor.graph.create_path
        wish = {"destination": f"{lab_router.RIGHT}/32", "protocol": "udp", "order": order}
        shapes = [wish, wish | {"egress": "right"}, wish | {"destination": "10.0.1.0/24"}]
        with run.left.entered():
            source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with run.right.entered():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with source, sink:
            sink.bind((lab_router.RIGHT, 4001))
            sink.settimeout(600)
            came: list[int] = []
            number = 0

            def send_some(count: int) -> None:
                nonlocal number
                for _ in range(count):
                    source.sendto(struct.pack("!I", number), (lab_router.RIGHT, 4001))
                    number += 1
                    if number % 500 == 0:
                        caught_up(run.supervisor)  # else the ring is full where one replica has no core for a while
                    while number - len(came) >= 64:
                        came.append(*struct.unpack("!I", sink.recv(100)))

            for each in shapes:
                path = create("left", **each)
                send_some(200)
                run.supervisor.create_path(path)
                while path.tier == "linked":
                    send_some(20)
                    time.sleep(0.01)
                send_some(200)
                await_until(lambda path=path: entered(run.supervisor, path) >= 200)
                run.supervisor.delete_path(path)
            while len(came) < number:
                came.append(*struct.unpack("!I", sink.recv(100)))
        run.settle()
        run.supervisor.stop()
        assert sorted(came) == list(range(number))
        if order == "channel":
            assert came == sorted(came)
        assert [each for each in run.reports if "when its new stages are compiled" not in each] == []


def seven(frame: Any, end: Any) -> int:
    return 7 if load8(frame, 23) == 1 else 0


def test_a_path_that_could_not_be_fused_is_refused_as_often_as_it_is_given() -> None:
    left, right, supervisor = started(replicas=1)
    with supervisor:
        path = new_shape(supervisor).copy()
        first, second = path.main_line[1:3]
        path.insert(first, second, "mine", Stage(seven))
        path.establish()
        for _ in range(2):
            with pytest.raises(ScoutError, match="returns 7: that is no verdict"):
                supervisor.create_path(path)
        left.end()
        right.end()
        assert supervisor.wait(600)
