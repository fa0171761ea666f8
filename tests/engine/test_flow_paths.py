"""Paths that come and go with packets: stages ask for them, and idle ones end; all by changes at one request."""

import random
import struct
from typing import Any

import numpy as np
import pytest
from demux_frames import frame
from port_router import LEFT, RIGHT, finished, kill
from several import count_one, entered, numbered, numbers, router

from scout.idle_paths import IdlePaths
from scout.io.ports.memory import MemoryPort
from scout.paths.framework.events import Handler
from scout.paths.framework.path_requests import CREATE, FULL, READ, PathRequests, request_path
from scout.paths.framework.service import Service
from scout.paths.model.attributes import Attributes
from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.paths.protocols.ipv4_demux import CLASSIFIER
from scout.paths.stages.flow_paths import FlowPaths
from scout.paths.wire.ipv4 import TCP
from scout.paths.wire.tcp import RST
from scout.supervisor import Supervisor
from scout.testing import await_until

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
# Paths are idle by the packets' time and by the clock: so the idle times here are longer than a test takes.


def started(flows: FlowPaths, replicas: int = 1, **options: Any) -> Any:
    """A router with a service that counts, whose packets create paths; one for all tests is compiled once."""
    left, right = MemoryPort(LEFT, entries=256), MemoryPort(RIGHT, entries=256)
    service = Service("counting", {"seen": np.zeros(1, np.int64)}, [Handler(count_one)], "ipv4")
    graph = router(left, right, service)
    graph.add(flows)
    graph.connect(service.name, flows.name, "left")
    return left, right, Supervisor(graph, [graph.create_path(name) for name in graph.ports], replicas, **options)


def figures(supervisor: Supervisor) -> dict[str, Any]:
    (found,) = supervisor.path_requests()
    return found


def decided(supervisor: Supervisor) -> int:
    """The requests that were granted or refused."""
    return sum(figures(supervisor)[name] for name in ("created", "most_reached"))


def flow_path(supervisor: Supervisor, port: int) -> Path | None:
    """The path of the flow to an L4 port."""
    found = [path for path in supervisor.paths if path.attributes.destination_port == range(port, port + 1)]
    assert len(found) < 2
    return found[0] if found else None


@pytest.fixture(autouse=True)
def frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scout.path_keeper._MOST_IDLE", 0.05)


def looked(supervisor: Supervisor) -> None:
    """Wait until the path keeper has begun and ended a look for idle paths."""
    assert supervisor._parts
    keeper = supervisor._parts.path_keeper
    for _ in range(2):  # the first one may have begun before
        before = keeper._next_idle
        await_until(lambda before=before: keeper._next_idle != before)


def send(left: MemoryPort, *frames: bytes, at: float = 0.0) -> None:
    for each in frames:
        assert left.send(each, timestamp=NOW + int(at * SECOND), timeout=60)


def test_the_first_packet_of_a_flow_creates_its_path_and_silence_ends_it() -> None:
    left, right, supervisor = started(FlowPaths("flows", idle=5000.0))
    with supervisor:
        wide = supervisor.paths[0]
        send(left, numbered(0, ports=(1, 53)), numbered(1, ports=(1, 80)))
        await_until(lambda: figures(supervisor)["created"] == 2)
        dns, web = (flow_path(supervisor, port) for port in (53, 80))
        looked(supervisor)
        assert dns and web and dns.name.startswith("left, destination 10.0.1.2/32, source 10.0.0.2/32, protocol udp")
        send(left, *(numbered(number, ports=(1, 53)) for number in range(2, 12)), at=1000.0)
        await_until(lambda: entered(supervisor, dns) == 10)  # and no one of them asks again
        looked(supervisor)
        assert (entered(supervisor, wide), entered(supervisor, web)) == (2, 0)
        send(left, numbered(12, ports=(1, 53)), at=5500.0)
        await_until(lambda: figures(supervisor)["idle"] == 1)
        assert flow_path(supervisor, 80) is None and flow_path(supervisor, 53) is dns
        send(left, numbered(13, ports=(1, 80)), at=5600.0)  # a new flow again
        await_until(lambda: figures(supervisor)["created"] == 3)
        left.end()
        right.end()
        account = finished(supervisor)
    assert account["out"] == {"right": 14} and account["drops"] == {}
    assert figures(supervisor) == {
        "router": "flows", "paths": 2, "most": 1024, "created": 3, "ended": 0, "idle": 1, "evicted": 0,
        "known": 0, "most_reached": 0, "no_room": 0, "refused": 0, "ring_full": 0,
    }  # fmt: skip


