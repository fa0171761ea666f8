"""A fast recovery is undone if the peer reports that it received every retransmitted segment twice; else it is not."""

import pytest
from tcp_peer import MILLISECOND, SECOND, Peer, opened

from scout.paths.protocols.tcp import state as states
from scout.paths.protocols.tcp.calls import control
from scout.paths.protocols.tcp.settings import RENO

SACK = (("MSS", 1000), ("SAckOK", b""))
Block = tuple[int, int]


def recovering() -> tuple[Peer, int, int]:
    """A peer to which the bytes 1001 to 3000 were sent again; cwnd and ssthresh before the recovery."""
    peer = opened(SACK)
    end = peer.end
    end.write(b"x" * 9000, peer.now)
    peer.answers()
    peer.now += 5 * MILLISECOND
    end.c.ssthresh = 50_000  # unlike LARGEST, so that it can be seen to be restored
    end.c.cubic_max = 60_000
    before = end.c.cwnd, end.c.ssthresh
    again = peer.say("A", 101, 1001, options=[("SAck", (3001, 7001))])
    assert end.c.recovery == states.FAST and [each.seq for each in again] == [1001, 2001]
    assert end.c.cubic_max < 60_000
    peer.now += MILLISECOND
    return peer, *before


def reports(peer: Peer, *blocks: Block, ack: int = 10_001) -> None:
    """Acknowledge, and report in further acknowledgements that bytes were received twice."""
    peer.say("A", 101, ack)
    for each in blocks:
        peer.say("A", 101, ack, options=[("SAck", each)])


UNDOING = {
    "in order": [(1001, 2001), (2001, 3001)],
    "from the end": [(2001, 3001), (1001, 2001)],
    "the middle first": [(1501, 2001), (1001, 1501), (2001, 3001)],
    "at once": [(1001, 3001)],
}


@pytest.mark.parametrize("name", UNDOING)
def test_a_recovery_that_came_too_soon_is_undone(name: str) -> None:
    """RFC 3708 section 2, RFC 4015, RFC 9438 section 4.9."""
    peer, cwnd, ssthresh = recovering()
    c = peer.end.c
    reports(peer, *UNDOING[name][:-1])
    assert c.recovery == states.OPEN and c.ssthresh < cwnd
    reports(peer, UNDOING[name][-1])
    assert (c.ssthresh, c.cubic_max, c.resent_cwnd) == (ssthresh, 60_000, 0)


def test_the_window_opens_by_slow_start_and_without_a_burst() -> None:
    """RFC 4015: no more than what was acknowledged leaves at once, then it is slow start up to the window before."""
    peer, cwnd, _ = recovering()
    end = peer.end
    end.write(b"x" * 30_000, peer.now)
    peer.answers()
    reduced = end.c.ssthresh
    sent = peer.say("A", 101, 9001, options=[("SAck", (1001, 3001))])
    assert end.c.recovery == states.OPEN
    assert sum(len(each.payload) for each in sent) <= 8000 + 8000  # the recovery's rate, and slow start
    for ack in range(12_001, 30_001, 3000):
        if ack <= end.c.snd_nxt:
            peer.say("A", 101, ack)
    assert reduced < cwnd <= end.c.cwnd


NOT_UNDOING = {
    "half": [(1001, 2001)],
    "never sent again": [(7001, 9001)],
    "the same twice": [(1001, 2001), (1001, 2001)],
    "the same twice, then the other": [(1001, 2001), (1001, 2001), (2001, 3001)],
    "too long": [(10_001 - 2**30, 10_001)],
    "of before": [(501, 1001), (1001, 2001), (2001, 3001)],
    "beyond what was sent again": [(1001, 4001)],
    "empty": [(1001, 1001), (3001, 3001)],
    "turned round": [(3001, 1001)],
}


