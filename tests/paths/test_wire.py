"""Wire formats: offsets and values against Scapy's, checksum arithmetic against the RFCs and against full sums."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_RR, IPOption_SSRR, icmptypes
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from scout.io.access import Frame, add16, load8, load16, load32, load48, sum16
from scout.paths.wire import arp, ethernet, icmp, ipv4, ipv6, tcp, udp
from scout.paths.wire.address import address_of, words_of
from scout.paths.wire.arp import is_ethernet_ipv4, write_arp
from scout.paths.wire.checksum import adjust, adjust_nonzero, checksum, delta, pseudo_header_sum
from scout.paths.wire.flow import Flow, five_tuple, flow_hash, flow_words
from scout.paths.wire.ipv4 import has_good_checksum, header_length, is_source_routed
from scout.paths.wire.rewrite import kind_of, rewrite
from scout.paths.wire.tcp import tcp_header_length

LOADS = {1: load8, 2: load16, 4: load32, 6: load48}

FIELDS: list[tuple[Any, int, int, Packet]] = [
    # Offset, size, value, and a packet whose header has that value there.
    (ethernet.DESTINATION, 6, 0x010203040506, Ether(dst="01:02:03:04:05:06")),
    (ethernet.SOURCE, 6, 0x010203040506, Ether(src="01:02:03:04:05:06")),
    (ethernet.ETHERTYPE, 2, ethernet.IPV4, Ether() / IP()),
    (ethernet.ETHERTYPE, 2, ethernet.IPV6, Ether() / IPv6()),
    (ethernet.ETHERTYPE, 2, ethernet.ARP, Ether() / ARP()),
    (arp.OPERATION, 2, arp.REQUEST, ARP(op="who-has")),
    (arp.OPERATION, 2, arp.REPLY, ARP(op="is-at")),
    (arp.SENDER_MAC, 6, 0x010203040506, ARP(hwsrc="01:02:03:04:05:06")),
    (arp.SENDER, 4, 0x0A000001, ARP(psrc="10.0.0.1")),
    (arp.TARGET_MAC, 6, 0x010203040506, ARP(hwdst="01:02:03:04:05:06")),
    (arp.TARGET, 4, 0x0A000001, ARP(pdst="10.0.0.1")),
    (ipv4.VERSION_IHL, 1, 0x45, IP()),
    (ipv4.TOS, 1, 0xB8, IP(tos=0xB8)),
    (ipv4.TOTAL_LENGTH, 2, 25, IP() / Raw(bytes(5))),
    (ipv4.IDENTIFICATION, 2, 4711, IP(id=4711)),
    (ipv4.FRAGMENT, 2, ipv4.DONT_FRAGMENT, IP(flags="DF")),
    (ipv4.FRAGMENT, 2, ipv4.MORE_FRAGMENTS | 8, IP(flags="MF", frag=8)),
    (ipv4.FRAGMENT, 2, ipv4.OFFSET, IP(frag=0x1FFF)),
    (ipv4.TTL, 1, 9, IP(ttl=9)),
    *((ipv4.PROTOCOL, 1, number, IP() / layer()) for number, layer in ((1, ICMP), (6, TCP), (17, UDP))),
    (ipv4.PROTOCOL, 1, ipv4.UDP_LITE, IP(proto="udplite")),
    (ipv4.PROTOCOL, 1, ipv4.SCTP, IP(proto="sctp")),
    (ipv4.PROTOCOL, 1, ipv4.DCCP, IP(proto="dccp")),
    (ipv4.CHECKSUM, 2, 0x1234, IP(chksum=0x1234)),
    (ipv4.SOURCE, 4, 0x0A000001, IP(src="10.0.0.1")),
    (ipv4.DESTINATION, 4, 0x0A000001, IP(dst="10.0.0.1")),
    (ipv6.NEXT_HEADER, 1, ipv4.TCP, IPv6() / TCP()),
    (ipv6.SOURCE, 4, 0x20010DB8, IPv6(src="2001:db8::1")),
    (ipv6.DESTINATION, 4, 0x20010DB8, IPv6(dst="2001:db8::1")),
    (icmp.TYPE, 1, icmp.ECHO, ICMP(type="echo-request")),
    (icmp.CODE, 1, 3, ICMP(type=3, code=3)),
    (icmp.CHECKSUM, 2, 0x1234, ICMP(chksum=0x1234)),
    (icmp.IDENTIFIER, 2, 7, ICMP(id=7)),
    (icmp.REST, 4, 1400, ICMP(type=3, code=4, nexthopmtu=1400)),
    (udp.SOURCE, 2, 5, UDP(sport=5)),
    (udp.DESTINATION, 2, 5, UDP(dport=5)),
    (udp.LENGTH, 2, 11, UDP(len=11)),
    (udp.CHECKSUM, 2, 0x1234, UDP(chksum=0x1234)),
    (tcp.SOURCE, 2, 5, TCP(sport=5)),
    (tcp.DESTINATION, 2, 5, TCP(dport=5)),
    (tcp.SEQUENCE, 4, 0x12345678, TCP(seq=0x12345678)),
    (tcp.ACKNOWLEDGEMENT, 4, 0x12345678, TCP(ack=0x12345678)),
    *((tcp.FLAGS, 1, getattr(tcp, name), TCP(flags=name[0])) for name in ("FIN", "SYN", "RST", "PSH", "ACK", "URG")),
    (tcp.WINDOW, 2, 4000, TCP(window=4000)),
    (tcp.CHECKSUM, 2, 0x1234, TCP(chksum=0x1234)),
]


@pytest.mark.parametrize(("offset", "size", "value", "packet"), FIELDS)
def test_fields_are_where_scapy_has_them(offset: int, size: int, value: int, packet: Packet) -> None:
    assert LOADS[size](Frame(bytes(packet)), offset) == value


@pytest.mark.parametrize(
    ("size", "packet"),
    [
        (ethernet.HEADER, Ether()),
        (arp.HEADER, ARP()),
        (ipv4.HEADER, IP()),
        (ipv6.HEADER, IPv6()),
        (icmp.HEADER, ICMP()),
        (udp.HEADER, UDP()),
        (tcp.HEADER, TCP()),
    ],
)
def test_headers_have_the_sizes_of_scapy(size: int, packet: Packet) -> None:
    assert len(bytes(packet)) == size


def test_icmp_types_have_the_names_of_scapy() -> None:
    names = {
        "ECHO_REPLY": "echo-reply",
        "UNREACHABLE": "dest-unreach",
        "ECHO": "echo-request",
        "TIME_EXCEEDED": "time-exceeded",
        "PARAMETER_PROBLEM": "parameter-problem",
        "TIMESTAMP": "timestamp-request",
        "TIMESTAMP_REPLY": "timestamp-reply",
    }
    assert all(icmptypes[getattr(icmp, ours)] == theirs for ours, theirs in names.items())
    assert int.from_bytes(bytes([3, 4]) + struct.pack("!H", 1400), "big") == icmp.FRAGMENTATION_NEEDED | 1400


def test_writes_an_arp_message() -> None:
    frame = Frame(bytes(arp.HEADER))
    write_arp(frame, 0, arp.REPLY, 0x020000000001, 0x0A000001, 0x020000000002, 0x0A000002)
    said = ARP(op=2, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", hwdst="02:00:00:00:00:02", pdst="10.0.0.2")
    assert bytes(frame) == bytes(said)
    assert is_ethernet_ipv4(frame)
    assert not is_ethernet_ipv4(Frame(bytes(ARP(hwtype=6, hwsrc="02:00:00:00:00:01"))))


@pytest.mark.parametrize("options", [[], [IPOption_NOP()] * 4, [IPOption_RR(routers=["1.2.3.4"])]])
def test_header_length(options: list[Any]) -> None:
    data = bytes(IP(options=options, id=4711))
    frame = Frame(b"before" + data)
    size = header_length(frame, 6)
    assert size == len(data)
    with_options = bytes(TCP(options=[("MSS", 1460)]))
    assert tcp_header_length(Frame(with_options), 0) == len(with_options)


@pytest.mark.parametrize(
    ("options", "routed"),
    [
        ([], False),
        ([IPOption_LSRR(routers=["10.0.1.2"])], True),
        ([IPOption_NOP(), IPOption_SSRR(routers=["10.0.1.2"])], True),
        ([IPOption_LSRR(routers=["10.0.1.2"], pointer=8)], False),  # behind the last: exhausted
        ([IPOption_LSRR(routers=["10.0.1.2", "10.0.1.3"], pointer=8)], True),
        ([IPOption_RR(routers=["10.0.1.2"])], False),
        ([IPOption_RR(routers=["10.0.1.2"]), IPOption_LSRR(routers=["10.0.1.2"])], True),
    ],
)
def test_knows_an_unexhausted_source_route(options: list[Any], routed: bool) -> None:
    assert is_source_routed(Frame(bytes(IP(options=options))), None) == routed


@given(st.binary(max_size=60))
def test_no_options_lead_out_of_the_header(noise: bytes) -> None:
    header = bytes([0x40 | (20 + min(len(noise), 40)) // 4]) + bytes(19)
    is_source_routed(Frame(header + noise), None)  # an IndexError would be an access outside the packet


# The Internet checksum.


def full_sum(data: bytes) -> int:
    """The ones' complement sum of RFC 1071, word by word: 0 only for zeros."""
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    return (total - 1) % 0xFFFF + 1 if total else 0


