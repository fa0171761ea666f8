"""Replicas that join and leave, also while others die."""

import errno
import os
import signal
import threading

import numpy as np
import pytest
from folding import GATE, Out, check_states, folding, linger, send, source
from numba.core.dispatcher import Dispatcher

from scout.io.channels.software import Feed
from scout.io.ports.memory import MemoryPort
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.table import Table
from scout.paths.stages.requests import Requests
from scout.ring.errors import ScoutError
from scout.ring.segment import shared
from scout.supervisor import Supervisor
from scout.testing import await_until


def count(frame, end, packet, seen):
    """Replicated work."""
    seen[0].number += 1
    return 0


def lingering(port, out):
    """A graph whose requests leave in channel order; the primary of one of them waits until the gate lets it go."""
    graph = RouterGraph("lingering")
    handlers = [Handler(count), Handler(linger, run="primary")]
    gate = Table(shared(1, GATE), "shared")
    graph.add(Service("lingering", {"seen": np.zeros(1, GATE)}, handlers, "request", gate=gate))
    graph.add(Requests("requests", port))
    graph.add(Requests("out", out))
    graph.add(Out("last"))
    graph.connect("last", "lingering", "requests")
    return graph, graph.create_path("requests", order="channel")


def test_a_replica_dies_while_another_leaves_that_waits_for_its_turn():
    """One replica lingers over the first batch, the other has the second batch, and waits until the first has left."""
    port, out = source(batch=4), MemoryPort("02:00:00:00:00:09", frames=[])
    graph, path = lingering(port, out)
    wanted = [bytes([number]) for number in range(16)]
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        gate = supervisor.table("lingering.gate")
        gate["number"] = 1
        for number, request in enumerate(wanted, 1):
            assert port.send(request, timestamp=number)
        ((channel, _),) = supervisor.channels
        cursors = channel.cursors[:2]
        await_until(lambda: (cursors["primary"] & cursors["open"]).all())
        first, second = np.argsort(cursors["head"]).tolist()
        leaver = threading.Thread(target=supervisor.remove_replica, args=(second,), daemon=True)
        leaver.start()
        await_until(lambda: supervisor.memory.orders[second, 0])
        dead = supervisor.processes[first]
        os.kill(dead.pid, signal.SIGKILL)
        await_until(lambda: supervisor.processes[first] is not dead)
        gate["number"] = 0
        leaver.join(600)
        assert not leaver.is_alive() and supervisor.taking_part == [first]
        port.end()
        assert supervisor.wait(600)
    assert out.sent() == wanted
    assert supervisor.account() == {"received": 16, "out": {"out": 16}, "ended": {}, "drops": {}}


def test_a_replica_that_waits_for_its_turn_stops_when_it_is_told(monkeypatch):
    # The replica whose turn it is does not stop, nor is it killed.
    monkeypatch.setattr("scout.membership._GRACE", 600.0)
    port, out = source(batch=4), MemoryPort("02:00:00:00:00:09", frames=[])
    graph, path = lingering(port, out)
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        gate = supervisor.table("lingering.gate")
        gate["number"] = 1
        for number in range(1, 17):
            assert port.send(bytes([number]), timestamp=number)
        ((channel, _),) = supervisor.channels
        cursors = channel.cursors[:2]
        await_until(lambda: (cursors["primary"] & cursors["open"]).all())
        waits = supervisor.processes[int(np.argmax(cursors["head"]))]
        stopper = threading.Thread(target=supervisor.stop, daemon=True)
        stopper.start()
        assert waits.join(600) and waits.exitcode == 0
        gate["number"] = 0
        stopper.join(600)
        assert not stopper.is_alive()


def test_stopping_ends_the_wait_for_a_replica_that_does_not_leave():
    port, out = source(batch=4), MemoryPort("02:00:00:00:00:09", frames=[])
    graph, path = lingering(port, out)
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        supervisor.table("lingering.gate")["number"] = 1
        assert port.send(b"request", timestamp=1)
        ((channel, _),) = supervisor.channels
        await_until(lambda: channel.cursors["open"].any())
        lingers = int(np.argmax(channel.cursors["primary"] & channel.cursors["open"]))
        leaver = threading.Thread(target=supervisor.remove_replica, args=(lingers,), daemon=True)
        leaver.start()
        await_until(lambda: supervisor.memory.orders[lingers, 0])
    leaver.join(600)
    assert not leaver.is_alive()


