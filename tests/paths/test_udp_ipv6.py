"""The router `Udp` over IPv6, stage by stage: as plain Python and natively, with packets of Scapy."""

import errno
from ipaddress import IPv6Address
from types import SimpleNamespace

import pytest
from harness import HOST, LEFT, Twin, number
from ipv6_host import OURS, PEER, Ipv6
from scapy.all import UDP, Ether, IPv6, Raw, raw

from scout.io.endpoints.message import BIND, CLOSE, DATA, FAILED, HEADER_STRUCT_6, SEND
from scout.io.packet import NEEDS_CHECKSUM
from scout.io.ports.applications import ApplicationPort
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.applications import Applications
from scout.paths.protocols.udp import Udp

SOCKET, OTHER = 5 << 16 | 3, 1 << 16 | 4
UDP_PROTOCOL = 17
LINK_MTU = 1500


@pytest.fixture(scope="module")
def made() -> SimpleNamespace:
    graph = RouterGraph("host")
    port = SimpleNamespace(mac=number(LEFT), mtu=LINK_MTU)
    for router in (Ipv6("eth0", port, number(HOST)), Udp("udp"), Applications("apps", ApplicationPort("apps"))):
        graph.add(router)
    graph.connect("apps", "udp", "eth0")
    graph.configure()
    return SimpleNamespace(network=Twin(graph.create_path("eth0")), local=Twin(graph.create_path("apps")))


@pytest.fixture(autouse=True)
def bound(made: SimpleNamespace) -> None:
    """A socket that is bound to an L4 port of the host's address, and one that is connected as well."""
    made.network.reset()
    made.local.reset()
    tell(made, BIND, SOCKET, (OURS, 53))
    tell(made, BIND, OTHER, (OURS, 53), (PEER, 99))


def tell(made, kind, socket, local=("::", 0), remote=("::", 0), data=b"", note=0):
    """Make a local request; the result."""
    names = IPv6Address(local[0]).packed, IPv6Address(remote[0]).packed, local[1], remote[1]
    return made.local.both(HEADER_STRUCT_6.pack(kind, UDP_PROTOCOL, note, socket, *names, 7) + data)


def frame(data: bytes, source: int = 1000, port: int = 53, sender: str = PEER, **fields: int) -> bytes:
    datagram = IPv6(src=sender, dst=OURS) / UDP(sport=source, dport=port, **fields) / Raw(data)
    return raw(Ether(dst=LEFT, src=HOST) / datagram)


def message(result):
    """The fields of a message, and its data."""
    kind, protocol, note, socket, local, remote, local_port, remote_port, extent = HEADER_STRUCT_6.unpack_from(
        result.data
    )
    assert protocol == UDP_PROTOCOL and result.leaf == "to apps"
    at, size = extent >> 16, extent & 0xFFFF
    names = (str(IPv6Address(local)), local_port), (str(IPv6Address(remote)), remote_port)
    return kind, note, socket, *names, result.data[at : at + size]


@pytest.mark.parametrize("size", [0, 1, 100, 700, 1452])
def test_a_datagram_becomes_a_message(made, size: int) -> None:
    data = bytes(index & 0xFF for index in range(size))
    assert message(made.network.both(frame(data))) == (DATA, 0, SOCKET, (OURS, 53), (PEER, 1000), data)


def test_the_socket_that_is_connected_to_the_sender_comes_first(made) -> None:
    assert message(made.network.both(frame(b"hello", source=99)))[2] == OTHER
    for other in ("2001:db8::1:0:0:2", "2001:db8:0:1::2", "3001:db8::2"):  # no other one has its name
        assert message(made.network.both(frame(b"hello", source=99, sender=other)))[2] == SOCKET
    tell(made, CLOSE, OTHER)
    assert message(made.network.both(frame(b"hello", source=99)))[2] == SOCKET
    tell(made, CLOSE, SOCKET)
    assert made.network.both(frame(b"hello")).leaf == "eth0.refuse drops no-icmpv6"
    tell(made, BIND, SOCKET, ("::", 53))
    assert message(made.network.both(frame(b"hello")))[2] == SOCKET


