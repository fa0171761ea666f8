"""BBR: rates, queues and shares over bottlenecks, in virtual time."""

import random
from statistics import median

import pytest
from tcp_end import End
from tcp_peer import MILLISECOND, SECOND, opened
from tcp_simulator import App, Impairment, Link, Network

from scout.paths.protocols.tcp.bbr_state import DOWN, PROBE_RTT, UP
from scout.paths.protocols.tcp.native import native_serve
from scout.paths.protocols.tcp.settings import BBR, CONGESTION, CUBIC, RENO
from scout.paths.protocols.tcp.state import FOREVER, PACE_TIMER

RATE = 250_000  # bytes a second
DELAY = 40 * MILLISECOND


class Flow:
    """A connection that always has something to send, over a link that it may share."""

    def __init__(self, control: int, link: Link, serve: object = None, **chosen: int) -> None:
        one, other = End(1000, serve=serve, CONGESTION=control, **chosen), End(2000, (80, 5000), serve=serve)
        self.writer, self.reader = App(one, bytes(1 << 22), closes=False), App(other, b"")
        self.network = Network(self.writer, self.reader, link.impairment, Impairment(delay=DELAY))
        self.network.links[0] = link
        one.watch = other.watch = None  # `transfer` checks the invariants
        self.c = one.c
        other.listen(self.network.now)
        one.connect(self.network.now)


def share(seconds: float, *flows: Flow, until: int = 0) -> tuple[list[float], list[int]]:
    """Run flows for so long: the share of the link that each of them had, and how long its queue was in nanoseconds."""
    link, queue = flows[0].network.links[0], []
    end = flows[0].network.now + int(seconds * SECOND)
    before = [len(each.reader.got) for each in flows]
    while (flow := min(flows, key=lambda each: each.network.next_time())).network.next_time() < end:
        flow.network.step()
        queue.append(max(link.free_at - flow.network.now, 0))
        flow.writer.done_writing = min(flow.writer.done_writing, 1 << 21)  # there is always more
    for each in flows:
        each.network.now = end
    rate = link.impairment.bytes_per_second
    took = [len(each.reader.got) - first for each, first in zip(flows, before, strict=True)]
    return [each / seconds / rate for each in took], queue


def bottleneck(loss: float = 0, rate: int = RATE, queue: int = 100_000) -> Link:
    return Link(Impairment(loss=loss, bytes_per_second=rate, delay=DELAY, queue=queue), random.Random(1))


def test_it_fills_a_path_and_leaves_its_queue_empty() -> None:
    """The window is 2.25 times what fills the path, when more is tried, and some segments."""
    flow = Flow(BBR, bottleneck())
    share(1, flow)
    (taken,), queue = share(2, flow)
    assert taken > 0.88
    assert median(queue) < DELAY
    assert max(queue) < 2.5 * DELAY + 4 * 1500 * SECOND // RATE
    assert 0.9 * RATE < flow.c.bbr.rate_now <= RATE
    assert 2 * DELAY <= flow.c.bbr.min_rtt < 2 * DELAY + 2 * 1500 * SECOND // RATE  # two segments take some time


def test_bursts_are_paced() -> None:
    """A burst is a millisecond of the rate, or two segments; the timer says when the next one is due."""
    peer = opened((("MSS", 1000),), CONGESTION=BBR, NODELAY=1)
    end = peer.end
    end.write(b"x" * 20_000, peer.now)
    first = sum(len(each.payload) for each in peer.answers())
    assert first == max(end.c.quantum // 1000, 2) * 1000
    assert peer.now < end.c.timers[PACE_TIMER] < peer.now + 2 * MILLISECOND
    # The rate is that of Startup: 2.77 times the first window in a round trip, which is 10 ms.
    assert end.c.pacing_rate == 10_000 * 100 * 277 // 100
    count, began = 0, peer.now
    while end.c.timers[PACE_TIMER] < FOREVER:
        count += sum(len(each.payload) for each in peer.after_timer())
    assert first + count == 10_000  # the window
    assert peer.now - began == pytest.approx(count * SECOND // end.c.pacing_rate, rel=0.3)


def test_the_application_may_choose_at_any_time() -> None:
    peer = opened((("MSS", 1000),))
    end = peer.end
    assert end.choose(CONGESTION, BBR, peer.now)
    end.write(b"x" * 20_000, peer.now)
    assert end.c.bbr.phase and end.c.pacing_rate
    assert end.choose(CONGESTION, RENO, peer.now)
    assert (end.c.bbr.phase, end.c.pacing_rate) == (0, 0)
    peer.answers()
    assert sum(len(each.payload) for each in peer.say("A", 101, 2001)) > 0
    assert not end.choose(CONGESTION, 3, peer.now)
    assert end.c.settings[CONGESTION] == RENO


@pytest.mark.long
def test_it_keeps_its_rate_under_loss() -> None:
    rate = 1_250_000
    flows = [Flow(each, bottleneck(0.01, rate), native_serve()) for each in (BBR, CUBIC)]
    (ours,), (theirs,) = (share(5, each)[0] for each in flows)
    assert ours > 0.8
    assert theirs < ours * 2 / 3


@pytest.mark.long
def test_a_short_queue_does_not_stop_it() -> None:
    (taken,), _ = share(5, Flow(BBR, bottleneck(queue=6_000), native_serve()))
    assert taken > 0.7


@pytest.mark.long
def test_it_sees_the_round_trip_without_its_own_queue_again() -> None:
    """Every five seconds the path is nearly emptied."""
    flow = Flow(BBR, bottleneck(rate=100_000), native_serve())
    phases = set()
    while flow.network.now < 8 * SECOND:
        share(0.1, flow)
        phases.add(flow.c.bbr.phase)
    assert {DOWN, UP, PROBE_RTT} <= phases


@pytest.mark.long
@pytest.mark.parametrize("queue", [20_000, 160_000])
@pytest.mark.parametrize(("other", "least"), [(BBR, 0.35), (CUBIC, 0.15)])
def test_neither_of_two_starves(other: int, least: float, queue: int) -> None:
    """The path holds 40 kB: its queue is shorter, or four times as long."""
    link, serve = bottleneck(rate=500_000, queue=queue), native_serve()
    flows = Flow(BBR, link, serve), Flow(other, link, serve)
    share(2, *flows)
    shares, _ = share(8, *flows)
    assert min(shares) > least
    assert sum(shares) > 0.85
