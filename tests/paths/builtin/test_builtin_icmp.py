"""The ICMP messages that the built-in stages make, plain and native; Scapy says what the bytes must be."""

import random

import pytest
from builtin_frames import TCP_GSO, check_error, ether, ip, udp
from harness import HOST, LEFT, MTU, Twin
from scapy.layers.inet import ICMP, IP, IPOption_NOP, IPOption_RR
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from scout.io.packet import GSO_NONE, REACH


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