def test_when_there_are_most_paths_flows_stay_in_the_wide_one_and_a_reset_makes_room() -> None:
    left, right, supervisor = started(FlowPaths("flows", most=2))
    with supervisor:
        wide = supervisor.paths[0]
        for number in range(4):
            send(left, numbered(number, protocol=TCP, ports=(1, 50 + number)))
            await_until(
                lambda count=number: figures(supervisor)["created"] + figures(supervisor)["most_reached"] == count + 1
            )
        assert (figures(supervisor)["paths"], figures(supervisor)["most_reached"]) == (2, 2)
        assert flow_path(supervisor, 51) and flow_path(supervisor, 52) is None
        reset = struct.pack("!IIBBHI", 4, 0, 0x50, RST, 0, 0)
        send(left, frame("10.0.0.2", "10.0.1.2", TCP, (1, 50), payload=reset))
        await_until(lambda: figures(supervisor)["ended"] == 1)
        send(left, numbered(5, protocol=TCP, ports=(1, 53)), at=1.0)
        await_until(lambda: figures(supervisor)["created"] == 3)
        assert flow_path(supervisor, 50) is None and flow_path(supervisor, 53)
        left.end()
        right.end()
        account = finished(supervisor)
    assert account["out"] == {"right": 6}
    assert entered(supervisor, wide) == 5


def test_a_full_router_evicts_the_path_that_was_idle_longest() -> None:
    left, right, supervisor = started(FlowPaths("flows", most=3, when_full="evict"))

    def alive() -> list[int]:
        return sorted(path.attributes.destination_port.start for path in supervisor.paths if path.attributes.traffic)

    with supervisor:
        wide = supervisor.paths[0]
        for number in range(3):
            send(left, numbered(number, ports=(1, 50 + number)))
            await_until(lambda count=number: figures(supervisor)["created"] == count + 1)
        looked(supervisor)
        for number, port in enumerate((50, 52), start=3):
            send(left, numbered(number, ports=(1, port)))
        await_until(lambda: sum(entered(supervisor, path) for path in supervisor.paths if path is not wide) == 2)
        send(left, numbered(5, ports=(1, 53)))
        await_until(lambda: figures(supervisor)["created"] == 4)
        assert alive() == [50, 52, 53]
        send(left, numbered(6, ports=(1, 51)), at=1.0)  # whose path is gone: it asks again, and 50 is the oldest
        await_until(lambda: figures(supervisor)["created"] == 5)
        assert alive() == [51, 52, 53]
        left.end()
        right.end()
        account = finished(supervisor)
    assert account["out"] == {"right": 7} and account["drops"] == {}
    found = figures(supervisor)
    assert (found["paths"], found["evicted"], found["most_reached"]) == (3, 2, 0)
    assert entered(supervisor, wide) == 5


def test_more_requests_than_paths_at_a_time_are_refused_though_paths_are_evicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scout.changes._LOCK_TIMEOUT", 600.0)
    left, right, supervisor = started(FlowPaths("flows", most=2, when_full="evict"))
    with supervisor:
        assert supervisor._parts
        with supervisor._parts.changes.paused():  # so that a round of the path keeper finds many requests
            send(left, *(numbered(number, ports=(1, 50 + number)) for number in range(9)))
            await_until(lambda: entered(supervisor, supervisor.paths[0]) == 9)
        await_until(lambda: sum(figures(supervisor)[name] for name in ("created", "most_reached", "no_room")) == 9)
        left.end()
        right.end()
        assert finished(supervisor)["out"] == {"right": 9}
    found = figures(supervisor)
    assert found["paths"] <= 2 and found["created"] - found["evicted"] == found["paths"]
    assert found["most_reached"] > 0


def test_requests_are_answered_though_no_change_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scout.changes._LOCK_TIMEOUT", 0.01)
    left, right, supervisor = started(FlowPaths("flows"))
    with supervisor:
        send(left, numbered(0, protocol=TCP, ports=(1, 50)))
        await_until(lambda: figures(supervisor)["created"] == 1)
        assert supervisor._parts
        with supervisor._parts.changes.paused():
            reset = struct.pack("!IIBBHI", 4, 0, 0x50, RST, 0, 0)
            send(left, frame("10.0.0.2", "10.0.1.2", TCP, (1, 50), payload=reset))
            send(left, numbered(1, protocol=TCP, ports=(1, 51)))
            await_until(lambda: figures(supervisor)["no_room"] == 1)
        await_until(lambda: figures(supervisor)["ended"] == 1)
        send(left, numbered(2, protocol=TCP, ports=(1, 51)), at=1.0)
        await_until(lambda: figures(supervisor)["created"] == 2)
        left.end()
        right.end()
        finished(supervisor)


def test_fragments_have_no_l4_ports_and_stay_and_destinations_can_have_paths_too() -> None:
    left, right, supervisor = started(FlowPaths("flows", by=("destination",), account=True))
    with supervisor:
        send(left, numbered(0, ports=(1, 53)))
        await_until(lambda: figures(supervisor)["created"] == 1)
        path = supervisor.paths[-1]
        assert str(path.attributes) == "destination 10.0.1.2/32" and path.attributes.account
        send(left, *(numbered(number, ports=(1, 60 + number)) for number in range(1, 6)))
        await_until(lambda: entered(supervisor, path) == 5)
        left.end()
        right.end()
        finished(supervisor)
    requests = PathRequests("flows", ("source_port",), 1, {}, {})
    assert requests.mask(CLASSIFIER.fields) == (0, 0xFFFF << 16, 1 << 46)


