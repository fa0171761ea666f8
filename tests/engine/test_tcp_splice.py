"""Spliced connections between two of the kernel's: transfers through a proxy, and the proxy's and replicas' deaths."""

import errno
import hashlib
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from host_router import OURS, PEER, Host, running_host
from test_tcp import DATA, check_transfers, received, send, together

from scout import Tcp, aio, sockets
from scout.io.endpoints.message import ROW
from scout.paths.protocols.tcp.rows import SPLICED
from scout.testing import await_until

pytestmark = pytest.mark.needs_namespaces

TABLES = ("tcp.hosts", "tcp.rows", "tcp.bindings", "tcp.connections", "tcp.deadlines")


@pytest.fixture(scope="module", params=["2", pytest.param("1", marks=pytest.mark.long)])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with running_host(int(request.param), False, Tcp("tcp")) as running:
        yield running


def proxied(host: Host, port: int) -> tuple[Any, Any, Any, Any]:
    """A client and a server of the kernel's, and the two sockets of the proxy between them."""
    with host.our_stream(port) as listener, host.their_stream(port) as theirs:
        listener.listen(2)
        theirs.listen(2)
        client = host.their_stream()
        client.connect((OURS, port))
        accepted, _ = listener.accept()
        opened = host.our_stream()
        opened.connect((PEER, port))
        server, _ = theirs.accept()
        theirs.shutdown(socket.SHUT_RDWR)  # a successor that was forked meanwhile has a copy of its descriptor
    server.settimeout(300)
    accepted.settimeout(300)
    return client, server, accepted, opened


def roles(host: Host, *numbers: int) -> list[int]:
    rows = host.supervisor.table("tcp.rows")
    return [int(rows[number & ROW]["role"]) for number in numbers]


def spliced(host: Host, port: int) -> tuple[Any, Any]:
    """A client and a server whose connections were spliced, when no bytes are under way any more."""
    client, server, accepted, opened = proxied(host, port)
    numbers = accepted._number, opened._number
    sockets.splice(accepted, opened)
    await_until(lambda: roles(host, *numbers) == [SPLICED, SPLICED])
    return client, server


def test_transfers_in_both_directions_are_intact(host: Host) -> None:
    client, server, accepted, opened = proxied(host, 7201)
    with client, server:
        client.sendall(b"CONNECT example\nhello")
        assert accepted.recv(16) == b"CONNECT example\n"
        accepted.sendall(b"OK\n")
        sockets.splice(accepted, opened)
        assert client.recv(3) == b"OK\n" and server.recv(100) == b"hello"
        check_transfers(client, server)
        for each in (client, server):
            assert each.recv(10) == b""


def test_connections_that_are_in_use_are_spliced(host: Host) -> None:
    """Bytes flow in both directions before, at, and after the splice."""
    client, server, accepted, opened = proxied(host, 7202)
    with client, server:
        stop = threading.Event()

        def copy(source: Any, target: Any) -> None:
            while not stop.is_set():
                target.sendall(source.recv(1 << 16))

        def splice() -> None:
            with ThreadPoolExecutor(2) as threads:
                copies = [threads.submit(copy, accepted, opened), threads.submit(copy, opened, accepted)]
                await_until(lambda: min(each.stream.written for each in (accepted, opened)) > 500_000)
                stop.set()
                for each in copies:
                    each.result(60)
            sockets.splice(accepted, opened)

        backward = DATA[::-1]
        *_, here, there = together(
            lambda: send(client, DATA),
            lambda: send(server, backward),
            splice,
            lambda: received(client),
            lambda: received(server),
        )
        assert there == hashlib.sha256(DATA).hexdigest() and here == hashlib.sha256(backward).hexdigest()


def test_bytes_that_fill_the_rings_are_delivered(host: Host) -> None:
    """The client has sent until no room was left, and the proxy has read nothing."""
    client, server, accepted, opened = proxied(host, 7203)
    with client, server, ThreadPoolExecutor(1) as thread:
        sending = thread.submit(send, client, DATA)
        await_until(lambda: accepted.stream.readable() > 900_000)
        sockets.splice(accepted, opened)
        assert received(server) == hashlib.sha256(DATA).hexdigest()
        sending.result(60)
        send(server, b"done")
        assert client.recv(10) == b"done"


def test_a_reset_passes(host: Host) -> None:
    client, server = spliced(host, 7204)
    with server:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(ConnectionResetError):
            server.recv(10)


def _proxy(name: str, port: int) -> None:
    sockets.attach(name)
    with sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM) as listener:
        listener.bind((OURS, port))
        listener.listen(4)
        client, _ = listener.accept()
        server = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM)
        server.connect((PEER, port))
        sockets.splice(client, server)
        signal.pause()


