"""Sending: both windows, the Nagle algorithm, options, and peers that do not answer."""

import pytest
from tcp_end import End, established, join
from tcp_peer import MILLISECOND, SECOND, Peer, kinds, opened

from scout.paths.protocols.tcp import state as states
from scout.paths.protocols.tcp.requests import ERROR, LEAVE
from scout.paths.protocols.tcp.settings import KEEPALIVE, RECEIVE_BUFFER, USER_TIMEOUT


def sizes(segments: list[object]) -> list[int]:
    return [len(each.payload) for each in segments]  # type: ignore[attr-defined]


def test_segments_are_as_large_as_the_peer_takes() -> None:
    """MUST-14, MUST-16: the peer's MSS, less what options take."""
    peer = opened((("MSS", 700),))
    peer.end.write(b"x" * 1400, peer.now)
    assert sizes(peer.answers()) == [700, 700]
    peer = opened((("MSS", 700), ("Timestamp", (1, 0))))
    peer.end.write(b"x" * 688, peer.now)
    assert sizes(peer.answers()) == [688]


def test_a_host_may_choose_segments_as_short_as_its_network_wants() -> None:
    peer = opened((("MSS", 1000),), LARGEST_SEGMENT=28)
    peer.end.write(b"x" * 56, peer.now)
    assert sizes(peer.answers()) == [28, 28]


@pytest.mark.parametrize("default", [536, 1220])
def test_a_peer_that_does_not_say_its_mss_gets_the_default(default: int) -> None:
    """MUST-15: 536 bytes over IPv4, 1220 over IPv6."""
    peer = opened((), DEFAULT_SEGMENT=default)
    peer.end.write(b"x" * 3000, peer.now)
    assert sizes(peer.answers())[0] == default


def test_the_mss_is_told_in_a_syn_alone() -> None:
    """MUST-65, MUST-67."""
    end = End(1000, LARGEST_SEGMENT=1400)
    peer = Peer(end)
    end.connect(peer.now)
    (syn,) = peer.answers()
    assert dict(syn.options)["MSS"] == 1400
    (ack,) = peer.say("SA", 100, 1001, options=[("MSS", 1000)])
    assert "MSS" not in dict(ack.options)


def test_the_window_is_an_unsigned_number() -> None:
    """MUST-1: with the top bit set it is no negative number."""
    peer = opened(window=0xFFFF)
    assert peer.end.c.snd_wnd == 0xFFFF


def test_a_window_that_shrinks_is_no_harm() -> None:
    """MUST-34: nothing new is sent, and what was sent may come in the old window."""
    peer = opened(window=4000)
    end = peer.end
    end.write(b"x" * 4000, peer.now)
    assert len(peer.answers()) == 4
    assert peer.say("A", 101, 2001, window=500) == []
    end.write(b"y" * 2000, peer.now)
    assert peer.answers() == []
    assert sizes(peer.say("A", 101, 5001, window=4000)) == [1000, 1000]


def test_a_closed_window_is_probed_for_ever() -> None:
    """MUST-35 to 37: with one byte, first after the time-out, then ever more seldom, as long as the peer answers."""
    peer = opened(window=0)
    end = peer.end
    end.write(b"x" * 2000, peer.now)
    assert peer.answers() == []
    begin, gaps = peer.now, []
    for _ in range(20):
        (probe,) = peer.after_timer()
        assert (probe.seq, len(probe.payload)) == (1001, 1)
        gaps.append(peer.now - begin)
        begin = peer.now
        assert peer.say("A", 101, 1001, window=0) == []
    assert gaps[0] == end.c.rto or gaps[0] >= 200 * MILLISECOND
    assert gaps == sorted(gaps)
    assert gaps[-1] == 60 * SECOND
    assert peer.now > 2 * 300 * SECOND  # longer than the user timeout
    assert end.state == "ESTABLISHED"
    assert sizes(peer.say("A", 101, 1001, window=4000)) == [1, 1000]  # and Nagle holds the rest back


