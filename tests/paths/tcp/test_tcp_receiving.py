"""Receiving: order, the window that is offered, and when acknowledgements are sent."""

from typing import Any

from tcp_end import established, join
from tcp_peer import MILLISECOND, kinds, opened

from scout.paths.protocols.tcp.settings import DELAYED_ACK

SACK = (("MSS", 1000), ("SAckOK", b""))


def sack_of(segment: Any) -> tuple[int, ...] | None:
    return dict(segment.options).get("SAck")


def test_acknowledgements_are_delayed_under_half_a_second() -> None:
    """MUST-40, SHLD-18."""
    peer = opened()
    assert peer.say("PA", 101, 1001, b"x") == []
    assert peer.end.settings[DELAYED_ACK] < 500 * MILLISECOND
    assert peer.wait(int(peer.end.settings[DELAYED_ACK]) - 1) == []
    assert kinds(peer.wait(1)) == [("A", 1001, 102, 0)]


def test_every_second_segment_is_acknowledged() -> None:
    """SHLD-19."""
    peer = opened()
    peer.say("A", 101, 1001, b"x" * 1000)
    peer.wait(100 * MILLISECOND)
    assert peer.say("A", 1101, 1001, b"x" * 1000) == []
    assert kinds(peer.say("A", 2101, 1001, b"x" * 1000)) == [("A", 1001, 3101, 0)]


def test_a_delay_can_be_switched_off() -> None:
    peer = opened(DELAYED_ACK=0)
    assert kinds(peer.say("PA", 101, 1001, b"x")) == [("A", 1001, 102, 0)]


def test_a_batch_is_acknowledged_once() -> None:
    """MUST-58, MUST-59."""
    peer = opened()
    for index in range(9):
        assert peer.say("A", 101 + 1000 * index, 1001, b"x" * 1000, more=1) == []
    assert kinds(peer.say("A", 9101, 1001, b"x" * 1000)) == [("A", 1001, 10101, 0)]


def test_bytes_out_of_order_are_kept_and_told() -> None:
    """SHLD-31, RFC 2018 section 4: the newest block first."""
    peer = opened(SACK)
    end = peer.end
    (one,) = peer.say("A", 104, 1001, b"BBB")
    assert (one.ack, sack_of(one)) == (101, (104, 107))
    (two,) = peer.say("A", 110, 1001, b"DDD")
    assert sack_of(two) == (110, 113, 104, 107)
    (three,) = peer.say("A", 107, 1001, b"CCC")
    assert sack_of(three) == (104, 113)
    (four,) = peer.say("A", 101, 1001, b"AAA")
    assert (four.ack, sack_of(four)) == (113, None)
    assert end.read(peer.now) == b"AAABBBCCCDDD"


def test_bytes_that_come_again_are_told() -> None:
    """RFC 2883: once, in the first block."""
    peer = opened(SACK)
    peer.say("A", 101, 1001, b"abcdef")
    (answer,) = peer.say("A", 101, 1001, b"abc")
    assert (answer.ack, sack_of(answer)) == (107, (101, 104))
    (answer,) = peer.say("A", 110, 1001, b"xyz")
    assert sack_of(answer) == (110, 113)
    (answer,) = peer.say("A", 110, 1001, b"xyz")
    assert sack_of(answer) == (110, 113, 110, 113)


def test_only_new_bytes_of_a_segment_are_taken() -> None:
    peer = opened()
    peer.say("A", 101, 1001, b"abcd")
    peer.say("A", 103, 1001, b"cdef")
    assert peer.end.read(peer.now) == b"abcdef"


def test_bytes_past_the_window_are_not_taken() -> None:
    peer = opened(RECEIVE_BUFFER=8, LARGEST_SEGMENT=1000)
    (answer,) = peer.say("A", 101, 1001, b"0123456789")
    assert (answer.ack, answer.window) == (109, 0)
    assert peer.end.read(peer.now) == b"01234567"


def test_gaps_are_bounded() -> None:
    """Further ranges are treated as lost, and nothing of them is acknowledged."""
    peer = opened(SACK)
    end = peer.end
    for index in range(40):
        peer.say("A", 103 + 4 * index, 1001, b"xy")
    assert end.c.gap_count == 16
    answers: list[Any] = []
    for index in range(40):
        answers += peer.say("A", 101 + 4 * index, 1001, b"ab")
    last = answers[-1].ack
    assert last < 101 + 160
    for index in range(40):
        peer.say("A", 101 + 4 * index, 1001, b"abxy")
    assert end.read(peer.now) == b"abxy" * 40


def test_the_window_opens_in_large_steps() -> None:
    """MUST-39: not by less than a segment or half of the buffer, and it never shrinks."""
    peer = opened(RECEIVE_BUFFER=4000, LARGEST_SEGMENT=1000)
    end = peer.end
    answers = []
    for index in range(4):
        answers += peer.say("A", 101 + 1000 * index, 1001, b"x" * 1000)
    answers += peer.wait(100 * MILLISECOND)
    assert (answers[-1].ack, answers[-1].window) == (4101, 0)
    assert len(end.read(peer.now, 500)) == 500
    assert peer.answers() == []
    end.read(peer.now, 500)
    (update,) = peer.answers()
    assert (update.ack, update.window) == (4101, 1000)
    edges = [each.ack + each.window for each in [*answers, update]]
    assert edges == sorted(edges)


def test_a_window_probe_is_answered() -> None:
    """Appendix: a byte past a closed window is not taken, and the window is told."""
    peer = opened(RECEIVE_BUFFER=1000, LARGEST_SEGMENT=500)
    for index in range(2):
        peer.say("A", 101 + 500 * index, 1001, b"x" * 500)
    (answer,) = peer.say("A", 1101, 1001, b"y")
    assert (answer.ack, answer.window) == (1101, 0)


def test_a_fin_waits_for_the_bytes_before_it() -> None:
    peer = opened()
    (answer,) = peer.say("FA", 104, 1001)
    assert (answer.ack, peer.end.state, peer.end.told["ended"]) == (101, "ESTABLISHED", 0)
    (answer,) = peer.say("PA", 101, 1001, b"abc")
    assert (answer.ack, peer.end.state, peer.end.told["ended"]) == (105, "CLOSE_WAIT", 1)
    assert peer.end.read(peer.now) == b"abc"


def test_a_window_of_more_than_64_kibibytes_is_scaled() -> None:
    """RFC 7323 section 2."""
    one, other = established(RECEIVE_BUFFER=1 << 22, SEND_BUFFER=1 << 22)
    assert one.c.rcv_scale == one.c.snd_scale == 7
    one.write(b"x", 1)
    join(one, other, 2)
    other.expire(other.due())
    join(one, other, other.due())
    assert one.c.snd_wnd > 1 << 21


def test_no_scaling_unless_both_want_it() -> None:
    peer = opened(RECEIVE_BUFFER=1 << 22)
    assert (peer.end.c.rcv_scale, peer.end.c.snd_scale) == (0, 0)
    (answer,) = peer.say("A", 105, 1001, b"x")
    assert answer.window == 65535