def test_spliced_connections_go_on_when_the_application_is_killed(host: Host) -> None:
    with host.their_stream(7205) as listener:
        listener.listen(2)
        proxy = multiprocessing.get_context("spawn").Process(target=_proxy, args=(host.name, 7205), daemon=True)
        proxy.start()
        found: list[socket.socket] = []

        def has_connected() -> bool:
            assert proxy.is_alive(), "the proxy has ended; its error is above"
            sock = host.their_stream()
            if sock.connect_ex((OURS, 7205)):  # it does not listen yet
                sock.close()
                return False
            found.append(sock)
            return True

        await_until(has_connected)
        server, _ = listener.accept()
        server.settimeout(300)
    (client,) = found
    with client, server:
        client.sendall(b"hello")
        assert server.recv(10) == b"hello"
        assert proxy.pid
        rows = host.supervisor.table("tcp.rows")
        await_until(lambda: (rows["role"] == SPLICED).sum() >= 2)
        os.kill(proxy.pid, signal.SIGKILL)
        proxy.join()
        check_transfers(client, server)


def set_timestamps(host: Host, value: int) -> None:
    with host.peer.entered(), open("/proc/sys/net/ipv4/tcp_timestamps", "w") as file:
        file.write(str(value))


def test_one_peer_without_timestamps_is_refused_and_the_sockets_go_on(host: Host) -> None:
    with host.our_stream(7206) as listener, host.their_stream(7206) as theirs:
        listener.listen(2)
        theirs.listen(2)
        client = host.their_stream()
        set_timestamps(host, 0)
        client.connect((OURS, 7206))
        accepted, _ = listener.accept()
        set_timestamps(host, 1)
        opened = host.our_stream()
        opened.connect((PEER, 7206))
        server, _ = theirs.accept()
    with client, server, accepted, opened:
        with pytest.raises(OSError, match="timestamps") as found:
            sockets.splice(accepted, opened)
        assert found.value.errno == errno.EOPNOTSUPP
        client.sendall(b"hello")
        assert accepted.recv(10) == b"hello"
        opened.sendall(b"hello")
        assert server.recv(10) == b"hello"


def test_what_cannot_be_spliced(host: Host) -> None:
    client, server, accepted, opened = proxied(host, 7207)
    with client, server, accepted, opened:
        with pytest.raises(OSError, match="Invalid argument"):
            sockets.splice(accepted, accepted)
        file = accepted.makefile("rb")
        with pytest.raises(OSError, match="makefile"):
            sockets.splice(accepted, opened)
        file.close()
        opened.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError, match="shut down"):
            sockets.splice(accepted, opened)


def test_asyncio(host: Host) -> None:
    async def handle(reader: Any, writer: Any) -> None:
        line = await reader.readline()
        writer.write(line.upper())
        other = await aio.open_connection(PEER, 7208)
        await aio.splice((reader, writer), other)

    async def main() -> None:
        loop = aio.get_running_loop()
        with host.their_stream(7208) as listener:
            listener.settimeout(60)
            listener.listen(2)
            async with await aio.start_server(handle, OURS, 7208, backlog=8):
                client = host.their_stream()
                await loop.run_in_executor(None, client.connect, (OURS, 7208))
                client.sendall(b"hello\nand more")
                server, _ = await loop.run_in_executor(None, listener.accept)
                server.settimeout(300)
                with client, server:
                    assert await loop.run_in_executor(None, server.recv, 100) == b"and more"
                    assert await loop.run_in_executor(None, client.recv, 100) == b"HELLO\n"
                    await loop.run_in_executor(None, check_transfers, client, server, DATA[:500_000])

    sockets.attach(host.name)
    aio.run(main())


@pytest.mark.long
def test_transfers_go_on_when_replicas_die(host: Host) -> None:
    if len(host.supervisor.processes) < 2:
        pytest.skip("one replica")
    stop, killed = threading.Event(), [0]

    def kill() -> None:
        while not stop.wait(0.05):
            before = len(host.supervisor.stalls)
            os.kill(host.supervisor.processes[killed[0] % 2].pid, signal.SIGKILL)
            await_until(lambda before=before: len(host.supervisor.stalls) > before)  # type: ignore[misc]
            killed[0] += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        while killed[0] < 8:  # connections are spliced meanwhile, too
            client, server, accepted, opened = proxied(host, 7209)
            sockets.splice(accepted, opened)
            with client, server:
                check_transfers(client, server, DATA * 25)
    finally:
        stop.set()
        killer.join()
    for name in TABLES:
        tables = [host.supervisor.table(name, replica) for replica in (0, 1)]
        await_until(lambda tables=tables: np.array_equal(*tables))  # type: ignore[misc]
