"""Packets that a stage makes besides the one at hand: in the plain run, in the compiled loop, and when replicas die."""

import os
import re
import signal

import numpy as np
import pytest
from emitting import MOST, Maker, Out, emitting, made, make, request, wanted
from port_router import kill

from scout.io.ports.memory import MemoryPort
from scout.paths.compiler.trace import trace
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError
from scout.paths.model.stage import Emission, Exit, Outcome, Stage
from scout.paths.model.table import Table
from scout.ring.atomics import load64_acquire, pause, store64_release
from scout.ring.segment import shared
from scout.supervisor import Supervisor
from scout.testing import await_until

COUNTS = [0, 1, 2, 3, 20, MOST, 0, 7]


def test_the_plain_run_makes_them_when_it_is_told_to():
    graph, _, _ = emitting()
    path = graph.create_path("maker")
    assert path.emit() == []
    for count in COUNTS:
        assert path.run(request(count), timestamp=5)[0] == "done"
    packets = path.emit(timestamp=9)
    assert {leaf for leaf, _ in packets} == {"to out"}
    assert made(data for _, data in packets) == wanted(COUNTS)
    assert {int.from_bytes(data[16:]) for _, data in packets} == {9}
    assert path.emit() == []


def test_a_trace_shows_them_behind_the_packet():
    graph, _, _ = emitting()
    path = graph.create_path("maker")
    assert [step.stage for step in trace(path, request(2))] == ["maker.in", "maker.make", "maker.make"]


def test_explanation_and_picture_show_where_they_begin():
    graph, _, _ = emitting()
    path = graph.create_path("maker")
    assert "makes packets that begin at maker.make" in path.explain()
    assert path.merged().edges["maker.in", "maker.make"]["dashed"]
    assert path.main_line == ["maker.in"] and path.replicated == {"maker.in"}


@pytest.mark.parametrize("order", ["channel", pytest.param("completed", marks=pytest.mark.long)])
@pytest.mark.parametrize("replicas", [1, 2])
def test_every_packet_is_made_once(order, replicas):
    graph, port, out = emitting()
    path = graph.create_path("maker", order=order)
    counts = COUNTS * 40
    with Supervisor(graph, [path], replicas) as supervisor:
        for number, count in enumerate(counts):
            assert port.send(request(count), timestamp=number, timeout=600)
        port.end()
        assert supervisor.wait(600)
        packets = made(out.sent())
        assert supervisor.diverged() == []
    assert (packets if order == "channel" else sorted(packets)) == wanted(counts)
    account = {"received": len(counts), "made": sum(counts), "out": {"out": sum(counts)}}
    assert supervisor.account() == account | {"ended": {"done": len(counts)}, "drops": {}}


@pytest.mark.parametrize("order", ["channel", "completed"])
def test_the_successor_of_a_primary_that_dies_makes_them_again(order):
    graph, port, out = emitting()
    path = graph.create_path("maker", order=order)
    counts = COUNTS * 60
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        for number, count in enumerate(counts):
            if number % 80 == 40:
                kill(supervisor, number // 80 % 2)
            assert port.send(request(count), timestamp=number, timeout=600)
        port.end()
        assert supervisor.wait(600)
        packets = made(out.sent())
        states = [supervisor.table("maker.state", replica).tolist() for replica in supervisor.taking_part]
        assert supervisor.diverged() == []
    assert set(packets) == set(wanted(counts))
    assert states == [[(len(counts), sum(counts))]] * 2
    assert supervisor.failures == []


@pytest.mark.parametrize("order", ["channel", "completed"])
def test_a_primary_dies_among_the_packets_that_it_makes(order):
    graph, port, out = emitting()
    maker = graph.router("maker")
    gate, reached = Table(shared(1, np.int64), "shared"), Table(shared(1, np.int64), "shared")

    def wait_and_make(frame, end, packet, outbox, queue, waiting, gate, reached):
        if queue[0].taken == 2 * MOST:
            store64_release(reached.ctypes.data, 1)  # pairs with the test's load: it may kill now
            while load64_acquire(gate.ctypes.data) == 0:  # pairs with the test's store
                pause()
        return make(frame, end, packet, outbox, queue, waiting)

    class Gated(Maker):
        def stage(self, key, graph, attributes):
            stage = super().stage(key, graph, attributes)
            if key == "make":
                given = dict(stage.bindings) | {"gate": gate, "reached": reached}
                return Stage(wait_and_make, stage.outcomes, given, resizes=True)
            return stage

    maker.__class__ = Gated
    counts = [MOST] * 6
    with Supervisor(graph, [graph.create_path("maker", order=order)], 1, report=[].append) as supervisor:
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)  # so that all are one batch
        for number, count in enumerate(counts):
            assert port.send(request(count), timestamp=number, timeout=600)
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        await_until(lambda: supervisor.table("maker.reached")[0])
        os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        supervisor.table("maker.gate")[0] = 1
        port.end()
        assert supervisor.wait(600)
        packets = made(out.sent())
    assert packets == wanted(counts)[:256] + wanted(counts)  # a round had left


