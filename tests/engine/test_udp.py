"""UDP sockets of applications, with the kernel as the other end: one replica or two, on an interface or a TAP."""

import asyncio
import errno
import multiprocessing
import os
import resource
import select
import selectors
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from host_router import OURS, PEER, Host, running_host

from scout import aio, sockets
from scout.testing import await_until

pytestmark = pytest.mark.needs_namespaces

SIZES = (0, 1, 17, 255, 256, 640, 1000, 1472, 1473, 9000, 65507)


@pytest.fixture(scope="module", params=["2", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("1", "tap"))])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host with one replica or two on an interface, or with two on a TAP device."""
    with running_host(1 if request.param == "1" else 2, tap=request.param == "tap") as running:
        yield running


def pattern(size: int) -> bytes:
    return bytes(index * 7 + size & 0xFF for index in range(size))


def test_datagrams_of_all_sizes_come_and_go_whole(host: Host) -> None:
    with host.ours(7000) as ours, host.theirs() as theirs:
        for size in SIZES:
            theirs.sendto(pattern(size), (OURS, 7000))
            data, name = ours.recvfrom(65535)
            assert data == pattern(size) and name == theirs.getsockname()
            assert ours.sendto(data, name) == size
            assert theirs.recvfrom(65535) == (pattern(size), (OURS, 7000))


def test_datagrams_without_a_checksum_are_taken(host: Host) -> None:
    with host.ours() as ours, host.theirs() as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_NO_CHECK", 11), 1)
        theirs.sendto(b"unchecked", ours.getsockname())
        assert ours.recv(100) == b"unchecked"


def test_a_burst_is_received_whole(host: Host) -> None:
    with host.ours() as ours, host.theirs() as theirs:
        for number in range(100):
            theirs.sendto(number.to_bytes(2), ours.getsockname())
        got = [int.from_bytes(ours.recv(10)) for _ in range(100)]
        assert sorted(got) == list(range(100))


def test_segments_leave_as_datagrams(host: Host) -> None:
    data = pattern(10_000)
    with host.ours() as ours, host.theirs() as theirs:
        ours.send_segments(data, 1200, theirs.getsockname())
        got = [theirs.recv(65535) for _ in range(9)]
        assert [len(each) for each in got] == [1200] * 8 + [400] and b"".join(got) == data


def test_segments_of_the_kernel_come_as_datagrams(host: Host) -> None:
    data = pattern(5000)
    with host.ours() as ours, host.theirs() as theirs:
        theirs.setsockopt(socket.IPPROTO_UDP, 103, 1000)  # UDP_SEGMENT, linux/udp.h
        theirs.sendto(data, ours.getsockname())
        ready = select.poll()
        ready.register(ours, select.POLLIN)
        got = []
        for _ in range(5):
            assert ready.poll(30_000)
            got.append(ours.recv(65535))
        assert [len(each) for each in got] == [1000] * 5 and b"".join(got) == data
        assert not ready.poll(0)


def test_a_port_without_a_socket_is_unreachable(host: Host) -> None:
    with host.theirs() as theirs:
        theirs.connect((OURS, 9))
        theirs.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            theirs.recv(10)


def test_an_icmp_error_reaches_the_socket(host: Host) -> None:
    with host.ours() as ours:
        ours.connect((PEER, 9))
        assert ours.getpeername() == (PEER, 9)
        ours.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            ours.recv(10)


def test_a_connected_socket_receives_from_its_other_end_alone(host: Host) -> None:
    with host.ours(7001) as wide, host.theirs() as friend, host.theirs() as stranger:
        wide.connect(friend.getsockname())
        stranger.sendto(b"no", (OURS, 7001))
        friend.sendto(b"yes", (OURS, 7001))
        assert wide.recvfrom(10) == (b"yes", friend.getsockname())
        wide.send(b"you too")
        assert friend.recv(10) == b"you too"
        stranger.connect((OURS, 7001))
        stranger.send(b"no")
        with pytest.raises(ConnectionRefusedError):
            stranger.recv(10)


def test_what_cannot_be_sent_is_told(host: Host) -> None:
    with host.ours() as ours:
        with pytest.raises(OSError, match="Message too long"):
            ours.sendto(bytes(65508), (PEER, 9))
        with pytest.raises(OSError, match="Destination address required"):
            ours.send(b"")
        for address, number in (("192.0.2.1", errno.ENETUNREACH), ("10.0.0.255", errno.EACCES)):
            ours.sendto(b"lost", (address, 9))
            with pytest.raises(OSError) as raised:
                ours.recv(10)
            assert raised.value.errno == number


def test_calls_that_no_datagram_can_come_of_are_refused_at_once(host: Host) -> None:
    with host.ours() as ours:
        ours.connect((PEER, 9))
        for port, kind in ((0, OSError), (70_000, OverflowError), (-1, OverflowError)):
            with pytest.raises(kind):
                ours.sendto(b"x", (PEER, port))
        for segment in (0, -1, 70_000):
            with pytest.raises(OSError, match="Invalid argument"):
                ours.send_segments(b"x", segment)
        for call in (lambda: ours.send(b"x", 1), lambda: ours.sendto(b"x", 1, (PEER, 9)), lambda: ours.recv(1, 1)):
            with pytest.raises(OSError, match="not supported"):
                call()


def test_the_registry_refuses_malformed_requests(host: Host) -> None:
    with sockets.DatagramSocket(host.stack) as ours:
        wrong = {"port": 1.5}, {"port": "1"}, {"address": [1], "port": 1}, {"port": float("nan")}
        for each in wrong:
            with pytest.raises(OSError) as raised:
                host.stack.ask("bind", **{"socket": ours._number, "address": "", **each})
            assert raised.value.errno == errno.EINVAL
        ours.bind((OURS, 7020))  # nothing came of these
        assert ours.getsockname() == (OURS, 7020)


def test_an_application_that_may_open_no_more_files_is_told_and_takes_no_socket(host: Host) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_free = os.dup(0)
    os.close(next_free)
    before = int((host.supervisor.port("apps").memory.numbers >= 0).sum())
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
    try:
        with pytest.raises(OSError, match="ulimit -n"):
            sockets.DatagramSocket(host.stack)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert int((host.supervisor.port("apps").memory.numbers >= 0).sum()) == before


def test_names(host: Host) -> None:
    with sockets.DatagramSocket(host.stack) as first, sockets.DatagramSocket(host.stack) as second:
        assert first.getsockname() == ("0.0.0.0", 0)
        first.bind(("", 7002))
        assert first.getsockname() == ("0.0.0.0", 7002)
        for name, number in (
            ((OURS, 7002), errno.EADDRINUSE),
            (("10.0.0.77", 7003), errno.EADDRNOTAVAIL),
            ((OURS, 70_000), errno.EINVAL),
            (("nowhere", 1), errno.EINVAL),
        ):
            with pytest.raises(OSError) as raised:
                second.bind(name)
            assert raised.value.errno == number
        second.connect((PEER, 5))
        address, port = second.getsockname()
        assert address == OURS and port >= 49152
        with pytest.raises(OSError, match="Network is unreachable"):
            second.connect(("192.0.2.1", 5))
    with host.ours(7002) as again:
        assert again.getsockname() == (OURS, 7002)


def test_closed_sockets_are_gone_after_what_they_sent(host: Host) -> None:
    with host.theirs() as theirs:
        ours = host.ours(7004)
        for _ in range(50):
            ours.sendto(b"last", theirs.getsockname())
        ours.close()
        assert [theirs.recv(10) for _ in range(50)] == [b"last"] * 50
        theirs.connect((OURS, 7004))
        theirs.send(b"too late")
        with pytest.raises(ConnectionRefusedError):
            theirs.recv(10)
        with pytest.raises(OSError, match="Bad file descriptor"):
            ours.recv(10)


def test_readiness(host: Host) -> None:
    with host.ours() as ours, host.theirs() as theirs, selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)
        assert not selector.select(0)
        theirs.sendto(b"one", ours.getsockname())
        theirs.sendto(b"two", ours.getsockname())
        for word in (b"one", b"two"):
            assert selector.select(30)
            assert ours.recv(10) == word
        assert not selector.select(0)
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(10)
        ours.settimeout(0.01)
        with pytest.raises(TimeoutError):
            ours.recv(10)


def test_a_socket_that_is_not_read_loses_and_counts_what_it_has_no_room_for(host: Host) -> None:
    def lost() -> int:
        return int(host.supervisor.port("apps").transmitted()["socket-full"])

    with host.ours() as ours, host.theirs() as theirs:
        before, sent = lost(), 0
        while lost() == before:
            theirs.sendto(bytes(1400), ours.getsockname())
            sent += 1
        host_drops = lost() - before
        ours.setblocking(False)
        got = 0
        await_until(lambda: host.supervisor.port("apps").transmitted()["socket-full"] >= host_drops)
        with pytest.raises(BlockingIOError):
            while ours.recv(2000):
                got += 1
        assert 0 < got <= sent
        theirs.sendto(b"there is room again", ours.getsockname())
        ours.settimeout(300)
        while (data := ours.recv(2000)) == bytes(1400):
            pass  # those that were still on their way
        assert data == b"there is room again"


class Shout(asyncio.DatagramProtocol):
    """Answers in capitals."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data.upper(), addr)


