"""Connections are spliced, and their pair ends: the router's stages with a client and a server that Scapy plays."""

import errno

import pytest
from harness import HOST, LEFT
from host_router import OURS, PEER
from scapy.all import ICMP, IP, TCP, Ether, Raw, raw
from tcp_halves import MODULUS, ask, check_talk, is_spliced, opened, spliced
from tcp_router import CLIENT, MILLISECOND, SECOND, SPARE, TcpHost

from scout.io.endpoints.message import CLOSE, HEADER, OFFER, READ, RUN, SPLICE, WRITE
from scout.io.endpoints.stream import CLOSED, ESTABLISHED, SPLICED
from scout.paths.protocols.tcp.serving_sockets import NOW, TIME_WAIT_ONLY


def test_segments_pass_without_being_terminated(host: TcpHost) -> None:
    one, two = spliced(host)
    assert host.phase(SPARE) == host.phase(CLIENT) == (SPLICED, 0)
    for _ in range(3):
        check_talk(one, two)  # the server's numbers wrap
    (segment,) = one.say(b"x", ttl=17)
    assert segment.ttl == 16 and segment[TCP].flags == "PA"


def test_only_both_sockets_together_are_spliced(host: TcpHost) -> None:
    opened(host)
    assert host.call(SPLICE, SPARE, CLIENT, 0) == "served"
    assert host.phase(SPARE) == (ESTABLISHED, 0)
    assert host.write(SPARE, 0, b"not yet") == "served"
    assert host.call(SPLICE, SPARE, SPARE, 0) == "served"
    assert host.words[SPARE][4] & 0xFFFF == errno.ENOTCONN + 1
    assert host.call(SPLICE, CLIENT, SPARE, 0) == "served"
    assert host.phase(CLIENT) == (ESTABLISHED, 0)


def test_bytes_that_wait_are_delivered_first(host: TcpHost) -> None:
    one, two = opened(host)
    one.say(b"CONNECT server\nfirst bytes")
    two.say(b"banner")
    host.call(READ, SPARE, 15)
    host.write(SPARE, 0, b"OK\n")
    (ok,) = [each for each in host.sent if each[TCP].payload]
    ask(host, 15, 0)
    assert two.hear(host.sent) == b"first bytes" and one.hear([ok, *host.sent]) == b"OK\nbanner"
    assert not is_spliced(host)
    one.say()
    assert not is_spliced(host)
    two.say()
    assert is_spliced(host)
    check_talk(one, two)


def test_bytes_of_both_rings_are_sent_and_sent_again(host: TcpHost) -> None:
    """Bytes of the application and forwarded ones wait together for the server's window."""
    one, two = opened(host)
    two.say(window=0)
    one.say(b"forwarded")
    host.write(CLIENT, 0, b"own, ")
    ask(host)
    own, forwarded = two.say()
    assert (bytes(own[TCP].payload), own[TCP].flags) == (b"own, ", "A") and forwarded[TCP].flags == "PA"
    sent = host.wait(3 * SECOND)
    assert two.hear(sent) == b"own, forwarded"
    two.say()
    assert is_spliced(host)
    check_talk(one, two)


def test_data_that_come_while_others_wait_are_forwarded(host: TcpHost) -> None:
    one, two = opened(host)
    one.say(b"first, ")
    ask(host)
    sent = [*host.sent, *one.say(b"second, "), *one.say(b"third")]
    sent += host.wait(100 * MILLISECOND)
    data = two.hear(sent)
    two.say()
    data += two.hear(host.sent)
    two.say()
    assert data == b"first, second, third" and is_spliced(host)
    check_talk(one, two)


def test_what_was_sent_before_may_come_again(host: TcpHost) -> None:
    one, two = opened(host)
    before = one.seq
    one.say(b"hello")
    host.call(READ, SPARE, 5)
    ask(host, 5)
    assert is_spliced(host)
    (again,) = one.raw_say("PA", before, b"hello")
    assert (again[TCP].seq + 5) % MODULUS == two.ack  # the server has it, as far as it knows
    (ack,) = two.say()
    assert ack[TCP].ack == one.seq
    check_talk(one, two)


