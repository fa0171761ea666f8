"""TCP's requests in two channels: replicas serve them in one interleaving, and come to equal states."""

import random
import threading

import pytest

from scout.paths.protocols.tcp.requests import READ, SEND
from scout.tools.bench.tcp_channels import compared
from scout.tools.bench.tcp_interleaving import Replay, comes_first
from scout.tools.bench.tcp_recording import Sender, record


def sender() -> Sender:
    """A connection whose congestion window is full."""
    made = Sender()
    made.serve(made.request(SEND, 20 * made.c.mss))
    assert made.c.snd_end - made.c.snd_nxt == 10 * made.c.mss
    return made


def test_a_choice_by_what_a_replica_finds_makes_states_differ() -> None:
    """One replica finds a WRITE before the acknowledgement, the other does not find it yet: they do not agree again."""
    one, other = Sender(), Sender()
    for replica in (one, other):
        replica.serve(replica.request(SEND, 4 * replica.c.mss))
    written, acknowledged = one.request(SEND, 20 * one.c.mss), one.segment(1 + 2 * one.c.mss)
    for replica, requests in ((one, (written, acknowledged)), (other, (acknowledged, written))):
        for each in requests:
            replica.serve(each)
    # The window grows by an acknowledgement only if it held data back: there they were, or not yet.
    assert one.c.cwnd > other.c.cwnd and one.c.snd_nxt > other.c.snd_nxt


def test_sends_that_fill_the_window_come_first() -> None:
    open_, full = Sender(), sender()
    assert comes_first(1, False, 0, open_.c, SEND) and not comes_first(1, False, 0, full.c, SEND)
    assert not comes_first(1, False, 0, open_.c, READ), "it sends nothing"
    assert comes_first(1, True, 0, full.c, READ), "a mark leaves none"
    assert not comes_first(1, False, 1, open_.c, SEND), "it may not be published yet"


@pytest.mark.parametrize("separate", [False, True])
def test_a_recording_is_whole(separate: bool) -> None:
    recording = record(separate, 10)
    assert (len(recording.application) > 10) is separate
    assert recording.after["snd_nxt"][0] > recording.before["snd_nxt"][0]


@pytest.mark.long  # it is compiled for some 12 seconds
@pytest.mark.parametrize("separate", [False, True])
def test_replicas_serve_in_one_order_whatever_they_find(separate: bool) -> None:
    recording, draw = record(separate, 60), random.Random(7)
    for _ in range(10):
        replay = Replay(recording, 3)
        replay.prepare()
        threads = [threading.Thread(target=replay.serve, args=(replica,), daemon=True) for replica in range(3)]
        for thread in threads:
            thread.start()
        published = 0
        for last, each in enumerate(recording.network, 1):
            if draw.random() < 0.3 or last == len(recording.network):
                # Requests that a request of the network covers are published before it; others may be.
                cover = draw.randrange(int(each["cover"]), len(recording.application) + 1)
                replay.publish(1, replay.channels[1].sent, cover)
                replay.publish(0, published, last)
                published = last
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        found = replay.found()
        assert len(set(found.orders)) == 1
        assert {state.tobytes() for state in found.states} == {recording.after.tobytes()}


@pytest.mark.long
def test_both_are_compared() -> None:
    rows = compared(1, [1, 2], round_trips=20)
    assert [(row["mode"], row["replicas"]) for row in rows] == [
        ("one channel", 1),
        ("two channels", 1),
        ("one channel", 2),
        ("two channels", 2),
    ]
    assert all(row["gbps_median"] > 0 and row["segments"] > 0 for row in rows)
