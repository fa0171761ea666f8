"""Stream sockets of applications: calls, readiness, errors, intact bytes; a stand-in does the work of the stack."""

import errno
import hashlib
import random
import select
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from stand_in import StandIn
from test_tcp import together

from scout import sockets
from scout.paths.protocols.tcp.settings import BBR, CONGESTION
from scout.sockets import StreamSocket
from scout.sockets.listener import Listener

RING = 1 << 14
HERE = "127.0.0.1"
RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds


@pytest.fixture
def stack() -> Iterator[Any]:
    made = StandIn(RING)
    yield made
    made.stop()
    made.close()


def ours(stack: Any) -> StreamSocket:
    made: StreamSocket = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM, stack=stack)
    made.settimeout(300)
    return made


def theirs() -> socket.socket:
    made = socket.create_server((HERE, 0))
    made.settimeout(300)
    return made


@pytest.fixture
def pair(stack: Any) -> Iterator[tuple[StreamSocket, socket.socket]]:
    """A connection that our end has opened."""
    with theirs() as listener, ours(stack) as sock:
        sock.connect(listener.getsockname())
        peer, name = listener.accept()
        peer.settimeout(300)
        assert name == sock.getsockname() and sock.getpeername() == listener.getsockname()
        with peer:
            yield sock, peer


