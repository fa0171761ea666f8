"""Paths that are created and deleted while packets flow: at one request, in every replica."""

import os
import random
import signal
import socket
import struct
from pathlib import Path as FilePath
from typing import Any

import lab_router
import numpy as np
import psutil
import pytest
from demux_frames import frame, takes
from lab_router import caught_up, running
from port_router import LEFT, RIGHT, finished, kill
from several import count_one, entered, numbered, numbers, router

from scout import shapes
from scout.control_socket.client import ask
from scout.control_socket.server import ControlSocket
from scout.io.ports.memory import MemoryPort
from scout.paths.changes.neighbours import SetNeighbour
from scout.paths.changes.paths import CreatePath, DeletePath
from scout.paths.changes.routes import AddRoute, DeleteRoute
from scout.paths.compiler.native import compile_path
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.traffic.peers import ping

UDP_WISH: dict[str, Any] = {"protocol": "udp"}


def started(most_paths: int = 64, replicas: int = 2, **options: Any) -> Any:
    """The ports, the path for UDP, and a supervisor that does not run yet; a service counts what comes from the left.

    The channels are short, so that what was deleted is soon given back. One router for all tests is compiled once.
    """
    left, right = MemoryPort(LEFT, entries=256), MemoryPort(RIGHT, entries=256)
    graph = router(left, right, counting())
    udp = graph.create_path("left", **UDP_WISH)
    paths = [graph.create_path("left"), graph.create_path("right"), udp]
    return left, right, udp, Supervisor(graph, paths, replicas, most_paths=most_paths, **options)


def counting() -> Service:
    return Service("counting", {"seen": np.zeros(1, np.int64)}, [Handler(count_one)], "ipv4")


def send(left: MemoryPort, *frames: bytes) -> None:
    for each in frames:
        assert left.send(each, timeout=600)


def test_a_path_has_its_packets_from_one_request_to_another() -> None:
    left, right, udp, supervisor = started()
    one, other = udp.narrowed(destination_port=53), udp.narrowed(destination_port=range(50, 60))
    with supervisor:
        expected = {udp: 0, one: 0, other: 0}
        alive = [udp]
        chance = random.Random(1)
        for number in range(2_000):
            if chance.random() < 0.01:
                path = chance.choice([one, other])
                if path in alive:
                    had = entered(supervisor, path)
                    assert had <= expected[path]
                    epoch = supervisor.delete_path(path)
                    alive.remove(path)
                    await_until(lambda: supervisor.reached(epoch))  # noqa: B023
                    expected[path] = 0
                else:
                    supervisor.create_path(path)
                    alive.append(path)
            data = numbered(number, ports=(1, chance.choice([53, 54, 99])))
            takers = [path for path in (one, other, udp) if path in alive and takes(path.attributes, data)]
            expected[takers[0]] += 1
            send(left, data)
        left.end()
        right.end()
        account = finished(supervisor)
    assert {path.name: entered(supervisor, path) for path in alive} == {path.name: expected[path] for path in alive}
    assert account["out"] == {"right": 2_000}
    assert sorted(numbers(right.sent())) == list(range(2_000))
    assert supervisor.paths[3:] == alive[1:]