@given(st.binary(max_size=200))
@example(b"")
@example(bytes(8))
@example(b"\xff" * 8)
def test_checksum_is_the_complement_of_the_sum(data: bytes) -> None:
    assert checksum(data) == full_sum(data) ^ 0xFFFF


@given(st.binary(min_size=19, max_size=19))
@example(bytes(19))
@example(b"\xff" * 19)
def test_a_header_with_its_checksum_is_good_and_with_any_other_is_not(rest: bytes) -> None:
    header = b"\x45" + rest
    right = checksum(header[:10] + bytes(2) + header[12:]).to_bytes(2, "big")
    assert has_good_checksum(Frame(b"before" + header[:10] + right + header[12:]), 6)
    # 0 and 0xFFFF are one number in ones' complement: either is right where one of them is.
    same = header[10:12] == right or {header[10:12], right} == {b"\0\0", b"\xff\xff"}
    assert has_good_checksum(Frame(header), 0) == same
    assert has_good_checksum(Frame(header), 0) == (sum16(Frame(header), 0, 20) == 0xFFFF)


def test_checksum_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF  # section 3


def test_update_of_rfc_1624() -> None:
    # Section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285; equation 3 gives 0x0000, and not 0xFFFF.
    assert adjust(0xDD2F, delta(0x5555, 0x3285)) == 0x0000
    assert adjust_nonzero(0xDD2F, delta(0x5555, 0x3285)) == 0xFFFF


