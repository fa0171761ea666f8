"""UDP, local delivery and reassembly, stage by stage: as plain Python and natively, from the same state."""

import errno
import struct
from types import SimpleNamespace

import pytest
from harness import HOST, LEFT, NOW, Twin, number
from host_router import OURS, PEER, host_graph
from scapy.all import ICMP, IP, UDP, Ether, IPerror, IPOption_LSRR, IPOption_NOP, Raw, UDPerror, fragment, raw

from scout.io.endpoints.message import BIND, CLOSE, DATA, ERROR, FAILED, HEADER, HEADER_STRUCT, LOCAL, REMOTE, SEND
from scout.io.packet import NEEDS_CHECKSUM
from scout.paths.model.router import GraphError
from scout.paths.protocols.applications import Applications
from scout.paths.protocols.reassembly import LIFETIME

SOCKET, OTHER = 5 << 16 | 3, 1 << 16 | 4
UDP_PROTOCOL = 17


def address(text: str) -> int:
    return int.from_bytes(bytes(map(int, text.split("."))))


@pytest.fixture(scope="module")
def made() -> SimpleNamespace:
    """The paths from the interface and from the applications, which share the socket table."""
    graph = host_graph(SimpleNamespace(mac=number(LEFT), mtu=1500))
    graph.configure()
    graph.router("arp").pin(0, PEER, HOST)  # type: ignore[attr-defined]
    for router in graph.routers:
        router.start(graph)
    network, local = graph.create_path("eth0"), graph.create_path("apps")
    return SimpleNamespace(graph=graph, network=Twin(network), local=Twin(local))


@pytest.fixture(autouse=True)
def bound(made: SimpleNamespace) -> None:
    """A socket that is bound to an L4 port of the router's address, and one that is connected as well."""
    made.network.reset()
    made.local.reset()
    tell(made, BIND, SOCKET, (OURS, 53))
    tell(made, BIND, OTHER, (OURS, 53), (PEER, 99))


def tell(made, kind, socket, local=("0.0.0.0", 0), remote=("0.0.0.0", 0), data=b"", note=0, before=bytes(12)):
    """Make a local request, whose addresses have these 12 bytes before them; the result."""
    names = address(local[0]), address(remote[0]), local[1], remote[1]
    header = bytearray(HEADER_STRUCT.pack(kind, UDP_PROTOCOL, note, socket, *names, 7))
    header[LOCAL : LOCAL + 12] = header[REMOTE : REMOTE + 12] = before
    return made.local.both(bytes(header) + data)


def datagram(data: bytes, source=1000, port=53, **fields) -> IP:
    return IP(src=PEER, dst=OURS, id=77) / UDP(sport=source, dport=port, **fields) / Raw(data)


def frame(packet) -> bytes:
    return raw(Ether(dst=LEFT, src=HOST) / packet)


def message(result):
    """The fields of a message, and its data."""
    kind, protocol, note, socket, local, remote, local_port, remote_port, extent = HEADER_STRUCT.unpack_from(
        result.data
    )
    assert protocol == UDP_PROTOCOL
    at, size = extent >> 16, extent & 0xFFFF
    return kind, note, socket, (local, local_port), (remote, remote_port), result.data[at : at + size]


NAMES = (address(OURS), 53), (address(PEER), 1000)


@pytest.mark.parametrize("size", [0, 1, 100, 700, 1472])
def test_a_datagram_becomes_a_message(made, size: int) -> None:
    data = bytes(index & 0xFF for index in range(size))
    result = made.network.both(frame(datagram(data)))
    assert result.leaf == "to apps" and message(result) == (DATA, 0, SOCKET, *NAMES, data)


def test_the_socket_that_is_connected_to_the_sender_comes_first(made) -> None:
    result = made.network.both(frame(datagram(b"hello", source=99)))
    assert message(result)[2] == OTHER
    tell(made, CLOSE, OTHER)
    assert message(made.network.both(frame(datagram(b"hello", source=99))))[2] == SOCKET
    tell(made, CLOSE, SOCKET)
    assert made.network.both(frame(datagram(b"hello"))).leaf == "to eth0"
    tell(made, BIND, SOCKET, ("0.0.0.0", 53))
    assert message(made.network.both(frame(datagram(b"hello"))))[2] == SOCKET


