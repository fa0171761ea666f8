"""The state machine of RFC 9293 section 3.10, event by event, as plain Python."""

from typing import Any

import pytest
from tcp_end import End, established, join
from tcp_peer import Peer, kinds, opened

from scout.paths.protocols.tcp import state as states
from scout.paths.protocols.tcp.arrival import ANEW
from scout.paths.protocols.tcp.requests import LISTEN_FOR, URGE
from scout.paths.protocols.tcp.settings import MSL, NODELAY

SECOND = 1_000_000_000


def test_no_connection_answers_with_a_reset() -> None:
    peer = Peer(End())
    assert kinds(peer.say("S", 50)) == [("RA", 0, 51, 0)]
    assert kinds(peer.say("A", 50, 70, b"data")) == [("R", 70, 0, 0)]
    assert peer.say("R", 50) == []


def test_listen_takes_a_syn_alone() -> None:
    end = End(1000)
    peer = Peer(end)
    end.listen(peer.now)
    assert peer.say("R", 5) == []
    assert kinds(peer.say("A", 5, 9)) == [("R", 9, 0, 0)]
    assert kinds(peer.say("SA", 5, 9)) == [("R", 9, 0, 0)]
    assert peer.say("", 5) == []
    assert end.state == "LISTEN"
    assert kinds(peer.say("S", 100)) == [("SA", 1000, 101, 0)]
    assert end.state == "SYN_RECEIVED"
    assert peer.say("A", 101, 1001) == []
    assert end.state == "ESTABLISHED"
    assert end.told["state"] == states.ESTABLISHED


def test_a_syn_that_is_repeated_is_answered_again() -> None:
    end = End(1000)
    peer = Peer(end)
    end.listen(peer.now)
    peer.say("S", 100)
    assert kinds(peer.say("S", 100)) == [("SA", 1000, 101, 0)]


@pytest.mark.parametrize("passive", [True, False])
def test_syn_received_remembers_how_it_was_opened(passive: bool) -> None:
    """A reset sends a listener back without a word, and tells an opener that it was refused (MUST-11)."""
    end = End(1000)
    peer = Peer(end)
    if passive:
        end.listen(peer.now)
    else:
        end.connect(peer.now)
    peer.answers()
    peer.say("S", 100)
    assert end.state == "SYN_RECEIVED"
    peer.say("R", 101)
    assert end.state == "CLOSED"
    assert end.told["reason"] == (states.NONE if passive else states.REFUSED)


def test_a_bad_acknowledgement_of_a_syn_is_reset() -> None:
    end = End(1000)
    peer = Peer(end)
    end.connect(peer.now)
    peer.answers()
    assert kinds(peer.say("SA", 100, 1000)) == [("R", 1000, 0, 0)]
    assert kinds(peer.say("A", 100, 1002)) == [("R", 1002, 0, 0)]
    assert peer.say("RA", 100, 1002) == []
    assert end.state == "SYN_SENT"
    assert kinds(peer.say("SA", 100, 1001)) == [("A", 1001, 101, 0)]


def test_a_refused_connection() -> None:
    end = End(1000)
    peer = Peer(end)
    end.connect(peer.now)
    peer.answers()
    assert peer.say("R", 0) == []
    assert end.state == "SYN_SENT"
    assert peer.say("RA", 0, 1001) == []
    assert (end.state, end.told["reason"]) == ("CLOSED", states.REFUSED)


def test_both_open_at_once() -> None:
    """RFC 9293 figure 7 (MUST-10)."""
    one, other = End(1000, (5000, 80)), End(7000, (80, 5000))
    one.connect(0)
    other.connect(0)
    join(one, other)
    assert (one.state, other.state) == ("ESTABLISHED", "ESTABLISHED")
    one.write(b"hello", 1)
    join(one, other, 2)
    assert other.read(3) == b"hello"


def test_an_old_duplicate_syn_is_recovered_from() -> None:
    """RFC 9293 figure 8."""
    end = End(1000)
    peer = Peer(end)
    end.listen(peer.now)
    assert kinds(peer.say("S", 90)) == [("SA", 1000, 91, 0)]
    peer.say("R", 91)
    assert end.state == "CLOSED"
    end.request(LISTEN_FOR, peer.now, 3000)
    assert kinds(peer.say("S", 100)) == [("SA", 3000, 101, 0)]


def test_a_half_open_connection_is_found() -> None:
    """RFC 9293 figure 10: the peer has lost its state, and opens anew."""
    peer = opened()
    assert kinds(peer.say("S", 400)) == [("A", 1001, 101, 0)]
    peer.say("R", 101)
    assert (peer.end.state, peer.end.told["reason"]) == ("CLOSED", states.RESET)


