"""Several ports on one channel: one order of all their requests, the same in every replica."""

import os
import random
import signal
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from folding import GATE, Out, linger
from port_router import kill

from scout.io.access import load64
from scout.io.ports.memory import MemoryPort
from scout.membership import Membership
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.table import Table
from scout.paths.stages.requests import End, Requests
from scout.paths.wire.flow import mix
from scout.ring.segment import shared
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.bench.soak import FINISHED, STATE, finish

ROOM = 1 << 15
LOG = np.dtype([("port", "i8"), ("number", "i8")])


def note(frame, end, packet, state, log):
    """Note the port and the number of a request, which is its payload, at its position in the order of all."""
    position, number = state[0].requests, load64(frame, 0)
    log[position].port, log[position].number = packet.port, number
    state[0].digest = mix(state[0].digest ^ number << 8 ^ packet.port)
    state[0].requests += 1
    return 0


def ports(count=2, **options):
    return [MemoryPort(f"02:00:00:00:00:{number:02x}", **options) for number in range(1, count + 1)]


def noting(inputs, *between, end=None):
    """A graph in which the requests of all inputs, `in0` and so on, are noted by one service; their paths.

    `between` are services that stand on the input of the same number.
    """
    graph = RouterGraph("sequenced")
    state = {"state": np.zeros(1, STATE), "log": np.zeros(ROOM, LOG)}
    service = graph.add(
        Service(
            "noting",
            state,
            [Handler(note), Handler(finish, run="primary")],
            "request",
            sequenced=True,
            finished=Table(shared(ROOM, FINISHED), "shared"),
        )
    )
    graph.add(end or End("done", "request"))
    names = [graph.add(Requests(f"in{number}", port)).name for number, port in enumerate(inputs)]
    graph.connect(end.name if end else "done", "noting")
    for index, name in enumerate(names):
        if index < len(between):
            graph.add(between[index])
            graph.connect("noting", between[index].name, name)
        else:
            graph.connect("noting", name)
    return graph, service, names


def pattern(count, seed=1):
    """Which of two ports sends next: single requests and bursts, longer than a batch too."""
    chance, found = random.Random(seed), []
    while len(found) < count:
        found += [chance.randrange(2)] * chance.choice((1, 1, 2, 7, 40))
    return found[:count]


def check(supervisor, service, order, replicas=(0, 1)):
    """All replicas have noted the requests of these ports in this order, and have the state that comes of it."""
    digest = 0
    for port, number in order:
        digest = mix(digest ^ number << 8 ^ port)
    for replica in replicas:
        assert supervisor.table(service.tables["state"], replica).tolist() == [(len(order), digest)]
        assert supervisor.table(service.tables["log"], replica)[: len(order)].tolist() == order
    assert supervisor.diverged() == []
    assert len(supervisor.channels) == 1


def numbered(number):
    """The payload of a request."""
    return number.to_bytes(8, "big")


def send(inputs, sequence, first=0):
    """Send a request to these ports one after the other; what was sent, as it is noted."""
    for number, port in enumerate(sequence, first):
        assert inputs[port].send(numbered(number), timestamp=number, timeout=600)
    return [(port, number) for number, port in enumerate(sequence, first)]


@contextmanager
def stopped(supervisor):
    """While no replica runs, so that all that is sent waits and is dequeued in whole batches."""
    for replica in supervisor.taking_part:
        os.kill(supervisor.processes[replica].pid, signal.SIGSTOP)
    yield
    for replica in supervisor.taking_part:
        os.kill(supervisor.processes[replica].pid, signal.SIGCONT)


def idle(supervisor):
    """Wait until all that was sent has been dealt with."""
    ((channel, _),) = supervisor.channels
    await_until(lambda: not any(channel.lag(replica) for replica in supervisor.taking_part))


def ended(supervisor, inputs):
    for port in inputs:
        port.end()
    assert supervisor.wait(600)