def test_acknowledgements_lie_in_the_window_of_a_peer_that_is_probed() -> None:
    """Else such a peer takes neither the acknowledgement nor the window of it (RFC 9293 section 3.10.7.4)."""
    peer = opened(window=0)
    peer.end.write(b"x" * 100, peer.now)
    assert sizes(peer.after_timer()) == [1]
    peer.say("A", 101, 1001, bytes(1000), window=0)
    (answer,) = peer.say("A", 1101, 1001, bytes(1000), window=0)
    assert (answer.seq, answer.ack, len(answer.payload)) == (1001, 2101, 0)
    peer.say("A", 2101, 1002, bytes(1000), window=0)  # it has taken the byte
    (answer,) = peer.say("A", 3101, 1002, bytes(1000), window=0)
    assert (answer.seq, answer.ack, len(answer.payload)) == (1002, 4101, 0)


def test_a_closed_window_does_not_keep_a_connection_that_nobody_uses() -> None:
    """The application has closed; the peer answers, but takes nothing for as long as the user timeout."""
    peer = opened(window=0)
    end = peer.end
    end.write(b"x" * 2000, peer.now)
    end.request(LEAVE, peer.now)
    begin = peer.now
    while end.state != "CLOSED":
        sent = peer.after_timer()
        assert sent and peer.now - begin <= 400 * SECOND
        if "R" not in str(sent[-1].flags):
            peer.say("A", 101, 1001, window=0)
    assert end.told["reason"] == states.TIMED_OUT


def test_a_peer_that_does_not_answer_probes_is_given_up() -> None:
    peer = opened(window=0)
    peer.end.write(b"x", peer.now)
    peer.wait(400 * SECOND)
    assert peer.end.told["reason"] == states.TIMED_OUT


def test_small_windows_do_not_make_small_segments() -> None:
    """MUST-38: less than a segment is sent only if it is half of the largest window, or all there is."""
    peer = opened(window=1000, NODELAY=1)
    end = peer.end
    end.write(b"x" * 5000, peer.now)
    assert sizes(peer.answers()) == [1000]
    assert peer.say("A", 101, 2001, window=300) == []
    assert sizes(peer.say("A", 101, 2001, window=600)) == [600]


def test_nagle_holds_small_segments_back() -> None:
    """SHLD-7."""
    peer = opened()
    end = peer.end
    end.write(b"a" * 10, peer.now)
    assert sizes(peer.answers()) == [10]
    end.write(b"b" * 10, peer.now)
    end.write(b"c" * 1000, peer.now)
    assert sizes(peer.answers()) == [1000]
    assert sizes(peer.say("A", 101, 2011)) == [10]


def test_the_last_segment_is_pushed() -> None:
    """MUST-60, 61."""
    peer = opened()
    peer.end.write(b"x" * 2500, peer.now)
    peer.end.close(peer.now)
    assert [str(each.flags) for each in peer.answers()] == ["A", "A", "FPA"]


def test_the_first_window_is_ten_segments() -> None:
    """RFC 6928."""
    peer = opened(window=65535)
    peer.end.write(b"x" * 50_000, peer.now)
    assert len(peer.answers()) == 10
    assert len(peer.say("A", 101, 3001)) == 4  # slow start: two acknowledged, two more


def test_a_syn_is_repeated_for_three_minutes() -> None:
    """MUST-22, MUST-23."""
    end = End(1000)
    peer = Peer(end)
    end.connect(peer.now)
    begin = peer.now
    count = len(peer.answers())
    while end.state == "SYN_SENT":
        count += len(peer.after_timer())
    assert peer.now - begin >= 180 * SECOND
    assert end.told["reason"] == states.TIMED_OUT
    assert 6 <= count <= 12


def test_a_peer_that_vanishes_is_given_up() -> None:
    """MUST-20: IP is told on the way; MUST-21: after a time that the application sets."""
    peer = opened(USER_TIMEOUT=20 * SECOND)
    end = peer.end
    end.write(b"x", peer.now)
    begin = peer.now
    while end.state == "ESTABLISHED":
        peer.after_timer()
    assert 20 * SECOND <= peer.now - begin <= 60 * SECOND
    assert (end.told["reason"], end.advice) == (states.TIMED_OUT, 1)