@pytest.mark.parametrize("killed", [5, pytest.param(0, marks=pytest.mark.long)])
def test_replicas_agree_though_paths_come_and_go(killed: int) -> None:
    """The service is on all paths, so that every packet counts once; replicas die and are replaced meanwhile."""
    left, right, udp, supervisor = started(report=[].append)
    special = [udp.narrowed(destination_port=port) for port in range(50, 58)]
    chance = random.Random(2)
    with supervisor:
        alive: list[Any] = []
        for number in range(2_000):
            if chance.random() < 0.02:
                path = chance.choice(special)
                if path in alive:
                    supervisor.delete_path(path)
                    alive.remove(path)
                else:
                    supervisor.create_path(path)
                    alive.append(path)
            if killed and number % (2_000 // killed) == 100:
                kill(supervisor, number // (2_000 // killed) % 2)
            send(left, numbered(number, ports=(1, chance.choice([50, 51, 55, 57, 99]))))
        left.end()
        right.end()
        assert supervisor.wait(600)
        assert [int(supervisor.table("counting.seen", replica)[0]) for replica in (0, 1)] == [2_000, 2_000]
        assert supervisor.failures == [] and supervisor.diverged() == []
    if not killed:
        assert sorted(numbers(right.sent())) == list(range(2_000))


def test_rows_and_patterns_are_used_again_and_the_account_keeps_what_was_counted() -> None:
    left, right, udp, supervisor = started(most_paths=8, replicas=1)
    with supervisor:
        process = psutil.Process()
        files = process.num_fds()
        for number in range(500):
            path = udp.narrowed(destination_port=number, source_port=7)
            supervisor.create_path(path)
            send(left, numbered(number, ports=(7, number)))
            supervisor.delete_path(path)
        await_until(lambda: process.num_fds() <= files + 1)  # the builder may have a process now
        left.end()
        right.end()
        account = finished(supervisor)
    assert account["out"] == {"right": 500} and account["drops"] == {}
    assert entered(supervisor, udp) == 0
    assert supervisor.paths == supervisor.plan.paths


def test_there_is_room_for_so_many_paths() -> None:
    _, _, udp, supervisor = started(most_paths=5, replicas=1)
    with supervisor:
        for port in (1, 2):
            supervisor.create_path(udp.narrowed(destination_port=port))
        with pytest.raises(ScoutError, match="there is room for 5 paths; delete one"):
            supervisor.create_path(udp.narrowed(destination_port=3))
        supervisor.delete_path(supervisor.paths[-1])
        supervisor.create_path(udp.narrowed(destination_port=3))


def test_paths_that_cannot_be_are_refused_and_change_nothing() -> None:
    left, right, udp, supervisor = started(replicas=1)
    graph = supervisor.graph
    one = udp.narrowed(destination_port=53)
    cases = [
        (one, "is there already"),
        (udp.narrowed(destination_port=range(53, 54)), "take the same packets; narrow one of them"),
        (graph.create_path("left"), "takes all packets; say which packets it is to take"),
        (router(MemoryPort(LEFT), MemoryPort(RIGHT)).create_path("left", protocol="tcp"), "belongs to another graph"),
        (udp.narrowed(source="10.0.0.7").copy(), "was changed and not established"),
    ]
    with supervisor:
        supervisor.create_path(one)
        for path, words in cases:
            with pytest.raises(ScoutError, match=words):
                supervisor.create_path(path)
        with pytest.raises(ScoutError, match="it stays"):
            supervisor.delete_path(supervisor.paths[0])
        with pytest.raises(ScoutError, match="is not one of this run"):
            supervisor.delete_path(udp.narrowed(destination_port=54))
        send(left, numbered(0, ports=(1, 53)), numbered(1, ports=(1, 54)))
        left.end()
        right.end()
        finished(supervisor)
    assert (entered(supervisor, one), entered(supervisor, udp)) == (1, 1)


def test_paths_come_and_go_together_with_other_changes() -> None:
    """A gateway's route and the path for the packets to it change at one packet; of what is refused nothing is done."""
    left, right, udp, supervisor = started()
    away = {"source": "10.0.0.2", "destination": "10.9.0.1", "payload": struct.pack("!I", 0)}
    one, other = udp.narrowed(destination="10.9.0.0/16"), udp.narrowed(destination="10.9.0.0/24")
    route, neighbour = AddRoute("10.9.0.0/16", via="10.0.1.9"), SetNeighbour("right", "10.0.1.9", "02:00:00:00:00:99")
    with supervisor:
        send(left, *[frame(**away)] * 10)
        with pytest.raises(ScoutError, match="it stays"):
            supervisor.change(route, CreatePath(one), DeletePath(supervisor.paths[0]))
        with supervisor.changes() as changes:
            changes += [CreatePath(one), neighbour, route]
        send(left, *[frame(**away)] * 20)
        supervisor.change(DeletePath(one), CreatePath(other), DeleteRoute("10.9.0.0/16"))
        send(left, *[frame(**away)] * 5)
        left.end()
        right.end()
        account = finished(supervisor)
    gone = [each for each in right.sent() if each[:6].hex(":") == "02:00:00:00:00:99"]
    assert len(gone) == account["out"]["right"] == 20
    assert (entered(supervisor, other), entered(supervisor, udp)) == (5, 10)
    assert supervisor.paths[2:] == [udp, other]


def test_paths_are_as_they_were_after_a_change_that_found_no_room() -> None:
    left, _, udp, supervisor = started(replicas=1)
    one, other = udp.narrowed(destination_port=53), udp.narrowed(destination_port=53)
    with supervisor:
        supervisor.create_path(one)
        with pytest.raises(ScoutError, match="deletes it twice"):
            supervisor.change(DeletePath(one), DeletePath(one))
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)
        while left.send(numbered(0), timeout=0):
            pass
        with pytest.raises(ScoutError, match="full"):
            supervisor.change(DeletePath(one), CreatePath(other))
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        caught_up(supervisor)
        with pytest.raises(ScoutError, match="same"):  # as the first one is still there
            supervisor.create_path(other)
        supervisor.delete_path(one)
        supervisor.create_path(other)


def test_a_path_that_was_there_at_the_start_can_be_deleted_and_created_again() -> None:
    left, right, udp, supervisor = started(replicas=1)
    with supervisor:
        supervisor.delete_path(udp)
        send(left, numbered(0))
        supervisor.create_path(udp)
        send(left, numbered(1), numbered(2))
        left.end()
        right.end()
        finished(supervisor)
    assert (entered(supervisor, udp), entered(supervisor, supervisor.paths[0])) == (2, 1)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_many_paths_of_one_shape_are_compiled_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    graph = router(left, right, counting())
    udp = graph.create_path("left", **UDP_WISH)
    compiled: list[Path] = []

    def compile_one(path: Path, *options: Any) -> Any:
        compiled.append(path)
        return compile_path(path, *options)

    monkeypatch.setattr(shapes, "compile_path", compile_one)
    paths = [graph.create_path("left"), graph.create_path("right")]
    paths += [udp.narrowed(destination_port=number) for number in range(count)]
    with Supervisor(graph, paths, 1, most_paths=count + 8) as supervisor:
        send(left, *(numbered(number, ports=(1, number)) for number in range(0, count + 100, 7)))
        left.end()
        right.end()
        finished(supervisor)
    assert compiled == paths[:3]
    assert [entered(supervisor, path) for path in paths[2:16]] == [1, 0, 0, 0, 0, 0, 0] * 2
    assert entered(supervisor, paths[0]) == len(range(0, count + 100, 7)) - len(range(0, count, 7))


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        ({"protocol": "tcp"}, "protocol tcp is no part of udp"),
        ({"source": "10.0.0.0/8"}, "source 10.0.0.0/8 is no part of 10.1.0.0/16"),
        ({"source_port": range(5, 30)}, "source port 5 to 29 is no part of 10 to 19|source_port 5 to 29"),
        ({"egress": "right"}, "egress=... narrows no traffic"),
    ],
)
def test_a_part_of_the_traffic_is_not_more(traffic: Any, words: str) -> None:
    graph = router(MemoryPort(LEFT), MemoryPort(RIGHT))
    path = graph.create_path("left", protocol="udp", source="10.1.0.0/16", source_port=range(10, 20))
    assert path.narrowed(source="10.1.2.0/24").stages == path.stages
    with pytest.raises(GraphError, match=words):
        path.narrowed(**traffic)