@pytest.mark.long
def test_a_replica_that_is_killed_while_it_leaves_has_its_work_finished():
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 3, report=[].append) as supervisor:
        for turn in range(5):
            os.kill(supervisor.processes[2].pid, signal.SIGSTOP)
            leaver = threading.Thread(target=supervisor.remove_replica, args=(2,), daemon=True)
            leaver.start()
            send(port, range(turn * 100, turn * 100 + 50))  # there is room for them while the replica is stopped
            os.kill(supervisor.processes[2].pid, signal.SIGKILL)
            leaver.join(600)
            assert supervisor.taking_part == [0, 1]
            assert supervisor.add_replica() == 2
            send(port, range(turn * 100 + 50, turn * 100 + 100))
        port.end()
        assert supervisor.wait(600)
        check_states(supervisor, range(500))
    account = supervisor.account()
    assert account["received"] == sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
    assert "unread-at-stop" not in account["drops"]


def test_a_stopped_replica_that_does_not_leave_is_killed(monkeypatch):
    monkeypatch.setattr("scout.membership._LEAVE_GRACE", 0.05)
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        os.kill(supervisor.processes[1].pid, signal.SIGSTOP)
        supervisor.remove_replica(1)
        assert supervisor.taking_part == [0]
        monkeypatch.undo()
        send(port, range(1_000))
        port.end()
        assert supervisor.wait(600)
        check_states(supervisor, range(1_000))


def test_the_last_replica_cannot_leave_even_while_the_others_are_leaving():
    graph, path = folding(source())
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)
        leaver = threading.Thread(target=supervisor.remove_replica, args=(0,), daemon=True)
        leaver.start()
        await_until(lambda: supervisor.memory.orders[0, 0])
        with pytest.raises(ScoutError, match="replica 1 is the last one"):
            supervisor.remove_replica(1)
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        leaver.join(600)
        assert supervisor.taking_part == [1]
        with pytest.raises(ScoutError, match=r"replica 7 does not take part; those that do: \[1\]"):
            supervisor.remove_replica(7)


def test_no_replica_joins_or_leaves_after_the_run():
    port = source()
    graph, path = folding(port)
    supervisor = Supervisor(graph, [path], 2, report=[].append)
    with pytest.raises(ScoutError, match="was not started"):
        supervisor.add_replica()
    with supervisor:
        port.end()
        assert supervisor.wait(600)
    for change in (supervisor.add_replica, lambda: supervisor.remove_replica(0)):
        with pytest.raises(ScoutError, match="does not run any more; start it anew"):
            change()


def test_a_replica_that_cannot_be_forked_does_not_take_part(monkeypatch):
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 1, report=[].append) as supervisor:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", _no_more)
            with pytest.raises(ScoutError, match="no process can be forked for a replica: no more processes"):
                supervisor.add_replica()
        assert supervisor.taking_part == [0]
        send(port, range(1_000))
        assert supervisor.add_replica() == 1
        port.end()
        assert supervisor.wait(600)
        assert supervisor.taking_part == [0, 1]
        check_states(supervisor, range(1_000))


def test_a_replica_is_ready_before_channels_wait_for_it(monkeypatch):
    """It is on its core, and numba knows the types of the loop's arguments in it, as in all replicas."""
    parent, looked_up, cores = os.getpid(), shared(1, np.int64), []
    typeof, join = Dispatcher.typeof_pyval, Feed.join

    def counted(dispatcher, value):
        looked_up[0] += os.getpid() != parent
        return typeof(dispatcher, value)

    def observed(channel, replica, *position):
        cores.append((replica, os.sched_getaffinity(supervisor._parts.membership._spare.process.pid)))
        return join(channel, replica, *position)

    monkeypatch.setattr(Dispatcher, "typeof_pyval", counted)
    monkeypatch.setattr(Feed, "join", observed)
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 1, report=[].append) as supervisor:
        assert supervisor.add_replica() == 1
        os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        send(port, range(1_000))
        port.end()
        assert supervisor.wait(600)
        assert set(cores[-1][1]) == {supervisor.core(1)} and cores[-1][0] == 1
        check_states(supervisor, range(1_000))
    assert looked_up[0] == 0


def _no_more():
    raise BlockingIOError(errno.EAGAIN, "no more processes")


def test_the_run_outlives_the_thread_that_started_it():
    """The kernel kills children when the thread that forked them ends, also those that bring a port's packets."""
    port = source(frames=[(b"request", number) for number in range(5_000)])
    graph, path = folding(port)
    reports = []
    supervisor = Supervisor(graph, [path], 2, report=reports.append)
    starter = threading.Thread(target=supervisor.__enter__)
    starter.start()
    starter.join()
    try:
        assert supervisor.wait(600)
        check_states(supervisor, range(5_000))
    finally:
        supervisor.stop()
    assert reports == [] and supervisor.failures == []


def test_another_replica_is_the_lookout_when_the_first_has_left_or_died():
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 3, report=[].append) as supervisor:
        bell = supervisor.memory.bell
        assert bell.lookout == 0
        supervisor.remove_replica(0)
        assert bell.lookout == 1
        os.kill(supervisor.processes[1].pid, signal.SIGKILL)
        await_until(lambda: bell.lookout == 2)
        port.end()
        assert supervisor.wait(600)
