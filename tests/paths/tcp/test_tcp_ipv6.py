"""The router `Tcp` over IPv6: the same stages, with a peer that Scapy writes and reads."""

from collections.abc import Iterator
from ipaddress import IPv6Address
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from harness import HOST, LEFT, number
from ipv6_host import OURS, PEER, Ipv6
from scapy.all import TCP, IPv6, raw
from tcp_router import (
    CLIENT,
    LISTENER,
    MILLISECOND,
    MSS,
    OTHER,
    SECOND,
    SPARE,
    TcpHost,
    accept,
    listen,
)

from scout.io.endpoints.message import CLOSE, CONNECT, HEADER_STRUCT_6, OFFER, SHUTDOWN, SPLICE
from scout.io.endpoints.stream import CLOSED, ESTABLISHED
from scout.paths.compiler.plain import Record
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.applications import Applications
from scout.paths.protocols.tcp.rows import HOST as HOST_RECORD
from scout.paths.protocols.tcp.rows import flow_of
from scout.paths.protocols.tcp.secret import initial_number, new_secret
from scout.paths.protocols.tcp.state import FINISHED, REFUSED
from scout.paths.wire.address import IPV4, IPV6

GSO_TCPV6 = 4  # VIRTIO_NET_HDR_GSO_TCPV6 of linux/virtio_net.h


class TcpHost6(TcpHost):
    """The host over IPv6."""

    layer = IPv6
    header, ours, peer = HEADER_STRUCT_6, OURS, PEER

    def _stand(self, graph: RouterGraph) -> None:
        port = SimpleNamespace(mac=number(LEFT), mtu=1500)
        for router in (Ipv6("eth0", port, number(HOST)), self.tcp, Applications("apps", self.port)):
            graph.add(router)
        graph.connect("apps", "tcp", "eth0")
        graph.configure()

    def address(self, text: str) -> bytes:
        return IPv6Address(text or "::").packed


@pytest.fixture(scope="module")
def made() -> TcpHost6:
    return TcpHost6()


@pytest.fixture
def host(made: TcpHost6) -> Iterator[TcpHost6]:
    made.reset()
    yield made
    assert not made.tcp.waiting.initial[0]


def test_a_syn_to_no_listener_is_refused(host: TcpHost6) -> None:
    (answer,) = host.say("S", 100)
    assert (answer[TCP].flags, answer[TCP].ack, answer.src, answer.dst) == ("RA", 101, OURS, PEER)
    assert (answer.version, answer.hlim, answer.nh) == (6, 64, 6)
    assert host.say("R", 100) == []


def talk(host: TcpHost6) -> None:
    """A connection that the peer opens, data in both directions, and its end by both."""
    listen(host, SPARE)
    (answer,) = host.say("S", 100, options=MSS)
    assert answer[TCP].flags == "SA" and dict(answer[TCP].options)["MSS"] == 1440
    iss = answer[TCP].seq + 1
    assert host.say("A", 101, iss) == []
    assert host.accepted == [(LISTENER, SPARE, IPv6Address(PEER).packed, 1000)]
    assert host.phase(SPARE) == (ESTABLISHED, 0)
    host.say("PA", 101, iss, b"hello")
    assert host.readable(SPARE) == b"hello"
    assert host.write(SPARE, 0, b"welcome") == "served"
    (segment,) = host.sent[-1:]
    assert (
        bytes(segment[TCP].payload) == b"welcome" and segment[TCP].ack == 106 and segment.plen == len(raw(segment)) - 40
    )
    host.say("A", 106, iss + 7)
    assert host.words[SPARE][1] == 7
    host.say("FA", 106, iss + 7)
    host.sent.clear()
    host.call(SHUTDOWN, SPARE)
    (fin,) = host.sent
    assert fin[TCP].flags == "FA" and fin[TCP].ack == 107
    host.say("A", 107, iss + 8)
    assert host.phase(SPARE) == (CLOSED, FINISHED)


def test_a_connection_from_its_opening_to_its_end(host: TcpHost6) -> None:
    talk(host)
    assert host.state(SPARE) == "CLOSED"


@pytest.mark.long
def test_native_code_does_the_same() -> None:
    host = TcpHost6(native=True)
    talk(host)
    host.reset()
    splice_two(host)


def test_a_connection_is_opened_and_closed_by_the_application(host: TcpHost6) -> None:
    assert host.request(CONNECT, CLIENT, (OURS, 5000), (PEER, 1000), note=1500) == "served"
    (syn,) = host.sent
    assert (syn[TCP].flags, syn[TCP].sport, syn.dst) == ("S", 5000, PEER)
    assert dict(syn[TCP].options)["MSS"] == 1440
    iss = syn[TCP].seq + 1
    (answer,) = host.say("SA", 100, iss, options=[("MSS", 1440)], port=5000)
    assert answer[TCP].flags == "A" and host.phase(CLIENT) == (ESTABLISHED, 0)
    host.sent.clear()
    assert host.request(CLOSE, CLIENT) == "served"
    (fin,) = host.sent
    assert fin[TCP].flags == "FA"
    host.say("FA", 101, iss + 1, port=5000)
    host.wait(61 * SECOND)
    assert host.phase(CLIENT) == (CLOSED, FINISHED)
    assert not host.tcp.rows.initial["number"].any() and not (host.tcp.bindings.initial["key"] > 0).any()


