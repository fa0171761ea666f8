"""Filters in the kernel: frames pass exactly if they have what is asked for."""

import socket
from itertools import product

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from scout.io.host.socket_filter import FrameFilter, attach
from scout.ring.errors import ScoutError

ONE, OTHER = "10.0.0.1", "10.0.0.2"

FRAMES: list[Packet] = [
    *(
        Ether() / IP(src=source, dst=destination, options=options) / layer
        for source, destination in ((ONE, OTHER), (OTHER, ONE), (OTHER, "10.0.0.3"))
        for options in ([], [Raw(b"\1" * 4)])
        for layer in (UDP(sport=53, dport=9), UDP(sport=9, dport=53), TCP(sport=9, dport=53), TCP(sport=9), ICMP())
    ),
    Ether() / IP(src=ONE, dst=OTHER, frag=3, proto=17) / Raw(b"\0\x35" * 8),
    Ether() / IP(src=ONE, dst=OTHER, proto=99) / Raw(b"\0\x35" * 8),
    Ether() / ARP(psrc=ONE, pdst=OTHER),
    Ether() / ARP(psrc=OTHER, pdst=OTHER),
    Ether() / IPv6() / UDP(dport=53),
    Ether() / Raw(b"\0"),
]


def has(frame: Packet, host: str | None, port: int | None, protocol: str | None) -> bool:
    """What the filter should say, from what Scapy knows."""
    if host is port is protocol is None:
        return True
    if ARP in frame:
        return port is None and protocol in (None, "arp") and host in (None, frame[ARP].psrc, frame[ARP].pdst)
    if IP not in frame:
        return False
    number = {"icmp": 1, "tcp": 6, "udp": 17, "arp": -1, None: frame[IP].proto}[protocol]
    if frame[IP].proto != number or host not in (None, frame[IP].src, frame[IP].dst):
        return False
    l4 = frame[IP].payload
    return port is None or (frame[IP].frag == 0 and isinstance(l4, TCP | UDP) and port in (l4.sport, l4.dport))


ASKED = [
    (host, port, protocol)
    for host, port, protocol in product((None, ONE), (None, 53), (None, "icmp", "tcp", "udp", "arp"))
    if port is None or protocol not in ("icmp", "arp")
]


@pytest.mark.parametrize("asked", ASKED)
def test_the_kernel_passes_what_is_asked_for(asked: tuple[str | None, int | None, str | None]) -> None:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)
        attach(receiver, FrameFilter(*asked).program())
        for frame in FRAMES:
            sender.send(bytes(frame))
            try:
                passed = receiver.recv(1 << 16) == bytes(frame)
            except BlockingIOError:
                passed = False
            assert passed == has(frame, *asked), frame.summary()


def test_any_cut_of_a_frame_is_refused_or_passed_whole() -> None:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        attach(receiver, FrameFilter(host=ONE, port=53).program())
        data = bytes(FRAMES[0])
        for size in range(1, len(data)):
            sender.send(data[:size])
        receiver.setblocking(False)
        sizes = []
        while True:
            try:
                sizes.append(len(receiver.recv(1 << 16)))
            except BlockingIOError:
                break
    assert min(sizes) == 14 + 20 + 2  # the source port is there


@pytest.mark.parametrize(
    "asked", [{"host": "10.0.0"}, {"port": 65536}, {"protocol": "sctp"}, {"port": 1, "protocol": "arp"}]
)
def test_filters_that_cannot_be_are_refused(asked: dict[str, object]) -> None:
    with pytest.raises(ScoutError):
        FrameFilter(**asked)  # type: ignore[arg-type]