def test_congestion_is_told_once_a_round_trip() -> None:
    """RFC 3168: ECT on new data, ECE halves once, CWR answers it."""
    one, other = established(ECN=2, CONGESTION=0)
    assert (one.c.ecn, other.c.ecn) == (1, 1)
    one.write(b"x" * 10_000, 1)
    assert all(each["capable"] for each in one.actions)
    first, *rest = one.take_sent()
    other.receive(first, 2, congested=1)
    for each in rest:
        other.receive(each, 2)
    answers = other.take_sent()
    before = one.c.cwnd
    for each in answers:
        assert each[13] & 0x40
        one.receive(each, 3)
    assert one.c.cwnd <= before
    assert one.c.ssthresh < before
    one.write(b"y" * 3000, 4)
    assert [each["flags"] >> 7 for each in one.actions].count(1) == 1
    join(one, other, 5)
    assert other.c.ecn_echo == 0


def test_ecn_needs_both_ends() -> None:
    peer = opened(ECN=2)
    assert peer.end.c.ecn == 0
    end = End(1000, ECN=0)
    peer = Peer(end)
    end.listen(peer.now)
    (answer,) = peer.say("SEC", 100)
    assert str(answer.flags) == "SA"


def test_keepalive_is_off_unless_asked_for() -> None:
    """MUST-24, 25."""
    peer = opened()
    assert peer.wait(10 * 3600 * SECOND) == []
    assert peer.end.state == "ESTABLISHED"


def test_keepalive_asks_a_silent_peer() -> None:
    """MUST-26 to 29: only when idle, for two hours unless set otherwise; one lost answer is no end."""
    peer = opened()
    end = peer.end
    end.choose(KEEPALIVE, 1, peer.now)
    assert peer.wait(7200 * SECOND - 1) == []
    (probe,) = peer.wait(1)
    assert kinds([probe]) == [("A", 1000, 101, 0)]
    assert len(peer.wait(75 * SECOND)) == 1
    assert peer.say("A", 101, 1001) == []
    assert peer.wait(7100 * SECOND) == []
    assert end.state == "ESTABLISHED"
    peer.wait(3600 * SECOND)
    assert end.told["reason"] == states.TIMED_OUT


def test_icmp_errors_end_nothing() -> None:
    """MUST-54, MUST-56: the application is told."""
    peer = opened()
    peer.end.request(ERROR, peer.now, 3 << 8 | 1)
    assert (peer.end.told["error"], peer.end.state) == (3 << 8 | 1, "ESTABLISHED")


def test_timestamps_keep_old_duplicates_out() -> None:
    """RFC 7323 section 5: PAWS."""
    peer = opened((("MSS", 1000), ("Timestamp", (5000, 0))))
    stamped = [("Timestamp", (6000, 0))]
    peer.say("PA", 101, 1001, b"new", options=stamped)
    (answer,) = peer.say("PA", 104, 1001, b"old", options=[("Timestamp", (5999, 0))])
    assert (answer.ack, peer.end.told["received"]) == (104, 3)
    assert len(peer.say("PA", 104, 1001, b"without")) == 1
    assert peer.end.told["received"] == 3
    peer.say("PA", 104, 1001, b"next", options=stamped)
    assert peer.end.told["received"] == 7


@pytest.mark.parametrize(("nodelay", "sent"), [(0, [9000]), (1, [9500])])
def test_a_large_send_is_left_to_a_device_to_cut(nodelay: int, sent: list[int]) -> None:
    """The last segment is a part of it unless the Nagle algorithm keeps it back."""
    peer = opened(LARGEST_SEND=64_000, NODELAY=nodelay)
    peer.end.actions.clear()
    peer.end.write(b"x" * 9500, peer.now)
    assert [(each["length"], each["segment"]) for each in peer.end.actions] == [(size, 1000) for size in sent]


