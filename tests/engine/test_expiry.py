"""Requests EXPIRE: a router says when it wants one, and every replica serves it at one position."""

import os
import signal
import time

import numpy as np
import pytest
from port_router import kill

from scout.io.access import load8, load16
from scout.io.endpoints.message import BIND, HEADER_STRUCT, KIND, NOTE
from scout.io.packet import SECOND
from scout.io.ports.applications import ApplicationPort
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage
from scout.paths.model.table import Table
from scout.supervisor import Supervisor
from scout.testing import await_until

NEVER = 1 << 62
MILLISECOND = SECOND // 1000
STATE = np.dtype([("left", "i8"), ("interval", "i8"), ("served", "i8"), ("early", "i8"), ("digest", "i8")])


def serve(frame, end, packet, state, deadline):
    """BIND: want as many requests as the note says, a few milliseconds apart; EXPIRE: one of them."""
    own = state[0]
    if load8(frame, KIND) == BIND:
        own.left = load16(frame, NOTE)
        deadline[0] = packet.timestamp + own.interval
        return 0
    if packet.timestamp < deadline[0]:
        own.early += 1
        return 0
    own.served += 1
    own.left -= 1
    own.digest = own.digest * 31 + packet.timestamp & 0xFFFFFFFF
    deadline[0] = packet.timestamp + own.interval if own.left else NEVER
    return 0


class Ticking(Router):
    """A router with timers, and the port by which its requests come."""

    protocol = 253

    def __init__(self, name, port, interval):
        super().__init__(name)
        self.port = port
        state = np.zeros(1, STATE)
        state["interval"] = interval
        self.state, self.deadline = Table(state), Table(np.full(1, NEVER, np.int64))

    def transports(self, graph):
        return {}

    def stage(self, key, graph, attributes):
        return Stage(serve, (Outcome("served", Exit()),), {"state": self.state, "deadline": self.deadline})


def ticking(name, interval=3 * MILLISECOND):
    graph = RouterGraph("ticking")
    port = ApplicationPort(f"{name}-{os.getpid()}", sockets=1, applications=1)
    graph.add(Ticking("ticking", port, interval))
    return port, graph.create_path("ticking")


def want(port, times):
    header = HEADER_STRUCT.pack(BIND, 253, times, 0, 0, 0, 0, 0, 0)
    assert port.request(header, time.time_ns())


def states(supervisor):
    return [supervisor.table("ticking.state", replica).tolist()[0] for replica in supervisor.taking_part]


@pytest.mark.parametrize("replicas", [pytest.param(1, marks=pytest.mark.long), 2])
def test_requests_come_when_the_router_wants_them(replicas):
    port, path = ticking("expiry")
    with Supervisor(path.router_graph, [path], replicas) as supervisor:
        want(port, 20)
        await_until(lambda: all(state[0] == 0 and state[2] == 20 for state in states(supervisor)))
        want(port, 5)
        await_until(lambda: all(state[0] == 0 and state[2] == 25 for state in states(supervisor)))
        assert len({(state[2], state[4]) for state in states(supervisor)}) == 1
        ended = supervisor.account()["ended"]["served"]
        assert ended >= 27 and supervisor.account()["drops"] == {}


def test_the_lookout_may_die():
    port, path = ticking("expiry-deaths")
    with Supervisor(path.router_graph, [path], 2, report=[].append) as supervisor:
        for turn in range(6):
            await_until(lambda: len(states(supervisor)) == 2)
            want(port, 50)
            kill(supervisor, turn % 2)
            served = 50 * (turn + 1)
            await_until(lambda served=served: all((state[0], state[2]) == (0, served) for state in states(supervisor)))
        await_until(lambda: len(states(supervisor)) == 2 and len({state[2:] for state in states(supervisor)}) == 1)
        assert supervisor.failures == []


def test_others_make_the_request_while_the_lookout_is_stopped():
    port, path = ticking("expiry-stopped")
    with Supervisor(path.router_graph, [path], 2, report=[].append) as supervisor:
        lookout = supervisor.memory.bell.lookout
        os.kill(supervisor.processes[lookout].pid, signal.SIGSTOP)
        want(port, 10)
        await_until(lambda: supervisor.table("ticking.state", 1 - lookout)["served"][0] == 10)
        os.kill(supervisor.processes[lookout].pid, signal.SIGCONT)
        await_until(lambda: len({state[2:] for state in states(supervisor)}) == 1)