@pytest.mark.parametrize("size", [5, 1000])
def test_a_checksum_has_to_be_there_and_right(made, size: int) -> None:
    good = frame(bytes(range(5)) * (size // 5))
    bad = good[:-1] + bytes([good[-1] ^ 1])
    assert made.network.both(good).leaf == "to apps"
    assert made.network.both(bad).leaf == "udp.in drops udp-bad-checksum"
    assert made.network.both(bad, flags=NEEDS_CHECKSUM).leaf == "to apps"
    none = good[:60] + bytes(2) + good[62:]
    assert made.network.both(none).leaf == "udp.in drops udp-bad-checksum"  # RFC 8200 section 8.1


def test_the_checksum_zero_is_sent_as_ones_and_taken(made) -> None:
    data = UDP(frame(bytes(2))[54:]).chksum.to_bytes(2)  # with it the sum is 0xFFFF, whose complement is 0
    assert UDP(frame(data)[54:]).chksum == 0xFFFF
    assert message(made.network.both(frame(data)))[-1] == data


@pytest.mark.parametrize("told", [0, 7, 14, 0xFFFF])
def test_a_wrong_length_is_refused(made, told: int) -> None:
    assert made.network.both(frame(b"hello", len=told)).leaf == "udp.in drops udp-bad-length"


@pytest.mark.parametrize("flags", [0, NEEDS_CHECKSUM])
def test_a_packet_that_is_shorter_than_it_says_is_dropped_below(made, flags: int) -> None:
    short = bytearray(frame(b"hello", len=500))
    short[18:20] = (500).to_bytes(2)  # the payload's length
    assert made.network.both(bytes(short), flags=flags).leaf == "eth0.in drops ipv6-bad-length"


def finished(result) -> IPv6:
    """A datagram that leaves, with the checksum that the device completes."""
    assert result.leaf == "to eth0" and result.fields["flags"] == NEEDS_CHECKSUM
    found = Ether(result.data)
    assert (found.dst, found.src, found.type) == (HOST, LEFT, 0x86DD)
    # The field has the sum of the pseudo-header: with the datagram it makes the checksum.
    datagram = result.data[14 + 40 :]
    total = _sum(datagram)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    del found[UDP].chksum
    whole = IPv6(raw(found[IPv6]))
    assert (total ^ 0xFFFF or 0xFFFF) == whole[UDP].chksum
    return whole


def _sum(data: bytes) -> int:
    data += bytes(len(data) & 1)
    return sum(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))


@pytest.mark.parametrize("size", [0, 1, 100, 1452])
def test_a_request_becomes_a_datagram(made, size: int) -> None:
    data = bytes(index & 0xFF for index in range(size))
    sent = finished(tell(made, SEND, SOCKET, remote=(PEER, 2000), data=data))
    assert (sent.version, sent.src, sent.dst, sent.hlim, sent.plen) == (6, OURS, PEER, 64, 8 + size)
    assert (sent[UDP].sport, sent[UDP].dport, sent[UDP].len) == (53, 2000, 8 + size)
    assert bytes(sent[UDP].payload) == data


def test_a_connected_socket_sends_to_its_peer(made) -> None:
    sent = finished(tell(made, SEND, OTHER, data=b"hello"))
    assert (sent.dst, sent[UDP].dport) == (PEER, 99)


def test_a_socket_without_an_address_sends_from_that_of_the_route(made) -> None:
    tell(made, BIND, SOCKET, ("::", 53))
    assert finished(tell(made, SEND, SOCKET, remote=(PEER, 2000), data=b"hello")).src == OURS


def test_a_long_datagram_is_cut_into_fragments_with_their_header(made) -> None:
    result = tell(made, SEND, SOCKET, remote=(PEER, 2000), data=bytes(3000))
    assert (result.leaf, result.fields["gso_type"], result.fields["gso_size"]) == ("to eth0", 3, 1448)
    result = tell(made, SEND, SOCKET, remote=(PEER, 2000), data=bytes(3000), note=500)
    assert (result.leaf, result.fields["gso_type"], result.fields["gso_size"]) == ("to eth0", 5, 500)


@pytest.mark.parametrize(
    ("remote", "size", "error"),
    [
        (("2001:db9::1", 9), 5, errno.ENETUNREACH),
        (("ff02::1", 9), 5, errno.EACCES),
        (("::", 0), 5, errno.EDESTADDRREQ),
        ((PEER, 9), 65535 - 47, errno.EMSGSIZE),
    ],
)
def test_a_request_that_cannot_be_met_is_told(made, remote, size: int, error: int) -> None:
    kind, note, socket, local, *_ = message(tell(made, SEND, SOCKET, remote=remote, data=bytes(size)))
    assert (kind, note, socket, local) == (FAILED, error, SOCKET, (OURS, 53))
