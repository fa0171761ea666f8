"""Secured connections: sealed records in both directions, with another implementation at the kernel's end."""

import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from host_router import Host, running_host
from record_peer import KEY_BYTES, LONGEST, RecordPeer, secrets_of
from test_tcp import accepted, connected, together

from scout import Tcp

pytestmark = pytest.mark.needs_namespaces

DATA = random.Random(7).randbytes(3_000_000)
CIPHER = "AES-128-GCM"


@pytest.fixture(scope="module", params=["2", pytest.param("1", marks=pytest.mark.long)])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with running_host(int(request.param), False, Tcp("tcp")) as running:
        yield running


def secured(
    host: Host, port: int, cipher: str = CIPHER, opened: Callable[[Host, int], tuple[Any, Any]] = accepted
) -> tuple[Any, RecordPeer]:
    """A connection that both ends have secured."""
    ours, theirs = opened(host, port)
    theirs.settimeout(300)
    one, other = secrets_of(cipher)
    ours.secure(cipher, *one, *other)
    return ours, RecordPeer(theirs, cipher, other, one)


def received(sock: Any) -> bytes:
    found = []
    while chunk := sock.recv(1 << 17):
        found.append(chunk)
    return b"".join(found)


def finish(sock: Any, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("opened", [accepted, connected])
@pytest.mark.parametrize("cipher", KEY_BYTES)
def test_an_echo(host: Host, cipher: str, opened: Any) -> None:
    ours, peer = secured(host, 7201, cipher, opened)
    with ours, peer.sock:
        for size in (1, 5, LONGEST):
            peer.send(bytes(size))
            assert ours.recv(1 << 17) == bytes(size)
            ours.sendall(bytes([1]) * size)
            assert peer.next() == bytes([1]) * size


@pytest.mark.parametrize("opened", [accepted, connected])
def test_transfers_in_both_directions_are_intact(host: Host, opened: Any) -> None:
    ours, peer = secured(host, 7202, opened=opened)
    with ours, peer.sock:

        def send() -> None:
            peer.send(DATA)
            peer.finish()

        *_, here, there = together(lambda: finish(ours, DATA[::-1]), send, lambda: received(ours), peer.receive)
        assert here == DATA and there == DATA[::-1]
