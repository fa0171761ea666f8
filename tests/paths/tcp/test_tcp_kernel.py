"""The Linux kernel as the peer: opened from both sides, both directions, intact by hash, and all ways to end."""

import hashlib
import random
import select
import socket
import struct
import threading
from typing import Any

import pytest
from tcp_simulator import App
from tcp_wire import KERNEL, OURS, PATIENCE, Wire, WireEnd, is_closed, wired

from scout.paths.protocols.tcp import state as states

pytestmark = pytest.mark.needs_namespaces

DATA = random.Random(1).randbytes(300_000)


def serve_hash(listener: socket.socket, answer: bytes) -> None:
    """Take a connection, read to its end, send the hash of that and an answer, and close."""
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE)
    digest = hashlib.sha256()
    with connection, listener:
        while chunk := connection.recv(1 << 16):
            digest.update(chunk)
        connection.sendall(digest.digest() + answer)


def connected(wire: Wire, port: int = 4000, kernel_port: int = 5001, **chosen: Any) -> WireEnd:
    end = wire.end(port, kernel_port, **chosen)
    end.connect(0)
    return end


def exchange(wire: Wire, end: WireEnd, data: bytes, answer: bytes) -> App:
    """Send data, close, and read what comes back: the kernel's hash of it, and the answer."""
    app = App(end, data)
    wire.drive(lambda: end.state in ("TIME_WAIT", "CLOSED") and end.told["received"] == end.read_bytes, app.step)
    wire.finish()
    assert bytes(app.got[:32]) == hashlib.sha256(data).digest()
    assert hashlib.sha256(app.got[32:]).digest() == hashlib.sha256(answer).digest()
    return app


@pytest.mark.parametrize("offloads", [False, True])
def test_transfers_in_both_directions(offloads: bool) -> None:
    """With offloads the kernel sends super-frames with partial checksums, and so does the end."""
    with wired(offloads) as wire:
        wire.in_thread(serve_hash, wire.kernel_listener(5001), DATA)
        end = connected(wire, LARGEST_SEND=64_000 if offloads else 0)
        exchange(wire, end, DATA, DATA)
        assert (end.c.sack, end.c.timestamps, end.c.scale) == (1, 1, 1)
        if offloads:
            assert any(each["length"] > each["segment"] for each in end.actions)


@pytest.mark.parametrize(
    "chosen", [{"SACK": 0, "TIMESTAMPS": 0, "WINDOW_SCALE": 0}, {"RECEIVE_BUFFER": 3000, "LARGEST_SEGMENT": 500}]
)
def test_transfers_without_options_and_with_a_tiny_window(chosen: dict[str, int]) -> None:
    with wired() as wire:
        wire.in_thread(serve_hash, wire.kernel_listener(5001), DATA[:30_000])
        exchange(wire, connected(wire, **chosen), DATA[:30_000], DATA[:30_000])


def test_the_kernel_opens() -> None:
    def client(sock: socket.socket) -> None:
        with sock:
            sock.bind((KERNEL, 6000))
            sock.connect((OURS, 80))
            sock.sendall(DATA)
            sock.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := sock.recv(65536):
                received += chunk
            assert received == b"thanks"

    with wired() as wire:
        end = wire.end(80, 6000)
        end.listen(0)
        wire.in_thread(client, wire.kernel_socket())
        app = App(end, b"", closes=False)
        wire.drive(lambda: end.state == "CLOSE_WAIT" and len(app.got) == len(DATA), app.step)
        assert app.got == DATA
        end.write(b"thanks", 1)
        end.close(2)
        wire.finish()
        wire.drive(lambda: is_closed(end))
        assert end.told["reason"] == states.FINISHED


def test_both_open_at_once() -> None:
    """The kernel's SYN is held back until ours was sent; so both are in SYN-SENT."""

    def client(sock: socket.socket) -> None:
        with sock:
            sock.bind((KERNEL, 6000))
            sock.connect((OURS, 80))
            sock.sendall(b"from the kernel")
            assert sock.recv(100) == b"from us"

    with wired() as wire:
        end = wire.end(80, 6000)
        wire.in_thread(client, wire.kernel_socket())
        assert select.select([wire.socket], [], [], PATIENCE)[0]
        end.connect(0)
        wire.send()  # before the kernel's SYN is read
        wire.drive(lambda: end.told["received"] == 15)
        assert end.read(1) == b"from the kernel"
        end.write(b"from us", 2)
        wire.finish()
        end.leave(3)


def test_the_kernel_refuses() -> None:
    with wired() as wire:
        end = connected(wire, kernel_port=5999)
        wire.drive(lambda: is_closed(end))
        assert end.told["reason"] == states.REFUSED


def test_the_kernel_resets() -> None:
    def server(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        listener.close()

    with wired() as wire:
        wire.in_thread(server, wire.kernel_listener(5001))
        end = connected(wire)
        wire.drive(lambda: is_closed(end))
        assert end.told["reason"] == states.RESET


def test_the_kernel_is_reset() -> None:
    def server(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        with connection, listener, pytest.raises(ConnectionResetError):
            connection.recv(1)

    with wired() as wire:
        wire.in_thread(server, wire.kernel_listener(5001))
        end = connected(wire)
        wire.drive(lambda: end.state == "ESTABLISHED")
        end.abort(1)
        wire.finish()


def test_the_kernel_closes_half() -> None:
    def server(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        with connection, listener:
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
            assert received == DATA[:200_000]

    with wired() as wire:
        wire.in_thread(server, wire.kernel_listener(5001))
        end = connected(wire)
        wire.drive(lambda: end.state == "CLOSE_WAIT")
        app = App(end, DATA[:200_000])
        wire.drive(lambda: is_closed(end), app.step)
        wire.finish()
        assert end.told["reason"] == states.FINISHED


def test_a_slow_kernel_program_closes_its_window() -> None:
    """Its window closes, is probed, and opens again."""
    may_read = threading.Event()

    def server(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        with connection, listener:
            assert may_read.wait(PATIENCE)
            digest = hashlib.sha256()
            while chunk := connection.recv(1 << 16):
                digest.update(chunk)
            connection.sendall(digest.digest())

    with wired() as wire:
        listener = wire.kernel_listener(5001)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.in_thread(server, listener)
        end = connected(wire)
        app = App(end, DATA[:100_000])
        wire.drive(lambda: end.c.snd_wnd == 0 and end.c.resend == states.PERSIST and end.c.backoff > 0, app.step)
        may_read.set()
        wire.drive(lambda: end.state in ("TIME_WAIT", "CLOSED") and len(app.got) == 32, app.step)
        wire.finish()
        assert bytes(app.got) == hashlib.sha256(DATA[:100_000]).digest()


def test_a_kernel_that_vanishes_is_given_up() -> None:
    with wired() as wire:
        listener = wire.kernel_listener(5001)
        with listener:
            end = connected(wire, USER_TIMEOUT=1_000_000_000)
            wire.drive(lambda: end.state == "ESTABLISHED")
            wire.is_cut = True
            end.write(b"anybody there?", 1)
            wire.drive(lambda: is_closed(end))
            assert end.told["reason"] == states.TIMED_OUT