def test_normal_close() -> None:
    """RFC 9293 figure 12; TIME-WAIT lasts twice the MSL (MUST-13)."""
    peer = opened()
    end = peer.end
    end.close(peer.now)
    assert kinds(peer.answers()) == [("FA", 1001, 101, 0)]
    assert end.state == "FIN_WAIT_1"
    assert peer.say("A", 101, 1002) == []
    assert end.state == "FIN_WAIT_2"
    assert kinds(peer.say("FA", 101, 1002)) == [("A", 1002, 102, 0)]
    assert (end.state, end.told["ended"]) == ("TIME_WAIT", 1)
    peer.wait(int(2 * end.settings[MSL]) - 1)
    assert end.state == "TIME_WAIT"
    peer.wait(1)
    assert (end.state, end.told["reason"]) == ("CLOSED", states.FINISHED)


def test_both_close_at_once() -> None:
    """RFC 9293 figure 13."""
    peer = opened()
    end = peer.end
    end.close(peer.now)
    peer.answers()
    assert kinds(peer.say("FA", 101, 1001)) == [("A", 1002, 102, 0)]
    assert end.state == "CLOSING"
    peer.say("A", 102, 1002)
    assert end.state == "TIME_WAIT"


def test_a_fin_that_is_acknowledged_with_the_peers_fin() -> None:
    peer = opened()
    peer.end.close(peer.now)
    peer.answers()
    assert kinds(peer.say("FA", 101, 1002)) == [("A", 1002, 102, 0)]
    assert peer.end.state == "TIME_WAIT"


def test_passive_close() -> None:
    peer = opened()
    end = peer.end
    assert kinds(peer.say("FA", 101, 1001)) == [("A", 1001, 102, 0)]
    assert (end.state, end.told["ended"]) == ("CLOSE_WAIT", 1)
    end.write(b"more", peer.now)
    assert kinds(peer.answers()) == [("PA", 1001, 102, 4)]
    peer.say("A", 102, 1005)
    end.close(peer.now)
    assert kinds(peer.answers()) == [("FA", 1005, 102, 0)]
    assert end.state == "LAST_ACK"
    peer.say("A", 102, 1006)
    assert (end.state, end.told["reason"]) == ("CLOSED", states.FINISHED)


def test_half_close_goes_on_receiving() -> None:
    peer = opened()
    end = peer.end
    end.close(peer.now)
    peer.answers()
    peer.say("A", 101, 1002)
    peer.say("PA", 101, 1002, b"still here")
    assert end.read(peer.now) == b"still here"
    assert end.write(b"no", peer.now) == 0
    assert end.state == "FIN_WAIT_2"


def test_closing_before_the_handshake_ends() -> None:
    end = End(1000)
    peer = Peer(end)
    end.connect(peer.now)
    peer.answers()
    end.close(peer.now)
    assert end.state == "CLOSED"
    end = End(1000)
    peer = Peer(end)
    end.listen(peer.now)
    peer.say("S", 100)
    end.close(peer.now)
    assert end.state == "SYN_RECEIVED"
    assert kinds(peer.say("A", 101, 1001)) == [("FA", 1001, 101, 0)]
    assert end.state == "FIN_WAIT_1"


def test_a_fin_is_sent_behind_all_data() -> None:
    peer = opened(window=1500, NODELAY=1)
    end = peer.end
    end.write(b"x" * 2000, peer.now)
    end.close(peer.now)
    assert kinds(peer.answers()) == [("A", 1001, 101, 1000)]
    # 500 bytes of room are less than a segment and less than half of the window: MUST-38.
    assert kinds(peer.say("A", 101, 2001, window=1500)) == [("FPA", 2001, 101, 1000)]
    peer.say("A", 101, 3002)
    assert end.state == "FIN_WAIT_2"


def test_an_abort_tells_the_peer() -> None:
    peer = opened()
    peer.end.write(b"x", peer.now)
    peer.answers()
    peer.end.abort(peer.now)
    # At the next byte that the peer expects, if it got all, and if it got nothing.
    assert kinds(peer.answers()) == [("RA", 1002, 101, 0), ("RA", 1001, 101, 0)]
    assert (peer.end.state, peer.end.told["reason"]) == ("CLOSED", states.ABORTED)
    assert peer.end.due() == states.FOREVER


def test_a_reset_is_told_to_the_application() -> None:
    """MUST-12."""
    peer = opened()
    assert peer.say("R", 101) == []
    assert (peer.end.state, peer.end.told["reason"]) == ("CLOSED", states.RESET)


def test_leaving_with_unread_bytes_resets() -> None:
    peer = opened()
    peer.say("PA", 101, 1001, b"unread")
    peer.end.leave(peer.now)
    assert kinds(peer.answers()) == [("RA", 1001, 107, 0)]


def test_bytes_for_an_application_that_has_left_are_reset() -> None:
    peer = opened()
    peer.end.leave(peer.now)
    assert kinds(peer.answers()) == [("FA", 1001, 101, 0)]
    assert kinds(peer.say("PA", 101, 1002, b"late")) == [("RA", 1002, 101, 0)]
    assert peer.end.state == "CLOSED"


