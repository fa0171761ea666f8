"""TCP connections of applications, with the kernel as the other end: opened from both ends, used, and ended."""

import errno
import hashlib
import multiprocessing
import os
import random
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from host_router import OURS, PEER, Host, running_host

from scout import Tcp, sockets
from scout.paths.protocols.tcp.settings import BBR, CONGESTION
from scout.testing import await_until

pytestmark = pytest.mark.needs_namespaces

DATA = random.Random(1).randbytes(4_000_000)


@pytest.fixture(scope="module", params=["2", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("1", "tap"))])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host with one replica or two on an interface, or with two on a TAP device."""
    with running_host(1 if request.param == "1" else 2, request.param == "tap", Tcp("tcp")) as running:
        yield running


def together(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that run at once."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [each.result(300) for each in [threads.submit(call) for call in calls]]


def received(sock: Any) -> str:
    """The hash of all that comes until the end."""
    digest = hashlib.sha256()
    while chunk := sock.recv(1 << 17):
        digest.update(chunk)
    return digest.hexdigest()


def send(sock: Any, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def accepted(host: Host, port: int) -> tuple[Any, Any]:
    """A connection that the kernel has opened: our socket and its."""
    with host.our_stream(port) as listener:
        listener.listen(2)
        theirs = host.their_stream()
        theirs.connect((OURS, port))
        ours, name = listener.accept()
        assert name == theirs.getsockname() and ours.getsockname() == (OURS, port)
    ours.settimeout(300)
    return ours, theirs


def connected(host: Host, port: int) -> tuple[Any, Any]:
    """A connection that we have opened: our socket and the kernel's."""
    with host.their_stream(port) as listener:
        listener.listen(2)
        ours = host.our_stream()
        ours.connect((PEER, port))
        theirs, name = listener.accept()
        assert name == ours.getsockname()
        listener.shutdown(socket.SHUT_RDWR)  # a successor that was forked meanwhile has a copy of its descriptor
    theirs.settimeout(300)
    return ours, theirs


def check_transfers(ours: Any, theirs: Any, data: bytes = DATA) -> None:
    """Send data both ways at once, to the end."""
    backward = data[::-1]
    *_, here, there = together(
        lambda: send(ours, data), lambda: send(theirs, backward), lambda: received(ours), lambda: received(theirs)
    )
    assert there == hashlib.sha256(data).hexdigest() and here == hashlib.sha256(backward).hexdigest()


@pytest.mark.parametrize("opened", [accepted, connected])
def test_an_echo(host: Host, opened: Any) -> None:
    ours, theirs = opened(host, 7001)
    with ours, theirs:
        theirs.sendall(b"hello")
        assert ours.recv(100) == b"hello"
        ours.sendall(b"HELLO")
        assert theirs.recv(100) == b"HELLO"


def test_a_connection_goes_on_after_both_windows_were_full(host: Host) -> None:
    """The peer, an echo, reads no more as nobody reads what it sends; both ends have sent probes meanwhile."""
    ours, theirs = connected(host, 7002)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)  # else the kernel's buffer may grow to take it all
    total, got = 20_000_000, 0

    def echo() -> None:
        while data := theirs.recv(1 << 16):
            theirs.sendall(data)

    def is_full() -> bool:
        table = host.supervisor.table("tcp.connections")
        is_probed = bool(np.any(table["snd_nxt"] > table["snd_una"] + table["snd_wnd"]))
        return ours.stream.readable() > host.stack.stream_bytes - (1 << 12) and is_probed

    def read() -> None:
        nonlocal got
        await_until(is_full)
        while got < total:
            got += len(ours.recv(1 << 20))
        ours.shutdown(socket.SHUT_WR)

    with ours, theirs:
        together(echo, lambda: ours.sendall(bytes(total)), read)
    assert got == total


def test_a_connection_is_controlled_by_bbr(host: Host) -> None:
    ours, theirs = connected(host, 7090)
    with ours, theirs:
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"cubic"
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
        check_transfers(ours, theirs)
        table = host.supervisor.table("tcp.connections")
        (index,) = np.flatnonzero(table["settings"][:, CONGESTION] == BBR)
        # The replica whose table it is may still have to come to what the other one has served.
        await_until(lambda: table[index]["delivery"]["delivered"] >= len(DATA))
        assert table[index]["bbr"]["phase"]


