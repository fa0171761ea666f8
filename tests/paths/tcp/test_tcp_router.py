"""The router `Tcp`: what its stages make of requests and segments, with a peer that Scapy writes and reads."""

import errno

import pytest
from harness import HOST, LEFT
from host_router import OURS, PEER
from scapy.all import IP, TCP, Ether, Raw, raw
from tcp_router import CLIENT, LISTENER, MILLISECOND, MSS, OTHER, RING, SECOND, SPARE, TcpHost, accept, address, listen

from scout.io.endpoints.message import CLOSE, CONNECT, EXPIRE, LISTEN, NOTICE, OFFER, OPTION, READ, SHUTDOWN, WRITE
from scout.io.endpoints.stream import CLOSED, ESTABLISHED, OPENING
from scout.paths.protocols.tcp.settings import KEEP_IDLE, KEEP_INTERVAL, KEEP_PROBES, KEEPALIVE
from scout.paths.protocols.tcp.state import FINISHED, REFUSED, RESET


def test_a_syn_to_no_listener_is_refused(host: TcpHost) -> None:
    (answer,) = host.say("S", 100)
    assert (answer[TCP].flags, answer[TCP].ack, answer.src, answer.dst) == ("RA", 101, OURS, PEER)
    assert host.say("R", 100) == []


def test_a_listener_gets_a_connection(host: TcpHost) -> None:
    listen(host, SPARE)
    accept(host)
    assert host.accepted == [(LISTENER, SPARE, address(PEER), 1000)]
    assert host.phase(SPARE) == (ESTABLISHED, 0) and host.state(SPARE) == "ESTABLISHED"


