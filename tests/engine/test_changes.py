"""Changes while packets flow: every replica makes them at the same request, also in replays and after a join."""

import os
import random
import signal
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from folding import send, source
from port_router import kill

from scout.paths.changes.values import SetValue
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.framework.state import store_to
from scout.paths.model.change import Amendment, Change, Order
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.setting import Setting
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.paths.stages.filter import Filter
from scout.paths.stages.requests import End, Requests
from scout.ring.errors import ScoutError
from scout.ring.segment import shared
from scout.supervisor import Supervisor
from scout.testing import await_until

MOST = 1 << 14
CELL = np.dtype([("value", "i8")])


def note(frame, end, packet, notes, total, step):
    """Replicated work: note the setting's value at each request."""
    notes[np.uintp(total[0].value)].value = step
    total[0].value += 1
    return 0


def see(frame, end, packet, seen, step):
    """The primary's work: note what the setting was for a request, by the number that is its timestamp."""
    store_to(seen, packet.timestamp, "value", step)
    return 0


class Noting:
    """A path whose requests are noted with the value that a setting has for them."""

    def __init__(self, replicated=True, more=(), **options):
        self.port, self.step = source(**options), Setting(0)
        self.seen = Table(shared(MOST, CELL), "shared")
        self.graph = RouterGraph("noting")
        self.graph.add(Requests("requests", self.port))
        if replicated:
            state = {"notes": np.zeros(MOST, CELL), "total": np.zeros(1, CELL)}
            handlers = [Handler(note), Handler(see, run="primary")]
            self.graph.add(Service("noting", state, handlers, "request", seen=self.seen, step=self.step))
        else:
            self.graph.add(Filter("noting", see, connects="request", seen=self.seen, step=self.step))
        self.graph.add(End("done", "request"))
        self.graph.connect("done", "noting", "requests")
        for router in more:
            self.graph.add(router)
        self.paths = [self.graph.create_path("requests")]
        self.wanted = []

    def send(self, count):
        send(self.port, range(len(self.wanted), len(self.wanted) + count))
        self.wanted += [self.step.value] * count

    def change(self, supervisor, value):
        """Change the setting, however long a dead replica has no successor."""

        def changed():
            with suppress(ScoutError):
                return supervisor.change(SetValue(self.step, value))

        return await_until(changed)

    def check(self, supervisor):
        """All requests were noted with the value that held when they were sent."""
        assert supervisor.table(self.seen)["value"][: len(self.wanted)].tolist() == self.wanted
        if "noting.notes" in supervisor.tables:
            for replica in supervisor.taking_part:
                assert supervisor.table("noting.total", replica)["value"].tolist() == [len(self.wanted)]
                assert supervisor.table("noting.notes", replica)["value"][: len(self.wanted)].tolist() == self.wanted
            assert supervisor.diverged() == []


def test_a_setting_changes_at_one_request_in_every_replica():
    noting = Noting()
    with Supervisor(noting.graph, noting.paths, 2, report=[].append) as supervisor:
        noting.send(100)
        assert supervisor.change(SetValue(noting.step, 7)) == 1
        noting.send(100)
        with supervisor.changes() as changes:
            changes.append(SetValue(noting.step, 8))
            changes.append(SetValue(noting.step, -(1 << 63)))
        noting.send(100)
        await_until(lambda: supervisor.reached(2))
        noting.port.end()
        assert supervisor.wait(600)
        assert sorted(set(noting.wanted)) == [-(1 << 63), 0, 7]
        noting.check(supervisor)
    assert supervisor.account() == {"received": 302, "out": {}, "ended": {"done": 300, "change": 2}, "drops": {}}


@pytest.mark.parametrize("turns", [30, pytest.param(120, marks=pytest.mark.long)])
@pytest.mark.parametrize("replicated", [True, False], ids=["state", "no state"])
def test_random_changes_deaths_and_joins_agree_with_a_sequential_run(replicated, turns):
    chance = random.Random(6)
    noting = Noting(replicated)
    with Supervisor(noting.graph, noting.paths, 2, report=[].append, restarts=1000) as supervisor:
        for turn in range(turns):
            noting.send(chance.randrange(90))
            for _ in range(chance.choice((0, 1, 1, 2, 40))):
                noting.change(supervisor, turn * 100 + chance.randrange(100))
                noting.send(chance.randrange(2))
            if turn % 8 == 3:
                kill(supervisor, chance.choice(supervisor.taking_part))
            if turn % 30 == 10:
                supervisor.add_replica()
            if turn % 30 == 25:
                supervisor.remove_replica(supervisor.taking_part[-1])
        noting.port.end()
        assert supervisor.wait(600)
        noting.check(supervisor)


class Counted(Change):
    """A change that `Counting` takes."""