class Ask(asyncio.DatagramProtocol):
    """Asks once, and keeps the answer, or the error."""

    def __init__(self, answer: asyncio.Future[Any]) -> None:
        self.answer = answer

    def connection_made(self, transport: Any) -> None:
        transport.sendto(b"hello")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.answer.set_result((data, addr))

    def error_received(self, error: Exception) -> None:
        self.answer.set_exception(error)


def test_asyncio_programs_run_by_changing_one_import(host: Host) -> None:
    async def ask(loop: Any, remote: tuple[str, int]) -> Any:
        answer = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(lambda: Ask(answer), remote_addr=remote)
        try:
            return await asyncio.wait_for(answer, 300)
        finally:
            transport.close()

    async def main() -> None:
        loop = aio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Shout, local_addr=(OURS, 7008))
        assert server.get_extra_info("sockname") == (OURS, 7008)
        with host.theirs() as theirs:
            theirs.connect((OURS, 7008))
            theirs.send(b"hello")
            assert await loop.run_in_executor(None, theirs.recv, 100) == b"HELLO"
            theirs.settimeout(300)
            answer = loop.run_in_executor(None, theirs.recvfrom, 100)
            with host.theirs() as other:
                name = other.getsockname()
                asking = asyncio.ensure_future(ask(loop, name))
                data, peer = await loop.run_in_executor(None, other.recvfrom, 100)
                other.sendto(data * 2, peer)
                assert await asking == (b"hellohello", name)
            theirs.send(b"and again")
            assert (await answer)[0] == b"AND AGAIN"
        with pytest.raises(ConnectionRefusedError):
            await ask(loop, (PEER, 9))
        server.close()
        with pytest.raises(OSError, match="Cannot assign"):
            await loop.create_datagram_endpoint(Shout, local_addr=("10.0.0.77", 1))

    aio.run(main())