def test_no_path_can_be_created_where_packets_are_not_told_apart() -> None:
    left, right = MemoryPort(LEFT, frames=[]), MemoryPort(RIGHT, frames=[])
    graph = router(left, right)
    with Supervisor(graph, [graph.create_path(name) for name in graph.ports], 1) as supervisor:
        with pytest.raises(ScoutError, match="give the supervisor most_paths"):
            supervisor.create_path(graph.create_path("left", protocol="udp"))
        finished(supervisor)


def test_the_control_socket_creates_and_deletes_paths(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    left, right, _, supervisor = started(replicas=1)
    name = "left, protocol udp, destination port 53"
    with ControlSocket(supervisor, "router.py") as control, supervisor:

        def shown() -> dict[str, int]:
            return {row["path"]: row["packets"] for row in ask(control.path, "show paths")["rows"]}

        (row,) = ask(control.path, "path create", {"of": "left", "protocol": "udp", "destination_port": 53})["rows"]
        assert row["path"] == name
        send(left, numbered(0, ports=(1, 53)), numbered(1, ports=(1, 54)))
        await_until(lambda: shown()[name] == 1)
        with pytest.raises(ScoutError, match="take the same packets"):
            ask(control.path, "path create", {"of": "left", "protocol": "17", "destination_port": 53})
        assert ask(control.path, "path delete", {"path": name})["rows"][0]["state"] == "is deleted"
        assert name not in shown()
        assert {row["port"]: row["received"] for row in ask(control.path, "show ports")["rows"]}["left"] == 2
        wishes = {"account": True, "weight": 7, "deadline": 0.005, "idle": 60}
        udp = "left, protocol udp"
        (row,) = ask(control.path, "path create", {"of": udp, "source_port": 9, **wishes})["rows"]
        assert {name: getattr(supervisor.memory.paths.named(row["path"]).attributes, name) for name in wishes} == wishes
        for wrong, words in (({"cpu": True}, "cpu is True"), ({"cpu": 3}, "cpu=3"), ({"queue": 3}, "queue=3")):
            with pytest.raises(ScoutError, match=words):
                ask(control.path, "path create", {"of": udp, "source_port": 10, **wrong})
        left.end()
        right.end()
        finished(supervisor)


@pytest.mark.long
def test_packets_are_discarded_at_the_port_by_a_path_of_their_own(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    left, right, udp, supervisor = started(replicas=2, report=[].append)
    with ControlSocket(supervisor, "router.py") as control, supervisor:
        wanted = {"at": "left", "protocol": "udp", "destination_port": 53}
        (row,) = ask(control.path, "discard add", wanted)["rows"]
        assert row["state"] == "discards its packets"
        send(left, *(numbered(number, ports=(1, 53 + number % 2)) for number in range(10)))
        ask(control.path, "path delete", {"path": row["path"]})
        send(left, numbered(10, ports=(1, 53)))
        with pytest.raises(ScoutError, match="discard path from 'left': say which packets it takes"):
            ask(control.path, "discard add", {"at": "left"})
        left.end()
        right.end()
        account = finished(supervisor)
    assert (account["out"], account["drops"]) == ({"right": 6}, {"discarded": 5})
    assert entered(supervisor, udp) == 6


COUNT = 3_000  # datagrams


@pytest.mark.long
@pytest.mark.parametrize("order", ["channel", "completed"])
def test_between_kernels_nothing_is_lost_or_overtaken_while_paths_come_and_go(order: str) -> None:
    """The datagrams carry numbers. At most 64 of them are under way, so that no queue overflows.

    From time to time all replicas come to the same frame: else the ring would be full where the machine has no core for
    one of them for as long as it takes to forward 2,000 frames, a tenth of a second.
    """
    with running(2, order, wishes=[{"protocol": "udp"}], most_paths=200) as run:
        assert ping(run.left, lab_router.RIGHT, 2)["received"] == 2
        udp = run.supervisor.paths[2]
        alive: list[Path] = []
        with run.left.entered():
            source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with run.right.entered():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with source, sink:
            sink.bind((lab_router.RIGHT, 4001))
            sink.settimeout(600)
            came: list[int] = []
            for number in range(COUNT):
                if number % 60 == 20:
                    alive.append(udp.narrowed(destination_port=4001, source=f"{lab_router.LEFT}/32"))
                    run.supervisor.create_path(alive[-1])
                elif number % 60 == 40:
                    run.supervisor.delete_path(alive.pop())
                source.sendto(struct.pack("!I", number), (lab_router.RIGHT, 4001))
                if number % 500 == 499:
                    caught_up(run.supervisor)
                while number - len(came) >= 64:
                    came += struct.unpack("!I", sink.recv(100))
            while len(came) < COUNT:
                came += struct.unpack("!I", sink.recv(100))
        run.settle()
        run.supervisor.stop()
        assert sorted(came) == list(range(COUNT))
        if order == "channel":
            assert came == sorted(came)
        assert run.supervisor.account()["out"]["right"] >= COUNT
        assert 0 < entered(run.supervisor, udp) < COUNT
