"""Every built-in stage, plain and native, with the same frames; Scapy says what the bytes must be.

Over 400 lines because all sections are about one path: one test checks that every leaf of it occurs in a table, and the
last section mutates frames of all sections.
"""

import random
from typing import Any

import numba
import numpy as np
import pytest
from harness import GATEWAY, HOST, LEFT, MTU, NOW, RIGHT, Twin, number, two_ports
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_RR, IPOption_SSRR
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from scout.io.access import allow
from scout.io.packet import GSO_NONE, PACKET, REACH
from scout.paths.compiler.inlining import native
from scout.paths.compiler.interpreter import try_stage
from scout.paths.protocols.adjacencies import FOREVER
from scout.paths.protocols.arp import WISH, WISHES, request
from scout.paths.protocols.icmp import LONGEST_ERROR

BROADCAST = "ff:ff:ff:ff:ff:ff"
TCP_GSO = 1  # VIRTIO_NET_HDR_GSO_TCPV4 of linux/virtio_net.h


@pytest.fixture(scope="session")
def router() -> Any:
    made = two_ports(errors_per_second=1.0, burst=2)
    made.twin = Twin(made.graph.create_path("left"))
    return made


@pytest.fixture
def twin(router: Any) -> Twin:
    router.twin.reset()
    return router.twin


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


# Forwarding.


@pytest.mark.parametrize(
    "data",
    [
        udp(),
        udp(ttl=2),
        udp(tos=0xFF, flags="DF"),
        udp(flags="MF", frag=8),
        udp(size=REACH - 14 - 28),
        udp(size=REACH - 14 - 27),
        udp(size=1300),
        udp(options=[IPOption_NOP()] * 4),
        bytes(ether() / ip() / TCP(dport=80)),
        bytes(ether() / ip(proto=200)),
    ],
    ids=[
        "udp",
        "last-hop",
        "tos",
        "fragment",
        "all-in-reach",
        "one-beyond",
        "long",
        "options",
        "tcp",
        "bare",
    ],
)
def test_forwards_with_new_addresses_ttl_and_checksum(twin: Twin, data: bytes) -> None:
    result = twin.both(data)
    assert (result.leaf, result.data) == ("to right", forwarded(data))


@pytest.mark.parametrize("checksum", [0x0000, 0xFEFF, 0xFF00, 0xFFFE, 0x00FF])
def test_mends_checksum_at_its_corners(twin: Twin, checksum: int) -> None:
    # The identification that makes the checksum what we want.
    base = int.from_bytes(udp(id=0)[24:26], "big")
    wanted = (base - checksum) % 0xFFFF
    data = udp(id=wanted)
    assert int.from_bytes(data[24:26], "big") in (checksum, checksum ^ 0xFFFF if checksum == 0 else checksum)
    assert twin.both(data).data == forwarded(data)


@pytest.mark.parametrize("size", [0, 3, 600])
def test_cuts_off_what_the_link_padded(twin: Twin, size: int) -> None:
    data = udp(size=size)
    for padding in (1, 18, 700):
        result = twin.both(data + b"\xee" * padding)
        assert (result.leaf, result.data) == ("to right", forwarded(data))


def test_forwards_super_frame_whose_segments_fit(twin: Twin) -> None:
    data = bytes(ether() / ip() / TCP(dport=80, options=[("NOP", None)] * 4) / Raw(bytes(5000)))
    fits = MTU["right"] - 20 - 24
    assert twin.both(data, gso_type=TCP_GSO, gso_size=fits).leaf == "to right"
    assert twin.both(data, gso_type=TCP_GSO, gso_size=fits + 1).leaf.endswith("fragmentation-needed")


# Drops.

ARP_BYTES = bytes(ether() / ARP(op=1, hwsrc=HOST, psrc="10.0.0.2", pdst="10.0.0.1"))
ECHO = bytes(ether() / ip("10.0.0.1") / ICMP(id=1, seq=2) / Raw(b"abcdefg"))
UNREACHABLE = bytes(ether() / ip(ttl=1) / ICMP(type=3, code=1) / IP() / UDP())

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
    elsewhere |= {"icmp.in drops too-long-for-payload", "ip.local drops too-long-for-payload"}
    assert twin.leaves == set(DROPS) | elsewhere