def receive(sock: Any, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        data += sock.recv(size - len(data))
    return data


def digest_of(sock: Any) -> str:
    """The hash of all that comes until the end."""
    found = hashlib.sha256()
    while data := sock.recv(30_000):
        found.update(data)
    return found.hexdigest()


def send_all(sock: Any, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_bytes_of_any_number_come_and_go(pair: Any) -> None:
    sock, peer = pair
    for size in (1, 2, 1000, RING - 1, RING, RING + 1, 3 * RING + 5):
        data = random.Random(size).randbytes(size)
        for one, other in (pair, (peer, sock)):
            calls = partial(one.sendall, data), partial(receive, other, len(data))
            assert together(*calls)[1] == data


def test_both_directions_at_once_are_intact(pair: Any) -> None:
    sock, peer = pair
    one, two = (random.Random(seed).randbytes(3_000_000) for seed in range(2))
    *_, first, second = together(
        lambda: send_all(sock, one), lambda: send_all(peer, two), lambda: digest_of(peer), lambda: digest_of(sock)
    )
    assert (first, second) == (hashlib.sha256(one).hexdigest(), hashlib.sha256(two).hexdigest())


def test_a_reader_and_a_writer_make_their_requests_one_after_the_other(stack: Any, pair: Any) -> None:
    sock, peer = pair
    submit, busy, clashes = stack.submit, threading.Lock(), []

    def slow(*request: int) -> bool:
        if not busy.acquire(blocking=False):
            clashes.append(request)
            return bool(submit(*request))
        try:
            time.sleep(0.001)  # the other thread comes meanwhile
            return bool(submit(*request))
        finally:
            busy.release()

    stack.submit = slow
    data = bytes(10 * RING)
    *_, first, second = together(
        lambda: send_all(sock, data), lambda: send_all(peer, data), lambda: digest_of(peer), lambda: digest_of(sock)
    )
    assert first == second == hashlib.sha256(data).hexdigest() and not clashes


def test_connections_are_accepted_with_their_names(stack: Any) -> None:
    with ours(stack) as listener:
        listener.bind((HERE, 0))
        listener.listen(4)
        for number in range(12):  # more than wait at a time
            with socket.create_connection(listener.getsockname()) as peer:
                sock, name = listener.accept()
                with sock:
                    assert name == peer.getsockname() == sock.getpeername()
                    assert sock.getsockname() == listener.getsockname()
                    peer.sendall(b"%d" % number)
                    assert sock.recv(100) == b"%d" % number


def test_no_more_connections_wait_than_their_messages_have_room(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(stack, 1, (np.zeros(1, np.uint8), 0))
    room = stack.ring_bytes // 144
    for wanted, most, got in ((0, 256, 1), (128, 256, 128), (65535, 65535, min(room, 32767)), (65535, 256, 128)):
        monkeypatch.setattr(stack, "sockets", most)
        listener.set_backlog(wanted)
        assert listener.backlog == got


def test_a_listener_goes_on_when_sockets_are_free_again() -> None:
    stack = StandIn(RING, sockets=4)
    with ours(stack) as listener:
        listener.bind((HERE, 0))
        listener.listen(8)
        peers = [socket.create_connection(listener.getsockname()) for _ in range(4)]
        first, *rest = (listener.accept()[0] for _ in range(3))
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        first.close()
        listener.settimeout(300)
        for each in (*rest, listener.accept()[0], *peers):
            each.close()
    stack.stop()
    stack.close()


def test_a_connection_may_come_before_another_thread_has_noted_its_socket(stack: Any) -> None:
    ask = stack.ask

    def slow(do: str, **parameters: Any) -> Any:
        answer = ask(do, **parameters)
        if do == "spares":
            offered.set()
            time.sleep(0.2)  # the connection comes meanwhile
        return answer

    offered = threading.Event()
    with ours(stack) as listener:
        listener.bind((HERE, 0))
        listener.listen(1)
        stack.ask = slow
        thread = threading.Thread(target=listener.listen, args=(2,))
        thread.start()
        offered.wait()
        peers = [socket.create_connection(listener.getsockname()) for _ in range(2)]
        for each in (*(listener.accept()[0] for _ in range(2)), *peers):
            each.close()
        thread.join()


def test_a_half_closed_connection_goes_on_in_the_other_direction(pair: Any) -> None:
    sock, peer = pair
    sock.sendall(b"question")
    sock.shutdown(socket.SHUT_WR)
    assert peer.recv(100) == b"question" and peer.recv(100) == b""
    with pytest.raises(BrokenPipeError):
        sock.send(b"x")
    peer.sendall(b"answer")
    assert sock.recv(100) == b"answer"
    peer.close()
    assert sock.recv(100) == b"" and sock.recv(100) == b""


def test_bytes_before_a_reset_are_read_and_then_its_error_once(pair: Any) -> None:
    sock, peer = pair
    peer.sendall(b"last words")
    assert select.select([sock], [], [], 300)[0]
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()
    sock.setblocking(True)
    with pytest.raises(ConnectionResetError):
        while sock.recv(4):
            pass
    assert sock.recv(100) == b""
    with pytest.raises(BrokenPipeError):
        sock.send(b"x")


def test_an_abort_resets_the_connection(pair: Any) -> None:
    sock, peer = pair
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
    with pytest.raises(ConnectionResetError):
        peer.recv(100)


def test_what_was_read_is_told_before_the_end(stack: Any, pair: Any) -> None:
    """Bytes that nobody has read would have the peer see a reset."""
    sock, peer = pair
    connection = stack.connections[sock._number]
    peer.sendall(b"a little")
    assert receive(sock, 8) == b"a little" and connection.read == 0
    sock.close()
    assert connection.read == 8


def test_a_refused_connection(stack: Any) -> None:
    with socket.socket() as unused:
        unused.bind((HERE, 0))
        name = unused.getsockname()
        with ours(stack) as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(name)
        with ours(stack) as sock:
            sock.setblocking(False)
            with pytest.raises((BlockingIOError, ConnectionRefusedError)) as raised:
                sock.connect(name)
            if raised.value.errno == errno.EINPROGRESS:  # else the answer came before the call looked for one
                assert select.select([sock], [], [], 300)[0]
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_a_socket_that_does_not_wait_is_told_when_it_is_connected(stack: Any) -> None:
    with theirs() as listener, ours(stack) as sock:
        sock.setblocking(False)
        found = sock.connect_ex(listener.getsockname())
        assert found in (errno.EINPROGRESS, 0)
        if found:  # else the answer came at once, and nothing is told later
            assert select.select([sock], [], [], 300)[0]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert sock.connect_ex(listener.getsockname()) == errno.EISCONN


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


def test_bytes_are_read_and_written_where_they_are(pair: Any) -> None:
    sock, peer = pair
    expected, sent = hashlib.sha256(), 0
    chance = random.Random(1)

    def write() -> None:
        nonlocal sent
        while sent < 10 * RING:
            view = sock.write_view()
            count = min(len(view), chance.randrange(1, 5000))
            view[:count] = data = chance.randbytes(count)
            expected.update(data)
            sock.commit(count)
            sent += count
        sock.shutdown(socket.SHUT_WR)

    _, digest = together(write, lambda: digest_of(peer))
    assert digest == expected.hexdigest()
    found = hashlib.sha256()

    def read() -> None:
        while view := sock.read_view():
            found.update(view)
            sock.consume(len(view))

    data = chance.randbytes(10 * RING)
    together(read, lambda: send_all(peer, data))
    assert found.hexdigest() == hashlib.sha256(data).hexdigest()
    with pytest.raises(TypeError):  # what was received cannot be changed
        sock.read_view()[:0] = b""
    with pytest.raises(OSError, match="Invalid argument"):
        sock.consume(1)


def test_files_over_a_connection(pair: Any) -> None:
    sock, peer = pair
    with sock.makefile("rwb") as file:
        file.write(b"line one\nline two\n")
        file.flush()
        assert receive(peer, 18) == b"line one\nline two\n"
        peer.sendall(b"three\nfour")
        assert file.readline() == b"three\n"
        peer.shutdown(socket.SHUT_WR)
        assert file.read() == b"four"
        sock.close()
        assert sock.fileno() >= 0  # the file is open
    assert sock.fileno() == -1


def test_options_are_told_once_the_connection_is_open(stack: Any) -> None:
    with theirs() as listener, ours(stack) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        connection = stack.connections[sock._number]
        assert connection.options == []
        sock.connect(listener.getsockname())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, (1).to_bytes(4, "little"))
        assert [value for _, value in connection.options] == [1, 5_000_000_000, 1]
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"cubic"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
        assert connection.options[-1] == (CONGESTION, BBR)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16) == b"bbr".ljust(16, b"\0")
        with pytest.raises(OSError, match="No such file"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"vegas")
        with pytest.raises(OSError, match="Protocol not available"):
            sock.setsockopt(socket.IPPROTO_TCP, 12345, 1)


def test_calls_out_of_place(stack: Any) -> None:
    with ours(stack) as sock:
        for call in (sock.getpeername, lambda: sock.recv(1), lambda: sock.send(b"x"), lambda: sock.shutdown(0)):
            with pytest.raises(OSError) as raised:
                call()
            assert raised.value.errno == errno.ENOTCONN
        with pytest.raises(OSError, match="Invalid argument"):
            sock.accept()
        with pytest.raises(OSError, match="not supported"):
            sock.recv(1, socket.MSG_PEEK)
    for call in (lambda: sock.recv(1), lambda: sock.send(b"x"), lambda: sock.connect((HERE, 9))):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    for wrong in ((socket.AF_INET6, sockets.SOCK_STREAM), (sockets.AF_INET, socket.SOCK_RAW)):
        with pytest.raises(OSError, match="not supported"):
            sockets.socket(*wrong, stack=stack)


def test_the_end_of_the_router_ends_calls_that_wait(stack: Any, pair: Any) -> None:
    sock, _ = pair
    stopper = threading.Timer(0.1, stack._registry.close)
    stopper.start()
    with pytest.raises(ConnectionResetError, match="the router has ended"):
        sock.recv(10)
    stopper.join()