@pytest.mark.parametrize("first", ["client", "server"])
def test_both_ends_close(host: TcpHost, first: str) -> None:
    one, two = spliced(host)
    if first == "server":
        one, two = two, one
    assert two.hear(one.say(b"last", "FPA")) == b"last"  # the FIN has come with data
    one.hear(two.say())
    (fin,) = two.say(b"", "FA")
    one.hear([fin])
    (ack,) = one.say()
    assert ack[TCP].ack == two.seq
    host.wait(59 * SECOND)
    assert is_spliced(host)
    (again,) = two.raw_say("FA", two.seq - 1)  # the last acknowledgement was lost
    assert "F" in again[TCP].flags
    host.wait(64 * SECOND)  # the peers were asked, and nobody has answered
    assert host.phase(SPARE)[0] == host.phase(CLIENT)[0] == CLOSED
    (reset,) = one.say(b"late")
    assert reset[TCP].flags == "R"


def test_a_half_closed_connection_goes_on(host: TcpHost) -> None:
    one, two = spliced(host)
    two.hear(one.say(b"question", "FPA"))
    two.say()
    host.wait(600 * SECOND)
    for _ in range(3):
        assert one.hear(two.say(b"answer")) == b"answer"
        (ack,) = one.say()
        assert ack[TCP].ack == two.seq
    assert is_spliced(host)


def test_a_fin_before_the_switch(host: TcpHost) -> None:
    one, two = opened(host)
    one.say(b"all", "FPA")
    ask(host)
    assert two.hear(host.sent) == b"all"
    two.say()
    two.hear(host.sent)
    two.say()
    assert is_spliced(host)
    assert one.hear(two.say(b"answer")) == b"answer"
    one.hear(two.say(b"", "FA"))
    one.say()
    host.wait(64 * SECOND)
    assert host.phase(SPARE)[0] == host.phase(CLIENT)[0] == CLOSED


def test_both_fins_before_the_switch(host: TcpHost) -> None:
    one, two = opened(host)
    one.say(b"question", "FPA")
    two.say(b"answer", "FPA")
    ask(host)
    sent = list(host.sent)
    assert two.hear(sent) == b"question" and one.hear(sent) == b"answer"
    for each in (one, two, one, two):
        sent = each.say()
        one.hear(sent), two.hear(sent)
    assert not is_spliced(host)
    host.wait(61 * SECOND)
    assert host.phase(SPARE)[0] == host.phase(CLIENT)[0] == CLOSED


def test_a_reset_passes_and_ends_the_pair(host: TcpHost) -> None:
    one, two = spliced(host)
    (reset,) = one.say(b"", "R")
    assert reset[TCP].flags == "R" and reset[TCP].seq == two.ack
    host.wait(14 * SECOND)
    assert host.phase(SPARE)[0] == host.phase(CLIENT)[0] == CLOSED


@pytest.mark.parametrize("answers", ["client", "server"])
def test_a_peer_without_the_connection_ends_the_pair_when_it_is_asked(host: TcpHost, answers: str) -> None:
    one, two = spliced(host)
    check_talk(one, two)
    one.say(b"", "R")
    asked = host.wait(10 * SECOND)
    assert [each[TCP].dport for each in asked] == [1000, 2000]
    half = one if answers == "client" else two
    (probe,) = [each[TCP] for each in asked if each[TCP].dport == half.theirs]
    half.raw_say("R", probe.ack + 1)  # forged
    host.wait(0)
    assert is_spliced(host)
    half.raw_say("R", probe.ack)
    host.wait(0)
    assert host.phase(SPARE)[0] == host.phase(CLIENT)[0] == CLOSED


