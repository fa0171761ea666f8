"""Several paths from one port, run by replicas: each packet goes through its own path, and is counted there."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from demux_frames import PORTS, frame, takes
from port_router import LEFT, RIGHT, finished, kill, reply
from several import count_one, entered, numbered, numbers, router

from scout.io.ports.memory import MemoryPort
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.path import Path
from scout.paths.wire.ipv4 import ICMP, TCP, UDP
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.testing import await_until


def mixed(count: int, seed: int = 1) -> list[bytes]:
    """Frames of many kinds in no order; some are too short."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        ports = chance.choice(PORTS), chance.choice(PORTS)
        fragment = chance.choice([0, 0, 0, 0x2000, 7])
        whole = numbered(number, protocol=chance.choice([ICMP, TCP, UDP]), ports=ports, fragment=fragment)
        found.append(whole if chance.random() < 0.95 else whole[: chance.randrange(1, 40)])
    return found


def best(paths: list[Path], data: bytes) -> Path | None:
    """The first of these paths that takes a frame, or the one that takes all."""
    return next((path for path in paths if not path.attributes.traffic or takes(path.attributes, data)), None)


WISHES: list[dict[str, Any]] = [  # the narrowest first
    {"protocol": "udp", "source_port": 53, "destination_port": 53},
    {"protocol": "udp", "destination_port": range(5060, 5064)},
    {"protocol": "tcp", "destination": "10.0.1.2"},
    {"protocol": "icmp"},
]


@pytest.mark.parametrize("order", ["channel", pytest.param("completed", marks=pytest.mark.long)])
def test_each_packet_goes_through_its_own_path(order: str) -> None:
    given = mixed(4_000)
    left, right = MemoryPort(LEFT, frames=given), MemoryPort(RIGHT, frames=[])
    graph = router(left, right)
    special = [graph.create_path("left", order=order, **wish) for wish in WISHES]
    special.insert(1, graph.discard_path("left", protocol="udp", destination_port=53))
    paths = [*special, graph.create_path("left", order=order), graph.create_path("right", order=order)]
    with Supervisor(graph, paths, 2) as supervisor:
        account = finished(supervisor)
    wanted = Counter(best(paths[:-1], data) for data in given)
    assert {path.name: entered(supervisor, path) for path in paths} == {path.name: wanted[path] for path in paths}
    assert all(wanted[path] for path in paths[:-1])
    assert account["received"] == len(given)
    assert account["drops"]["discarded"] == wanted[special[1]]
    sent = numbers(right.sent())
    if order == "channel":
        assert sent == sorted(sent)
    assert supervisor.counters(special[0].name) == supervisor.counters(special[0])
    assert sum(supervisor.counters(special[0], 0).values()) + sum(supervisor.counters(special[0], 1).values()) == sum(
        supervisor.counters(special[0]).values()
    )


def test_packets_that_are_discarded_tell_the_time_too() -> None:
    """As in a recording, where only packets do."""
    given = [(numbered(second, ports=(1, port)), second * 10**9) for second, port in ((1, 54), (2, 53), (3, 53))]
    left, right = MemoryPort(LEFT, frames=given), MemoryPort(RIGHT, frames=[])
    graph = router(left, right)
    closed = graph.discard_path("left", protocol="udp", destination_port=53)
    paths = [closed, *(graph.create_path(port, order="channel") for port in ("left", "right"))]
    with Supervisor(graph, paths, 1) as supervisor:
        account = finished(supervisor)
        assert int(supervisor.memory.holds["now"][0]) == 3 * 10**9
    assert (account["out"], account["drops"]) == ({"right": 1}, {"discarded": 2})


def test_packets_that_no_path_takes_are_dropped_and_counted() -> None:
    given = mixed(1_000)
    left, right = MemoryPort(LEFT, frames=given), MemoryPort(RIGHT, frames=[])
    graph = router(left, right)
    paths = [graph.create_path("left", **WISHES[2]), graph.create_path("right")]
    with Supervisor(graph, paths, 2, most_paths=8) as supervisor:  # as in test_live_paths.py: it is compiled once
        account = finished(supervisor)
    assert account["drops"]["no-path"] == sum(not takes(paths[0].attributes, data) for data in given)
    assert entered(supervisor, paths[0]) == sum(takes(paths[0].attributes, data) for data in given)