def test_two_ports_have_one_order():
    inputs = ports(entries=256)
    graph, service, names = noting(inputs)
    with Supervisor(graph, [graph.create_path(name) for name in names], 2) as supervisor:
        order = send(inputs, pattern(17_000))
        for turn in range(20):
            idle(supervisor)
            with stopped(supervisor):
                order += send(inputs, pattern(150, turn), len(order))
        ended(supervisor, inputs)
        check(supervisor, service, order)
    assert supervisor.account() == {"received": 20_000, "out": {}, "ended": {"done": 20_000}, "drops": {}}
    assert (supervisor.table(service.bindings["finished"], 0)["times"][:20_000] == 1).all()
    figures = supervisor.replica_figures()
    assert [row["seen"] for row in figures] == [20_000] * 2
    assert sum(row["primary"] for row in figures) == 20_000
    for index, name in enumerate(names):
        path = supervisor.paths[index]
        (came,) = [flow for (tail, _), flow in supervisor.flows(path).items() if tail == f"port {name}"]
        assert came == sum(port == index for port, _ in order)


def test_ports_that_are_fed_at_the_same_time_have_one_order():
    count = 10_000
    inputs = ports(entries=256, frames=[(numbered(number), number) for number in range(count)])
    graph, service, names = noting(inputs)
    with Supervisor(graph, [graph.create_path(name) for name in names], 2) as supervisor:
        assert supervisor.wait(600)
        order = supervisor.table(service.tables["log"], 0)[: 2 * count].tolist()
        check(supervisor, service, order)
    for index in range(2):
        assert [number for port, number in order if port == index] == list(range(count))


def test_a_killed_replica_has_a_successor_that_sees_the_same_order():
    inputs = ports(entries=256)
    graph, service, names = noting(inputs)
    order = []
    with Supervisor(graph, [graph.create_path(name) for name in names], 2, report=[].append) as supervisor:
        for turn in range(10):
            order += send(inputs, pattern(1500, turn), len(order))
            idle(supervisor)
            with stopped(supervisor):
                order += send(inputs, pattern(150, turn), len(order))
            kill(supervisor, turn % 2)
        ended(supervisor, inputs)
        check(supervisor, service, order)
    finished = supervisor.table(service.bindings["finished"], 0)["times"][: len(order)]
    assert finished.min() >= 1 and (finished > 1).sum() <= 10 * 32  # done again: at most a batch for each death
    assert sum(row["replayed"] for row in supervisor.replica_figures()) > 0


def test_the_run_is_at_its_end_only_when_a_replica_that_died_has_a_successor_that_has_done_all(monkeypatch):
    inputs = ports(entries=256)
    graph, service, names = noting(inputs)
    with Supervisor(graph, [graph.create_path(name) for name in names], 2, report=[].append) as supervisor:
        order = send(inputs, pattern(1500))
        idle(supervisor)
        with monkeypatch.context() as patch:
            rounds = []
            # The death is seen, and nothing done about it.
            patch.setattr(Membership, "_replace_or_retire", lambda *arguments: rounds.append(arguments) or [])
            kill(supervisor, 1)
            await_until(lambda: not supervisor.processes[1].is_alive())
            for port in inputs:
                port.end()
            rounds.clear()
            await_until(lambda: len(rounds) > 2)
            assert not supervisor.wait(0)
        assert supervisor.wait(600)
        check(supervisor, service, order)
        assert supervisor.replica_figures()[1]["replayed"] > 0


def test_a_replica_that_dies_at_the_end_of_the_run_keeps_its_state():
    inputs = ports(entries=256)
    graph, service, names = noting(inputs)
    said = []
    with Supervisor(graph, [graph.create_path(name) for name in names], 2, report=said.append) as supervisor:
        order = send(inputs, pattern(1500))
        ended(supervisor, inputs)
        process = supervisor.processes[1]
        kill(supervisor, 1)
        await_until(lambda: not process.is_alive())
        await_until(lambda: supervisor.taking_part == [0])
        await_until(lambda: "the run is at its end" in "".join(said))  # told afterwards
        assert supervisor.processes[1] is process
        check(supervisor, service, order)