@pytest.mark.parametrize(("flags", "life"), [("R", 10), ("FA", 60)])
def test_a_forged_end_of_a_silent_pair_ends_nothing(host: TcpHost, flags: str, life: int) -> None:
    one, two = spliced(host)
    for half in (one, two):
        half.raw_say(flags, half.seq + 12345)
    asked = host.wait(life * SECOND)
    assert [each[TCP].dport for each in asked] == [1000, 2000] and is_spliced(host)
    one.say()
    two.say()
    host.wait(life * SECOND - 1)
    assert is_spliced(host)
    check_talk(one, two)


def test_a_smaller_path_mtu_makes_smaller_segments(host: TcpHost) -> None:
    one, two = spliced(host)
    assert [len(each[TCP].payload) for each in one.say(bytes(1000))] == [1000]
    quoted = raw(IP(src=OURS, dst=PEER) / TCP(sport=5000, dport=2000, seq=two.ack))[:28]

    def tell(code: int) -> str:
        error = IP(src=PEER, dst=OURS) / ICMP(type=3, code=code, nexthopmtu=600) / Raw(quoted)
        return host.deliver(raw(Ether(dst=LEFT, src=HOST) / error))

    assert tell(1).endswith("tcp-no-connection")
    assert tell(4) == "served"
    segments = host.tcp.rows.initial["splice"]["segment"]
    assert segments[SPARE & 0xFFFF] == 560 and segments[CLIENT & 0xFFFF] == 1460
    assert two.say(bytes(1000)) and is_spliced(host)


def test_a_forged_reset_ends_nothing(host: TcpHost) -> None:
    one, two = spliced(host)
    one.raw_say("R", one.seq + 12345)
    check_talk(one, two)
    check_talk(one, two)
    host.wait(60 * SECOND)
    assert is_spliced(host)
    check_talk(one, two)


def test_a_reset_before_the_switch_resets_the_other_connection(host: TcpHost) -> None:
    one, _ = opened(host)
    one.say(b"hello")
    ask(host)
    sent = one.say(b"", "R")
    assert {str(each[TCP].flags) for each in sent if each[TCP].dport == 2000} == {"RA"}
    assert host.phase(SPARE)[0] == host.phase(CLIENT)[0] == CLOSED


def test_silent_peers_are_asked_and_given_up(host: TcpHost) -> None:
    one, two = spliced(host)
    asked = host.wait(7300 * SECOND)
    assert [each[TCP].dport for each in asked] == [1000, 2000, 1000, 2000] and is_spliced(host)
    for half in (one, two):
        probes = [each[TCP] for each in asked if each[TCP].dport == half.theirs]
        assert {each.seq for each in probes} == {half.ack - 1} and {each.ack for each in probes} == {half.seq}
        half.say()
    host.wait(7000 * SECOND)
    assert is_spliced(host)
    host.wait(10000 * SECOND)
    assert host.phase(SPARE)[0] == host.phase(CLIENT)[0] == CLOSED


def test_a_peer_that_has_vanished_is_found_though_the_other_one_answers(host: TcpHost) -> None:
    one, _ = spliced(host)
    host.wait(7201 * SECOND)
    for _ in range(20):
        one.say()
        host.wait(76 * SECOND)
    assert host.phase(SPARE)[0] == CLOSED


def test_one_peer_without_timestamps_is_refused(host: TcpHost) -> None:
    opened(host, client={"clock": 5000})
    ask(host)
    assert host.phase(CLIENT) == (ESTABLISHED, 0) and host.words[CLIENT][4] & 0xFFFF == errno.EOPNOTSUPP + 1
    assert host.write(CLIENT, 0, b"goes on") == "served"


def test_a_connection_that_this_end_has_closed_is_refused(host: TcpHost) -> None:
    one, _ = opened(host)
    one.say(b"", "R")
    host.call(SPLICE, SPARE, CLIENT, 0)
    host.call(SPLICE, CLIENT, SPARE, 0)
    assert host.words[CLIENT][4] & 0xFFFF == errno.ENOTCONN + 1