WORDS = st.lists(st.sampled_from([0, 1, 0xFFFE, 0xFFFF, 0x8000]) | st.integers(0, 0xFFFF), min_size=4, max_size=12)


@given(WORDS, st.integers(0, 2), st.sampled_from([0, 0xFFFF]) | st.integers(0, 0xFFFF), st.booleans())
@example([0x1234, 0, 0, 0], 0, 0, False)  # what is covered becomes all zeros
@example([0, 0, 0, 0], 0, 0x1234, False)  # and was
@example([0, 0, 0, 0], 0, 0, False)
def test_an_updated_checksum_verifies(words: list[int], index: int, new: int, wide: bool) -> None:
    """Whatever changes, in 16 bits or 32: the sum over data and checksum is 0xFFFF, as a receiver wants it."""

    def data() -> bytes:
        return b"".join(word.to_bytes(2, "big") for word in words)

    before = full_sum(data()) ^ 0xFFFF
    if wide:
        place = index & ~1
        old, changed = words[place] << 16 | words[place + 1], new << 16 | words[place]
        words[place : place + 2] = changed >> 16, changed & 0xFFFF
    else:
        old, changed = words[index], new
        words[index] = new
    after = adjust_nonzero(before, delta(old, changed))
    assert full_sum(data() + after.to_bytes(2, "big")) == 0xFFFF
    if any(words):
        assert adjust(before, delta(old, changed)) == full_sum(data()) ^ 0xFFFF


