"""UDP sockets while replicas are killed, join and leave: nothing is lost but what a dead replica had in hand."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from host_router import OURS, PEER, Host, running_host

from scout import sockets
from scout.io.host.process import Child
from scout.testing import await_until

pytestmark = [pytest.mark.needs_namespaces, pytest.mark.long]

BURST, KILLS = 200, 6
IN_HAND = 128
"""Frames or requests that a replica is primary of at a time, at most."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running_host(2) as running:
        yield running


def kill(host: Host, replica: int) -> None:
    """Kill a replica's process, and return when its successor is at work."""
    before = len(host.supervisor.stalls)
    pid = host.supervisor.processes[replica].pid
    os.kill(pid, signal.SIGKILL)
    await_until(lambda: len(host.supervisor.stalls) > before)


def send_with_kills(host: Host, send: Callable[[bytes], Any], receive: Callable[[], bytes]) -> Counter[int]:
    """Send bursts of numbers, and kill a replica in each; how often each number was received."""
    got: Counter[int] = Counter()
    before = len(host.supervisor.stalls)
    for burst in range(KILLS):
        for number in range(burst * BURST, (burst + 1) * BURST):
            if number % BURST == BURST // 2:
                os.kill(host.supervisor.processes[burst % 2].pid, signal.SIGKILL)
            send(number.to_bytes(4))
        await_until(lambda deaths=before + burst + 1: len(host.supervisor.stalls) >= deaths)  # type: ignore[misc]
        while len(got) < (burst + 1) * BURST:
            got[int.from_bytes(receive())] += 1
    return got


@pytest.mark.parametrize("outward", [False, True], ids=["to the application", "from the application"])
def test_no_datagram_is_lost_when_replicas_die(host: Host, outward: bool) -> None:
    with host.ours() as ours, host.theirs() as theirs:
        ours.connect(theirs.getsockname())
        theirs.connect(ours.getsockname())
        theirs.send(b"hello")  # neighbours are known: no datagram is held when a replica dies
        ours.send(ours.recv(10))
        theirs.recv(10)
        source, sink = (ours, theirs) if outward else (theirs, ours)
        got = send_with_kills(host, source.send, lambda: sink.recv(100))
    assert sorted(got) == list(range(KILLS * BURST))
    assert sum(got.values()) - len(got) <= KILLS * IN_HAND


def test_the_socket_tables_of_all_replicas_are_equal(host: Host) -> None:
    sockets = [host.ours() for _ in range(20)]
    for each in sockets[::2]:
        each.close()
    kill(host, 0)
    for each in sockets[1::4]:
        each.connect((PEER, 9))
    joined = host.supervisor.add_replica()
    kill(host, 1)
    for name in ("udp.sockets", "udp.bindings"):
        tables = [host.supervisor.table(name, replica) for replica in (0, 1, joined)]
        await_until(lambda tables=tables: all(np.array_equal(tables[0], table) for table in tables[1:]))  # type: ignore[misc]
    bound = host.supervisor.table("udp.sockets", 0)
    assert sorted(bound["local_port"][bound["number"] > 0]) == sorted(each.getsockname()[1] for each in sockets[1::2])
    with host.theirs() as theirs:
        for each in sockets[3::4]:
            theirs.sendto(b"still there?", each.getsockname())
            assert each.recv(100) == b"still there?"
    host.supervisor.remove_replica(joined)
    for each in sockets[1::2]:
        each.close()


def test_a_neighbour_that_does_not_answer_is_unreachable(host: Host) -> None:
    with host.ours() as ours:
        ours.connect(("10.0.0.77", 9))
        ours.send(b"anybody?")
        with pytest.raises(OSError, match="No route to host"):
            ours.recv(10)


def test_a_replica_that_dies_as_the_producer_leaves_the_channel_to_others(host: Host) -> None:
    """Kill again and again while an application sends: the lock of the channel is freed, and no request is lost."""
    rounds = [b"%d" % round_ for round_ in range(4)]
    with host.ours() as ours, host.theirs() as theirs:
        for round_, datagram in enumerate(rounds):
            kill(host, round_ % 2)
            ours.sendto(datagram, theirs.getsockname())
            # One that its primary had sent may come again: the primary died before it marked the request as done.
            while (got := theirs.recvfrom(10)) != (datagram, (OURS, ours.getsockname()[1])):
                assert got[0] in rounds[:round_]


def test_calls_that_wait_end_with_the_router() -> None:
    with running_host(1) as host, host.ours() as ours, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(ours.recv, 10)
        host.supervisor.stop()
        with pytest.raises(ConnectionResetError, match="the router has ended"):
            waiting.result(30)
        with pytest.raises(OSError):
            sockets.DatagramSocket(host.stack)
        assert host.stack.has_ended


def test_a_forked_child_attaches_by_itself(host: Host) -> None:
    def child() -> None:
        with sockets.DatagramSocket(sockets.attach(host.name)) as own:
            own.bind((OURS, 7010))
            own.sendto(b"from a child", theirs.getsockname())

    with host.theirs() as theirs:
        process = Child(child)
        assert process.join(600) and process.exitcode == 0
        assert theirs.recvfrom(100) == (b"from a child", (OURS, 7010))
    with host.ours(7010) as again:  # the child's socket went with it
        assert again.getsockname() == (OURS, 7010)