def test_limits_errors(twin: Twin) -> None:
    expired = udp(ttl=1)
    later = NOW + 999_999_999
    leaves = [twin.both(expired, timestamp=at).leaf for at in (NOW, NOW, NOW, later, later + 1)]
    limited = "icmp.error drops icmp-rate-limited"
    assert leaves == ["to left", "to left", limited, limited, "to left"]


# ICMP.


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


@pytest.mark.parametrize("size", [0, 1, 20, 519, 520, 521, 900])
@pytest.mark.parametrize("ttl", [0, 1])
def test_answers_an_expired_ttl(twin: Twin, size: int, ttl: int) -> None:
    cause = udp(ttl=ttl, size=size)
    result = twin.both(cause + bytes(3))
    assert result.leaf == "to left"
    check_error(result.data, cause, 11, 0)


@pytest.mark.parametrize(
    ("cause", "kind", "code"),
    [
        (udp("192.0.2.9"), 3, 0),
        (bytes(ether() / ip("10.0.1.1", proto=200) / Raw(b"12345678")), 3, 2),
        (udp("10.0.0.1"), 3, 3),
        (udp(size=MTU["right"] - 27, flags="DF"), 3, 4),
        (bytes(ether() / ip(ttl=1, options=[IPOption_NOP()] * 8) / ICMP(type=13)), 11, 0),
        (bytes(ether() / ip(ttl=1) / ICMP()), 11, 0),
    ],
    ids=["net", "protocol", "port", "fragmentation-needed", "timestamp", "echo"],
)
def test_answers_what_cannot_be_delivered(twin: Twin, cause: bytes, kind: int, code: int) -> None:
    result = twin.both(cause)
    assert result.leaf == "to left"
    check_error(result.data, cause, kind, code)


def test_error_leaves_nothing_to_the_device(twin: Twin) -> None:
    result = twin.both(udp(ttl=1), flags=1, gso_type=TCP_GSO, gso_size=100)
    assert (result.fields["flags"], result.fields["gso_type"]) == (0, GSO_NONE)


@pytest.mark.parametrize("to", ["10.0.0.1", "10.0.1.1"])
@pytest.mark.parametrize("size", [0, 1, 56, REACH, 1472])
def test_answers_an_echo_request(twin: Twin, size: int, to: str) -> None:
    body = random.Random(size).randbytes(size)
    result = twin.both(bytes(ether() / ip(to, ttl=1) / ICMP(id=7, seq=65535) / Raw(body)))
    header = IP(src=to, dst="10.0.0.2", ttl=64, id=4711)
    expected = Ether(src=LEFT, dst=HOST) / header / ICMP(type="echo-reply", id=7, seq=65535) / Raw(body)
    assert (result.leaf, result.data) == ("to left", bytes(expected))


def test_echo_reply_keeps_options_and_its_checksum_covers_them(twin: Twin) -> None:
    options = [IPOption_NOP(), IPOption_RR(routers=["1.2.3.4"])]
    result = twin.both(bytes(ether() / ip("10.0.0.1", options=options) / ICMP(id=7, seq=1)))
    header = IP(src="10.0.0.1", dst="10.0.0.2", ttl=64, id=4711, options=options)
    assert result.data == bytes(Ether(src=LEFT, dst=HOST) / header / ICMP(type=0, id=7, seq=1))


# At the first, all else in the reply is 0: an update of the request's sum would give 0, which no host accepts.
@pytest.mark.parametrize("checksum", [0xF7FF, 0xF800, 0x0000, 0xF7FE])
def test_echo_reply_checksum_at_its_corners(twin: Twin, checksum: int) -> None:
    base = ICMP(bytes(ICMP(id=0, seq=0))).chksum
    data = bytes(ether() / ip("10.0.0.1") / ICMP(id=(base - checksum) % 0xFFFF, seq=0))
    result = twin.both(data)
    expected = Ether(data)[ICMP]
    expected.type, expected.chksum = 0, None
    assert Ether(result.data)[ICMP].original == bytes(expected)


# ARP.


