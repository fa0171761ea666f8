"""What is lost, how that is found, and what is sent again."""

import pytest
from tcp_end import End
from tcp_peer import MILLISECOND, SECOND, Peer, opened

from scout.paths.protocols.tcp import state as states

SACK = (("MSS", 1000), ("SAckOK", b""))


def test_a_lost_segment_is_sent_again_after_the_timeout() -> None:
    """MUST-19: with exponential back-off, slow start and congestion avoidance."""
    peer = opened((("MSS", 500),))  # so small that no black hole is suspected
    end = peer.end
    end.write(b"x" * 5000, peer.now)
    peer.answers()
    gaps, begin = [], peer.now
    for _ in range(4):
        (again,) = peer.after_timer()
        assert (again.seq, len(again.payload)) == (1001, 500)
        gaps.append(peer.now - begin)
        begin = peer.now
    assert [each // gaps[0] for each in gaps] == [1, 2, 4, 8]
    assert (end.c.cwnd, end.c.ssthresh) == (500, 3500)
    assert len(peer.say("A", 101, 1501)) == 2


def test_bytes_sent_twice_are_no_sample() -> None:
    """MUST-18: Karn's algorithm."""
    peer = opened()
    end = peer.end
    end.write(b"x" * 1000, peer.now)
    peer.answers()
    before = end.c.srtt
    peer.after_timer()
    peer.now += 50 * SECOND
    peer.say("A", 101, 2001)
    assert end.c.srtt == before


def test_the_timeout_follows_the_round_trips() -> None:
    """RFC 6298 rules 2.2 and 2.3."""
    end = End(1000)
    peer = Peer(end)
    end.connect(peer.now)
    peer.answers()
    peer.now += 400 * MILLISECOND
    peer.say("SA", 100, 1001, options=[("MSS", 1000)])
    assert (end.c.srtt, end.c.rttvar, end.c.rto) == (400 * MILLISECOND, 200 * MILLISECOND, 1200 * MILLISECOND)
    end.write(b"x", peer.now)
    peer.now += 800 * MILLISECOND
    peer.say("A", 101, 1002)
    assert (end.c.srtt, end.c.rttvar) == (450 * MILLISECOND, 250 * MILLISECOND)


def test_three_duplicates_repair_a_loss_without_sack() -> None:
    """RFC 5681 section 3.2, RFC 6582."""
    peer = opened(CONGESTION=0)
    end = peer.end
    end.write(b"x" * 8000, peer.now)
    assert len(peer.answers()) == 8
    assert peer.say("A", 101, 1001) == []
    assert peer.say("A", 101, 1001) == []
    (again,) = peer.say("A", 101, 1001)
    assert again.seq == 1001
    assert (end.c.ssthresh, end.c.recovery) == (4000, states.FAST)
    (second,) = peer.say("A", 101, 3001)  # a partial acknowledgement: the next is lost too
    assert second.seq == 3001
    peer.say("A", 101, 9001)
    assert (end.c.recovery, end.c.cwnd) == (states.OPEN, 4000)


def test_sack_tells_what_is_lost() -> None:
    peer = opened(SACK)
    end = peer.end
    end.write(b"x" * 8000, peer.now)
    peer.answers()
    peer.now += 10 * MILLISECOND
    assert peer.say("A", 101, 1001, options=[("SAck", (3001, 4001))]) == []
    again = peer.say("A", 101, 1001, options=[("SAck", (3001, 6001))])
    assert [each.seq for each in again] == [1001, 2001][: len(again)]
    again += peer.say("A", 101, 1001, options=[("SAck", (3001, 9001))])
    assert [each.seq for each in again] == [1001, 2001]
    assert end.c.sacked_bytes == 6000
    peer.say("A", 101, 9001)
    assert (end.c.recovery, end.c.pipe, end.c.sacked_bytes) == (states.OPEN, 0, 0)


def test_reordered_segments_are_waited_for() -> None:
    """RFC 8985: fewer than three segments past a gap: a quarter of a round trip."""
    end = End(1000)
    peer = Peer(end)
    end.connect(peer.now)
    peer.answers()
    peer.now += 40 * MILLISECOND
    peer.say("SA", 100, 1001, options=SACK)
    end.write(b"x" * 2000, peer.now)
    peer.answers()
    peer.now += 40 * MILLISECOND
    assert peer.say("A", 101, 1001, options=[("SAck", (2001, 3001))]) == []
    begin = peer.now
    (again,) = peer.after_timer()
    assert (again.seq, peer.now - begin) == (1001, 10 * MILLISECOND)


def test_a_lost_tail_is_probed_for() -> None:
    """RFC 8985 section 7: after two round trips, long before the time-out."""
    end = End(1000)
    peer = Peer(end)
    end.connect(peer.now)
    peer.answers()
    peer.now += 40 * MILLISECOND
    peer.say("SA", 100, 1001, options=SACK)
    end.write(b"x" * 3000, peer.now)
    peer.answers()
    begin = peer.now
    (probe,) = peer.after_timer()
    assert (probe.seq, peer.now - begin) == (3001, 80 * MILLISECOND)
    peer.now += 40 * MILLISECOND
    # The probe's acknowledgement shows that the two before it are lost.
    again = peer.say("A", 101, 1001, options=[("SAck", (3001, 4001))]) + peer.wait(20 * MILLISECOND)
    assert [each.seq for each in again] == [1001, 2001]


def test_a_receiver_that_forgets_what_it_has_told() -> None:
    """RFC 2018 section 8: after a time-out such bytes are sent again."""
    peer = opened(SACK)
    end = peer.end
    end.write(b"x" * 3000, peer.now)
    peer.answers()
    peer.say("A", 101, 1001, options=[("SAck", (2001, 4001))])
    peer.say("A", 101, 2001)
    peer.answers()
    sent = []
    for _ in range(6):
        sent += [each.seq for each in peer.after_timer()]
        if sent:
            break
    assert 2001 in sent


@pytest.mark.parametrize("late", [True, False])
def test_a_timeout_that_came_too_soon_is_undone(late: bool) -> None:
    """RFC 3522 and 4015: the timestamp tells whether the original was acknowledged, or what was sent again."""
    peer = opened((("MSS", 1012), ("Timestamp", (5, 0))))
    end = peer.end
    end.write(b"x" * 8000, peer.now)
    first = peer.answers()[0]
    peer.now += 5 * MILLISECOND
    before = end.c.cwnd, end.c.ssthresh
    (again,) = peer.after_timer()
    assert end.c.recovery == states.LOSS
    echo = dict((first if late else again).options)["Timestamp"][0]
    sent = peer.say("A", 101, 2001, options=[("Timestamp", (6, echo))])
    assert (end.c.recovery == states.OPEN) == late
    assert (end.c.lost == 0) == late
    assert [each.seq for each in sent] == ([] if late else [2001, 3001])
    if late:
        assert end.c.cwnd >= before[0]
        assert end.c.ssthresh == before[1]