@pytest.mark.parametrize("size", [5, 1000])
def test_checksums_are_verified(made, size: int) -> None:
    good = frame(datagram(bytes(range(5)) * (size // 5)))
    bad = good[:-1] + bytes([good[-1] ^ 1])
    assert made.network.both(good).leaf == "to apps"
    assert made.network.both(bad).leaf == "udp.in drops udp-bad-checksum"
    assert made.network.both(bad, flags=NEEDS_CHECKSUM).leaf == "to apps"
    none = good[:40] + bytes(2) + bad[42:]
    assert made.network.both(none).leaf == "to apps"


@pytest.mark.parametrize("told", [0, 7, 14, 0xFFFF])
def test_a_wrong_length_is_refused(made, told: int) -> None:
    assert made.network.both(frame(datagram(b"hello", len=told))).leaf == "udp.in drops udp-bad-length"


def test_bytes_behind_the_datagram_are_no_data(made) -> None:
    result = made.network.both(frame(datagram(b"hello", len=11)))
    assert result.leaf.endswith("udp-bad-checksum")
    result = made.network.both(frame(datagram(b"hello", len=11, chksum=0)))
    assert message(result)[-1] == b"hel"


def test_a_port_without_a_socket_is_unreachable(made) -> None:
    result = made.network.both(frame(datagram(b"hello", port=54)))
    answer = Ether(result.data)
    assert result.leaf == "to eth0" and answer[ICMP].type == 3 and answer[ICMP].code == 3
    assert answer[UDPerror].dport == 54 and answer[IPerror].src == PEER
    group = raw(Ether(dst="ff:ff:ff:ff:ff:ff", src=HOST) / datagram(b"hello", port=54))
    assert made.network.both(group).leaf == "udp.in drops udp-group"


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        (3, 0, errno.ENETUNREACH),
        (3, 1, errno.EHOSTUNREACH),
        (3, 2, errno.ENOPROTOOPT),
        (3, 3, errno.ECONNREFUSED),
        (3, 4, errno.EMSGSIZE),
        (3, 13, errno.EHOSTUNREACH),
        (11, 0, errno.EHOSTUNREACH),
        (12, 0, errno.EPROTO),
    ],
)
def test_an_icmp_error_goes_to_the_socket(made, kind: int, code: int, expected: int) -> None:
    ours = IP(src=OURS, dst=PEER) / UDP(sport=53, dport=1000) / Raw(b"hello")
    error = IP(src=PEER, dst=OURS) / ICMP(type=kind, code=code) / Raw(raw(ours)[:28])
    assert message(made.network.both(frame(error))) == (ERROR, expected, SOCKET, *NAMES, b"")
    foreign = IP(src=PEER, dst=OURS) / ICMP(type=kind, code=code) / Raw(raw(ours).replace(b"\0\x35", b"\0\x36")[:28])
    assert made.network.both(frame(foreign)).leaf == "udp.notice drops udp-no-socket"


def test_an_error_whose_quote_is_no_header_is_about_no_socket(made) -> None:
    """By its length the ports would be where the quoted header has its destination, which names a socket's."""
    quote = raw(IP(src=OURS, dst="0.53.3.232", ihl=4) / UDP(sport=9, dport=9))
    error = IP(src=PEER, dst=OURS) / ICMP(type=3, code=3) / Raw(quote)
    assert made.network.both(frame(error)).leaf == "udp.notice drops udp-no-socket"
    cut = IP(src=PEER, dst=OURS) / ICMP(type=3, code=3) / Raw(raw(IP(src=OURS, dst=PEER) / UDP(sport=53))[:23])
    assert made.network.both(frame(cut)).leaf == "udp.notice drops udp-no-socket"


def test_a_request_becomes_a_datagram(made) -> None:
    result = tell(made, SEND, SOCKET, remote=(PEER, 9), data=b"hello")
    sent = Ether(result.data)
    assert result.leaf == "to eth0" and sent.dst == HOST
    assert (sent[IP].src, sent[IP].dst, sent[IP].id, sent[IP].ttl) == (OURS, PEER, 7, 64)
    assert (sent[UDP].sport, sent[UDP].dport, raw(sent[UDP].payload)) == (53, 9, b"hello")
    assert result.fields["flags"] == NEEDS_CHECKSUM and result.fields["gso_type"] == 0
    assert Ether(tell(made, SEND, OTHER, data=b"hello").data)[UDP].dport == 99  # the other end of its connection


def test_a_long_datagram_is_cut_by_the_device(made) -> None:
    assert tell(made, SEND, SOCKET, remote=(PEER, 9), data=bytes(1472)).fields["gso_type"] == 0
    assert tell(made, SEND, SOCKET, remote=(PEER, 9), data=bytes(1473)).fields["gso_type"] == 3
    assert tell(made, SEND, SOCKET, remote=(PEER, 9), data=bytes(1473), note=700).fields["gso_type"] == 5
    assert tell(made, SEND, SOCKET, remote=(PEER, 9), data=bytes(700), note=700).fields["gso_type"] == 0


@pytest.mark.parametrize(
    ("remote", "size", "expected"),
    [
        (("192.0.2.1", 9), 1, errno.ENETUNREACH),
        (("10.0.0.255", 9), 1, errno.EACCES),
        (("224.0.0.1", 9), 1, errno.EACCES),
        (("127.0.0.1", 9), 1, errno.ENETUNREACH),
        (("0.0.0.0", 0), 1, errno.EDESTADDRREQ),
        ((PEER, 9), 65508, errno.EMSGSIZE),
    ],
)
def test_a_request_that_cannot_be_met_is_told(made, remote, size: int, expected: int) -> None:
    kind, note, socket, *_ = message(tell(made, SEND, SOCKET, remote=remote, data=bytes(size)))
    assert (kind, note, socket) == (FAILED, expected, SOCKET)


@pytest.mark.parametrize("words", ["ff" * 12, "00000000 00000000 00000001", "00000000 00000000 7f000000"])
def test_an_application_may_write_anything_before_an_address(made, words: str) -> None:
    """Of IPv4 four bytes are the address; as a part of it the others would lead the search for a route astray."""
    before = bytes.fromhex(words)
    tell(made, BIND, SOCKET, (OURS, 53), before=before)
    sent = tell(made, SEND, SOCKET, remote=(PEER, 2000), data=b"hello", before=before)
    assert sent.leaf == "to eth0" and Ether(sent.data)[IP].dst == PEER
    failed = tell(made, SEND, SOCKET, remote=("192.0.2.1", 2000), data=b"hello", before=before)
    assert failed.leaf == "to apps" and failed.data[0] == FAILED


def test_bad_requests_are_refused(made) -> None:
    assert tell(made, SEND, SOCKET + (1 << 16), remote=(PEER, 9)).leaf == "udp.send drops udp-not-bound"
    assert tell(made, SEND, 0xFFFF, remote=(PEER, 9)).leaf == "udp.send drops udp-not-bound"
    assert tell(made, BIND, 0xFFFF, (OURS, 1)).leaf == "udp.change drops bad-request"
    assert tell(made, 99, SOCKET).leaf == "udp.request drops bad-request"
    assert made.local.both(HEADER_STRUCT.pack(SEND, 6, 0, SOCKET, 0, 0, 0, 0, 0)).leaf == "apps.in drops bad-request"
    assert made.local.both(bytes(HEADER - 1)).leaf == "apps.in drops bad-request"


def pieces(data: bytes, size: int) -> list[IP]:
    return list(fragment(IP(raw(datagram(data))), size))


@pytest.mark.parametrize("order", ["forward", "backward", "twice"])
def test_fragments_are_put_together(made, order: str) -> None:
    data = bytes(index * 3 & 0xFF for index in range(3000))
    parts = pieces(data, 1000)
    if order == "twice":
        parts = [each for part in parts for each in (part, part)][:-1]
    *before, last = parts if order != "backward" else parts[::-1]
    for part in before:
        assert made.network.both(frame(part)).leaf == "fragment kept"
    result = made.network.both(frame(last))
    assert result.leaf == "to apps" and message(result) == (DATA, 0, SOCKET, *NAMES, data)


def test_datagrams_in_fragments_do_not_mix(made) -> None:
    both = [pieces(byte * 1500, 1000) for byte in (b"1", b"2")]
    for part in both[1]:
        part.id = 78
    firsts, lasts = zip(*both, strict=True)
    assert {made.network.both(frame(part)).leaf for part in firsts} == {"fragment kept"}
    assert [message(made.network.both(frame(part)))[-1] for part in lasts] == [b"1" * 1500, b"2" * 1500]


def test_fragments_that_overlap_are_given_up(made) -> None:
    first, second, third = pieces(bytes(2400), 800)[:3]
    second.frag -= 1
    made.network.both(frame(first))
    assert made.network.both(frame(second)).leaf == "ip.reassemble drops fragments-overlap"
    assert made.network.both(frame(third)).leaf == "fragment kept"


def test_fragments_that_no_datagram_has_are_refused(made) -> None:
    odd = IP(src=PEER, dst=OURS, id=5, flags="MF", proto=17) / Raw(bytes(13))
    far = IP(src=PEER, dst=OURS, id=5, frag=8189, proto=17) / Raw(bytes(100))
    for bad in (odd, far):
        assert made.network.both(frame(bad)).leaf == "ip.reassemble drops bad-fragment"


def test_a_whole_that_is_longer_than_a_datagram_is_refused(made) -> None:
    """The last fragment fits behind a header of 20 bytes; the first one has a header of 60."""
    fields = {"src": PEER, "dst": OURS, "id": 6, "proto": UDP_PROTOCOL}
    last = IP(**fields, frag=8189) / Raw(bytes(3))
    rest = [IP(**fields, flags="MF", frag=at // 8) / Raw(bytes(1448)) for at in range(1448, 8189 * 8 - 1448, 1448)]
    at = 1448 * (len(rest) + 1)
    rest.append(IP(**fields, flags="MF", frag=at // 8) / Raw(bytes(8189 * 8 - at)))
    first = IP(**fields, flags="MF", options=[IPOption_NOP()] * 40) / Raw(bytes(1448))
    for part in (last, *rest):
        assert made.network.both(frame(part)).leaf == "fragment kept"
    assert made.network.both(frame(first)).leaf == "ip.reassemble drops bad-fragment"


def test_source_routed_fragments_are_refused_as_whole_datagrams_are(made) -> None:
    route = [IPOption_LSRR(routers=[PEER])]
    for flags in (0, "MF"):
        packet = IP(src=PEER, dst=OURS, id=7, flags=flags, options=route) / UDP(sport=1000, dport=53) / Raw(bytes(16))
        assert made.network.both(frame(packet)).leaf == "ip.deliver drops source-route"


def test_a_datagram_is_given_up_in_time(made) -> None:
    *before, last = pieces(bytes(1500), 1000)
    for part in before:
        made.network.both(frame(part))
    assert made.network.both(frame(last), timestamp=NOW + LIFETIME).leaf == "fragment kept"


def test_ping_and_other_protocols_go_on_as_before(made) -> None:
    ping = IP(src=PEER, dst=OURS) / ICMP(id=3) / Raw(bytes(2000))
    *before, last = fragment(ping, 1000)
    for part in before:
        assert made.network.both(frame(part)).leaf == "fragment kept"
    result = made.network.both(frame(last))
    assert result.leaf == "to eth0" and Ether(result.data)[ICMP].type == 0
    other = made.network.both(frame(IP(src=PEER, dst=OURS, proto=200) / Raw(b"x")))
    assert Ether(other.data)[ICMP].code == 2  # protocol unreachable


def test_applications_want_a_port_with_sockets() -> None:
    with pytest.raises(GraphError, match="has no sockets; give an ApplicationPort"):
        Applications("apps", SimpleNamespace())  # type: ignore[arg-type]


def test_the_header_is_as_long_as_it_says() -> None:
    assert HEADER_STRUCT.size == HEADER == struct.calcsize("!BBHI16s16sHHI")
