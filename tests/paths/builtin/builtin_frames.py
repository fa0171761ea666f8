"""Frames for the built-in stages, made by Scapy."""

from typing import Any

from harness import GATEWAY, HOST, LEFT, MTU, RIGHT
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from scout.paths.protocols.icmp import LONGEST_ERROR

BROADCAST = "ff:ff:ff:ff:ff:ff"
TCP_GSO = 1  # VIRTIO_NET_HDR_GSO_TCPV4 of linux/virtio_net.h


def ether(**fields: Any) -> Packet:
    return Ether(**{"src": HOST, "dst": LEFT} | fields)


def ip(destination: str = "10.9.0.7", **fields: Any) -> Packet:
    given: dict[str, Any] = {"src": "10.0.0.2", "dst": destination, "ttl": 9, "id": 4711}
    return IP(**given | fields)


def udp(*arguments: Any, size: int = 20, **fields: Any) -> bytes:
    """A UDP packet from the host on the left."""
    return bytes(ether() / ip(*arguments, **fields) / UDP(sport=1000, dport=2000) / Raw(bytes(size)))


def forwarded(data: bytes) -> bytes:
    """What Scapy makes of a frame that is forwarded to the gateway on the right."""
    frame = Ether(data)
    frame.src, frame.dst = RIGHT, GATEWAY
    frame[IP].ttl -= 1
    del frame[IP].chksum
    return bytes(frame)[: 14 + frame[IP].len]


def patched(data: bytes, offset: int, new: bytes, mend: bool = False) -> bytes:
    """`data` with `new` at `offset`, and the IPv4 header's checksum mended if asked for."""
    data = data[:offset] + new + data[offset + len(new) :]
    if mend:
        header = bytearray(data[14 : 14 + (data[14] & 15) * 4])
        header[10:12] = b"\0\0"
        words = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
        words = (words & 0xFFFF) + (words >> 16)
        words = (words & 0xFFFF) + (words >> 16)
        data = data[:24] + (words ^ 0xFFFF).to_bytes(2, "big") + data[26:]
    return data


ARP_BYTES = bytes(ether() / ARP(op=1, hwsrc=HOST, psrc="10.0.0.2", pdst="10.0.0.1"))
ECHO = bytes(ether() / ip("10.0.0.1") / ICMP(id=1, seq=2) / Raw(b"abcdefg"))
UNREACHABLE = bytes(ether() / ip(ttl=1) / ICMP(type=3, code=1) / IP() / UDP())


def check_error(data: bytes, cause: bytes, kind: int, code: int, source: str = "10.0.0.1") -> ICMP:
    """Check an ICMP error that answers `cause`, a frame, byte by byte against Scapy's; its ICMP layer."""
    quote = Ether(cause)[IP]
    quoted = cause[14 : 14 + quote.len][: LONGEST_ERROR - 28]
    got = Ether(data)
    message = Raw(got[ICMP].original)
    tos = 0xC0 | quote.tos & 0x1E  # RFC 1812 section 4.3.2.5
    expected = Ether(src=LEFT, dst=HOST) / IP(src=source, dst="10.0.0.2", tos=tos, flags="DF", id=0, ttl=64, proto=1)
    assert data == bytes(expected / message)
    head = ICMP(type=kind, code=code, chksum=0)
    if (kind, code) == (3, 4):
        head.nexthopmtu = MTU["right"]
    head.chksum = None
    assert message.load == bytes(head / Raw(quoted))
    assert len(data) - 14 <= LONGEST_ERROR
    return got[ICMP]