def test_replicas_join_and_leave():
    inputs = ports(entries=256)
    graph, service, names = noting(inputs)
    with Supervisor(graph, [graph.create_path(name) for name in names], 1, report=[].append) as supervisor:
        order = send(inputs, pattern(3000))
        assert supervisor.add_replica() == 1
        order += send(inputs, pattern(3000, 2), len(order))
        assert supervisor.add_replica() == 2
        order += send(inputs, pattern(3000, 3), len(order))
        supervisor.remove_replica(0)
        order += send(inputs, pattern(3000, 4), len(order))
        ended(supervisor, inputs)
        check(supervisor, service, order, (1, 2))
    assert (supervisor.table(service.bindings["finished"], 0)["times"][: len(order)] == 1).all()
    assert supervisor.account()["ended"] == {"done": len(order)}


@pytest.mark.parametrize(
    "orders", [("completed", "channel"), pytest.param(("channel", "channel"), marks=pytest.mark.long)]
)
def test_requests_of_all_ports_leave_in_the_order_of_the_channel(orders):
    """Also if one path alone was to have it; and once, though replicas die in between."""
    inputs, out = ports(entries=256), MemoryPort("02:00:00:00:00:09", frames=[])
    graph, _, names = noting(inputs, end=Out("last"))
    graph.add(Requests("out", out))
    paths = [graph.create_path(name, order=order) for name, order in zip(names, orders, strict=True)]
    wanted = []
    with Supervisor(graph, paths, 2, report=[].append) as supervisor:
        for turn in range(6):
            for count in (850, 150):
                idle(supervisor)
                with stopped(supervisor) if count == 150 else nullcontext():
                    for port in pattern(count, turn):
                        wanted.append(len(wanted).to_bytes(8, "big"))
                        assert inputs[port].send(wanted[-1], timestamp=len(wanted), timeout=600)
            if turn % 2:
                kill(supervisor, turn // 2 % 2)
        ended(supervisor, inputs)
        assert supervisor.diverged() == []
    assert out.sent() == wanted
    assert supervisor.account() == {"received": 6000, "out": {"out": 6000}, "ended": {}, "drops": {}}


@pytest.mark.long
@pytest.mark.parametrize("order", ["channel", "completed"])
def test_a_batch_of_several_ports_whose_primary_dies_over_it_leaves_once(order):
    """A primary dies in the third of its batch's runs of one port: it has sent nothing, its successor sends all."""
    inputs, out = ports(), MemoryPort("02:00:00:00:00:09", frames=[])
    gate = Table(shared(1, GATE), "shared")
    graph = RouterGraph("gate")
    state = {"seen": np.zeros(1, STATE)}
    handlers = [Handler(count), Handler(linger, run="primary")]
    service = graph.add(Service("lingering", state, handlers, "request", sequenced=True, gate=gate))
    graph.add(Out("last"))
    names = [graph.add(Requests(f"in{number}", port)).name for number, port in enumerate(inputs)]
    graph.add(Requests("out", out))
    graph.connect("last", "lingering", "in0")
    graph.connect("lingering", "in1")
    paths = [graph.create_path(name, order=order) for name in names]
    with Supervisor(graph, paths, 2, report=[].append) as supervisor:
        held = supervisor.table(gate, 0)
        held["number"] = 7  # in the third run
        with stopped(supervisor):
            wanted = [bytes([number]) for number in range(12)]
            for number, port in enumerate((0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1)):
                assert inputs[port].send(wanted[number], timestamp=number)
        ((channel, _),) = supervisor.channels
        await_until(lambda: ((channel.cursors["primary"] != 0) & (channel.cursors["open"] != 0)).any())
        (primary,) = [replica for replica in range(2) if channel.cursors[replica]["primary"]]
        assert out.sent() == []
        os.kill(supervisor.processes[primary].pid, signal.SIGKILL)
        held["number"] = -1
        ended(supervisor, inputs)
        assert supervisor.diverged() == []
        for replica in range(2):
            assert supervisor.table(service.tables["seen"], replica)["requests"] == 12
    assert out.sent() == wanted
    assert out.transmits["sent"].sum() == 12
    assert supervisor.account() == {"received": 12, "out": {"out": 12}, "ended": {}, "drops": {}}


def count(frame, end, packet, seen):
    seen[0].requests += 1
    seen[0].digest = mix(seen[0].digest ^ packet.timestamp)
    return 0


def test_services_on_either_path_get_control_requests_at_one_position():
    inputs = ports(entries=256)
    between = [
        Service(name, {"seen": np.zeros(1, STATE)}, [Handler(count)], "request") for name in ("at_one", "at_other")
    ]
    graph, service, names = noting(inputs, *between)
    order, wanted = [], [[0, 0], [0, 0]]
    with Supervisor(graph, [graph.create_path(name) for name in names], 2) as supervisor:
        for turn, bound in enumerate([(1, 1), (0, 1), (0, 0), (1, 0), (1, 1)]):
            for told, is_bound in zip(between, bound, strict=True):
                supervisor.bind(told, *(["count"] if is_bound else []))
            more = send(inputs, pattern(500, turn), len(order))
            for port, number in more:
                if bound[port]:
                    wanted[port][0] += 1
                    wanted[port][1] = mix(wanted[port][1] ^ number)
            order += more
        ended(supervisor, inputs)
        check(supervisor, service, order)
    for told, numbers in zip(between, wanted, strict=True):
        for replica in range(2):
            assert supervisor.table(told.tables["seen"], replica).tolist() == [tuple(numbers)]
    assert supervisor.account()["ended"] == {"done": len(order), "control": 10}


@pytest.mark.long
@pytest.mark.parametrize("schedule", ["priority", "deadline"])
def test_a_channel_has_the_greatest_weight_and_the_smallest_deadline_of_its_paths(schedule):
    inputs = ports(3, batch=1)
    graph = RouterGraph("weights")
    log = {"state": np.zeros(1, STATE), "log": np.zeros(ROOM, LOG)}
    last = graph.add(Service("last", log, [Handler(note)], "request"))
    graph.add(Service("strict", {"seen": np.zeros(1, STATE)}, [Handler(count)], "request", sequenced=True))
    graph.add(End("done", "request"))
    names = [graph.add(Requests(f"in{number}", port)).name for number, port in enumerate(inputs)]
    graph.connect("done", "last", "strict", "in0")
    graph.connect("strict", "in1")
    graph.connect("last", "in2")
    given = {"in0": (1, 10.0), "in1": (3, 0.001), "in2": (2, 1.0)}
    paths = [graph.create_path(name, weight=given[name][0], deadline=given[name][1]) for name in names]
    with Supervisor(graph, paths, 1, schedule=schedule) as supervisor:
        assert [[path.source for path in paths] for _, paths in supervisor.channels] == [["in0", "in1"], ["in2"]]
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)  # until all are there
        for port in (2, 0, 1):
            for _ in range(16):
                assert inputs[port].send(b"request", timestamp=1)
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        ended(supervisor, inputs)
    noted = supervisor.table(last.tables["log"], 0)["port"][:48].tolist()
    assert noted == [0] * 16 + [1] * 16 + [2] * 16


