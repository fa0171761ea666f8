"""When the descriptor of a stream socket is readable, and for whom."""

import select
import selectors
import threading
import time
from typing import Any

import pytest
import test_streams
from test_streams import RING

stack, pair = test_streams.stack, test_streams.pair
MORE = bytes(10 * RING)  # there may be room for a few bytes even when none is told


def test_readiness(pair: Any) -> None:
    sock, peer = pair
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        assert not selector.select(0)
        peer.sendall(b"twelve bytes")
        for _ in range(3):  # as long as data waits
            assert selector.select(300)
            assert len(sock.recv(4)) == 4
        assert not selector.select(0)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(10)
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(10)
        peer.close()
        assert selector.select(300) and sock.recv(10) == b""
        assert selector.select(0)  # the end stays


def test_a_full_ring_is_told_and_its_room_too(pair: Any) -> None:
    sock, peer = pair
    sock.setblocking(False)
    sent = sock.send(bytes(100_000))  # a part
    assert sent == RING
    full = False
    while not full:
        try:
            sent += sock.send(bytes(100_000))
        except BlockingIOError:
            full = not select.select([sock], [], [], 0)[0]  # else there has been room since, as the peer took more
    got = 0
    while not select.select([sock], [], [], 0)[0]:
        if got < sent:  # else all has come, and the wake-up is under way
            got += len(peer.recv(100_000))
    more = sock.send(b"x" * RING)
    assert more > 0
    assert not select.select([sock], [], [], 0)[0]  # it does not wait for room any more
    while got < sent + more:
        got += len(peer.recv(100_000))


def is_readable(sock: Any) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def fill(sock: Any) -> int:
    """Send until there is no more room, and none comes; how many bytes."""
    sent, full = 0, False
    sock.setblocking(False)
    while not full:
        try:
            sent += sock.send(bytes(100_000))
        except BlockingIOError:
            full = not is_readable(sock)
    sock.settimeout(300)
    return sent


def test_a_writer_waits_beside_data_that_nobody_reads(pair: Any) -> None:
    sock, peer = pair
    sent = fill(sock)
    peer.sendall(b"unread")
    while sock.stream.readable() < 6:
        time.sleep(0.001)
    assert is_readable(sock)
    writer = threading.Thread(target=sock.sendall, args=(MORE,))
    writer.start()
    while is_readable(sock):  # as long as it was, each of the writer's waits would end at once
        time.sleep(0.001)
    assert sock.recv(2) == b"un" and not is_readable(sock)  # the rest is no reason either
    got = 0
    while got < sent + len(MORE):
        got += len(peer.recv(100_000))
    writer.join()
    assert is_readable(sock) and sock.recv(10) == b"read"


def test_a_reader_is_woken_beside_a_writer_that_waits(pair: Any) -> None:
    sock, peer = pair
    sent = fill(sock)
    writer = threading.Thread(target=sock.sendall, args=(MORE,))
    writer.start()
    found: list[bytes] = []
    for data in (b"one", b"two", b"three"):
        reader = threading.Thread(target=lambda: found.append(sock.recv(10)))
        reader.start()
        peer.sendall(data)
        reader.join()
    assert found == [b"one", b"two", b"three"]
    got = 0
    while got < sent + len(MORE):
        got += len(peer.recv(100_000))
    writer.join()