def test_only_the_exact_number_resets() -> None:
    """RFC 5961 section 3: others in the window are challenged, those outside dropped."""
    peer = opened()
    assert kinds(peer.say("R", 102)) == [("A", 1001, 101, 0)]
    assert peer.say("R", 100) == []
    assert peer.say("R", 101 + (1 << 24)) == []
    assert peer.end.state == "ESTABLISHED"


def test_a_syn_in_a_connection_is_challenged() -> None:
    """RFC 5961 section 4."""
    peer = opened()
    assert kinds(peer.say("S", 102)) == [("A", 1001, 101, 0)]
    assert peer.end.state == "ESTABLISHED"


def test_challenges_are_limited() -> None:
    peer = opened()
    assert sum(len(peer.say("R", 102)) for _ in range(100)) == 10
    peer.now += SECOND
    assert len(peer.say("R", 102)) == 1


def test_an_acknowledgement_out_of_range_is_not_taken() -> None:
    """RFC 5961 section 5, and of bytes that were not sent yet."""
    peer = opened()
    assert kinds(peer.say("PA", 101, 1002, b"bad")) == [("A", 1001, 101, 0)]
    assert kinds(peer.say("PA", 101, 1001 - 65536, b"bad")) == [("A", 1001, 101, 0)]
    assert peer.end.told["received"] == 0
    peer.say("PA", 101, 1001, b"good")
    assert peer.end.told["received"] == 4


def test_segments_without_ack_are_dropped() -> None:
    peer = opened()
    assert peer.say("", 101, 0, b"data") == []
    assert peer.end.told["received"] == 0


def test_a_wrong_checksum_changes_nothing() -> None:
    """MUST-3: it leaves a gap, as a lost segment would."""
    one, other = established()
    one.write(b"first", 1)
    (segment,) = one.take_sent()
    broken = segment[:-1] + bytes([segment[-1] ^ 1])
    before = other.connections.copy()
    other.receive(broken, 2)
    assert other.bad == 1
    assert (other.connections == before).all()
    other.receive(segment, 3)
    assert other.read(4) == b"first"


def test_a_syn_in_time_wait_may_begin_anew() -> None:
    """MAY-2, RFC 6191: with a higher number."""
    peer = opened()
    end = peer.end
    end.close(peer.now)
    peer.answers()
    peer.say("FA", 101, 1002)
    assert end.state == "TIME_WAIT"
    assert kinds(peer.say("S", 50)) == [("A", 1002, 102, 0)]
    assert end.state == "TIME_WAIT"
    results: list[int] = []
    receive = end.receive
    end.receive = lambda *given, **more: results.append(receive(*given, **more)) or 0  # type: ignore[func-returns-value,method-assign]
    peer.say("S", 5000)
    assert (results, end.state) == ([ANEW], "CLOSED")


def test_a_fin_that_comes_again_restarts_time_wait() -> None:
    peer = opened()
    end = peer.end
    end.close(peer.now)
    peer.answers()
    peer.say("FA", 101, 1002)
    peer.wait(int(end.settings[MSL]))
    assert kinds(peer.say("FA", 101, 1002)) == [("A", 1002, 102, 0)]
    peer.wait(int(2 * end.settings[MSL]) - 1)
    assert end.state == "TIME_WAIT"


def test_urgent_bytes_are_sent_and_told() -> None:
    """MUST-30 to 33 and 62: the pointer leads behind the last urgent byte; any number of bytes is urgent."""
    one, other = established(NODELAY=1)
    one.write(b"x" * 3000, 1, more=1)
    one.request(URGE, 1)
    join(one, other, 2)
    assert all(each["flags"] & 0x20 for each in one.actions if each["length"])
    assert {each["sequence"] + each["urgent"] for each in one.actions if each["length"]} == {1001 + 3000}
    assert other.told["urgent_until"] == 3000


def test_urgent_is_taken_with_a_closed_window() -> None:
    """MUST-66: and so is a reset."""
    peer = opened(RECEIVE_BUFFER=1000, LARGEST_SEGMENT=500)
    end = peer.end
    peer.say("PA", 101, 1001, b"x" * 500)
    peer.say("PA", 601, 1001, b"x" * 500)
    assert end.c.rcv_edge == end.c.rcv_nxt
    peer.say("UPA", 1101, 1001, b"yz", urgent=2)
    assert (end.told["urgent_until"], end.told["received"]) == (1002, 1000)
    peer.say("R", 1101)
    assert end.told["reason"] == states.RESET


def test_nagle_can_be_switched_off_at_any_time() -> None:
    """MUST-17."""
    peer = opened()
    peer.end.write(b"one", peer.now)
    peer.end.write(b"two", peer.now)
    assert kinds(peer.answers()) == [("PA", 1001, 101, 3)]
    peer.end.choose(NODELAY, 1, peer.now)
    assert kinds(peer.answers()) == [("PA", 1004, 101, 3)]


def test_sends_are_refused_when_the_direction_is_closed() -> None:
    peer: Any = opened()
    peer.end.close(peer.now)
    assert peer.end.write(b"x", peer.now) == 0
    assert End().write(b"x", 1) == 0
