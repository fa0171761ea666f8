"""Services whose replicas die, rest and lag: equal places mean equal states; nothing stays behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest

from scout.io.channels.software import Feed
from scout.io.host.process import Child, wait_for_any
from scout.io.packet import CONTROL_TICK
from scout.io.ports.memory import MemoryPort
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.stage import Table
from scout.paths.stages.requests import End, Requests
from scout.paths.wire.flow import mix
from scout.ring.errors import ScoutError
from scout.ring.segment import shared
from scout.supervisor import Supervisor

COUNT = 20_000
STATE = np.dtype([("requests", "i8"), ("digest", "i8")])


def fold(frame, end, packet, state):
    state[0].digest = mix(state[0].digest ^ packet.timestamp ^ state[0].requests)
    state[0].requests += 1
    return 0


def finish(frame, end, state, finished):
    finished[state[0].requests - 1] += 1
    return 0


def folding(port, finished):
    """A graph with a service that counts requests, and notes in `finished` which had a primary."""
    service = Service(
        "folding",
        {"state": np.zeros(1, STATE)},
        [Handler(fold), Handler(finish, run="primary")],
        "request",
        finished=Table(finished, "shared"),
    )
    graph = RouterGraph("folding")
    graph.add(Requests("requests", port))
    graph.add(service)
    graph.add(End("done", "request"))
    graph.connect("done", "folding", "requests")
    return graph, service


def reference(times):
    digest = 0
    for number, timestamp in enumerate(times):
        digest = mix(digest ^ timestamp ^ number)
    return digest


def test_killed_replicas_end_with_equal_states_and_every_request_had_a_primary():
    port = MemoryPort("02:00:00:00:00:01", entries=256)
    graph, service = folding(port, shared(COUNT, np.uint8))
    with Supervisor(graph, [graph.create_path("requests")], 2, report=[].append) as supervisor:
        for number in range(COUNT):
            assert port.send(b"request", timestamp=number * 17, timeout=20)
            if number % 2_000 == 1_000:
                os.kill(supervisor.processes[number // 2_000 % 2].pid, signal.SIGKILL)
        port.end()
        assert supervisor.wait(60)
        assert supervisor.diverged() == []
    states = [supervisor.table(service.tables["state"], replica)[0].tolist() for replica in range(2)]
    assert states == [(COUNT, reference(range(0, COUNT * 17, 17)))] * 2
    finished = supervisor.table(service.bindings["finished"], 0)
    assert finished.min() >= 1 and (finished > 1).sum() <= 10 * 32  # done again: at most a batch for each death
    assert sum(row["replayed"] for row in supervisor.replica_figures()) > 0
    assert [row["lag"] for row in supervisor.replica_figures()] == [0, 0]


def test_a_replica_has_a_successor_also_if_the_process_kept_for_that_has_died():
    port = MemoryPort("02:00:00:00:00:01", entries=256)
    graph, service = folding(port, shared(COUNT, np.uint8))
    with Supervisor(graph, [graph.create_path("requests")], 2, report=[].append) as supervisor:
        supervisor._spare.kill()
        assert supervisor._spare.join(30)
        os.kill(supervisor.processes[1].pid, signal.SIGKILL)
        for _ in range(COUNT):
            assert port.send(b"request", timeout=20)
        port.end()
        assert supervisor.wait(60)
        assert supervisor.taking_part == [0, 1] and supervisor.diverged() == []
    assert supervisor.table(service.tables["state"], 1)["requests"] == COUNT


def test_who_sees_to_the_dead_does_not_wait_for_room_to_tell_the_time():
    port = MemoryPort("02:00:00:00:00:01", entries=16)
    graph, _ = folding(port, shared(16, np.uint8))
    with Supervisor(graph, [graph.create_path("requests")], 1, report=[].append) as supervisor:
        ((channel, _),) = supervisor.channels
        assert channel.ticks
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)
        for _ in range(16):
            assert port.send(b"request", timeout=20)
        assert not channel.ticks  # what waits has the time with it
        assert not channel.control(0, CONTROL_TICK, 1, 0, 0, timeout=0)
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        port.end()
        assert supervisor.wait(60)
    assert supervisor.account() == {"received": 16, "out": {}, "ended": {"done": 16}, "drops": {}}


def test_different_states_are_seen():
    port = MemoryPort("02:00:00:00:00:01", entries=256)
    graph, service = folding(port, shared(COUNT, np.uint8))
    with Supervisor(graph, [graph.create_path("requests")], 2, report=[].append) as supervisor:
        supervisor.table(service.tables["state"], 1)["digest"] = 1  # as if a bit had flipped
        for _ in range(200):
            assert port.send(b"request")
        port.end()
        assert supervisor.wait(30)
        assert supervisor.diverged() == [64, 128, 192]


def test_a_gang_that_may_run_half_of_the_time_gets_everything_done():
    port = MemoryPort("02:00:00:00:00:01", entries=256)
    graph, service = folding(port, shared(COUNT, np.uint8))
    with Supervisor(graph, [graph.create_path("requests")], 2, report=[].append, share=0.5) as supervisor:
        for _ in range(COUNT):
            assert port.send(b"request", timeout=20)
        port.end()
        assert supervisor.wait(60)
    assert supervisor.table(service.tables["state"], 1)["requests"] == COUNT


def test_the_run_ends_when_the_producer_dies(monkeypatch):
    port = MemoryPort("02:00:00:00:00:01", frames=[bytes(60)] * 5_000)
    graph, _ = folding(port, shared(5_000, np.uint8))
    reports = []
    supervisor = Supervisor(graph, [graph.create_path("requests")], 1, report=reports.append)
    feed = Feed.feed

    def feed_nobody(channel):
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)  # so that the producer cannot send all
        feed(channel)

    monkeypatch.setattr(Feed, "feed", feed_nobody)
    with supervisor:
        os.kill(port._feed._players[0].pid, signal.SIGKILL)
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        assert supervisor.wait(30)
    assert "the process that brings its packets died" in reports[-1]


def test_nothing_stays_behind_when_the_supervisor_is_killed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import sys, time
            sys.path.insert(0, {os.path.dirname(__file__)!r})
            from test_recovery import *
            port = MemoryPort("02:00:00:00:00:01", frames=[bytes(60)] * 100)
            graph, _ = folding(port, shared(100, np.uint8))
            with Supervisor(graph, [graph.create_path("requests")], 2) as supervisor:
                supervisor.wait(60)
                print("running", flush=True)
                time.sleep(60)
            """
        )
    )
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3  # two domains and a spare
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive and len(gone) == len(children)


