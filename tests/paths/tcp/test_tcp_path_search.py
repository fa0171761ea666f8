"""Packetization layer path MTU discovery: paths that drop large segments in silence."""

import hashlib
import random

import pytest
from tcp_end import End
from tcp_peer import SECOND
from tcp_simulator import MILLISECOND, App, Impairment, Network

from scout.paths.protocols.tcp.path_search import GRANULARITY, SMALLEST
from scout.paths.protocols.tcp.requests import PATH_MTU
from scout.paths.protocols.tcp.settings import BBR

HEADER = 32  # of TCP, with timestamps
FULL = 1448


def peer() -> End:
    """An end whose window is small, so that a search takes few bytes."""
    return End(2000, (80, 5000), RECEIVE_BUFFER=8_000)


def carry(largest: int, size: int = 200_000, loss: float = 0, change_at: int = 0, **chosen: int) -> tuple[Network, App]:
    """Transfer over a path that takes segments with so many bytes of data; from some position on, if that is given."""
    ends = End(1000, **chosen), peer()
    one, other = App(ends[0], random.Random(largest).randbytes(size)), App(ends[1], b"")
    network = Network(one, other, Impairment(loss=loss, largest=largest + HEADER), Impairment(loss=loss))
    rule = network.links[0].impairment
    if change_at:
        rule.largest = FULL + HEADER
    ends[1].listen(network.now)
    ends[0].connect(network.now)
    while network.step():
        if change_at and len(other.got) >= change_at:
            rule.largest = largest + HEADER
        assert network.now < 600 * SECOND
    assert hashlib.sha256(other.got).digest() == hashlib.sha256(one.data).digest()
    assert ends[0].told["reason"] == 1
    return network, one


@pytest.mark.parametrize("largest", [SMALLEST, 1200, FULL - 1])
def test_the_largest_size_that_passes_is_found(largest: int) -> None:
    _, one = carry(largest)
    c = one.end.c
    assert largest - GRANULARITY < c.mss <= largest
    assert (c.mtu_next, c.mtu_probe) == (0, 0)


@pytest.mark.parametrize("chosen", [{"CONGESTION": BBR}, {"TIMESTAMPS": 0}], ids=str)
def test_whatever_else_is_chosen(chosen: dict[str, int]) -> None:
    _, one = carry(1000, **chosen)
    assert 1000 - GRANULARITY < one.end.c.mss <= 1000 + (0 if chosen.get("TIMESTAMPS", 1) else 12)


def test_a_path_that_becomes_smaller() -> None:
    _, one = carry(1100, change_at=30_000)
    assert 1100 - GRANULARITY < one.end.c.mss <= 1100


def test_losses_do_not_end_the_search_early() -> None:
    _, one = carry(1100, loss=0.02)
    assert 1100 - 2 * GRANULARITY < one.end.c.mss <= 1100


def test_a_peer_without_sack_gets_small_segments() -> None:
    _, one = carry(1100, SACK=0)
    assert one.end.c.mss == FULL // 2


def test_a_path_that_was_dead_for_some_time_gets_full_segments_again() -> None:
    one, other = App(End(1000), bytes(200_000)), App(peer(), b"")
    network = Network(one, other, Impairment(), Impairment())
    other.end.listen(network.now)
    one.end.connect(network.now)
    rule, smallest = network.links[0].impairment, FULL
    while network.step():
        dead = 2 * SECOND > network.now > SECOND + 60 * MILLISECOND
        rule.largest = 0 if dead else 1 << 16
        smallest = min(smallest, one.end.c.mss) if one.end.c.state >= 4 else smallest
    assert smallest < FULL
    assert one.end.c.mss == FULL


def test_larger_segments_are_tried_after_ten_minutes_without_a_loss_if_they_do_not_pass() -> None:
    """As RFC 1191 section 6.3 asks after an ICMP error; a probe is lost, and no more."""
    one, other = App(End(1000), bytes(100_000), closes=False), App(peer(), b"")
    network = Network(one, other, Impairment(largest=1000 + HEADER), Impairment())
    other.end.listen(network.now)
    one.end.connect(network.now)
    while one.end.state != "ESTABLISHED":
        network.step()
    one.end.request(PATH_MTU, network.now, 1000 + 12)
    while len(other.got) < 100_000:
        network.step()
    assert one.end.c.mss == 1000
    assert network.links[0].dropped <= 10  # those of the first window
    while network.now < 700 * SECOND and network.step():
        pass
    before, window = network.links[0].dropped, one.end.c.cwnd
    one.data += bytes(200_000)
    while len(other.got) < 300_000:
        network.step()
    assert 3 <= network.links[0].dropped - before <= 24
    assert 1000 - GRANULARITY < one.end.c.mss <= 1000
    assert one.end.c.cwnd >= window
