"""asyncio, TLS, large files and many connections over TCP of the stack, with the kernel as the other end."""

import asyncio
import hashlib
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from host_router import OURS, PEER, Host, running_host
from test_tcp import accepted, check_transfers, connected

from scout import Tcp, aio

# `test_aio_streams.py` shows the same in short, without the stack.
pytestmark = [pytest.mark.needs_namespaces, pytest.mark.long]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running_host(2, False, Tcp("tcp")) as running:
        yield running


async def echo(reader: Any, writer: Any) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


class Server:
    """An asyncio server on our stack, in a thread of this process."""

    def __init__(self, handler: Callable[..., Any], port: int, **options: Any) -> None:
        self._arguments = handler, OURS, port, options
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: aio.run(self._serve()))

    def __enter__(self) -> None:
        self._thread.start()
        assert self._started.wait(300)

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        handler, address, port, options = self._arguments
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await aio.start_server(handler, address, port, **options):
            self._started.set()
            await self._stop.wait()


def check_echo(sock: Any, data: bytes) -> None:
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(sock.sendall, data)
        got = b""
        while len(got) < len(data):
            more = sock.recv(1 << 16)
            assert more
            got += more
        sending.result(300)
    assert got == data


def test_an_asyncio_server_serves_the_kernel(host: Host) -> None:
    with Server(echo, 7201), ThreadPoolExecutor(8) as clients:

        def ask(number: int) -> None:
            with host.their_stream() as sock:
                sock.connect((OURS, 7201))
                check_echo(sock, os.urandom(1000 * number + 1))

        list(clients.map(ask, range(40)))


def test_an_asyncio_client_asks_the_kernel(host: Host) -> None:
    data = os.urandom(3_000_000)

    async def main(name: Any) -> bool:
        reader, writer = await aio.open_connection(*name)
        writer.write(data)
        writer.write_eof()
        got = await reader.read()
        writer.close()
        await writer.wait_closed()
        return bool(got == data[::-1])

    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as file:
            peer.sendall(file.read()[::-1])

    with host.their_stream(7202) as listener, ThreadPoolExecutor(1) as thread:
        listener.listen()
        serving = thread.submit(serve, listener)
        assert aio.run(main(listener.getsockname()))
        serving.result(300)


def test_tls_over_the_stack(host: Host, tmp_path: Path) -> None:
    curve = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=scout"
    files = "-keyout", "key.pem", "-out", "cert.pem", "-addext", f"subjectAltName=IP:{OURS}"
    subprocess.run(["openssl", *curve.split(), *files], cwd=tmp_path, check=True, capture_output=True)
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=tmp_path / "cert.pem")
    serving.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with Server(echo, 7203, ssl=serving):
        plain = host.their_stream()
        plain.connect((OURS, 7203))
        with asking.wrap_socket(plain, server_hostname=OURS) as sock:
            assert sock.version() == "TLSv1.3"
            sock.sendall(b"secret")
            assert sock.recv(100) == b"secret"


CLIENT = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

async def main():
    streams = await asyncio.gather(*(asyncio.open_connection(address, port) for _ in range(count)))
    async def ask(number, reader, writer):
        writer.write(b"%06d" % number)
        answer = await reader.readexactly(6)
        writer.close()
        await writer.wait_closed()
        return int(answer) == number
    print(sum(await asyncio.gather(*(ask(number, *each) for number, each in enumerate(streams)))))

asyncio.run(main())
"""

SERVER = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()

async def main():
    server = await asyncio.start_server(echo, sys.argv[1], int(sys.argv[2]), backlog=2000)
    print("listens", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

AT_ONCE, ROUNDS = 1000, 10


@pytest.fixture(scope="module")
def wide() -> Iterator[Host]:
    """A host with many sockets, in a process that may have as many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with running_host(2, False, Tcp("tcp"), sockets=4096) as running:
            yield running
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_connections_of_the_kernel_a_thousand_at_once(wide: Host) -> None:
    with Server(echo, 7204, backlog=1024):
        for _ in range(ROUNDS):  # the sockets of the last ones are in the peer's TIME-WAIT, or ours
            with wide.peer.entered():
                client = [sys.executable, "-c", CLIENT, OURS, "7204", str(AT_ONCE)]
                done = subprocess.run(client, capture_output=True, text=True, timeout=600, check=False)
            assert done.stdout == f"{AT_ONCE}\n", done.stderr


def test_ten_thousand_connections_to_the_kernel_a_thousand_at_once(wide: Host) -> None:
    async def ask(number: int, reader: Any, writer: Any) -> bool:
        writer.write(b"%06d" % number)
        answer = await reader.readexactly(6)
        writer.close()
        await writer.wait_closed()
        return int(answer) == number

    async def main() -> None:
        for _ in range(ROUNDS):
            streams = await asyncio.gather(*(aio.open_connection(PEER, 7207) for _ in range(AT_ONCE)))
            answers = await asyncio.gather(*(ask(number, *each) for number, each in enumerate(streams)))
            assert sum(answers) == AT_ONCE

    with (
        wide.peer.entered(),
        subprocess.Popen([sys.executable, "-c", SERVER, PEER, "7207"], stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout and server.stdout.readline() == "listens\n"
            aio.run(main())
        finally:
            server.kill()


@pytest.mark.parametrize("opened", [accepted, connected])
def test_a_hundred_megabytes_are_intact_both_ways_at_once(host: Host, opened: Any) -> None:
    ours, theirs = opened(host, 7205)
    with ours, theirs:
        check_transfers(ours, theirs, os.urandom(100_000_000))


def test_a_file_is_written_where_it_is_sent_from(host: Host, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    ours, theirs = accepted(host, 7206)

    def send() -> None:
        with ours, open(tmp_path / "file", "rb", buffering=0) as file:
            while count := file.readinto(ours.write_view()):
                ours.commit(count)

    def digest() -> bytes:
        found = hashlib.sha256()
        while chunk := theirs.recv(1 << 16):
            found.update(chunk)
        return found.digest()

    with theirs, ThreadPoolExecutor(1) as thread:
        sending = thread.submit(send)
        assert digest() == hashlib.sha256(data).digest()
        sending.result(300)