def test_time_passes_by_itself_where_all_packets_come_now():
    def ticks(*ports):
        for index, port in enumerate(ports):
            port.open(index)
        return ports[0].channel(dict(enumerate(ports)), 1, False).ticks

    assert ticks(*ports())
    assert ticks(*ports(1), MemoryPort("02:00:00:00:00:03", frames=[]))  # at its end
    assert not ticks(MemoryPort("02:00:00:00:00:03", frames=[]))
    one, other = ports()
    assert ticks(one, other)
    one.end()
    assert other._feed.ticks
    other.end()
    assert not other._feed.ticks


def test_a_frame_is_too_long_by_its_own_port():
    inputs = [MemoryPort("02:00:00:00:00:01", mtu=100), MemoryPort("02:00:00:00:00:02", mtu=200)]
    graph, service, names = noting(inputs)
    with Supervisor(graph, [graph.create_path(name) for name in names], 1) as supervisor:
        for port, size in ((0, 100), (1, 200)):
            assert inputs[port].send(numbered(size).ljust(size + 18, b"x"))
            assert not inputs[port].send(numbered(size).ljust(size + 19, b"x"))
        ended(supervisor, inputs)
        check(supervisor, service, [(0, 100), (1, 200)], [0])
    assert supervisor.account() == {"received": 4, "out": {}, "ended": {"done": 2}, "drops": {"too-long": 2}}