def test_answers_an_arp_request_and_learns_who_sent_it(router: Any, twin: Twin) -> None:
    mac = "02:00:00:00:00:63"
    ask = Ether(src=mac, dst=BROADCAST) / ARP(op=1, hwsrc=mac, psrc="10.0.0.99", pdst="10.0.0.1")
    result = twin.both(bytes(ask) + bytes(18))
    reply = ARP(op="is-at", hwsrc=LEFT, psrc="10.0.0.1", hwdst=mac, pdst="10.0.0.99")
    assert result.leaf == "to left"
    assert result.data[:42] == bytes(Ether(src=LEFT, dst=mac) / reply)
    (learnt,) = [row for row in router.arp.adjacencies.initial if row["key"] == 1 << 32 | 0x0A000063]
    assert (learnt["mac"], learnt["expires"]) == (number(mac), NOW + 60_000_000_000)
    assert router.arp.changes.initial[0] == 1


def test_answers_a_probe_and_learns_nothing(router: Any, twin: Twin) -> None:
    probe = Ether(src=HOST, dst=BROADCAST) / ARP(op=1, hwsrc=HOST, psrc="0.0.0.0", pdst="10.0.0.1")
    result = twin.both(bytes(probe))
    reply = ARP(op="is-at", hwsrc=LEFT, psrc="10.0.0.1", hwdst=HOST, pdst="0.0.0.0")
    assert result.data == bytes(Ether(src=LEFT, dst=HOST) / reply)
    assert router.arp.changes.initial[0] == 0


@pytest.mark.parametrize(
    ("psrc", "pdst", "changes"),
    [
        ("10.0.0.99", "10.0.0.1", 1),  # meant for us
        ("10.0.0.98", "10.0.0.77", 1),  # not for us, but from a neighbour that is known
        ("10.0.0.99", "10.0.0.77", 0),  # neither
        ("10.7.0.99", "10.0.0.1", 0),  # of another network
    ],
)
def test_learns_by_the_rules_of_rfc_826(router: Any, twin: Twin, psrc: str, pdst: str, changes: int) -> None:
    twin.both(bytes(ether() / ARP(op=2, hwsrc=HOST, psrc="10.0.0.98", hwdst=LEFT, pdst="10.0.0.1")))
    router.arp.changes.initial[0] = 0
    said = Ether(src=HOST, dst=LEFT) / ARP(op=2, hwsrc=HOST, psrc=psrc, hwdst=LEFT, pdst=pdst)
    assert twin.both(bytes(said)).leaf == "learnt"
    assert router.arp.changes.initial[0] == changes


def test_drops_when_no_adjacency_is_free(router: Any, twin: Twin) -> None:
    adjacencies = router.arp.adjacencies.initial
    adjacencies["expires"] = FOREVER
    said = ether(dst=BROADCAST) / ARP(op=1, hwsrc=HOST, psrc="10.0.0.99", pdst="10.0.0.1")
    assert twin.both(bytes(said)).leaf == "arp.in drops adjacency-table-full"


def test_holds_until_the_next_hop_is_learnt(router: Any, twin: Twin) -> None:
    mac = "02:00:00:00:00:63"
    data = udp("10.0.0.99")
    held = twin.both(data)
    assert (held.leaf, held.fields["error"]) == ("arp.resolve holds", 3 << 24 | 1 << 16)
    assert held.data == forwarded(data)[14:]  # the IP packet, its TTL decremented
    assert router.arp.wishes.initial["key"][:2].tolist() == [1, 1 << 32 | 0x0A000063]
    assert router.arp.wishes.initial["source"][1] == 0x0A000001

    assert twin.both(data).leaf == "arp.resolve holds"
    assert router.arp.wishes.initial["key"][0] == 1, "asked for twice within a second"
    assert twin.both(data, timestamp=NOW + 1_000_000_000).leaf == "arp.resolve holds"
    assert router.arp.wishes.initial["key"][0] == 2

    reply = ARP(op=2, hwsrc=mac, psrc="10.0.0.99", hwdst=LEFT, pdst="10.0.0.1")
    assert twin.both(bytes(ether(src=mac) / reply)).leaf == "learnt"
    sent = twin.both(data)
    expected = Ether(forwarded(data))
    expected.src, expected.dst = LEFT, mac
    assert (sent.leaf, sent.data) == ("to left", bytes(expected))

    # Where it is held it goes on, with the header at hand that was at hand then.
    at = list(twin.path.stages).index("arp.resolve")
    fields = {name: held.fields[name] for name in ("next_hop", "error")}
    assert twin.both(held.data, at=at, **fields).data == sent.data