@pytest.mark.parametrize("name", NOT_UNDOING)
def test_a_recovery_stays_if_not_just_every_retransmitted_segment_came_twice(name: str) -> None:
    """RFC 3708 section 2: another report means that the network duplicates, which tells nothing of the loss."""
    peer, cwnd, _ = recovering()
    c = peer.end.c
    reports(peer, *((first % 2**32, last) for first, last in NOT_UNDOING[name]))
    assert c.recovery == states.OPEN and c.ssthresh < cwnd and c.cwnd < cwnd


def test_an_empty_block_is_no_report() -> None:
    peer, _, _ = recovering()
    c = peer.end.c
    reports(peer, (1001, 1001), (3001, 1001))
    assert c.dsack_round == 0 and c.resent_cwnd
    reports(peer, (1001, 3001))
    assert c.dsack_round and not c.resent_cwnd


def test_what_was_sent_again_in_too_many_pieces_is_not_undone() -> None:
    peer = opened(SACK)
    end = peer.end
    end.c.cwnd = 40_000
    end.write(b"x" * 40_000, peer.now)
    peer.answers()
    peer.now += 5 * MILLISECOND
    gaps = [(first, first + 1000) for first in range(1001, 21_001, 2000)]
    for _, last in gaps:
        peer.say("A", 101, 1001, options=[("SAck", (last, last + 1000))])
    peer.say("A", 101, 1001, options=[("SAck", (22_001, 30_001))])
    assert end.c.recovery == states.FAST
    peer.say("A", 101, 41_001)
    assert end.c.resent_cwnd == 0
    reports(peer, *gaps, ack=41_001)
    assert end.c.ssthresh < 40_000


def test_a_loss_that_a_tail_loss_probe_has_repaired_is_not_undone() -> None:
    """RFC 8985 section 7.4.2: it is a congestion event."""
    peer = opened(SACK)
    end = peer.end
    end.write(b"x" * 3000, peer.now)
    peer.answers()
    (probe,) = peer.after_timer()
    assert probe.seq == 3001
    end.write(b"x" * 1000, peer.now)
    cwnd = end.c.cwnd
    peer.answers()
    peer.now += 5 * MILLISECOND
    peer.say("A", 101, 5001)
    reduced = end.c.ssthresh
    assert reduced < cwnd
    reports(peer, (1001, 2001), ack=5001)
    assert (end.c.ssthresh, end.c.resent_cwnd) == (reduced, 0)


def test_a_window_is_not_brought_back_after_an_idle_time() -> None:
    peer, cwnd, _ = recovering()
    end = peer.end
    reports(peer, (1001, 2001))
    peer.now += 100 * SECOND
    end.write(b"x" * 1000, peer.now)
    peer.answers()
    reports(peer, (2001, 3001), ack=11_001)
    assert end.c.ssthresh < cwnd


def test_a_window_is_not_brought_back_for_another_algorithm() -> None:
    peer, cwnd, _ = recovering()
    c = peer.end.c
    reports(peer, (1001, 2001))
    control(c, RENO)
    ssthresh = c.ssthresh
    reports(peer, (2001, 3001))
    assert c.ssthresh == ssthresh < cwnd


def test_a_tail_loss_probe_of_the_same_bytes_is_no_proof() -> None:
    """The peer may have got the retransmission and the probe, and not the first copy."""
    peer, _, _ = recovering()
    c = peer.end.c
    peer.say("A", 101, 9001)
    (probe,) = peer.after_timer()
    assert probe.seq == 9001
    assert c.resent_cwnd == 0


def test_a_timeout_that_came_too_soon_leaves_cubic_as_it_was() -> None:
    """RFC 9438 section 4.9.1."""
    peer = opened((("MSS", 1012), ("Timestamp", (5, 0))))
    end = peer.end
    end.write(b"x" * 8000, peer.now)
    first = peer.answers()[0]
    end.c.cubic_max = 60_000
    peer.now += 5 * MILLISECOND
    peer.after_timer()
    assert end.c.cubic_max < 60_000
    peer.say("A", 101, 2001, options=[("Timestamp", (6, dict(first.options)["Timestamp"][0]))])
    assert (end.c.recovery, end.c.cubic_max) == (states.OPEN, 60_000)
