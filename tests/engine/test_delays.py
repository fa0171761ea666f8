"""Packets that wait until a time, in routers that run: when and in which order they leave, and what becomes of them."""

import os
import signal
import time

import numpy as np
import pytest
from folding import GATE, linger
from port_router import LEFT, RIGHT, finished, frames, numbers, supervised

from scout.control import Control
from scout.io.packet import REACH
from scout.io.ports.memory import MemoryPort
from scout.paths.changes.values import SetValue
from scout.paths.compiler.interpreter import emissions, started, walk
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.table import Table
from scout.paths.stages.impair import Impair
from scout.ring.errors import ScoutError
from scout.ring.segment import shared
from scout.testing import await_until

START = 1_700_000_000_000_000_000
IMPAIRED = {"loss": 0.02, "duplicate": 0.1, "delay": 0.02, "jitter": 0.005, "reorder": 0.05, "late": 0.01}


def link(**impairments):
    """The same code in all tests: the settings differ."""
    return Impair("link", seed=7, **impairments)


def predicted(sent, **impairments):
    """The numbers of the frames in the order in which a router lets them go, by its path as plain Python."""
    right = MemoryPort(RIGHT, frames=[])
    path = supervised(MemoryPort(LEFT, frames=[]), right, 1, service=link(**impairments)).plan.paths[0]
    found = []
    for frame, moment in sent:
        for leaf, data, packet in walks(path, frame, moment):
            if leaf == "to right":
                found.append((packet.timestamp, moment, data))
    return numbers(data for _, _, data in sorted(found, key=lambda each: each[:2]))


def walks(path, frame, moment):
    """The frame's way, and those of the packets that are made for it."""
    with started(path, frame):
        leaf, data, packet = walk(path, frame, {"timestamp": moment})
        yield leaf, bytes(data), packet
        for begin in emissions(path):
            leaf, data, packet = walk(path, bytes(REACH), {"timestamp": moment, "at": begin})
            yield leaf, bytes(data), packet


@pytest.mark.parametrize("replicas", [pytest.param(1, marks=pytest.mark.long), 2])
def test_recorded_packets_leave_as_the_plain_run_has_it(replicas):
    sent = [(frame, START + number * 1_000_000) for number, frame in enumerate(frames(500))]
    left, right = MemoryPort(LEFT, frames=sent), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, replicas, "channel", service=link(**IMPAIRED)) as supervisor:
        account = finished(supervisor)
        states = [supervisor.table("link.state", replica).copy() for replica in range(replicas)]
    assert numbers(right.sent()) == predicted(sent, **IMPAIRED)
    assert all(state == states[0] for state in states)
    assert account["drops"] == {"impair-lost": states[0]["lost"][0]}
    assert account["made"] == states[0]["duplicated"][0] > 20


@pytest.mark.long
def test_no_packet_goes_before_one_that_another_replica_has_not_come_to_yet():
    """A replica with a late packet goes on past the batch of another one that is stopped."""
    late = {"reorder": 0.3, "delay": 0.0001, "late": 0.006}
    sent = [(frame, START + number * 1_000_000) for number, frame in enumerate(frames(8))]
    wanted = predicted(sent, **late)
    assert wanted.index(4) < wanted.index(0) < wanted.index(7)
    gate = Table(shared(1, GATE), "shared")
    gate.initial["number"] = START
    lingering = Service("lingering", {}, [Handler(linger, run="primary")], gate=gate)
    left, right = MemoryPort(LEFT, frames=sent, batch=4), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, 2, "channel", service=link(**late), below=lingering) as supervisor:
        cursors, bell = supervisor.channels[0][0].cursors[:2], supervisor.memory.bell
        await_until(lambda: (cursors["primary"] & cursors["open"]).all())  # each has a batch
        first, second = (int(each) for each in np.argsort(cursors["head"]))
        os.kill(supervisor.processes[second].pid, signal.SIGSTOP)
        supervisor.table(gate, 0)["number"] = -1
        await_until(lambda: cursors["head"][first] == 8)
        bell._line[0] = 0
        await_until(lambda: bell._line[0])  # it has had nothing to do since, and is about to sleep
        os.kill(supervisor.processes[second].pid, signal.SIGCONT)
        finished(supervisor)
    assert numbers(right.sent()) == wanted