def test_a_large_send_is_sent_again_with_the_part_that_is_no_full_segment() -> None:
    peer = opened(LARGEST_SEND=64_000, NODELAY=1)
    peer.end.write(b"x" * 9500, peer.now)
    peer.wait(peer.end.due() - peer.now)
    sent = []
    for number in (2001, 4001, 6001, 10501):
        peer.end.actions.clear()
        peer.say("A", 101, number)
        sent.append([each["length"] for each in peer.end.actions if each["length"]])
    assert sent == [[2000], [4000], [2500], []]


def test_more_than_one_requests_actions_is_sent_by_a_timer() -> None:
    peer = opened((("MSS", 100),), window=65535)
    end = peer.end
    end.c.cwnd = 60_000
    end.write(b"x" * 6000, peer.now)
    count = len(peer.answers())
    assert count < 60
    assert end.due() == peer.now
    assert count + len(peer.wait(0)) + len(peer.wait(0)) == 60


def test_the_user_timeout_is_told_and_followed() -> None:
    """RFC 5482: in SYNs and when it changes; the longer of both ends', within limits."""
    one, other = established(OFFER_TIMEOUT=1, USER_TIMEOUT=400 * SECOND)
    assert other.c.settings[USER_TIMEOUT] == 400 * SECOND
    one.choose(USER_TIMEOUT, 900 * SECOND, 1)
    join(one, other, 2)
    assert other.c.settings[USER_TIMEOUT] == 900 * SECOND
    one.choose(USER_TIMEOUT, 1 << 50, 3)
    join(one, other, 4)
    assert other.c.settings[USER_TIMEOUT] == 3600 * SECOND
    one.choose(USER_TIMEOUT, 200 * SECOND, 5)
    other.choose(USER_TIMEOUT, 500 * SECOND, 6)
    join(one, other, 7)
    assert one.c.settings[USER_TIMEOUT] == 200 * SECOND  # set by its application


def test_a_peer_without_the_option_changes_nothing() -> None:
    peer = opened((("MSS", 1000), (28, b"\x00\x0a\x00")))
    assert peer.end.c.settings[USER_TIMEOUT] == 300 * SECOND


def test_settings_that_rings_depend_on_do_not_change() -> None:
    peer = opened()
    for setting in (RECEIVE_BUFFER, -1, 1000):
        assert peer.end.choose(setting, 1, peer.now) == 0
    assert peer.end.choose(KEEPALIVE, 1, peer.now) == 1


def test_actions_are_bounded() -> None:
    """A batch that would need more answers than there is room for loses some, and the report still fits."""
    end = End(1000)
    peer = Peer(end)
    end.listen(peer.now)
    for number in range(60):
        peer.say("A", 50 + number, 70, more=1)
    assert len(peer.say("A", 50, 70)) == 22
    end.listen(peer.now)
    for number in range(60):
        peer.say("A", 50 + number, 70, more=1)
    peer.say("S", 100)
    assert end.told["state"] == states.SYN_RECEIVED


def test_a_closed_window_counts_from_when_there_is_something_to_send() -> None:
    """An idle time before is no time without an answer."""
    peer = opened()
    end = peer.end
    end.write(b"x" * 500, peer.now)
    peer.answers()
    peer.say("A", 101, 1501, window=0)
    peer.now += 600 * SECOND
    end.write(b"y", peer.now)
    (probe,) = peer.after_timer()
    assert (probe.seq, end.state) == (1501, "ESTABLISHED")


def test_a_window_that_stays_small_is_used_after_a_while() -> None:
    """RFC 9293 section 3.8.6.2.1: the override time-out of the sender's silly window avoidance."""
    peer = opened()
    end = peer.end
    end.write(b"x" * 5000, peer.now)
    assert len(peer.answers()) == 5
    assert peer.say("A", 101, 6001, window=300) == []
    end.write(b"y" * 700, peer.now)
    assert peer.answers() == []
    (some,) = peer.after_timer()
    assert (some.seq, len(some.payload)) == (6001, 300)
    assert peer.say("A", 101, 6301, window=300) == []
    (more,) = peer.after_timer()
    assert (more.seq, len(more.payload)) == (6301, 300)
    assert end.c.backoff == 0
