"""The headers of segments that pass between spliced connections, rewritten by the router's stages."""

from typing import Any

import pytest
from harness import HOST, LEFT
from host_router import OURS, PEER
from scapy.all import IP, TCP, Ether, Raw, raw
from tcp_halves import MODULUS, ask, is_spliced, opened, spliced
from tcp_router import CLIENT, SECOND, SPARE, TcpHost

TIMESTAMPS = {"client": {"clock": 5000, "sack": True}, "server": {"clock": 0xFFFFFFF0, "sack": True}}


def test_timestamps_are_those_of_the_other_peer(host: TcpHost) -> None:
    one, two = opened(host, **TIMESTAMPS)
    two.say(b"banner")
    host.now += 3 * SECOND
    ask(host)
    one.hear(host.sent)
    one.clock += 3
    one.say()
    assert is_spliced(host)
    before = two.echo
    for clock in (5003, 5004, 5100):
        one.clock = clock
        sent = one.say(b"data")
        assert two.hear(sent) == b"data"
        assert 0 <= (two.echo - before) % MODULUS < 1 << 20
        before = two.echo
        two.clock = (two.clock + 20) % MODULUS
        (ack,) = two.say()
        assert dict(ack[TCP].options)["Timestamp"][1] == clock
        one.hear([ack])
    (segment,) = two.say(b"more")
    assert dict(segment[TCP].options)["Timestamp"][1] == 5100


@pytest.mark.parametrize("permitted", [True, False])
def test_selective_acknowledgements_are_translated_or_taken_out(host: TcpHost, permitted: bool) -> None:
    one, two = spliced(host, client={"sack": True}, server={"sack": permitted})
    (lost,) = two.say(b"lost")
    (later,) = two.say(b"later")
    assert later[TCP].seq == lost[TCP].seq + 4
    block = (later[TCP].seq, later[TCP].seq + 5)
    (ack,) = one.say(options=[("NOP", None), ("NOP", None), ("SAck", block)])
    options = dict(ack[TCP].options)
    assert options.get("SAck") == (((two.seq - 5) % MODULUS, two.seq) if permitted else None)
    assert len(raw(ack)) == 52


def test_options_at_odd_offsets_keep_the_checksum_right(host: TcpHost) -> None:
    one, two = spliced(host, **TIMESTAMPS)
    options = [("NOP", None), ("Timestamp", (5001, one.echo)), ("NOP", None)]
    assert two.hear(one.say(b"odd", options=options)) == b"odd"
    options = [("NOP", None), ("SAck", (one.ack + 5, one.ack + 9)), ("NOP", None), *one.stamp()]
    (ack,) = one.say(options=options)
    assert dict(ack[TCP].options)["SAck"] == ((two.seq + 5) % MODULUS, (two.seq + 9) % MODULUS)


def test_windows_are_scaled(host: TcpHost) -> None:
    one, two = spliced(host, client={"scale": 7}, server={"scale": 2})
    ours = host.tcp.connections.initial["rcv_scale"]
    to_server, to_client = int(ours[CLIENT & 0xFFFF]), int(ours[SPARE & 0xFFFF])
    (segment,) = one.say(window=1000)
    assert segment[TCP].window == min(1000 << 7 >> to_server, 65535)
    (segment,) = two.say(window=1000)
    assert segment[TCP].window == min(1000 << 2 >> to_client, 65535)
    (segment,) = two.say(window=0)
    assert segment[TCP].window == 0


@pytest.mark.parametrize("checksum", ["complete", "partial"])
def test_segments_are_cut_for_a_peer_that_takes_less(host: TcpHost, checksum: str) -> None:
    one, two = spliced(host, server={"mss": 536})
    fields = {"flags": 1, "checksum_start": 34, "checksum_offset": 16} if checksum == "partial" else {}
    data = bytes(range(256)) * 5
    segment = TCP(sport=1000, dport=80, flags="PA", seq=one.seq, ack=one.ack) / Raw(data)
    packet = IP(src=PEER, dst=OURS) / segment
    if checksum == "partial":
        whole = IP(raw(packet))
        packet[TCP].chksum = pseudo_sum(whole)
    host.sent.clear()
    result = host.network.both(raw(Ether(dst=LEFT, src=HOST) / packet), timestamp=host.now, **fields)
    assert result.leaf == "to eth0" and (result.fields["flags"], result.fields["gso_type"]) == (1, 1)
    sent = Ether(result.data)[IP]
    assert bytes(sent[TCP].payload) == data and sent[TCP].chksum == pseudo_sum(sent)
    two.hear([sent])
    bad = IP(src=PEER, dst=OURS) / TCP(sport=1000, dport=80, flags="PA", seq=one.seq, ack=one.ack, chksum=1) / Raw(data)
    assert host.deliver(raw(Ether(dst=LEFT, src=HOST) / bad)) == "tcp.splice drops tcp-bad-checksum"


def pseudo_sum(packet: Any) -> int:
    """The sum of the pseudo-header."""
    size = len(raw(packet[TCP]))
    words = [int.from_bytes(raw(packet)[at : at + 2]) for at in range(12, 20, 2)]
    total = sum(words) + 6 + size
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_wrong_checksum_stays_wrong(host: TcpHost) -> None:
    one, _ = spliced(host)
    good = one.say(b"good")[0]
    bad = IP(src=PEER, dst=OURS) / TCP(sport=1000, dport=80, flags="PA", seq=one.seq, ack=one.ack, chksum=0x1234)
    result = host.network.both(raw(Ether(dst=LEFT, src=HOST) / bad / Raw(b"bad")), timestamp=host.now)
    sent = Ether(result.data)[IP]
    told = sent[TCP].chksum
    del sent[TCP].chksum
    assert result.leaf == "to eth0" and IP(raw(sent))[TCP].chksum != told and good


def test_marks_of_congestion_that_the_receiver_would_not_tell_are_losses(host: TcpHost) -> None:
    one, _ = spliced(host)
    (segment,) = one.say(b"x", tos=2 | 0x28)
    assert segment.tos == 0x28
    assert one.say(b"x", tos=3) == [] and host.leaf == "tcp.splice drops tcp-congested"
    (segment,) = one.say(b"x", "PAEC")
    assert segment[TCP].flags == "PA"
    assert one.say(b"x", ttl=1) == [] and host.leaf == "tcp.splice drops ttl-expired"
