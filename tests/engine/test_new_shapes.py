"""Paths of new shapes, created while packets flow: linked at once, fused later, in all replicas at one request."""

import os
import signal
from typing import Any

import numpy as np
import pytest
from port_router import LEFT, RIGHT, awaited, finished
from several import count_one, entered, numbered, numbers, router

from scout.io.ports.memory import MemoryPort
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.path import Path
from scout.supervisor import Supervisor

UDP, TO_RIGHT = 17, "10.0.1.0/24"


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
        tiers.append(path.tier)
        if kills:
            os.kill(supervisor.processes[1].pid, signal.SIGKILL)
        go_on(500)
        supervisor.delete_path(path)
        go_on(100)
        left.end()
        right.end()
        assert supervisor.wait(60)
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
    left, right, supervisor = started(replicas=1, order="completed")
    with supervisor:
        one, other = (new_shape(supervisor, port, order="completed") for port in (53, 54))
        supervisor.create_path(one)
        supervisor.create_path(other)
        shapes = supervisor.memory.paths.shapes
        assert len(shapes) == 3 and shapes.find(one) is shapes.find(other)
        send(left, *(numbered(number, ports=(1, 53 + number % 3)) for number in range(30)))
        awaited(lambda: one.tier == other.tier == "fused", 120)
        assert path_tier(supervisor, one) == "fused"
        send(left, *(numbered(number, ports=(1, 53 + number % 3)) for number in range(30)))
        left.end()
        right.end()
        account = finished(supervisor)
        assert [entered(supervisor, path) for path in (one, other)] == [20, 20]
        assert account["out"] == {"right": 60}


def path_tier(supervisor: Supervisor, path: Path) -> str:
    return path.explain().split("tier ")[1].split("\n")[0]
