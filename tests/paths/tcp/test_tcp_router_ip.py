"""The router `Tcp` on IP: addresses, TTL and traffic class, IP options, ICMP errors and path MTUs."""

import errno

import pytest
from harness import HOST, LEFT
from host_router import OURS, PEER
from scapy.all import ICMP, IP, TCP, Ether, IPOption_LSRR, IPOption_NOP, Raw, raw
from tcp_router import CLIENT, MSS, OTHER, SECOND, SPARE, TcpHost, accept, listen

from scout.endpoints.sockets import Refused, SocketTable
from scout.io.endpoints.message import CLOSE, CONNECT, OPTION
from scout.io.endpoints.stream import CLOSED
from scout.paths.model.router import GraphError
from scout.paths.protocols.tcp.router import Tcp
from scout.paths.protocols.tcp.settings import TRAFFIC_CLASS
from scout.ring.errors import ScoutError


def test_the_traffic_class_is_that_of_the_application(host: TcpHost) -> None:
    listen(host, SPARE)
    accept(host)
    host.call(OPTION, SPARE, TRAFFIC_CLASS, 0xB9)
    host.write(SPARE, 0, b"urgent")
    assert [each.tos for each in host.sent] == [0xB8]


def test_the_ttl_is_that_of_the_router() -> None:
    host = TcpHost(ttl=7)
    (answer,) = host.say("S", 100)
    assert answer.ttl == 7
    with pytest.raises(GraphError, match="ttl=0; give 1 to 255"):
        Tcp("tcp", ttl=0)
    with pytest.raises(ScoutError, match="no TCP setting 'NAGLE'"):
        Tcp("tcp", NAGLE=1)


def test_all_segments_have_the_address_of_the_first(host: TcpHost) -> None:
    """MUST-45; the address itself is the application's or the route's (MUST-43, 44: `SocketTable`)."""
    host.request(CONNECT, CLIENT, (OURS, 5000), (PEER, 1000), note=1500)
    assert {each.src for each in [*host.sent, *host.wait(20 * SECOND)]} == {OURS}


def test_no_connection_to_a_group() -> None:
    """MUST-46. The registry refuses before TCP has a request."""
    host = TcpHost()
    table = SocketTable(host.port, {6: host.tcp})
    host.port.open(1)
    number, _ = table.open(1, 6)
    for group in ("10.0.0.255", "255.255.255.255", "224.0.0.1", "127.0.0.1", "10.0.0.1"):
        with pytest.raises(Refused) as refused:
            table.connect(1, number, group, 80)
        assert refused.value.number == errno.ENETUNREACH
    host.port.close()


def test_segments_to_and_from_groups_are_dropped(host: TcpHost) -> None:
    """MUST-57 and MUST-63."""
    listen(host, SPARE)
    syn = TCP(sport=1000, dport=80, flags="S", seq=100)
    for link, source, destination, leaf in (
        ("ff:ff:ff:ff:ff:ff", PEER, OURS, "tcp.receive drops tcp-group"),
        (LEFT, PEER, "10.0.0.255", "ip.lookup drops broadcast"),
        (LEFT, PEER, "224.0.0.1", "ip.lookup drops multicast"),
        (LEFT, "10.0.0.255", OURS, "eth0.ipv4 drops martian-source"),
        (LEFT, "224.0.0.1", OURS, "eth0.ipv4 drops martian-source"),
    ):
        frame = raw(Ether(dst=link, src=HOST) / IP(src=source, dst=destination) / syn)
        assert host.deliver(frame) == leaf
    assert host.sent == []


def test_segments_with_ip_options_are_taken(host: TcpHost) -> None:
    """MUST-50: options that TCP does not know are ignored. Source routes that lead further are refused."""
    listen(host, SPARE)
    (answer,) = host.say("S", 100, options=MSS)
    segment = TCP(sport=1000, dport=80, flags="PA", seq=101, ack=answer[TCP].seq + 1) / Raw(b"hello")
    packet = IP(src=PEER, dst=OURS, options=[IPOption_NOP()] * 8) / segment
    assert host.deliver(raw(Ether(dst=LEFT, src=HOST) / packet)) == "served"
    assert host.readable(SPARE) == b"hello"
    routed = IP(src=PEER, dst=OURS, options=[IPOption_LSRR(routers=[PEER])]) / segment
    assert host.deliver(raw(Ether(dst=LEFT, src=HOST) / routed)) == "ip.deliver drops source-route"


def quote(host: TcpHost, kind: int, code: int, sequence: int, mtu: int = 0) -> str:
    """Receive an ICMP error about a segment of the listener's connection; the leaf."""
    ours = raw(IP(src=OURS, dst=PEER) / TCP(sport=80, dport=1000, seq=sequence))[:28]
    error = IP(src=PEER, dst=OURS) / ICMP(type=kind, code=code, nexthopmtu=mtu) / Raw(ours)
    return host.deliver(raw(Ether(dst=LEFT, src=HOST) / error))


def test_errors_about_segments_under_way_are_told_and_end_nothing(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    host.write(SPARE, 0, b"hello")
    assert quote(host, 3, 1, iss + 77).endswith("tcp-no-connection") and host.words[SPARE][4] == 0
    assert quote(host, 3, 1, iss) == "served"
    assert host.words[SPARE][4] == 1 << 16 | errno.EHOSTUNREACH + 1 and host.state(SPARE) == "ESTABLISHED"
    assert quote(host, 3, 0, iss) == "served"
    assert host.words[SPARE][4] == 2 << 16 | errno.ENETUNREACH + 1


def test_source_quench_is_dropped(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    host.write(SPARE, 0, b"hello")
    assert quote(host, 4, 0, iss) == "icmp.in drops icmp-unhandled"


def test_a_smaller_path_mtu_makes_smaller_segments(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    host.write(SPARE, 0, bytes(1460))
    host.sent.clear()
    assert quote(host, 3, 4, iss, mtu=1000) == "served"
    assert [len(each[TCP].payload) for each in host.sent] == [960, 500] or host.sent[0].gso == 1
    host.say("A", 101, iss + 1460)
    host.write(SPARE, 1460, bytes(960))
    assert [len(each[TCP].payload) for each in host.sent] == [960]


def test_addresses_that_are_taken_are_refused(host: TcpHost) -> None:
    host.request(CONNECT, CLIENT, (OURS, 5000), (PEER, 1000), note=1500)
    host.request(CONNECT, OTHER, (OURS, 5000), (PEER, 1000), note=1500)
    assert host.phase(OTHER)[0] == CLOSED and host.words[OTHER][4] == errno.EADDRINUSE + 1
    host.request(CLOSE, OTHER)
    assert host.state(CLIENT) == "SYN_SENT"