def test_held_packets_come_back_to_their_own_paths() -> None:
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    graph = router(left, right)
    paths = [graph.create_path(name) for name in ("left", "right")]
    paths += [graph.create_path("left", protocol="udp", destination_port=port) for port in (53, 54, 55)]
    given = [frame("10.0.0.2", "10.0.1.77", ports=(1, port)) for port in (53, 54, 55, 56) for _ in range(port - 50)]
    with Supervisor(graph, paths, 1, most_paths=8) as supervisor:
        for each in given:
            assert left.send(each)
        await_until(lambda: supervisor.memory.holds["held"].sum() == len(given))
        right.send(reply("10.0.1.77"))
        await_until(lambda: len(right.sent()) > len(given))  # with the question for the address
        left.end()
        right.end()
        account = finished(supervisor)
    assert account["out"] == {"right": len(given)}
    for path, count in zip(paths[2:], (3, 4, 5), strict=True):
        assert (
            entered(supervisor, path) == path.account(supervisor.memory.paths.counters(path))["out"]["right"] == count
        )
        assert supervisor.counters(path)["arp.resolve held"] == 0


def without(path: Path, node: str) -> Path:
    """A path in which packets pass by a stage, whose first outcome they take."""
    changed = path.copy()
    changed.remove(node)
    return changed.establish()


@pytest.mark.parametrize("killed", [6, pytest.param(0, marks=pytest.mark.long)])
def test_a_service_on_one_path_sees_its_packets_alone_and_replicas_agree(killed: int) -> None:
    """Also if replicas die: their successors find the same paths again."""
    given = mixed(3_000)
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    service = Service("counting", {"seen": np.zeros(1, np.int64)}, [Handler(count_one)], "ipv4")
    graph = router(left, right, service)
    voice = graph.create_path("left", protocol="udp")
    rest = without(graph.create_path("left"), "counting.receive")
    assert "counting.receive" in voice and "counting.receive" not in rest
    paths = [voice, rest, graph.create_path("right")]
    with Supervisor(graph, paths, 2, most_paths=8, report=[].append) as supervisor:
        for turn in range(max(killed, 1)):
            part = len(given) // max(killed, 1)
            if killed:
                kill(supervisor, turn % 2)
            for each in given[turn * part : (turn + 1) * part]:
                assert left.send(each, timeout=600)
        left.end()
        right.end()
        assert supervisor.wait(600)
        seen = [int(supervisor.table("counting.seen", replica)[0]) for replica in (0, 1)]
        assert supervisor.failures == []
    passed = supervisor.flows(voice)["left.ipv4", "counting.receive"]
    if not killed:
        assert seen == [passed, passed]
        assert entered(supervisor, rest) == sum(not takes(voice.attributes, data) for data in given)
    wanted = sum(takes(voice.attributes, data) for data in given)
    assert seen[0] == seen[1] <= wanted


def test_two_paths_for_the_same_packets_are_refused() -> None:
    graph = router(MemoryPort(LEFT), MemoryPort(RIGHT))
    paths = [graph.create_path("left", destination_port=53), graph.create_path("left", destination_port=range(53, 54))]
    with pytest.raises(
        ScoutError, match=r"destination port 53' and .* take the same packets; leave one out, or narrow"
    ):
        Supervisor(graph, paths, 1)


def test_packets_that_no_router_tells_apart_are_refused() -> None:
    graph = router(MemoryPort(LEFT), MemoryPort(RIGHT))
    with pytest.raises(ScoutError, match="no router above it tells packets apart by source 2001:db8::/32"):
        Supervisor(graph, [graph.create_path("left", source="2001:db8::/32")], 1)