def test_a_closed_window_is_opened_by_the_switch(host: TcpHost) -> None:
    """The application has not read: the client's bytes have closed the window."""
    one, two = opened(host, server={"scale": 3})
    for _ in range(64):
        one.say(bytes(1024))
    one.seq -= 1  # for which there was no room
    ask(host)
    got = 0
    for _ in range(200):
        got += len(two.hear(host.sent))
        two.say(window=8000)
        if is_spliced(host):
            break
    (update,) = [each for each in host.sent if each[TCP].dport == 1000][-1:]
    assert got == 65535 and is_spliced(host) and update[TCP].window > 0
    check_talk(one, two)


def test_a_segment_that_a_replica_has_placed_before_the_switch_is_sent_on(host: TcpHost) -> None:
    """The replica that received it had an older state."""
    one, two = opened(host)
    connections, rows = host.tcp.connections.initial, host.tcp.rows.initial
    older = [table.copy() for table in (connections, rows)]
    ask(host)
    newer = [table.copy() for table in (connections, rows)]
    for flags, data, count in (("PA", b"late", 1), ("A", b"", 1)):
        connections[:], rows[:] = older
        frame = IP(src=PEER, dst=OURS) / TCP(sport=1000, dport=80, flags=flags, seq=one.seq, ack=one.ack) / Raw(data)
        made = host.network.both(raw(Ether(dst=LEFT, src=HOST) / frame), timestamp=host.now)
        connections[:], rows[:] = newer
        request = bytearray(made.data[: HEADER + 40])
        request[RUN : RUN + 8] = len(data).to_bytes(8)
        if data:
            host.port.ring(SPARE & 0xFFFF, False)[: len(data)] = list(data)
            request[3] = 1
        host.sent.clear()
        assert host.serve(bytes(request)) == "served"
        assert len(host.sent) == count and two.hear(host.sent) == data
        one.seq += len(data)
        newer = [table.copy() for table in (connections, rows)]
    check_talk(one, two)


def test_the_application_may_go(host: TcpHost) -> None:
    one, two = opened(host)
    one.say(b"waits")
    ask(host)
    assert two.hear(host.sent) == b"waits"
    for socket in (SPARE, CLIENT):
        assert host.request(CLOSE, socket, note=NOW) == "served"
        assert host.call(WRITE, socket, 100) == "tcp.serve drops tcp-not-connected"
    two.say()
    assert is_spliced(host)
    check_talk(one, two)
    two.hear(one.say(b"", "FA"))
    one.hear(two.say(b"", "FA"))
    one.say()
    host.request(CLOSE, SPARE, note=TIME_WAIT_ONLY)  # the registry needs the row
    assert host.phase(SPARE)[0] == host.phase(CLIENT)[0] == CLOSED
    assert [int(each) for each in host.tcp.rows.initial["number"] if each] == [(1 << 16 | 3) + 1]  # the listener


def test_a_new_connection_from_the_same_port_is_the_listeners(host: TcpHost) -> None:
    one, two = spliced(host)
    assert host.say("S", 7, port=80) == [] and is_spliced(host)
    assert host.leaf.endswith("tcp-no-connection")
    two.hear(one.say(b"", "FA"))
    one.hear(two.say(b"", "FA"))
    one.say()
    assert host.say("S", 7, port=80) == [] and is_spliced(host)
    host.wait(4 * SECOND)
    assert host.say("S", 7, port=80) == []
    assert host.phase(SPARE)[0] == CLOSED
    host.request(OFFER, 9 << 16 | 9, data=(1 << 16 | 3).to_bytes(4))  # another spare socket
    (answer,) = host.say("S", 7, port=80, options=[("MSS", 1460)])
    assert answer[TCP].flags == "SA"
