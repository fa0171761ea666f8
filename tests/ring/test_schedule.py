"""Channel schedulers: alone on heads, and in domains that serve several channels of requests."""

import os
import signal
from functools import cache

import numba
import numpy as np
import pytest

from scout.io.ports.memory import MemoryPort
from scout.paths.compiler.plan import CompileError
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.stages.requests import End, Requests
from scout.ring.errors import ScoutError
from scout.ring.schedule import HEAD, SCHEDULERS, scheduler
from scout.supervisor import Supervisor

LOG = np.dtype([("port", "i8")])
STATE = np.dtype([("count", "i8"), ("room", "i8")])


compiled = cache(numba.njit)


def picks(name, heads, times):
    """Which channels a scheduler picks, one after another, each time serving what it picked."""
    schedule = compiled(SCHEDULERS[name])
    found = []
    for _ in range(times):
        found.append(schedule(heads))
        heads["served"][found[-1]] += 1 if found[-1] >= 0 else 0
    return found


def heads(*rows):
    made = np.zeros(len(rows), HEAD)
    for head, (ready, since, weight, deadline) in zip(made, rows, strict=True):
        head["ready"], head["since"], head["weight"], head["deadline"] = ready, since, weight, deadline
    return made


def test_nothing_waits_nothing_is_picked():
    for name in SCHEDULERS:
        assert picks(name, heads((0, 0, 1, 0), (0, 0, 1, 0)), 2) == [-1, -1]


def test_round_robin_leaves_out_the_empty():
    assert picks("round-robin", heads((1, 0, 1, 0), (0, 0, 1, 0), (1, 0, 1, 0)), 4) == [2, 0, 2, 0]


def test_priority_takes_the_heaviest_and_of_equals_the_first():
    assert picks("priority", heads((1, 0, 2, 0), (1, 0, 9, 0), (1, 0, 9, 0)), 2) == [1, 1]


def test_deadline_is_counted_from_when_the_request_came():
    assert picks("deadline", heads((1, 100, 1, 50), (1, 120, 1, 10), (0, 0, 1, 0)), 1) == [1]


def test_weighted_shares_in_proportion_and_an_idle_channel_has_no_claim_to_the_past():
    made = heads((32, 0, 3, 0), (32, 0, 1, 0))
    found = picks("weighted", made, 400)
    assert found.count(0) == 300
    made["ready"][1] = 0
    picks("weighted", made, 300)
    made["ready"][1] = 32
    assert 70 <= picks("weighted", made, 300).count(1) <= 80


def test_the_bottleneck_is_the_channel_that_will_be_full_first():
    made = heads((8, 0, 1, 0), (8, 0, 1, 0))
    made["places"] = 16, 12
    assert picks("bottleneck", made, 1) == [1]
    made["places"] = 16
    for _ in range(100):  # three come to the second channel for each that comes to the first; both stay half full
        made["served"] += 1, 3
        picks("bottleneck", made, 1)
    assert picks("bottleneck", made, 1) == [1]
    made["ready"] = 15, 8  # one place that fills at a third of the rate, and eight
    assert picks("bottleneck", made, 1) == [0]
    made["ready"] = 13, 8
    assert picks("bottleneck", made, 1) == [1]
    made["ready"] = 1, 0  # as of a path that is over its budget, and defers
    assert picks("bottleneck", made, 1) == [0]


@pytest.mark.parametrize(("name", "loses"), [("bottleneck", False), ("round-robin", True)])
def test_less_is_lost_where_the_bottleneck_is_served_first(name, loses):
    """Every 20 rounds 10 requests come to one channel at once, and 4 a round to the other one for 6; 2 are served."""
    schedule, made = SCHEDULERS[name], heads((0, 0, 1, 0), (0, 0, 1, 0)).view(np.recarray)
    made.places, lost = 16, 0
    for number in range(2_000):
        for index, come in ((0, 10 * (number % 20 == 0)), (1, 4 * (number % 20 < 6))):
            lost += max(0, made[index].ready + come - 16) if number > 100 else 0  # once it knows the rates
            made[index].ready = min(16, made[index].ready + come)
        for _ in range(2):
            index = schedule(made)
            if index >= 0:
                made[index].ready -= 1
                made[index].served += 1
    assert (lost > 0) == loses


def test_an_unknown_scheduler_is_named():
    with pytest.raises(ScoutError, match=r"'chance'.*round-robin"):
        scheduler("chance")


# The paper's example (section 3.2): outgoing requests that fill the congestion window before incoming packets.

WINDOW = 8


def account(frame, end, packet, state, log):
    """An outgoing request takes room in the window, an incoming packet (an acknowledgement) gives it back."""
    log[state[0].count].port = packet.port
    state[0].count += 1
    state[0].room += -1 if packet.port == 0 else 1
    return 0


def window_first(heads, sender_state):
    """Outgoing requests while the window has room for a batch, else incoming packets."""
    if heads[0].ready and (sender_state[0].room >= 1 or heads[1].ready == 0):
        return 0
    return 1 if heads[1].ready else -1


def served(schedule, room=WINDOW):
    """Which ports' requests a replica served, in order: 16 of each wait when it begins."""
    outgoing, incoming = (MemoryPort(f"02:00:00:00:00:0{n}", batch=1) for n in (1, 2))
    graph = RouterGraph("window")
    graph.add(Requests("outgoing", outgoing))
    graph.add(Requests("incoming", incoming))
    state = {"state": np.array([(0, room)], STATE), "log": np.zeros(256, LOG)}
    service = graph.add(Service("sender", state, [Handler(account)], "request"))
    graph.add(End("done", "request"))
    graph.connect("done", "sender", "outgoing")
    graph.connect("sender", "incoming")
    paths = [graph.create_path("outgoing", weight=1), graph.create_path("incoming", weight=3)]
    with Supervisor(graph, paths, 1, schedule=schedule) as supervisor:
        os.kill(supervisor.processes[0].pid, signal.SIGSTOP)  # until all are there
        for _ in range(16):
            assert incoming.send(b"ack")
        for _ in range(16):
            assert outgoing.send(b"data")
        outgoing.end()
        incoming.end()
        os.kill(supervisor.processes[0].pid, signal.SIGCONT)
        assert supervisor.wait(600)
    assert supervisor.account()["ended"] == {"done": 32}
    return supervisor.table(service.tables["log"], 0)["port"][:32].tolist()


def test_outgoing_requests_that_fill_the_window_come_before_incoming_packets():
    order = served(window_first)
    # The window is filled; then each acknowledgement lets one more out.
    assert order == [0] * WINDOW + [1, 0] * (16 - WINDOW) + [1] * (16 - (16 - WINDOW))


@pytest.mark.long
def test_a_domain_goes_by_the_paths_weights():
    assert served("priority") == [1] * 16 + [0] * 16
    assert served("round-robin") == [1, 0] * 16
    assert served("deadline") == [1] * 16 + [0] * 16  # all deadlines alike: as they came
    first = served("weighted")[:16]
    assert first.count(1) == 12 and first.count(0) == 4


def wishes(heads, no_such_table):
    return -1


def test_a_scheduler_that_wants_what_is_not_there_is_named_with_the_place():
    with pytest.raises(CompileError, match=r"test_schedule.py:\d+: scheduler wishes wants 'no_such_table'"):
        served(wishes)
