"""`scout trace --live`: packets of a running router, picked and followed beside it."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from commands import LESSON, here, report_of
from lab_router import RIGHT, running
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgReader

from scout.control_socket.server import ControlSocket
from scout.io.host.socket_filter import FrameFilter
from scout.live_trace import live_trace
from scout.ring.errors import ScoutError
from scout.testing import MemoryRouter, ipv4_router
from scout.tools.traffic.peers import ping


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A running router, and a host that sends three kinds of datagrams through it all the time."""
    place = tmp_path_factory.mktemp("control") / "socket"
    with running() as made:
        assert ping(made.left, RIGHT, 3)["received"] == 3
        stop: list[bool] = []

        def send() -> None:
            with made.left.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                while not stop:
                    sock.sendto(b"not asked for", (RIGHT, 9))
                    sock.sendto(b"picked", (RIGHT, 4000))
                    sock.sendto(b"dropped", ("224.0.0.9", 4000))

        sender = Thread(target=send)
        sender.start()
        try:
            with ExitStack() as stack:
                with made.router.entered():  # the socket's threads are in the router's namespace then
                    stack.enter_context(ControlSocket(made.supervisor, LESSON, str(place)))
                yield SimpleNamespace(running=made, supervisor=made.supervisor, socket=str(place))
        finally:
            stop.append(True)
            sender.join()
        made.settle()  # the account is whole: nothing of the traces went into the router


def test_packets_are_picked_and_followed(router: SimpleNamespace) -> None:
    supervisor = router.supervisor
    with router.running.router.entered():
        picked = live_trace(supervisor, "left", FrameFilter(host=RIGHT, port=4000), seconds=60)
        forwarded = next(each for each in picked if each.steps[-1].target == "to right")
        dropped = next(live_trace(supervisor, "left", FrameFilter(), reason="multicast", seconds=60))
        assert not list(live_trace(supervisor, "left", FrameFilter(port=5), seconds=0.3))
        assert not list(live_trace(supervisor, "left", FrameFilter(), stopped=lambda: True))
    assert forwarded.path is supervisor.paths[0]
    assert b"picked" in forwarded.frame and forwarded.steps[-1].stage == "right.out"
    assert {change.name for change in forwarded.steps[3].changes} == {"ipv4.ttl", "ipv4.checksum"}
    assert b"dropped" in dropped.frame and dropped.steps[-1].outcome == "multicast"


def test_the_command_asks_the_router(
    router: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, seen = tmp_path / "trace.json", tmp_path / "seen.pcapng"
    live = ("trace", LESSON, "--live", "--socket", router.socket, "--from", "left", "--seconds", "20")
    wanted = ("--port", "4000", "--host", RIGHT, "--count", "2")
    assert here(*live, *wanted, "--json", str(report), "--pcapng", str(seen)) == 0
    said = capsys.readouterr().out
    assert "frame 2:" in said and "frame 3:" not in said and "leaves to right" in said
    rows = report_of(report, "trace")["results"]
    packets = list(PcapNgReader(str(seen)))
    assert len(packets) == len(rows)
    assert {packet.load for packet in packets} == {b"picked"}
    assert packets[0][Ether].ttl == packets[-1][Ether].ttl + 1 and any(type(packet) is IP for packet in packets)
    assert here(*live, "--reason", "multicast", "--count", "1") == 0
    assert "dropped at ip.lookup: multicast: the destination is in 224/4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("--live", "--from", "up"), "no path begins at 'up'"),
        (("--live", "--from", "left", "--host", "up"), "an IPv4 address"),
        (("--live", "--from", "left", "--proto", "sctp"), "use icmp, tcp, udp, arp"),
        (("--live", "--from", "left", "--hex", "00"), "leave --hex"),
        (("--live",), "--from left"),
        (("--from", "left", "--host", "10.0.0.1"), "add --live"),
    ],
)
def test_bad_requests_are_refused(
    router: SimpleNamespace, arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("trace", LESSON, *arguments, "--socket", router.socket) == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1


def test_a_port_in_memory_cannot_be_tapped() -> None:
    with MemoryRouter(ipv4_router()) as memory, pytest.raises(ScoutError, match="port left is on no interface"):
        next(live_trace(memory.supervisor, "left", FrameFilter()))