def test_data_in_both_directions(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    host.say("PA", 101, iss, b"hello")
    assert host.words[SPARE][0] == 5 and host.readable(SPARE) == b"hello"
    assert host.write(SPARE, 0, b"welcome") == "served"
    (segment,) = host.sent
    assert bytes(segment[TCP].payload) == b"welcome" and segment[TCP].ack == 106
    assert (segment[TCP].seq, segment[TCP].flags) == (iss, "PA")
    host.say("A", 106, iss + 7)
    assert host.words[SPARE][1] == 7


def test_a_connection_is_opened_and_closed_by_the_application(host: TcpHost) -> None:
    assert host.request(CONNECT, CLIENT, (OURS, 5000), (PEER, 1000), note=1500) == "served"
    (syn,) = host.sent
    assert (syn[TCP].flags, syn[TCP].sport, syn[TCP].dport) == ("S", 5000, 1000)
    assert dict(syn[TCP].options)["MSS"] == 1460
    iss = syn[TCP].seq + 1
    (answer,) = host.say("SA", 100, iss, options=MSS, port=5000)
    assert answer[TCP].flags == "A" and host.phase(CLIENT) == (ESTABLISHED, 0)
    host.sent.clear()
    assert host.request(CLOSE, CLIENT) == "served"
    (fin,) = host.sent
    assert fin[TCP].flags == "FA"
    host.say("FA", 101, iss + 1, port=5000)
    assert host.state(CLIENT) == "TIME_WAIT"
    host.wait(61 * SECOND)
    assert host.phase(CLIENT) == (CLOSED, FINISHED)
    assert not host.tcp.rows.initial["number"].any()
    assert not (host.tcp.bindings.initial["key"] > 0).any()


def test_a_connection_that_is_refused(host: TcpHost) -> None:
    host.request(CONNECT, CLIENT, (OURS, 5000), (PEER, 1000), note=1500)
    (syn,) = host.sent
    host.say("RA", 0, syn[TCP].seq + 1, port=5000)
    assert host.phase(CLIENT) == (CLOSED, REFUSED)
    host.request(CLOSE, CLIENT)
    assert not host.tcp.rows.initial["number"].any()


def test_the_application_reads_and_ends(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    host.say("FPA", 101, iss, b"all")
    assert host.words[SPARE][0] == 3 and host.words[SPARE][3] == 4
    assert host.call(READ, SPARE, 3) == "served"
    host.sent.clear()
    assert host.call(SHUTDOWN, SPARE) == "served"
    (fin,) = host.sent
    assert fin[TCP].flags == "FA" and host.state(SPARE) == "LAST_ACK"
    host.say("A", 105, iss + 1)
    assert host.phase(SPARE) == (CLOSED, FINISHED)
    assert host.call(READ, SPARE, 3) == "tcp.serve drops tcp-not-connected"


def test_an_application_that_has_died_resets(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    host.request(CLOSE, SPARE, note=1)
    (reset,) = host.sent
    assert reset[TCP].flags == "RA" and reset[TCP].seq == iss
    assert host.phase(SPARE)[0] == CLOSED and host.words[SPARE][0] == 0
    (again,) = host.say("A", 101, iss)
    assert again[TCP].flags == "R"


def test_a_reset_of_the_peer(host: TcpHost) -> None:
    listen(host, SPARE)
    accept(host)
    assert host.say("R", 101) == []
    assert host.phase(SPARE) == (CLOSED, RESET)


def test_data_that_was_not_placed_count_as_lost(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    assert host.say("PA", 101, iss, b"hello", placed=False) == [] and host.leaf == "data lost"
    assert host.words[SPARE][0] == 0
    host.say("FPA", 101, iss, b"hello")
    assert host.words[SPARE][0] == 5 and host.words[SPARE][3] == 6


def test_a_spare_socket_is_spare_again_after_a_while(host: TcpHost) -> None:
    listen(host, SPARE)
    (answer,) = host.say("S", 100, options=MSS)
    host.say("R", 101)
    assert SPARE not in host.words or host.phase(SPARE) == (OPENING, 0)
    assert host.say("S", 500, options=MSS) == [] and host.leaf.endswith("tcp-no-spare")
    host.wait(4 * SECOND)
    (cookie,) = host.say("S", 500, options=MSS)
    assert cookie[TCP].flags == "SA" and host.state(SPARE) == "CLOSED"
    host.wait(61 * SECOND)
    (answer,) = host.say("S", 900, options=MSS)
    assert answer[TCP].ack == 901 and host.state(SPARE) == "SYN_RECEIVED"


def test_without_spare_sockets_cookies_open_connections(host: TcpHost) -> None:
    listen(host)
    assert host.say("S", 100, options=MSS) == [] and host.leaf.endswith("tcp-no-spare")
    host.wait(4 * SECOND)
    (answer,) = host.say("S", 100, options=MSS)
    assert answer[TCP].flags == "SA"
    assert host.say("A", 101, answer[TCP].seq + 1) == [] and host.leaf.endswith("tcp-no-spare")
    host.request(OFFER, SPARE, data=LISTENER.to_bytes(4))
    (reset,) = host.say("A", 101, answer[TCP].seq)
    assert reset[TCP].flags == "R" and host.accepted == []
    host.say("A", 101, answer[TCP].seq + 1)
    assert host.accepted == [(LISTENER, SPARE, address(PEER), 1000)]
    host.say("PA", 101, answer[TCP].seq + 1, b"hello")
    assert host.readable(SPARE) == b"hello"


def test_a_flood_of_syns_leaves_half_of_the_spare_sockets(host: TcpHost) -> None:
    spares = [1 << 16 | row for row in range(8, 14)]
    listen(host, *spares)
    for number in range(50):
        (answer,) = host.say("S", 100, options=MSS, sport=2000 + number)
        assert answer[TCP].flags == "SA", number
    assert sorted(host.state(each) for each in spares) == ["CLOSED"] * 3 + ["SYN_RECEIVED"] * 3
    for number in range(3):  # each acknowledges a cookie
        accept(host, sport=1000 + number)
    assert len(host.accepted) == 3
    assert host.say("S", 100, options=MSS, sport=1003) == [] and host.leaf.endswith("tcp-no-spare")
    host.wait(250 * SECOND)  # the half-open ones have been given up, and have rested
    for number in range(2):
        accept(host, sport=1010 + number)
    assert len(host.accepted) == 5


def test_a_closed_listener_leaves_its_connections(host: TcpHost) -> None:
    listen(host, SPARE, OTHER)
    iss = accept(host)
    (answer,) = host.say("S", 100, options=MSS, sport=1001)
    assert host.request(CLOSE, LISTENER) == "served" and host.phase(LISTENER) == (CLOSED, 0)
    (reset,) = host.say("A", 101, answer[TCP].seq + 1, sport=1001)
    assert reset[TCP].flags == "RA"
    (refused,) = host.say("S", 100, sport=1002)
    assert refused[TCP].flags == "RA"
    taken = host.accepted[0][1]
    host.say("PA", 101, iss, b"hello")
    assert host.readable(taken) == b"hello"
    for socket in (SPARE, OTHER):
        host.request(CLOSE, socket, note=1)
        assert host.phase(socket)[0] == CLOSED
    assert not host.tcp.rows.initial["number"].any() and not (host.tcp.bindings.initial["key"] > 0).any()


def test_a_lost_segment_is_sent_again(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    host.write(SPARE, 0, b"hello")
    again = host.wait(2 * SECOND)
    assert {bytes(each[TCP].payload) for each in again} == {b"hello"}
    host.say("A", 101, iss + 5)
    assert host.wait(10 * SECOND) == []


def test_long_writes_leave_in_one_piece_for_the_device(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    data = bytes(index % 251 for index in range(4380))
    host.write(SPARE, 0, data)
    (segment,) = host.sent
    assert segment.gso == 1 and bytes(segment[TCP].payload) == data
    host.say("A", 101, iss + 4380)


def test_bytes_that_wrap_in_the_ring(host: TcpHost) -> None:
    listen(host, SPARE)
    iss, position = accept(host), 0
    while position < RING + 3000:
        chunk = bytes((position + index) % 251 for index in range(2 * 1460))
        host.sent.clear()
        host.write(SPARE, position, chunk)
        assert b"".join(bytes(each[TCP].payload) for each in host.sent) == chunk
        position += len(chunk)
        host.say("A", 101, iss + position)


def test_a_wrong_checksum_is_refused(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    bad = IP(src=PEER, dst=OURS) / TCP(sport=1000, dport=80, flags="PA", seq=101, ack=iss, chksum=1) / Raw(b"x")
    assert host.deliver(raw(Ether(dst=LEFT, src=HOST) / bad)) == "tcp.receive drops tcp-bad-checksum"
    assert host.words[SPARE][0] == 0


def test_acknowledgements_are_delayed(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    assert host.say("PA", 101, iss, b"hello") == []
    (ack,) = host.wait(50 * MILLISECOND)
    assert (ack[TCP].flags, ack[TCP].ack) == ("A", 106)


def test_listening_disturbs_no_connection(host: TcpHost) -> None:
    """MUST-41: a second LISTEN is refused. MUST-42: an application listens at the L4 port of a connection."""
    listen(host, SPARE)
    iss = accept(host)
    host.request(LISTEN, OTHER, (OURS, 80))
    assert host.phase(OTHER)[0] == CLOSED and host.words[OTHER][4] == errno.EADDRINUSE + 1
    host.request(CONNECT, CLIENT, (OURS, 5000), (PEER, 1000), note=1500)
    host.request(LISTEN, 9 << 16 | 8, (OURS, 5000))
    assert host.state(CLIENT) == "SYN_SENT"
    host.wait(4 * SECOND)
    (cookie,) = host.say("S", 1, options=MSS, port=5000, sport=7)
    assert cookie[TCP].flags == "SA" and host.state(CLIENT) == "SYN_SENT"
    host.say("PA", 101, iss, b"hello")
    assert host.readable(SPARE) == b"hello"


def test_connecting_again_while_the_last_connection_waits(host: TcpHost) -> None:
    """The row of a connection in TIME-WAIT is ended if its addresses and L4 ports are wanted again."""
    for number, socket in enumerate((CLIENT, CLIENT + (1 << 16) + 1)):
        host.sent.clear()
        host.request(CONNECT, socket, (OURS, 5000), (PEER, 1000), note=1500)
        (syn,) = host.sent
        assert syn[TCP].flags == "S", number
        host.say("SA", 100, syn[TCP].seq + 1, options=MSS, port=5000)
        host.request(CLOSE, socket)
        host.say("FA", 101, syn[TCP].seq + 2, port=5000)
        assert host.state(socket) == "TIME_WAIT"
        host.now += SECOND
    assert host.phase(CLIENT)[0] == CLOSED


def test_a_syn_in_time_wait_opens_the_next_connection(host: TcpHost) -> None:
    listen(host, SPARE, OTHER)
    iss = accept(host)
    host.request(CLOSE, host.accepted[0][1])
    host.say("FA", 101, iss + 1)
    assert host.say("A", 102, iss + 1) == []
    before = host.accepted[0][1]
    (answer,) = host.say("S", 50_000, options=MSS)
    assert host.phase(before) == (CLOSED, FINISHED)
    assert answer[TCP].flags == "SA" and answer[TCP].ack == 50_001
    host.say("A", 50_001, answer[TCP].seq + 1)
    assert len(host.accepted) == 2


def test_malformed_requests_are_refused(host: TcpHost) -> None:
    listen(host, SPARE)
    accept(host)
    for kind, socket, data, reason in (
        (77, SPARE, bytes(8), "bad-request"),
        (WRITE, SPARE, bytes(7), "bad-request"),
        (OPTION, SPARE, bytes(15), "bad-request"),
        (WRITE, 0xFFFF, bytes(8), "tcp-not-connected"),
        (WRITE, SPARE + (1 << 16), bytes(8), "tcp-not-connected"),
        (WRITE, LISTENER, bytes(8), "tcp-not-connected"),
        (LISTEN, 0xFFFF, b"", "bad-request"),
        (OFFER, OTHER, SPARE.to_bytes(4), "bad-request"),
        (OFFER, OTHER, b"", "bad-request"),
        (7, OTHER, b"", "bad-request"),
        (NOTICE, 0, b"", "bad-request"),
    ):
        assert host.request(kind, socket, data=data) == f"tcp.serve drops {reason}"
    for position in (1 << 62, -(1 << 63), -1):
        for kind in (WRITE, READ):
            host.call(kind, SPARE, position)
    for option, value in ((0, 7), (99, 1), (-1, 1), (17, 0), (17, -5), (17, 1 << 62)):
        host.call(OPTION, SPARE, option, value)
    assert host.state(SPARE) == "ESTABLISHED"


@pytest.mark.parametrize(
    "forged", ["no acknowledgement", "a false acknowledgement", "an old timestamp", "no timestamp"]
)
def test_a_segment_that_the_connection_refuses_writes_over_no_data(host: TcpHost, forged: str) -> None:
    listen(host, SPARE)
    (answer,) = host.say("S", 100, options=[*MSS, ("Timestamp", (5000, 0))])
    iss, echo = answer[TCP].seq + 1, dict(answer[TCP].options)["Timestamp"][0]
    host.say("A", 101, iss, options=[("Timestamp", (5001, echo))])
    host.say("PA", 101, iss, b"hello", options=[("Timestamp", (5002, echo))])
    host.say("PA", 116, iss, b"out of order", options=[("Timestamp", (5003, echo))])
    flags, ack, options = {
        "no acknowledgement": ("P", 0, [("Timestamp", (5004, echo))]),
        "a false acknowledgement": ("PA", iss + (1 << 30), [("Timestamp", (5004, echo))]),
        "an old timestamp": ("PA", iss, [("NOP", None), ("Timestamp", (4000, echo))]),
        "no timestamp": ("PA", iss, []),
    }[forged]
    host.say(flags, 101, ack, b"X" * 30, options=options)
    assert host.words[SPARE][0] == 5 and host.readable(SPARE) == b"hello"
    host.say("PA", 106, iss, b", peer" + b"!" * 4, options=[("Timestamp", (5005, echo))])
    assert host.readable(SPARE) == b"hello, peer!!!!out of order"


def test_keep_alive_asks_once_a_second_at_most(host: TcpHost) -> None:
    listen(host, SPARE)
    accept(host)
    for setting, value in ((KEEPALIVE, 1), (KEEP_IDLE, 1), (KEEP_INTERVAL, 1), (KEEP_PROBES, 127)):
        assert host.call(OPTION, SPARE, setting, value) == "served"
    assert len(host.wait(10 * SECOND)) == 10


def test_a_clock_that_is_set_forward_ends_no_connection(host: TcpHost) -> None:
    listen(host, SPARE)
    (answer,) = host.say("S", 100, options=MSS)
    iss = answer[TCP].seq + 1
    host.say("A", 101, iss)
    host.write(SPARE, 0, b"hello")
    host.sent.clear()
    host.now += 24 * 3600 * SECOND  # later than any timer of the connection
    host.request(EXPIRE, 0xFFFFFFFF)
    (again,) = host.sent  # the first timer alone is served
    assert bytes(again[TCP].payload) == b"hello"
    assert "R" not in again[TCP].flags
    host.say("A", 101, iss + 5)
    host.sent.clear()
    host.write(SPARE, 5, b"world")
    assert bytes(host.sent[0][TCP].payload) == b"world"


def test_a_clock_that_is_set_back_stops_no_connection(host: TcpHost) -> None:
    listen(host, SPARE)
    (answer,) = host.say("S", 100, options=[*MSS, ("Timestamp", (5000, 0))])
    iss, begin = answer[TCP].seq + 1, dict(answer[TCP].options)["Timestamp"][0]
    host.say("A", 101, iss, options=[("Timestamp", (5001, begin))])
    host.now += SECOND
    host.write(SPARE, 0, b"hello")
    before = dict(host.sent[0][TCP].options)["Timestamp"][0]
    host.now -= 3600 * SECOND
    host.request(EXPIRE, 0xFFFFFFFF)  # the engine has seen it
    again = host.wait(3 * SECOND)  # the acknowledgement was lost
    assert again and bytes(again[0][TCP].payload) == b"hello"
    after = dict(again[0][TCP].options)["Timestamp"][0]
    assert 0 <= after - before & 0xFFFFFFFF < 4000
