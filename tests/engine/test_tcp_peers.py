"""TCP connections whose peer vanishes, or forgets them, or is talked over by somebody who sends nonsense."""

import errno
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from host_router import OURS, PEER, Host, running_host
from scapy.all import IP, TCP, Ether, Raw, wrpcap
from test_tcp import DATA, accepted, check_transfers, connected

from scout import Tcp
from scout.testing import await_until
from scout.tools.traffic.replay import Replay

pytestmark = pytest.mark.needs_namespaces

TCP_REPAIR = 19  # linux/tcp.h: a socket that is closed in this mode says nothing to its peer
FRAMES = 2000


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running_host(2, False, Tcp("tcp")) as running:
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
        Ether(dst=ours, src="02:00:00:00:00:77")
        / IP(src=PEER, dst=OURS)
        / header
        / Raw(chance.randbytes(chance.randrange(100)))
    )


def test_nonsense_in_the_name_of_the_peer_does_not_harm_a_transfer(host: Host, tmp_path: Path) -> None:
    ours, theirs = accepted(host, 7504)
    mac = host.supervisor.graph.router("eth0").port.mac.to_bytes(6).hex(":")  # type: ignore[attr-defined]
    chance = random.Random(1)
    ends = 7504, theirs.getsockname()[1]
    wrpcap(str(tmp_path / "nonsense.pcap"), [nonsense(chance, ends, mac) for _ in range(FRAMES)])
    flood = Replay(tmp_path / "nonsense.pcap")
    child = host.peer.run(flood.run, "eth0", 600)
    try:
        await_until(lambda: flood.sent > FRAMES)
        with ours, theirs:
            check_transfers(ours, theirs)
    finally:
        flood.stop()
        child.join()
