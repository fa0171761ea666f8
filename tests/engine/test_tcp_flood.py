"""A flood of SYNs from thousands of addresses, at full rate: connections go on, and new ones are accepted."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from host_router import OURS, Host, running_host
from scapy.all import IP, TCP, Ether, wrpcap
from test_tcp import DATA, accepted, together

from scout import Tcp
from scout.testing import await_until
from scout.tools.traffic.replay import Replay

pytestmark = pytest.mark.needs_namespaces

PORT, SOURCES = 7401, 4096


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running_host(2, False, Tcp("tcp"), sockets=512) as running:
        yield running


@pytest.fixture(scope="module")
def capture(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of SYNs, each from an address of its own."""
    with host.their_stream() as theirs, host.our_stream(PORT) as listener:  # the peer asks for our MAC address
        listener.listen(1)
        theirs.connect((OURS, PORT))
    ours: Any = host.supervisor.graph.router("eth0").port.mac.to_bytes(6).hex(":")
    path = tmp_path_factory.mktemp("flood") / "syns.pcap"
    wrpcap(
        str(path),
        [
            Ether(dst=ours, src="02:00:00:00:00:77")
            / IP(src=f"10.9.{number >> 8}.{number & 255}", dst=OURS)
            / TCP(sport=1024 + number, dport=PORT, flags="S", seq=number * 7919, options=[("MSS", 1460)])
            for number in range(SOURCES)
        ],
    )
    return path


@contextmanager
def flooded(host: Host, capture: Path) -> Iterator[Replay]:
    """The SYNs come as fast as the kernel takes them."""
    flood = Replay(capture)
    child = host.peer.run(flood.run, "eth0", 600)
    try:
        await_until(lambda: flood.sent > 2 * SOURCES)
        yield flood
    finally:
        flood.stop()
        child.join()


def receive(sock: Any, size: int) -> str:
    """The hash of so many bytes."""
    digest = hashlib.sha256()
    while size and (part := sock.recv(min(size, 1 << 17))):
        digest.update(part)
        size -= len(part)
    return digest.hexdigest()


def test_connections_go_on_and_new_ones_are_accepted(host: Host, capture: Path) -> None:
    ours, theirs = accepted(host, PORT + 1)
    with ours, theirs, host.our_stream(PORT) as listener:
        listener.listen(128)
        with flooded(host, capture) as flood:
            *_, here, there = together(
                lambda: ours.sendall(DATA),
                lambda: theirs.sendall(DATA),
                lambda: receive(ours, len(DATA)),
                lambda: receive(theirs, len(DATA)),
            )
            assert here == there == hashlib.sha256(DATA).hexdigest()
            for number in range(10):
                with host.their_stream() as new:
                    new.connect((OURS, PORT))
                    new.sendall(b"%d" % number)
                    accepted_one, name = listener.accept()
                    with accepted_one:
                        assert name == new.getsockname() and accepted_one.recv(10) == b"%d" % number
            await_until(lambda before=flood.sent: flood.sent > before + SOURCES)  # type: ignore[misc]
