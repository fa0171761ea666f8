"""Secured connections: sealed records in both directions, with another implementation at the kernel's end."""

import errno
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from host_router import Host, running_host
from record_peer import KEY_BYTES, LONGEST, RecordPeer, secrets_of
from test_tcp import accepted, connected, together

from scout import Tcp
from scout.testing import await_until

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


def test_small_records_and_views(host: Host) -> None:
    ours, peer = secured(host, 7203, "ChaCha20-Poly1305")
    with ours, peer.sock:
        small = DATA[:20_000]
        _, there = together(
            lambda: [ours.sendall(small[at : at + 10]) for at in range(0, len(small), 10)],
            lambda: b"".join(peer.next() for _ in range(len(small) // 10)),
        )
        assert there == small
        ours.write_view()[:4] = b"view"
        ours.commit(4)
        ours.commit(0)
        assert peer.next() == b"view"
        peer.sock.sendall(peer.record(b"one") + peer.record(b"two"))
        found = bytearray()
        while len(found) < 6:
            view = ours.read_view()
            assert 0 < len(view) <= 3  # it ends where the record does
            found += view[:2]
            ours.consume(len(view[:2]))
        assert found == b"onetwo"


def test_a_connection_is_secured_behind_a_first_exchange(host: Host) -> None:
    ours, theirs = accepted(host, 7204)
    theirs.settimeout(300)
    with ours, theirs:
        one, other = secrets_of(CIPHER)
        peer = RecordPeer(theirs, CIPHER, other, one)
        theirs.sendall(b"begin" + peer.record(b"hello"))
        assert ours.recv(5) == b"begin"
        ours.sendall(b"begin")
        ours.secure(CIPHER, *one, *other)
        ours.sendall(b"HELLO")
        assert ours.recv(100) == b"hello"
        assert peer.file.read(5) == b"begin" and peer.next() == b"HELLO"


def test_either_end_closes(host: Host) -> None:
    ours, peer = secured(host, 7205)
    with peer.sock:
        ours.sendall(b"all of it")
        ours.close()
        assert peer.receive() == b"all of it"
    ours, peer = secured(host, 7206)
    with ours, peer.sock:
        peer.send(b"bye")
        peer.finish()
        assert received(ours) == b"bye" and ours.recv(10) == b""
        ours.sendall(b"half closed")
        ours.shutdown(socket.SHUT_WR)
        assert peer.receive() == b"half closed"


def ends_badly(ours: Any, before: bytes) -> None:
    """The connection ends with the error of a bad record, behind the bytes that came before it."""
    found = b""
    with pytest.raises(OSError) as caught:
        while True:
            chunk = ours.recv(1 << 17)
            assert chunk, "the stream has ended as if it were whole"
            found += chunk
    assert caught.value.errno == errno.EBADMSG and found == before
    assert "record" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("cipher", KEY_BYTES)
@pytest.mark.parametrize("at", [0, 4, 600, -1])
def test_a_record_that_was_altered_ends_the_connection(host: Host, cipher: str, at: int) -> None:
    ours, peer = secured(host, 7207, cipher)
    with ours, peer.sock:
        peer.send(b"good")
        altered = bytearray(peer.record(bytes(1000)))
        altered[at] ^= 0x80
        peer.sock.sendall(altered + peer.record(bytes(1000)))
        ends_badly(ours, b"good")
        with pytest.raises(BrokenPipeError):
            ours.sendall(b"more")
        with pytest.raises(ConnectionResetError):
            while peer.sock.recv(100):
                pass


@pytest.mark.parametrize("replay", ["again", "left out", "wrong keys"])
def test_a_record_in_the_wrong_place_or_of_other_keys_ends_the_connection(host: Host, replay: str) -> None:
    ours, peer = secured(host, 7208)
    with ours, peer.sock:
        first = peer.record(b"first")
        peer.sock.sendall(first)
        if replay == "again":
            peer.sock.sendall(first)
        elif replay == "left out":
            peer.record(b"lost")
            peer.send(b"third")
        else:
            one, other = secrets_of(CIPHER)
            peer = RecordPeer(peer.sock, CIPHER, (bytes(16), other[1]), one)
            peer.sent = 1
            peer.send(b"second")
        ends_badly(ours, b"first")


@pytest.mark.parametrize("cut", [0, 2, 10, -1])
def test_a_stream_that_was_cut_off_is_no_whole_one(host: Host, cut: int) -> None:
    ours, peer = secured(host, 7209)
    with ours, peer.sock:
        peer.send(b"good")
        peer.sock.sendall(peer.record(bytes(100))[:cut])
        peer.sock.shutdown(socket.SHUT_WR)
        ends_badly(ours, b"good")


def test_bad_arguments_are_refused(host: Host) -> None:
    one, other = secrets_of(CIPHER)
    with host.our_stream() as ours, pytest.raises(OSError, match="not connected"):
        ours.secure(CIPHER, *one, *other)
    ours, theirs = accepted(host, 7210)
    with ours, theirs:
        for cipher, *secrets in (
            ("AES-512", *one, *other),
            ("AES-256-GCM", *one, *other),
            (CIPHER, one[0], bytes(11), *other),
            (CIPHER, *one, *one),
        ):
            with pytest.raises(ValueError, match=r"cipher|bytes|same"):
                ours.secure(cipher, *secrets)
        ours.secure(CIPHER, *one, *other)
        with pytest.raises(OSError) as caught:
            ours.secure(CIPHER, *one, *other)
        assert caught.value.errno == errno.EALREADY


def test_the_states_of_all_replicas_are_equal(host: Host) -> None:
    table, others = host.supervisor.table, range(1, len(host.supervisor.processes))
    for name in ("tcp.hosts", "tcp.rows", "tcp.connections", "tcp.secured"):
        for other in others:
            await_until(lambda name=name, other=other: np.array_equal(table(name, 0), table(name, other)))  # type: ignore[misc]
