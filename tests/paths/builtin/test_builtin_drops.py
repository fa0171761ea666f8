"""What the built-in stages drop, plain and native, with the same frames; all leaves of their path are tested."""

import pytest
from builtin_frames import ARP_BYTES, ECHO, UNREACHABLE, ether, ip, patched, udp
from harness import HOST, LEFT, MTU, NOW, Twin
from scapy.layers.inet import ICMP, TCP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_SSRR
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from scout.io.packet import REACH

DROPS: dict[str, list[bytes]] = {
    "left.in drops too-short": [b"", bytes(13), udp()[:13]],
    "left.in drops not-for-us": [patched(udp(), 5, b"\x09"), patched(ARP_BYTES, 0, bytes(6))],
    "left.in drops unknown-ethertype": [patched(udp(), 12, b"\x86\xdd"), patched(udp(), 12, b"\x08\x01")],
    "left.ipv4 drops too-short": [udp()[:14], udp()[:33], patched(udp(), 14, b"\x46")[:37]],
    "left.ipv4 drops bad-version": [patched(udp(), 14, b"\x55"), patched(udp(), 14, b"\x65", mend=True)],
    "left.ipv4 drops bad-header-length": [patched(udp(), 14, b"\x44"), patched(udp(), 14, b"\x40")],
    "left.ipv4 drops bad-checksum": [
        patched(udp(), 24, b"\0\0"),
        patched(udp(), 22, b"\x05"),
        patched(udp(options=[IPOption_NOP()] * 4), 34, b"\x02"),
    ],
    "left.ipv4 drops bad-total-length": [
        patched(udp(), 16, b"\0\x13", mend=True),
        patched(udp(options=[IPOption_NOP()] * 4), 16, b"\0\x17", mend=True),
    ],
    "left.ipv4 drops truncated": [udp()[:-1], udp(size=1200)[:-1], udp(size=1200)[:REACH]],
    "left.ipv4 drops martian-source": [
        *(udp(src=source) for source in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255")),
        *(udp(src=source) for source in ("10.0.0.255", "10.0.0.0", "10.0.1.255")),  # directed broadcasts
    ],
    "left.ipv4 drops link-local-source": [
        udp(src="169.254.0.0"),
        udp(src="169.254.7.9"),
        udp("192.0.2.9", src="169.254.1.1"),
    ],
    "left.ipv4 drops own-source": [udp(src="10.0.0.1"), udp(src="10.0.1.1"), udp("10.0.0.1", src="10.0.1.1")],
    "ip.lookup drops martian-destination": [udp(to) for to in ("0.0.0.0", "127.0.0.1", "169.254.0.1", "240.0.0.1")],
    "ip.lookup drops multicast": [udp("224.0.0.1"), udp("239.1.2.3")],
    "ip.lookup drops broadcast": [udp("255.255.255.255"), udp("10.0.1.255"), udp("10.0.0.0")],
    "ip.forward drops link-broadcast": [patched(udp(), 0, b"\xff" * 6), patched(udp(), 0, b"\x01")],
    "ip.forward drops fragmentation-needed": [udp(size=MTU["right"] - 27)],
    "ip.local drops fragment-for-us": [udp("10.0.0.1", flags="MF"), udp("10.0.1.1", frag=3)],
    "ip.local drops source-route": [
        bytes(ether() / ip("10.0.0.1", options=[option(routers=["10.0.1.2"])]) / layer)
        for option in (IPOption_LSRR, IPOption_SSRR)
        for layer in (ICMP(), UDP(dport=9))
    ],
    "ip.local drops udp-bad-length": [
        bytes(ether() / ip("10.0.0.1", proto=17) / Raw(bytes(7))),
        *(bytes(ether() / ip("10.0.0.1") / UDP(len=told) / Raw(b"x")) for told in (0, 7, 10, 100)),
    ],
    "ip.local drops udp-bad-checksum": [bytes(ether() / ip("10.0.0.1") / UDP(sport=5, dport=6, chksum=1) / Raw(b"x"))],
    "ip.local drops tcp-bad-header": [
        bytes(ether() / ip("10.0.0.1", proto=6) / Raw(bytes(19))),
        *(bytes(ether() / ip("10.0.0.1") / TCP(dataofs=words)) for words in (4, 6)),
    ],
    "ip.local drops tcp-bad-checksum": [bytes(ether() / ip("10.0.0.1") / TCP(chksum=1))],
    "ip.route drops no-route-back": [
        udp(ttl=1, src="192.0.2.1"),
        bytes(ether() / ip("10.0.0.1", src="192.0.2.1") / ICMP()),
    ],
    "arp.in drops too-short": [ARP_BYTES[:41]],
    "arp.in drops bad-arp": [
        *(patched(ARP_BYTES, 14 + at, b"\x07") for at in (0, 1, 2, 3, 4, 5, 7)),
        patched(ARP_BYTES, 22, bytes(6)),
        patched(ARP_BYTES, 22, b"\x03"),
        bytes(ether() / ARP(op=1, hwsrc=LEFT, psrc="10.0.0.1", pdst="10.0.0.2")),
    ],
    "arp.in drops arp-address-conflict": [bytes(ether() / ARP(op=2, hwsrc=HOST, psrc="10.0.0.1", pdst="10.0.0.1"))],
    "icmp.in drops too-short": [
        bytes(ether() / ip("10.0.0.1", proto=1)),
        bytes(ether() / ip("10.0.0.1", proto=1) / Raw(bytes(7))),
    ],
    "icmp.in drops icmp-bad-checksum": [patched(ECHO, 36, b"\0\0"), patched(ECHO, 44, b"A")],
    "icmp.in drops icmp-unhandled": [
        bytes(ether() / ip("10.0.0.1") / ICMP(type=0)),
        bytes(ether() / ip("10.0.0.1") / ICMP(type=8, code=1)),
        bytes(ether() / ip("10.0.0.1") / ICMP(type=13)),
        patched(ECHO, 0, b"\xff" * 6),
    ],
    "icmp.error drops icmp-not-allowed": [
        UNREACHABLE,
        udp(ttl=1, frag=1),
        patched(udp("10.0.0.1"), 0, b"\xff" * 6),
        bytes(ether() / ip(ttl=1, proto=1)),
        *(bytes(ether() / ip(ttl=1) / ICMP(type=kind)) for kind in (4, 5, 11, 12)),
    ],
}


@pytest.mark.parametrize(
    ("leaf", "data"),
    [
        # Named by number: a timestamp request carries the time, and several processes have to name tests alike.
        pytest.param(leaf, data, id=f"{leaf} {number}")
        for leaf, frames in DROPS.items()
        for number, data in enumerate(frames)
    ],
)
def test_drops(twin: Twin, leaf: str, data: bytes) -> None:
    assert twin.both(data).leaf == leaf


def test_every_leaf_of_the_path_is_tested(twin: Twin) -> None:
    elsewhere = {"to left", "to right", "learnt"}
    elsewhere |= {"icmp.error drops icmp-rate-limited", "arp.in drops adjacency-table-full"}
    # No frame that long comes here.
    elsewhere |= {"left.in drops too-long-for-slot"}
    elsewhere |= {"icmp.in drops too-long-for-payload", "ip.local drops too-long-for-payload"}
    assert twin.leaves == set(DROPS) | elsewhere


def test_limits_errors(twin: Twin) -> None:
    expired = udp(ttl=1)
    later = NOW + 999_999_999
    leaves = [twin.both(expired, timestamp=at).leaf for at in (NOW, NOW, NOW, later, later + 1)]
    limited = "icmp.error drops icmp-rate-limited"
    assert leaves == ["to left", "to left", limited, limited, "to left"]