@given(st.binary(min_size=20, max_size=20), st.sampled_from([6, 17]), st.integers(0, 65535))
def test_pseudo_header_sum(header: bytes, protocol: int, size: int) -> None:
    expected = full_sum(header[12:20] + struct.pack("!HH", protocol, size))
    assert pseudo_header_sum(Frame(header), 0, protocol, size) == expected


@pytest.mark.parametrize("identifier", [0, 1, 0xFFFE])
def test_an_echo_reply_that_becomes_all_zeros_has_checksum_ffff(identifier: int) -> None:
    data = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=0, id=4711, seq=0) / Raw(bytes(24)))
    frame = Frame(data)
    kind, at = kind_of(frame, None, 0)
    rewrite(frame, None, 0, kind, at, ipv4.DESTINATION, 0x0A000003, identifier, 0)
    expected = bytes(IP(src="10.0.0.1", dst="10.0.0.3") / ICMP(type=0, id=identifier, seq=0) / Raw(bytes(24)))
    assert bytes(frame) == expected


# Addresses and flows of both families.

ADDRESSES = st.ip_addresses()


@given(ADDRESSES)
@example(ip_address("::"))
@example(ip_address("0.0.0.0"))
@example(ip_address("ffff::ffff"))
@example(ip_address("8000::8000:0:0:0"))
def test_addresses_of_both_families_fit_two_words(address: IPv4Address | IPv6Address) -> None:
    assume(not (isinstance(address, IPv6Address) and address.ipv4_mapped))  # that is an IPv4 address
    high, low = words_of(address)
    assert all(-(1 << 63) <= word < 1 << 63 for word in (high, low))
    assert address_of(high, low) == address
    mapped = IPv6Address(f"::ffff:{address}") if address.version == 4 else address
    assert (high % (1 << 64)) << 64 | low % (1 << 64) == int(mapped)


def packet(flow: Flow) -> bytes:
    """A packet of a flow, by Scapy."""
    layer = {6: TCP, 17: UDP}[flow.protocol](sport=flow.source_port, dport=flow.destination_port)
    network = IP if flow.source.version == 4 else IPv6
    return bytes(network(src=str(flow.source), dst=str(flow.destination)) / layer)


PORTS, PROTOCOLS = st.integers(0, 65535), st.sampled_from([6, 17])
FLOWS = st.one_of(
    *(
        st.builds(Flow, st.ip_addresses(v=family), st.ip_addresses(v=family), PROTOCOLS, PORTS, PORTS)
        for family in (4, 6)
    )
)


@given(FLOWS)
def test_a_flow_is_five_words_whatever_the_family(flow: Flow) -> None:
    assume(int(flow.source) or int(flow.destination))
    # An IPv4-mapped address stands for the IPv4 address: no packet has one (RFC 4291 section 2.5.5.2).
    assume(not any(address.version == 6 and address.ipv4_mapped for address in (flow.source, flow.destination)))
    frame = Frame(packet(flow))
    assert Flow.from_words(*flow_words(frame, None)) == flow
    if flow.source.version == 4:
        assert Flow.from_five_tuple(*five_tuple(frame, None)) == flow


@given(FLOWS)
def test_both_directions_of_a_flow_have_one_hash(flow: Flow) -> None:
    back = Flow(flow.destination, flow.source, flow.protocol, flow.destination_port, flow.source_port)
    assert flow_hash(Frame(packet(flow)), None) == flow_hash(Frame(packet(back)), None) >= 0


def test_an_ipv6_flow_shows_no_ports_behind_an_extension_header() -> None:
    data = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2", nh=44) / Raw(bytes(16)))
    assert Flow.from_words(*flow_words(Frame(data), None))[2:] == (44, 0, 0)
    assert flow_words(Frame(data[:39]), None) == (0, 0, 0, 0, 0)


def test_sums_add_up() -> None:
    data = bytes(range(200))
    one, other = sum16(Frame(data), 0, 100), sum16(Frame(data), 100, 100)
    assert add16(one, other) == full_sum(data)