def test_they_have_the_record_of_their_path_where_packets_are_told_apart():
    graph, port, out = emitting()
    paths = [graph.create_path("maker")]
    with Supervisor(graph, paths, 2, most_paths=4) as supervisor:
        for number in range(50):
            assert port.send(request(3), timestamp=number, timeout=600)
        await_until(lambda: len(out.sent()) == 150)
        assert sum(paths[0].account(supervisor.memory.paths.counters(paths[0]))["out"].values()) == 150
        port.end()
        assert supervisor.wait(600)


def test_a_stage_that_makes_none_though_they_wait_does_not_stop_the_replica():
    graph, port, out = emitting()
    maker = graph.router("maker")

    def lazy(frame, end, waiting):
        return 0

    class Lazy(Maker):
        def stage(self, key, graph, attributes):
            if key == "make":
                return Stage(lazy, (Outcome("made", Exit()),), {"waiting": self.waiting})
            return super().stage(key, graph, attributes)

    maker.__class__ = Lazy
    path = graph.create_path("maker")
    path.run(request(5))
    assert [leaf for leaf, _ in path.emit()] == ["made"]
    with Supervisor(graph, [path], 1) as supervisor:
        assert port.send(request(5)) and port.send(request(0))
        port.end()
        assert supervisor.wait(600)
    assert out.sent() == []


def _graph(**stage):
    """A path whose stage is bound and emits as told."""
    waiting = Table(np.zeros(1, np.int64), "private")

    def take(frame, end, waiting):
        waiting[0] += 1
        return 0

    def make(frame, end, waiting):
        waiting[0] -= 1
        return 0

    class Odd(Maker):
        def stage(self, key, graph, attributes):
            given = {"waiting": stage.get("made", waiting)}
            if key == "make":
                return Stage(make, (Outcome("made", stage.get("hop", Exit("out"))),), given)
            emits = Emission("make", stage.get("waiting", waiting))
            return Stage(take, (Outcome("done", Exit()),), {"waiting": stage.get("bound", waiting)}, emits=emits)

    graph = RouterGraph("odd")
    graph.add(Odd("odd", MemoryPort("02:00:00:00:00:01")))
    graph.add(Out("out"))
    return graph


@pytest.mark.parametrize(
    ("stage", "wishes", "words"),
    [
        ({"waiting": Table(np.zeros(1, np.int64))}, {}, "is to be Table(np.zeros(1, np.int64), 'private')"),
        ({"bound": Table(np.zeros(1, np.int64), "private")}, {}, "odd.in is not bound to the table"),
        ({"made": Table(np.zeros(1, np.int64), "private")}, {}, "odd.make is not bound to the table"),
        ({}, {"queue": 16}, "odd.in makes packets, which leave when a batch is done; leave queue= out"),
    ],
)
def test_what_cannot_work_is_refused(stage, wishes, words):
    with pytest.raises(GraphError, match=re.escape(words)):
        _graph(**stage).create_path("odd", **wishes)


def test_the_stage_where_they_begin_stays():
    path = emitting()[0].draft_path("maker")
    with pytest.raises(GraphError, match=r"packets that maker\.in makes begin there"):
        path.remove("maker.make")
    path.replace("maker.in", Stage(lambda frame, end: 0, (Outcome("done", Exit()),)), [0])
    assert "maker.make" not in path
