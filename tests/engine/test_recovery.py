"""Replicas that die: their successors have equal states, every request had a primary, and no process stays behind."""

import os
import signal
import subprocess

import psutil
import pytest
from folding import check_states, folding, program, send, source
from port_router import kill

from scout.io.channels.software import Feed
from scout.io.packet import CONTROL_TICK
from scout.ring.snapshot import Snapshots
from scout.supervisor import Supervisor
from scout.testing import await_until


@pytest.fixture
def spare(monkeypatch):
    """The spare process of the supervisor that the test starts."""
    from scout.spare import Spare

    made = []
    prepare = Spare.prepare

    def noted(self, replica=None):
        prepare(self, replica)
        made.append(self)

    monkeypatch.setattr(Spare, "prepare", noted)
    return made


def test_killed_replicas_end_with_equal_states_and_every_request_had_a_primary():
    port = source()
    graph, path = folding(port)
    times = range(0, 20_000 * 17, 17)
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        for turn in range(10):
            send(port, times[turn * 2_000 : turn * 2_000 + 1_000])
            kill(supervisor, turn % 2)
            send(port, times[turn * 2_000 + 1_000 : (turn + 1) * 2_000])
        port.end()
        assert supervisor.wait(600)
        check_states(supervisor, times)
    finished = supervisor.table("folding.finished")["times"]
    assert (finished > 1).sum() <= 10 * 32  # done again: at most a batch for each death
    assert sum(row["replayed"] for row in supervisor.replica_figures()) > 0
    assert [row["lag"] for row in supervisor.replica_figures()] == [0, 0]
    assert supervisor.failures == []


def test_a_replica_gets_a_successor_even_if_the_spare_process_has_died(spare):
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        process = spare[0].process
        process.kill()
        assert process.join(600)
        os.kill(supervisor.processes[1].pid, signal.SIGKILL)
        send(port, range(5_000))
        port.end()
        assert supervisor.wait(600)
        assert supervisor.taking_part == [0, 1]
        check_states(supervisor, range(5_000))


def test_a_replica_without_a_readable_snapshot_is_retired_and_the_others_go_on(monkeypatch):
    port, reports = source(), []
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=reports.append) as supervisor:
        send(port, range(1_000))
        monkeypatch.setattr(Snapshots, "adopt", lambda *_: -1)
        os.kill(supervisor.processes[1].pid, signal.SIGKILL)
        await_until(lambda: supervisor.taking_part == [0])
        send(port, range(1_000, 2_000))
        port.end()
        assert supervisor.wait(600)
        assert supervisor.table("folding.state")["requests"].tolist() == [2_000]
    assert "its snapshot cannot be read; 1 of 2 replicas go on" in reports[0]


def test_the_clock_does_not_wait_for_room_in_a_full_channel():
    """The thread that sends the time also replaces dead replicas, for which a full channel may be waiting."""
    port = source(entries=16)
    graph, path = folding(port)
    with Supervisor(graph, [path], 1, report=[].append) as supervisor:
        ((channel, _),) = supervisor.channels
        assert channel.ticks
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)
        send(port, range(16))
        assert not channel.ticks  # the requests that wait carry the time
        assert not channel.control(0, CONTROL_TICK, 1, 0, 0, timeout=0)
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        port.end()
        assert supervisor.wait(600)
    assert supervisor.account() == {"received": 16, "out": {}, "ended": {"done": 16}, "drops": {}}


def test_different_states_are_seen():
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        supervisor.table("folding.state", 1)["digest"] = 1  # as if a bit had flipped
        send(port, range(200))
        port.end()
        assert supervisor.wait(600)
        assert supervisor.diverged() == [64, 128, 192]


def test_the_run_ends_and_has_failed_when_the_process_that_brings_packets_dies(monkeypatch):
    port, reports = source(frames=[bytes(60)] * 5_000), []
    graph, path = folding(port)
    supervisor = Supervisor(graph, [path], 1, report=reports.append)
    feed, player = Feed.feed, []

    def feed_a_stopped_replica(channel):
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)  # so that not all of the frames fit
        before = psutil.Process().children()
        feed(channel)
        player.extend(set(psutil.Process().children()) - set(before))

    monkeypatch.setattr(Feed, "feed", feed_a_stopped_replica)
    with supervisor:
        player[0].kill()
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        assert supervisor.wait(600)
    assert "the process that brings its packets died" in reports[-1]
    assert supervisor.failures == [reports[-1]]


def test_the_run_has_failed_when_no_replica_is_left():
    port, reports = source(), []
    graph, path = folding(port)
    with Supervisor(graph, [path], 1, report=reports.append, restarts=0) as supervisor:
        os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        assert supervisor.wait(600)
        assert supervisor.alive == 0
    assert supervisor.failures == ["no replica is left; the run is at its end"]
    assert "it got no further; no replica is left" in reports[0]


def test_nothing_stays_behind_when_the_supervisor_is_killed(tmp_path):
    text = """
        import signal
        from folding import *
        from scout.supervisor import Supervisor
        graph, path = folding(source(frames=[bytes(60)] * 100))
        with Supervisor(graph, [path], 2) as supervisor:
            supervisor.wait(600)
            print("running", flush=True)
            signal.pause()
        """
    process = subprocess.Popen(program(tmp_path, text), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3  # two domains and the spare
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(children, timeout=600)
    assert not alive and len(gone) == len(children)