class Counting(Router):
    """A router that makes changes: it logs what is done with them, and its orders change a table."""

    takes = (Counted,)

    def __init__(self, name="counting"):
        super().__init__(name)
        self.log = []
        self.table = Table(np.zeros(1, CELL))
        self.refuses = False

    def prepare(self, changes, graph):
        if self.refuses:
            raise ScoutError(f"{self.name} refuses")
        self.log.append("prepare")
        orders = [Order(self.name, 2, each, 3) for each in range(len(changes))]
        done = {name: partial(self.log.append, name) for name in ("commit", "undo", "release")}
        return Amendment(orders=orders, **done)

    def amender(self):
        return Stage(amend, (), {"table": self.table})


def amend(order, now, table):
    table[0].value = table[0].value * 10 + order.operation * order.two + order.one
    return 0


def test_a_router_makes_orders_once_and_frees_the_old_when_no_channel_needs_it():
    counting, one, two = Counting(), source(), source()
    graph = RouterGraph("counting")
    for name, port in (("one", one), ("two", two)):
        graph.add(Requests(name, port))
        graph.add(End(f"{name}_done", "request"))
        graph.connect(f"{name}_done", name)
    graph.add(counting)
    paths = [graph.create_path(name) for name in ("one", "two")]
    with Supervisor(graph, paths, 2, report=[].append) as supervisor:
        os.kill(supervisor.processes[1].pid, signal.SIGSTOP)
        epoch = supervisor.change(Counted(), Counted())
        await_until(lambda: supervisor.memory.epochs(0).tolist() == [epoch] * 2)
        assert counting.log == ["prepare", "commit"] and not supervisor.reached(epoch)
        os.kill(supervisor.processes[1].pid, signal.SIGCONT)
        await_until(lambda: counting.log == ["prepare", "commit", "release"])  # though no packets come
        for port in (one, two):
            send(port, range(2 * 256))
        for replica in range(2):
            assert supervisor.memory.table(counting.table, replica)["value"].tolist() == [67]
        for port in (one, two):
            port.end()
        assert supervisor.wait(600)
    assert supervisor.account()["ended"] == {"done": 1024, "change": 2}


def test_of_a_change_that_a_router_refuses_nothing_is_made():
    good, bad = Counting("good"), Counting("bad")
    bad.refuses = True
    noting = Noting(more=(good, bad))
    with Supervisor(noting.graph, noting.paths, 1, report=[].append) as supervisor:
        changes = (SetValue(noting.step, 3), Counted(router="good"), Counted(router="bad"))
        with pytest.raises(ScoutError, match="bad refuses"):
            supervisor.change(*changes)
        with pytest.raises(KeyError), supervisor.changes() as collected:
            collected.append(SetValue(noting.step, 3))
            raise KeyError
        assert good.log == ["prepare", "undo"] and noting.step.value == 0
        assert supervisor.memory.epochs(0).tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Counted(), "no router of the graph takes it"),
        (Counted(router="noting"), "'noting' takes no such change; no router"),
        (SetValue(Setting(1), 2), "no stage of the running paths has this setting"),
        ("10.0.0.0/8", "is no change; give one"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(change, message):
    noting = Noting()
    with Supervisor(noting.graph, noting.paths, 1, report=[].append) as supervisor:
        with pytest.raises(ScoutError, match=message):
            supervisor.change(change)
        with pytest.raises(ScoutError, match="give an int of 64 bits"):
            supervisor.change(SetValue(noting.step, 1 << 63))


def test_a_change_finds_no_room_in_a_full_channel_and_nothing_has_changed():
    noting = Noting(entries=16)
    with Supervisor(noting.graph, noting.paths, 1, report=[].append) as supervisor:
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)
        noting.send(16)
        with pytest.raises(ScoutError, match="the channel of requests stays full; try again"):
            supervisor.change(SetValue(noting.step, 1))
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        noting.send(16)
        supervisor.change(SetValue(noting.step, 2))
        noting.send(16)
        noting.port.end()
        assert supervisor.wait(600)
        noting.check(supervisor)
        assert noting.wanted == [0] * 32 + [2] * 16


def test_a_router_that_is_over_takes_no_change_and_has_freed_what_was_old():
    counting = Counting()
    noting = Noting(more=(counting,))
    with Supervisor(noting.graph, noting.paths, 1, report=[].append) as supervisor:
        supervisor.change(Counted())
    assert counting.log == ["prepare", "commit", "release"]
    with pytest.raises(ScoutError, match="the router does not run any more"):
        supervisor.change(SetValue(noting.step, 1))


def test_a_plain_run_reads_the_value_of_now():
    noting = Noting()
    noting.step.value = 9
    noting.paths[0].run(b"request", timestamp=5)
    assert noting.seen.initial["value"][:6].tolist() == [0, 0, 0, 0, 0, 9]
    assert "noting_receive_step = 9, a setting" in noting.paths[0].explain()
