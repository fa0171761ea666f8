"""TCP connections whose peer vanishes or forgets them; and while somebody sends a flood of SYNs, or nonsense."""

import errno
import hashlib
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from host_router import OURS, PEER, Host, running_host
from scapy.all import IP, TCP, Ether, Raw, wrpcap
from test_tcp import DATA, accepted, check_transfers, connected, together

from scout import Tcp
from scout.testing import await_until
from scout.tools.traffic.replay import Replay

pytestmark = pytest.mark.needs_namespaces

TCP_REPAIR = 19  # linux/tcp.h: a socket that is closed in this mode says nothing to its peer
FRAMES = 4096  # that are sent again and again
STRANGER = "02:00:00:00:00:77"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running_host(2, False, Tcp("tcp"), sockets=512) as running:
        yield running


@contextmanager
def silence(host: Host) -> Iterator[None]:
    """The peer's interface is down."""
    with host.peer.netlink("setting eth0 down") as ip:
        (index,) = ip.link_lookup(ifname="eth0")
        ip.link("set", index=index, state="down")
    try:
        yield
    finally:
        host.peer.up("eth0")
        host.peer.await_carrier("eth0")


@pytest.mark.parametrize("opened", [accepted, connected])
def test_a_peer_that_has_forgotten_the_connection_resets_it(host: Host, opened: Any) -> None:
    ours, theirs = opened(host, 7501)
    with ours:
        theirs.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        theirs.close()
        ours.sendall(b"are you there?")
        with pytest.raises(ConnectionResetError):
            ours.recv(10)


def test_a_peer_that_vanishes_is_given_up_and_others_are_not(host: Host) -> None:
    ours, theirs = accepted(host, 7502)
    other, their_other = connected(host, 7503)
    with ours, theirs, other, their_other:
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000)
        with silence(host):
            ours.sendall(b"are you there?")
            other.sendall(b"hello")
            with pytest.raises(TimeoutError) as raised:
                ours.recv(10)
            assert raised.value.errno == errno.ETIMEDOUT
        assert their_other.recv(10) == b"hello"
        check_transfers(other, their_other, DATA[:100_000])


@contextmanager
def sent_again_and_again(host: Host, frames: list[Any], path: Path) -> Iterator[Replay]:
    """Frames come from the peer as fast as the kernel takes them."""
    wrpcap(str(path / "frames.pcap"), frames)
    replay = Replay(path / "frames.pcap")
    child = host.peer.run(replay.run, "eth0", 600)
    try:
        await_until(lambda: replay.sent > FRAMES)
        yield replay
        await_until(lambda before=replay.sent: replay.sent > before + FRAMES)  # type: ignore[misc]
    finally:
        replay.stop()
        child.join()


def mac(host: Host) -> str:
    ours: Any = host.supervisor.graph.router("eth0")
    return str(ours.port.mac.to_bytes(6).hex(":"))


def receive(sock: Any, size: int) -> str:
    """The hash of so many bytes."""
    digest = hashlib.sha256()
    while size and (part := sock.recv(min(size, 1 << 17))):
        digest.update(part)
        size -= len(part)
    return digest.hexdigest()


def test_a_flood_of_syns_keeps_neither_open_connections_nor_new_ones_out(host: Host, tmp_path: Path) -> None:
    """The SYNs come from thousands of addresses."""
    ours, theirs = accepted(host, 7505)
    syns = [
        Ether(dst=mac(host), src=STRANGER)
        / IP(src=f"10.9.{number >> 8}.{number & 255}", dst=OURS)
        / TCP(sport=1024 + number, dport=7506, flags="S", seq=number * 7919, options=[("MSS", 1460)])
        for number in range(FRAMES)
    ]
    with ours, theirs, host.our_stream(7506) as listener:
        listener.listen(128)
        with sent_again_and_again(host, syns, tmp_path):
            *_, here, there = together(
                lambda: ours.sendall(DATA),
                lambda: theirs.sendall(DATA),
                lambda: receive(ours, len(DATA)),
                lambda: receive(theirs, len(DATA)),
            )
            assert here == there == hashlib.sha256(DATA).hexdigest()
            for number in range(10):
                while not speaks(host, listener, b"%d" % number):
                    pass  # a busy machine has no room for most frames of a flood, so a cookie may come back too late


def speaks(host: Host, listener: Any, said: bytes) -> bool:
    """Open a connection to a listener, and have it say something; False if nothing of that comes in a while."""
    listener.settimeout(20)
    with host.their_stream() as new, suppress(TimeoutError):
        new.connect(listener.getsockname())
        new.sendall(said)
        while True:
            accepted_one, name = listener.accept()
            with accepted_one:
                if name == new.getsockname():  # else it is one that was given up
                    assert accepted_one.recv(10) == said
                    return True
    return False


def nonsense(chance: random.Random, ends: tuple[int, int], ours: str) -> Any:
    """A frame of the peer's end of a connection that says what nobody has said."""
    header = TCP(
        sport=ends[1],
        dport=ends[0],
        seq=chance.getrandbits(32),
        ack=chance.getrandbits(32),
        flags=chance.getrandbits(8),
        window=chance.getrandbits(16),
        urgptr=chance.getrandbits(16),
        reserved=chance.getrandbits(3),
        options=[(chance.randrange(2, 255), chance.randbytes(chance.randrange(3)))] * chance.randrange(3),
    )
    if chance.randrange(4) == 0:
        header.dataofs = chance.randrange(16)
    if chance.randrange(4) == 0:
        header.chksum = 1
    return (
        Ether(dst=ours, src=STRANGER) / IP(src=PEER, dst=OURS) / header / Raw(chance.randbytes(chance.randrange(100)))
    )


def test_nonsense_in_the_name_of_the_peer_does_not_harm_a_transfer(host: Host, tmp_path: Path) -> None:
    ours, theirs = accepted(host, 7504)
    chance, ends = random.Random(1), (7504, theirs.getsockname()[1])
    frames = [nonsense(chance, ends, mac(host)) for _ in range(FRAMES // 4)]
    with ours, theirs, sent_again_and_again(host, frames, tmp_path):
        check_transfers(ours, theirs)