@pytest.mark.parametrize("killed", [4, pytest.param(0, marks=pytest.mark.long)])
def test_replicas_agree_though_packets_create_paths(killed: int) -> None:
    """The service is on all paths, so that every packet counts once; replicas die and are replaced meanwhile."""
    left, right, supervisor = started(FlowPaths("flows", most=64, idle=3.0), 2, report=[].append)
    chance = random.Random(3)
    with supervisor:
        for number in range(4_000):
            if killed and number % (4_000 // killed) == 100:
                kill(supervisor, number // (4_000 // killed) % 2)
            send(left, numbered(number, ports=(1, number // 50 + chance.randrange(8))), at=number / 50)
        left.end()
        right.end()
        assert supervisor.wait(600)
        assert [int(supervisor.table("counting.seen", replica)[0]) for replica in (0, 1)] == [4_000, 4_000]
        assert supervisor.failures == [] and supervisor.diverged() == []
        assert figures(supervisor)["created"] > 0
    assert set(numbers(right.sent())) == set(range(4_000))


def test_an_idle_path_of_ones_own_ends_and_its_packets_go_to_the_wider_one() -> None:
    left, right = MemoryPort(LEFT, entries=256), MemoryPort(RIGHT, entries=256)
    graph = router(left, right)
    udp = graph.create_path("left", protocol="udp")
    paths = [graph.create_path("left"), graph.create_path("right"), udp]
    with Supervisor(graph, paths, 1, most_paths=8) as supervisor:
        brief, lasting = (udp.narrowed(destination_port=53, idle=2000.0), udp.narrowed(destination_port=54))
        for path in (brief, lasting):
            supervisor.create_path(path)
        send(left, *(numbered(number, ports=(1, 53 + number % 2)) for number in range(10)))
        await_until(lambda: entered(supervisor, brief) == entered(supervisor, lasting) == 5)
        looked(supervisor)
        send(left, numbered(10, ports=(1, 99)), at=1000.0)
        await_until(lambda: entered(supervisor, udp) == 1)
        assert brief in supervisor.paths
        send(left, numbered(11, ports=(1, 99)), at=4000.0)
        await_until(lambda: brief not in supervisor.paths)
        send(left, numbered(12, ports=(1, 53)), at=4100.0)
        await_until(lambda: entered(supervisor, udp) == 3)
        assert lasting in supervisor.paths
        left.end()
        right.end()
        assert finished(supervisor)["out"] == {"right": 13}


def test_the_first_packet_tells_the_time_and_ends_no_path() -> None:
    left, right = MemoryPort(LEFT, entries=256), MemoryPort(RIGHT, entries=256)
    graph = router(left, right)
    udp = graph.create_path("left", protocol="udp")
    paths = [graph.create_path("left"), graph.create_path("right"), udp]
    with Supervisor(graph, paths, 1, most_paths=8) as supervisor:
        quiet = udp.narrowed(destination_port=53, idle=1000.0)
        supervisor.create_path(quiet)
        idle = IdlePaths(supervisor.channels, supervisor.memory)
        await_until(lambda: supervisor.memory.now(supervisor.channels[0][0]) > 0)  # by the supervisor's clock
        assert idle.find() == []
        send(left, numbered(0, ports=(1, 99)))
        await_until(lambda: entered(supervisor, udp) == 1)
        assert idle.find() == []
        looked(supervisor)
        send(left, numbered(1, ports=(1, 99)), at=4000.0)
        await_until(lambda: quiet not in supervisor.paths)


def test_a_full_ring_counts_what_it_refuses() -> None:
    requests = PathRequests("flows", ("destination",), 10, {}, {})
    rows, progress = requests.requests.initial.view(np.recarray), requests.progress.initial
    assert [request_path(rows, progress, CREATE, 1, number, 0) for number in range(len(rows))] == [1] * len(rows)
    assert request_path(rows, progress, CREATE, 1, -1, 0) == 0 and progress[FULL] == 1
    progress[READ] = 1
    assert request_path(rows, progress, CREATE, 1, -2, 0) == 1
    assert rows["word_0"][:2].tolist() == [-2, 1]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(GraphError, match=r"flows: by 'colour': give attributes of packets"):
        FlowPaths("flows", by=("colour",))
    with pytest.raises(GraphError, match=r"flows: protocol=... is no wish for a path; give weight"):
        FlowPaths("flows", protocol="udp")
    with pytest.raises(GraphError, match=r"flows: 0 paths by 5 attributes"):
        FlowPaths("flows", most=0)
    with pytest.raises(GraphError, match=r"flows: when_full='wait'; give refuse or evict"):
        FlowPaths("flows", when_full="wait")
    with pytest.raises(GraphError, match=r"idle=-1; give seconds"):
        FlowPaths("flows", idle=-1)
    with pytest.raises(GraphError, match=r"it takes all packets .* and stays; leave idle=... out"):
        Attributes.checked("left", idle=1.0)