def test_asks_anew_in_the_last_quarter_of_an_adjacency(router: Any, twin: Twin) -> None:
    said = ether() / ARP(op=1, hwsrc=HOST, psrc="10.0.0.99", pdst="10.0.0.1")
    twin.both(bytes(said))
    for seconds, leaf, asked in ((44, "to left", 0), (46, "to left", 1), (61, "arp.resolve holds", 2)):
        assert twin.both(udp("10.0.0.99"), timestamp=NOW + seconds * 1_000_000_000).leaf == leaf
        assert router.arp.wishes.initial["key"][0] == asked


def test_answers_for_a_packet_that_was_held_too_long(twin: Twin) -> None:
    data = udp("10.0.0.99")
    held = twin.both(data)
    stages = list(twin.path.stages)
    timeout = twin.path.nodes["arp.resolve"]["timeout"]
    result = twin.both(held.data, at=stages.index(timeout), error=held.fields["error"])
    assert result.leaf == "to left"
    check_error(result.data, forwarded(data), 3, 1)


def test_makes_an_arp_request(router: Any, twin: Twin) -> None:
    expected = Ether(src=RIGHT, dst=BROADCAST) / ARP(op="who-has", hwsrc=RIGHT, psrc="10.0.1.1", pdst="10.0.1.9")
    wishes, macs = np.zeros(WISHES, WISH), router.arp.macs.initial

    def wish() -> None:
        wishes[:2] = [(1, 0), (2 << 32 | 0x0A000109, 0x0A000101)]

    wish()
    made, data = try_stage(request, bytes(42), wishes=wishes, macs=macs)
    assert (made, data, wishes["key"][0]) == (1, bytes(expected), 0)
    assert try_stage(request, bytes(42), wishes=wishes, macs=macs)[0] == 0

    compiled = native(request)

    @numba.njit
    def emit(place, packets, wishes, macs):  # type: ignore[no-untyped-def]
        allow(place, place + 42, True)
        return compiled(place, place + 42, packets[0], wishes, macs)

    wish()
    room, packets = np.zeros(42, np.uint8), np.zeros(1, PACKET)
    assert emit(room.ctypes.data, packets, wishes, macs) == 1
    assert (room.tobytes(), packets[0]["egress"], wishes["key"][0]) == (bytes(expected), 1, 0)


# Any frame at all.

SEEDS = [
    udp(),
    udp(ttl=1),
    udp("10.0.0.1", size=5),
    udp("10.0.0.99"),
    udp(size=700),
    udp(options=[IPOption_NOP()] * 4),
    udp(size=MTU["right"] - 27, flags="DF"),
    bytes(ether() / ip() / TCP(dport=80)),
    ECHO,
    bytes(ether() / ip("10.0.0.1") / ICMP() / Raw(bytes(900))),
    ARP_BYTES,
    bytes(ether() / ARP(op=2, hwsrc=HOST, psrc="10.0.0.99", pdst="10.0.0.1")),
    UNREACHABLE,
]
patches = st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=2)), max_size=3)
fields = st.fixed_dictionaries(
    {"timestamp": st.integers(NOW, NOW + (1 << 36))},
    optional={"gso_type": st.integers(0, 5), "gso_size": st.integers(0, 1500), "flags": st.integers(0, 255)},
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), patches, st.booleans(), st.integers(0, 1600), st.binary(max_size=20), fields)
def test_plain_and_native_agree_on_mutated_frames(
    router: Any,
    seed: bytes,
    changes: list[tuple[int, bytes]],
    mend: bool,
    size: int,
    padding: bytes,
    fields: dict[str, int],
) -> None:
    data = seed
    for offset, new in changes:
        data = patched(data, min(offset, len(data) - len(new)), new)
    if mend:
        data = patched(data, 0, b"", mend=True)
    router.twin.reset()
    router.twin.both((data + padding)[: max(size, 1)] if size < len(data) else data + padding, **fields)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=1600), st.booleans(), fields)
def test_plain_and_native_agree_on_random_frames(router: Any, noise: bytes, ours: bool, fields: dict[str, int]) -> None:
    router.twin.reset()
    router.twin.both((udp()[:14] if ours else b"") + noise, **fields)