def _echo(name: str, port: int) -> None:
    sockets.attach(name)
    with sockets.socket() as echo:
        echo.bind((OURS, port))
        while True:
            data, peer = echo.recvfrom(65535)
            echo.sendto(data, peer)


def test_an_application_that_is_killed_leaves_no_socket_and_disturbs_no_other(host: Host) -> None:
    context = multiprocessing.get_context("spawn")
    echo = context.Process(target=_echo, args=(host.name, 7005), daemon=True)
    echo.start()
    with host.theirs() as theirs, host.ours(7006) as other:
        theirs.settimeout(0.2)
        theirs.connect((OURS, 7005))
        answers: list[bytes] = []

        def answered() -> bool:
            try:
                theirs.send(b"hello")
                answers.append(theirs.recv(10))
            except (TimeoutError, ConnectionRefusedError):  # it has not started yet
                return False
            return True

        await_until(answered)
        assert echo.pid
        os.kill(echo.pid, signal.SIGKILL)
        echo.join()

        def refused() -> bool:
            try:
                theirs.send(b"hello")
                theirs.recv(10)
            except ConnectionRefusedError:
                return True
            except TimeoutError:
                pass
            return False

        await_until(refused)
        with host.theirs() as friend:
            friend.sendto(b"and you?", (OURS, 7006))
            assert other.recv(10) == b"and you?"
        with host.ours(7005) as again:
            assert again.getsockname() == (OURS, 7005)
