"""asyncio's streams, transports, servers and TLS over stream sockets; a stand-in does the work of the stack."""

import asyncio
import errno
import hashlib
import random
import select
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_in import Connection, StandIn

from scout import aio, sockets

HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = StandIn(1 << 14)
    monkeypatch.setattr(sockets, "newest", lambda: made)
    yield made
    made.stop()
    made.close()


async def echo(reader: Any, writer: Any) -> None:
    """Answer with what comes, and end when the peer does."""
    while data := await reader.read(30_000):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_streams_of_asyncio_are_intact() -> None:
    data = random.Random(1).randbytes(2_000_000)

    async def main() -> bytes:
        server = await aio.start_server(echo, HERE, 0)
        name = server.sockets[0].getsockname()
        reader, writer = await aio.open_connection(*name)
        assert isinstance(writer.get_extra_info("socket")._sock, sockets.StreamSocket)
        assert writer.get_extra_info("peername") == name

        async def send() -> None:
            for at in range(0, len(data), 50_000):
                writer.write(data[at : at + 50_000])
                await writer.drain()
            writer.write_eof()

        _, got = await asyncio.gather(send(), reader.read())
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return bytes(got)

    got = aio.run(main())
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_many_connections_at_once() -> None:
    async def ask(name: Any, number: int) -> bool:
        reader, writer = await aio.open_connection(*name)
        writer.write(b"%d\n" % number)
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return bool(answer == b"%d\n" % number)

    async def main() -> None:
        server = await aio.start_server(echo, HERE, 0, backlog=8)
        name = server.sockets[0].getsockname()
        for _ in range(5):
            assert all(await asyncio.gather(*(ask(name, number) for number in range(15))))
        server.close()

    aio.run(main())


def test_a_protocol_is_paused_when_it_writes_faster_than_the_peer_reads(stack: Any) -> None:
    async def main() -> None:
        with socket.create_server((HERE, 0)) as listener:
            reader, writer = await aio.open_connection(*listener.getsockname())
            peer, _ = listener.accept()
        peer.settimeout(300)
        writer.transport.set_write_buffer_limits(high=100_000)
        writer.write(bytes(8_000_000))
        assert writer.transport.get_write_buffer_size() > 100_000
        draining = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0)
        assert not draining.done()

        def read() -> int:
            got = 0
            while got < 8_000_000:
                got += len(peer.recv(1_000_000))
            return got

        assert await asyncio.get_running_loop().run_in_executor(None, read) == 8_000_000
        await draining
        # A reader that pauses gets nothing until it goes on.
        writer.transport.pause_reading()
        sock = writer.get_extra_info("socket")._sock
        peer.sendall(b"hello")
        while not sock.stream.readable():
            await asyncio.sleep(0.001)
        with stack._lock:  # so it has told of them
            pass
        for _ in range(10):  # turns of the loop, which has nothing to do
            await asyncio.sleep(0)
        assert not reader._buffer  # type: ignore[attr-defined]
        assert not select.select([sock], [], [], 0)[0]
        writer.transport.resume_reading()
        assert await reader.readexactly(5) == b"hello"
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()

    aio.run(main())


def test_a_file_is_sent(tmp_path: Path) -> None:
    """By `loop.sendfile`, as HTTP libraries do."""
    data = random.Random(3).randbytes(300_000)
    (tmp_path / "file").write_bytes(data)

    async def send(reader: Any, writer: Any) -> None:
        with open(tmp_path / "file", "rb") as file:
            await asyncio.get_running_loop().sendfile(writer.transport, file)
        writer.close()

    async def main() -> bytes:
        async with await aio.start_server(send, HERE, 0) as server:
            reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
            got = await reader.read()
            writer.close()
            return bytes(got)

    assert aio.run(main()) == data


def test_errors_are_those_of_asyncio(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind((HERE, 0))
            with pytest.raises(ConnectionRefusedError):
                await aio.open_connection(*unused.getsockname())
            with pytest.raises(OSError) as raised:
                await aio.start_server(echo, *unused.getsockname())
            assert raised.value.errno == errno.EADDRINUSE
        with pytest.raises(ValueError, match="host and port"):
            await aio.open_connection()
        with socket.create_server((HERE, 0)) as listener:
            reader, _ = await aio.open_connection(*listener.getsockname())
            monkeypatch.setattr(Connection, "end_connecting", lambda self: None)  # nothing comes of it
            opening = asyncio.ensure_future(aio.open_connection(*listener.getsockname()))
            server = await aio.start_server(echo, HERE, 0, backlog=2)
            serving = asyncio.ensure_future(server.serve_forever())
            while not any(each.connecting for each in list(stack.connections.values())):
                await asyncio.sleep(0.001)
            stack._registry.close()
            for waiting in (reader.read(), opening, serving):
                with pytest.raises(ConnectionResetError, match="the router has ended"):
                    await waiting
            assert not server.is_serving()
            await server.wait_closed()

    aio.run(main())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for our address, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    curve = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=scout"
    files = "-keyout", key, "-out", cert, "-addext", f"subjectAltName=IP:{HERE}"
    subprocess.run(["openssl", *curve.split(), *files], check=True, capture_output=True)
    return cert, key


def test_tls(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=cert)
    serving.load_cert_chain(cert, key)
    data = random.Random(2).randbytes(500_000)

    async def main() -> None:
        server = await aio.start_server(echo, HERE, 0, ssl=serving)
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname(), ssl=asking)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()
        server.close()

    aio.run(main())