def test_nobody_can_join_or_leave_what_does_not_run_any_more():
    port = MemoryPort("02:00:00:00:00:01", entries=256)
    graph, _ = folding(port, shared(COUNT, np.uint8))
    with Supervisor(graph, [graph.create_path("requests")], 2, report=[].append) as supervisor:
        port.end()
        assert supervisor.wait(30)
    for change in (supervisor.add_replica, lambda: supervisor.remove_replica(0)):
        with pytest.raises(ScoutError, match="does not run any more; start it anew"):
            change()


def test_who_cannot_be_forked_does_not_take_part(monkeypatch):
    port = MemoryPort("02:00:00:00:00:01", entries=256)
    graph, service = folding(port, shared(COUNT, np.uint8))
    with Supervisor(graph, [graph.create_path("requests")], 1, report=[].append) as supervisor:
        with monkeypatch.context() as patch, pytest.raises(BlockingIOError):
            patch.setattr(os, "fork", _no_more)
            supervisor.add_replica()
        for _ in range(COUNT):
            assert port.send(b"request", timeout=20)
        assert supervisor.add_replica() == 1
        port.end()
        assert supervisor.wait(60)
        assert supervisor.taking_part == [0, 1] and supervisor.diverged() == []
    assert supervisor.table(service.tables["state"], 1)["requests"] == COUNT


def _no_more():
    raise BlockingIOError("no more processes")


def test_one_port_under_two_names_is_refused():
    port = MemoryPort("02:00:00:00:00:01")
    graph = RouterGraph("twice")
    for name in ("one", "other"):
        graph.add(Requests(name, port))
    with pytest.raises(ScoutError, match=r"one and other have one port, .*: give each one of its own"):
        Supervisor(graph, [], 1)


def test_who_waits_for_a_process_that_another_thread_has_seen_end_does_not_wait():
    child = Child(int)
    assert child.join(30)
    start = time.monotonic()
    wait_for_any([child], 60)
    assert time.monotonic() - start < 30