@pytest.mark.parametrize("opened", [accepted, connected])
def test_transfers_in_both_directions_are_intact(host: Host, opened: Any) -> None:
    ours, theirs = opened(host, 7002)
    with ours, theirs:
        check_transfers(ours, theirs)


def test_a_port_where_nobody_listens_is_refused_on_both_sides(host: Host) -> None:
    with host.their_stream() as theirs, pytest.raises(ConnectionRefusedError):
        theirs.connect((OURS, 9))
    with host.our_stream() as ours, pytest.raises(ConnectionRefusedError):
        ours.connect((PEER, 9))


def test_the_peer_resets(host: Host) -> None:
    ours, theirs = accepted(host, 7003)
    with ours:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        with pytest.raises(ConnectionResetError):
            ours.recv(10)


def test_half_closed_connections_go_on(host: Host) -> None:
    ours, theirs = connected(host, 7004)
    with ours, theirs:
        send(ours, b"question")
        assert theirs.recv(100) == b"question" and theirs.recv(100) == b""
        theirs.sendall(DATA[:100_000])
        theirs.shutdown(socket.SHUT_WR)
        assert received(ours) == hashlib.sha256(DATA[:100_000]).hexdigest()


def test_a_socket_that_has_read_all_ends_without_a_reset(host: Host) -> None:
    ours, theirs = accepted(host, 7011)
    with theirs:
        theirs.sendall(b"hello")
        assert ours.recv(100) == b"hello"
        ours.close()
        assert theirs.recv(100) == b""


def test_closing_leaves_nothing(host: Host) -> None:
    """More connections than there are sockets: rows in TIME-WAIT are given to others."""
    for number in range(100):
        ours, theirs = connected(host, 7005)
        ours.close()
        assert theirs.recv(10) == b"", number
        theirs.close()


def test_many_connections_at_a_time(host: Host) -> None:
    with host.our_stream(7006) as listener:
        listener.listen(20)
        theirs = []
        for _ in range(20):
            theirs.append(host.their_stream())
            theirs[-1].connect((OURS, 7006))
        ours = {name: sock for sock, name in (listener.accept() for _ in theirs)}
        for each in theirs:
            each.sendall(b"%d" % each.getsockname()[1])
        for each in theirs:
            assert ours[each.getsockname()].recv(100) == b"%d" % each.getsockname()[1]
        for sock in (*theirs, *ours.values()):
            sock.close()


def test_a_reader_that_waits_closes_the_window(host: Host) -> None:
    ours, theirs = accepted(host, 7007)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)  # else the kernel may take all that it cannot send
    with ours, theirs, ThreadPoolExecutor(1) as thread:
        sending = thread.submit(send, theirs, DATA)
        await_until(lambda: ours.stream.readable() > 900_000)
        assert not sending.done()
        assert received(ours) == hashlib.sha256(DATA).hexdigest()
        sending.result(60)


def _hold(name: str, port: int) -> None:
    sockets.attach(name)
    with sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM) as listener:
        listener.bind((OURS, port))
        listener.listen(4)
        held = [listener.accept()[0] for _ in range(2)]
        for each in held:
            each.sendall(b"ready")
        signal.pause()


def test_connections_of_an_application_that_is_killed_are_reset_and_others_go_on(host: Host) -> None:
    context = multiprocessing.get_context("spawn")
    holder = context.Process(target=_hold, args=(host.name, 7008), daemon=True)
    holder.start()
    ours, other = accepted(host, 7009)
    found: list[socket.socket] = []

    def has_connected() -> bool:
        sock = host.their_stream()
        if sock.connect_ex((OURS, 7008)):  # it does not listen yet
            sock.close()
            return False
        found.append(sock)
        return len(found) == 2

    with ours, other:
        await_until(has_connected)
        assert [each.recv(10) for each in found] == [b"ready", b"ready"]
        assert holder.pid
        os.kill(holder.pid, signal.SIGKILL)
        holder.join()
        for each in found:
            with each, pytest.raises(ConnectionResetError):
                each.recv(10)
        with host.their_stream() as late:
            await_until(lambda: late.connect_ex((OURS, 7008)) in (errno.ECONNREFUSED, errno.ECONNABORTED))
        check_transfers(ours, other, DATA[:200_000])


def test_an_error_of_the_network_is_told_and_ends_nothing(host: Host) -> None:
    with host.our_stream() as ours:
        ours.settimeout(1)
        with pytest.raises(OSError, match=r"timed out|No route"):
            ours.connect(("10.9.0.1", 9))  # behind the peer, which does not forward
