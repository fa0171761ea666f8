"""A router that is stopped resets the connections of its applications, so that their peers need not wait."""

import os
import resource
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from host_router import OURS, running_host
from test_tcp import accepted, connected

from scout import Tcp
from scout.testing import await_until

pytestmark = pytest.mark.needs_namespaces


def check_reset(sock: socket.socket) -> None:
    """A call that waits, or begins now, ends since this end was told of the reset."""
    with sock, pytest.raises(ConnectionResetError):
        while sock.recv(1 << 16):  # what had come before
            pass
        raise AssertionError("the stream has ended as if it were whole")


@pytest.mark.parametrize("tap", [False, pytest.param(True, marks=pytest.mark.long)], ids=["link", "tap"])
def test_peers_of_a_router_that_stops_are_told(tap: bool) -> None:
    with running_host(2, tap, Tcp("tcp")) as host, ThreadPoolExecutor(4) as threads:
        ours, idle = accepted(host, 7401)
        opened, waiting = connected(host, 7402)
        waiting.sendall(b"unread")
        # One that its application has closed, while the peer reads nothing of what was sent.
        left, slow = accepted(host, 7403)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        left.sendall(bytes(500_000))
        left.close()
        await_until(lambda: opened.stream.readable() == len(b"unread"))
        here = [threads.submit(each.recv, 10) for each in (ours, ours)]
        there = [threads.submit(check_reset, each) for each in (idle, waiting)]
        host.supervisor.stop()
        for each in there:
            each.result(30)
        check_reset(slow)
        for each in here:
            with pytest.raises(ConnectionResetError, match="the router has ended"):
                each.result(30)
        assert opened.recv(10) == b"unread"
        with pytest.raises(ConnectionResetError, match="the router has ended"):
            opened.recv(10)


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_all_of_many_connections_are_reset(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with running_host(2, False, Tcp("tcp"), sockets=4 * count) as host, host.our_stream(7404) as listener:
            listener.listen(count)
            ours, peers = [], []
            for _ in range(count):
                peers.append(host.their_stream())
                peers[-1].connect((OURS, 7404))
                ours.append(listener.accept()[0])
            host.supervisor.stop()
            for each in peers:
                check_reset(each)
            for sock in ours:
                sock.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_router_stops_though_its_replicas_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scout.endpoints.sockets._RESETTING", 0.01)
    monkeypatch.setattr("scout.membership._GRACE", 0.01)
    with running_host(2, False, Tcp("tcp")) as host:
        ours, theirs = accepted(host, 7405)
        with ours, theirs:
            for process in host.supervisor.processes.values():
                os.kill(process.pid, signal.SIGSTOP)
            host.supervisor.stop()
            await_until(lambda: not any(process.is_alive() for process in host.supervisor.processes.values()))