def test_a_connection_that_is_refused(host: TcpHost6) -> None:
    host.request(CONNECT, CLIENT, (OURS, 5000), (PEER, 1000), note=1500)
    (syn,) = host.sent
    host.say("RA", 0, syn[TCP].seq + 1, port=5000)
    assert host.phase(CLIENT) == (CLOSED, REFUSED)


def test_a_wrong_checksum_is_counted_and_changes_nothing(host: TcpHost6) -> None:
    listen(host, SPARE)
    iss = accept(host)
    good = host.frame("PA", 101, iss, b"hello")
    for place in (22, 37, 58, len(good) - 1):  # the first and the last byte of the source, the header, and the data
        bad = bytearray(good)
        bad[place] ^= 1 << 6
        assert host.deliver(bytes(bad)) == "tcp.receive drops tcp-bad-checksum"
    assert host.words[SPARE][0] == 0
    host.say("PA", 101, iss, b"hello")
    assert host.readable(SPARE) == b"hello"


def test_connections_that_differ_in_one_bit_of_an_address(host: TcpHost6) -> None:
    listen(host, SPARE, OTHER)
    for source, socket in ((PEER, SPARE), ("2001:db8::8000:0:0:2", OTHER), ("2001:db8::1:0:0:2", 0)):
        if not socket:  # there are no more spare sockets
            assert host.say("S", 100, options=MSS, source=source) == []
            continue
        (answer,) = host.say("S", 100, options=MSS, source=source)
        assert answer.dst == source
        host.say("A", 101, answer[TCP].seq + 1, source=source)
        host.say("PA", 101, answer[TCP].seq + 1, source.encode(), source=source)
    for source, socket in ((PEER, SPARE), ("2001:db8::8000:0:0:2", OTHER)):
        assert host.readable(socket) == source.encode()


def test_a_cookie_opens_a_connection(host: TcpHost6) -> None:
    listen(host)
    host.say("S", 100, options=MSS)
    host.wait(4 * SECOND)
    (answer,) = host.say("S", 100, options=MSS)
    assert answer[TCP].flags == "SA" and dict(answer[TCP].options)["MSS"] == 1440
    host.request(OFFER, SPARE, data=LISTENER.to_bytes(4))
    host.say("A", 101, answer[TCP].seq + 1)
    assert host.accepted == [(LISTENER, SPARE, IPv6Address(PEER).packed, 1000)]


def test_a_long_send_is_cut_by_the_device(host: TcpHost6) -> None:
    listen(host, SPARE)
    iss = accept(host)
    host.sent.clear()
    host.write(SPARE, 0, bytes(5000))
    (segment,) = host.sent
    assert segment.gso == GSO_TCPV6 and len(segment[TCP].payload) == 3 * 1440
    (rest,) = host.say("A", 101, iss + 3 * 1440)  # Nagle's algorithm held it
    assert len(rest[TCP].payload) == 680
    host.say("A", 101, iss + 5000)
    assert host.words[SPARE][1] == 5000


def test_a_peer_that_says_no_size_gets_the_default_of_ipv6(host: TcpHost6) -> None:
    listen(host, SPARE)
    accept_without_size(host)
    assert host.tcp.connections.initial[SPARE & 0xFFFF]["mss"] == 1220


def accept_without_size(host: TcpHost6) -> None:
    (answer,) = host.say("S", 100)
    host.say("A", 101, answer[TCP].seq + 1)


def test_segments_that_follow_one_another_become_one_request(host: TcpHost6) -> None:
    listen(host, SPARE)
    iss = accept(host)
    frames = [host.frame("A", 101 + 100 * index, iss, bytes([index]) * 100) for index in range(4)]
    marked = host.frame("A", 501, iss, bytes(100), tc=3)  # congestion was met: it follows none
    assert host.deliver_together([*frames, marked]) == [400, 100]
    assert host.words[SPARE][0] == 500


def splice_two(host: TcpHost6) -> None:
    """Splice two connections, and pass a segment on from the one to the other."""
    listen(host, SPARE, OTHER)
    one = accept(host, sport=1000)
    two = accept(host, sport=2000)
    for socket, partner in ((SPARE, OTHER), (OTHER, SPARE)):
        host.call(SPLICE, socket, partner, 0)
    host.wait(MILLISECOND)
    (passed,) = host.say("PA", 101, one, b"through", sport=1000, hlim=9)
    assert (passed.src, passed.dst, passed[TCP].dport, passed.hlim) == (OURS, PEER, 2000, 8)
    assert bytes(passed[TCP].payload) == b"through" and passed[TCP].seq == two


def test_spliced_connections_pass_segments_on(host: TcpHost6) -> None:
    splice_two(host)


@pytest.mark.parametrize("field", ["local", "remote"])
@pytest.mark.parametrize("half", ["high", "low"])
def test_initial_numbers_depend_on_all_of_both_addresses(field: str, half: str) -> None:
    secret, host = new_secret(bytes(16)), np.zeros(1, HOST_RECORD)
    numbers = set()
    for bit in (0, 1, 31, 32, 63):
        host[0][field][half] = (1 << bit) - (1 << 64 if bit == 63 else 0)
        view: Any = Record(host[0])
        numbers.add(initial_number(Record(secret[0]), flow_of(view, IPV6), 0))
        host[0][field][half] = 0
    numbers.add(initial_number(Record(secret[0]), flow_of(Record(host[0]), IPV4), 0))
    assert len(numbers) == 6