def live(replicas=1, order="completed", **impairments):
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    router = link(**impairments)
    return left, right, router, supervised(left, right, replicas, order, service=router)


def test_live_packets_leave_no_earlier_than_they_are_due_and_in_their_order():
    left, right, _, supervisor = live(2, "channel", delay=0.05)
    with supervisor:
        began = time.time_ns()
        for frame in frames(300):
            assert left.send(frame, timeout=60)
        await_until(lambda: len(right.sent()) == 300)
        assert time.time_ns() - began >= 50_000_000
        left.end()
        account = finished(supervisor)
    assert account == {"received": 300, "out": {"right": 300}, "ended": {}, "drops": {}}
    assert sorted(numbers(right.sent())) == list(range(300))


@pytest.mark.long
def test_time_passes_by_the_clock_from_the_start(monkeypatch):
    monkeypatch.setattr(Control, "tick", lambda control: None)  # as if the watcher had no core
    left, right, _, supervisor = live(delay=30)
    with supervisor:
        now, old = frames(2)
        left.send(now)
        await_until(lambda: supervisor.memory.delayed([0]) == 1)
        left.send(old, timestamp=START)  # it came long ago: it leaves at once, alone
        await_until(right.sent)
        supervisor.stop()
        account = supervisor.account()
    assert account["out"] == {"right": 1} and account["drops"] == {"held-at-stop": 1}


@pytest.mark.long
def test_settings_change_while_packets_wait():
    left, right, router, supervisor = live(delay=30)
    with supervisor:
        given = list(frames(4))
        left.send(given[0], timestamp=START)  # it came long ago: it leaves at once
        await_until(right.sent)
        supervisor.change(*router.becoming(loss=1))
        left.send(given[1], timestamp=START + 1)
        await_until(lambda: supervisor.account()["drops"] == {"impair-lost": 1})
        supervisor.change(*router.becoming(loss=0, delay=30))
        left.send(given[2])
        left.send(given[3])
        await_until(lambda: supervisor.memory.delayed([0]) == 2)
        with pytest.raises(ScoutError, match="a setting of -1: give 0 to 1000000"):
            supervisor.change(SetValue(router.settings["loss_ppm"], -1))
        supervisor.stop()
        account = supervisor.account()
    assert account == {
        "received": 4 + 2 * 2,  # a change is a request on each of the two channels
        "out": {"right": 1},
        "ended": {"change": 2 * 2},
        "drops": {"impair-lost": 1, "held-at-stop": 2},
    }


def test_packets_of_a_dead_replica_are_counted_and_others_do_not_wait_for_them():
    left, right, _, supervisor = live(2, "channel", delay=30)  # longer than the test takes
    with supervisor:
        for frame in frames(64):
            assert left.send(frame, timeout=60)
        await_until(lambda: supervisor.memory.delayed([0, 1]) == 64)
        dead = max((0, 1), key=lambda replica: supervisor.memory.delayed([replica]))
        lost = supervisor.memory.delayed([dead])
        killed = supervisor.processes[dead]
        os.kill(killed.pid, signal.SIGKILL)
        await_until(lambda: supervisor.processes[dead] is not killed)  # until then they count as held
        assert left.send(next(frames(1)), timestamp=START, timeout=60)  # it came long ago: it leaves at once
        await_until(right.sent)
        supervisor.stop()
        account = supervisor.account()
    assert account["out"] == {"right": 1}
    assert account["drops"] == {"replica-died": lost} | ({"held-at-stop": 64 - lost} if lost < 64 else {})


def test_a_replica_that_leaves_lets_its_packets_go_first():
    left, right, _, supervisor = live(2, delay=0.2)
    with supervisor:
        for frame in frames(64):
            assert left.send(frame, timeout=60)
        await_until(lambda: supervisor.memory.delayed([0, 1]) + len(right.sent()) >= 64)
        supervisor.remove_replica(1)
        assert supervisor.memory.delayed([1]) == 0
        left.end()
        account = finished(supervisor)
    assert account["out"] == {"right": 64}
