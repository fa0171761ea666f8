"""Transfers between two cores over a network that impairs segments: all bytes arrive intact, and both ends close."""

import pytest
from tcp_simulator import MILLISECOND, Impairment, transfer

from scout.paths.protocols.tcp.settings import BBR

IMPAIRMENTS = {
    "clean": Impairment(),
    "loss": Impairment(loss=0.05),
    "burst": Impairment(burst=0.02),
    "reordering": Impairment(reordering=0.1),
    "duplication": Impairment(duplication=0.1),
    "corruption": Impairment(corruption=0.03),
    "jitter": Impairment(jitter=8 * MILLISECOND),
    "bottleneck": Impairment(bytes_per_second=1_000_000, queue=30_000),
    "all": Impairment(
        loss=0.02, burst=0.005, reordering=0.05, duplication=0.05, corruption=0.01, jitter=3 * MILLISECOND
    ),
}

PEERS: dict[str, dict[str, int]] = {
    "usual": {},
    "no-sack": {"SACK": 0},
    "bbr": {"CONGESTION": BBR},
    "bare": {"SACK": 0, "TIMESTAMPS": 0, "WINDOW_SCALE": 0, "CONGESTION": 0, "DELAYED_ACK": 0},
}


@pytest.mark.parametrize("name", IMPAIRMENTS)
def test_bytes_arrive_intact(name: str) -> None:
    transfer(40_000, 10_000, IMPAIRMENTS[name], seed=7)


@pytest.mark.parametrize("peers", ["no-sack", "bare", "bbr"])
def test_bytes_arrive_intact_with_other_peers(peers: str) -> None:
    transfer(60_000, 10_000, IMPAIRMENTS["all"], seed=8, **PEERS[peers])


def test_tiny_windows() -> None:
    transfer(20_000, 2_000, Impairment(loss=0.02), seed=9, RECEIVE_BUFFER=700, SEND_BUFFER=3000)


def test_tiny_segments() -> None:
    transfer(4_000, 500, Impairment(loss=0.02, reordering=0.05), seed=10, LARGEST_SEGMENT=90)


def test_sequence_numbers_wrap() -> None:
    transfer(30_000, 3_000, Impairment(loss=0.02), seed=11, numbers=((1 << 32) - 5000, (1 << 32) - 1))


def test_a_slow_reader_closes_and_opens_the_window() -> None:
    transfer(60_000, 0, Impairment(), seed=12, pause=30 * MILLISECOND, RECEIVE_BUFFER=8_000)


def test_not_much_more_is_sent_than_is_lost() -> None:
    """No storm of retransmissions: under loss alone, segments with data at most 1.1 times those that were needed."""
    network, one, _ = transfer(100_000, 0, Impairment(loss=0.04), seed=13)
    needed = -(-100_000 // 1448)
    sent = sum(each["length"] > 0 for each in one.end.actions)
    assert sent <= 1.1 * (needed + network.links[0].dropped)
