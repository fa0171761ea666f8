"""Two ends joined by a network that impairs segments, in virtual time, seeded; with invariants checked at each step."""

import hashlib
import heapq
import random
from dataclasses import dataclass, field
from typing import Any

from tcp_end import End

from scout.paths.protocols.tcp.sent import begin_of, transmission
from scout.paths.protocols.tcp.state import CLOSED, FOREVER, LISTEN, LOST, SACKED, SYN_SENT

MILLISECOND, SECOND = 1_000_000, 1_000_000_000


@dataclass
class Impairment:
    """The impairments of a link; shares are 0 to 1, times nanoseconds."""

    loss: float = 0
    burst: float = 0  # how often a run of losses begins
    burst_length: int = 8
    reordering: float = 0
    duplication: float = 0
    corruption: float = 0
    delay: int = 5 * MILLISECOND
    jitter: int = 0
    bytes_per_second: int = 0  # 0: no limit
    queue: int = 200_000  # bytes that wait at the limit
    largest: int = 1 << 16  # bytes of a segment with its header; longer ones are dropped in silence


@dataclass
class Link:
    """One direction."""

    impairment: Impairment
    random: random.Random
    free_at: int = 0
    burst_left: int = 0
    carried: int = 0
    dropped: int = 0

    def carry(self, segment: bytes, now: int) -> list[tuple[int, bytes]]:
        """When the segment arrives, and as what; several times or not at all."""
        rule, draw = self.impairment, self.random.random
        self.carried += 1
        if len(segment) > rule.largest:
            self.dropped += 1
            return []
        if self.burst_left:
            self.burst_left -= 1
            self.dropped += 1
            return []
        if draw() < rule.burst:
            self.burst_left = self.random.randrange(1, rule.burst_length)
        if draw() < rule.loss:
            self.dropped += 1
            return []
        start = now
        if rule.bytes_per_second:
            start = max(now, self.free_at)
            if (start - now) * rule.bytes_per_second > rule.queue * SECOND:
                self.dropped += 1
                return []
            self.free_at = start + len(segment) * SECOND // rule.bytes_per_second
            start = self.free_at
        if draw() < rule.corruption:
            broken = bytearray(segment)
            broken[self.random.randrange(len(broken))] ^= 1 << self.random.randrange(8)
            segment = bytes(broken)
        result = []
        for _ in range(2 if draw() < rule.duplication else 1):
            time = start + rule.delay + (self.random.randrange(rule.jitter) if rule.jitter else 0)
            if draw() < rule.reordering:
                time += self.random.randrange(1, 2 * rule.delay + 2)
            result.append((time, segment))
        return result


class Invariants:
    """What holds for an end after every request."""

    def __init__(self) -> None:
        self.edge = self.una = self.received = 0

    def __call__(self, end: End) -> None:
        c = end.c
        if c.state in (CLOSED, LISTEN):
            return
        assert c.snd_una <= c.snd_nxt <= c.snd_end + c.fin
        assert c.snd_una >= self.una, "an acknowledgement was taken back"
        self.una = c.snd_una
        pipe = lost = sacked = 0
        last = c.snd_una
        for index in range(c.sent_count):
            each = transmission(c, index)
            size = each.last - begin_of(c, index)
            assert size > 0
            last = each.last
            assert each.flags & (SACKED | LOST) != SACKED | LOST
            if each.flags & SACKED:
                sacked += size
            elif each.flags & LOST:
                lost += size
            else:
                pipe += size
        assert last == c.snd_nxt
        assert (pipe, lost, sacked) == (c.pipe, c.lost, c.sacked_bytes)
        assert c.cwnd >= 1
        if c.snd_una < c.snd_nxt:
            assert end.due() < FOREVER, "bytes are under way, and no timer is set"
        if c.state > SYN_SENT:
            assert c.rcv_edge >= self.edge, "the window has shrunk"
            self.edge = c.rcv_edge
            assert c.rcv_nxt <= c.rcv_edge
            assert c.rcv_edge - c.rcv_read <= len(end.reads) + 1
            assert c.acked <= c.rcv_nxt
            for index in range(c.gap_count):
                assert c.rcv_nxt < c.gaps[index].first < c.gaps[index].last <= c.rcv_edge


@dataclass
class App:
    """An application: it writes `data`, closes, and reads until the peer has closed."""

    end: End
    data: bytes
    read_most: int = 1 << 30  # at a time
    pause: int = 0  # between reads
    closes: bool = True
    done_writing: int = 0
    closed: bool = False
    got: bytearray = field(default_factory=bytearray)
    next_read: int = 0

    def step(self, now: int) -> None:
        """Write and read what can be."""
        end = self.end
        while self.done_writing < len(self.data) and end.told["state"] >= 4:
            taken = end.write(self.data[self.done_writing : self.done_writing + 65536], now)
            self.done_writing += taken
            if not taken:
                break
        if self.closes and not self.closed and self.done_writing == len(self.data) and end.told["state"] >= 4:
            end.close(now)
            self.closed = True
        if now >= self.next_read and end.told["received"] > end.read_bytes:
            self.got += end.read(now, self.read_most)
            self.next_read = now + self.pause

    @property
    def waits_until(self) -> int:
        return self.next_read if self.end.told["received"] > self.end.read_bytes else FOREVER


class Network:
    """Two applications, two links, and the time."""

    def __init__(self, one: App, other: App, there: Impairment, back: Impairment | None = None, seed: int = 1) -> None:
        self.apps = (one, other)
        self.links = [Link(rule, random.Random(seed * 2 + n)) for n, rule in enumerate((there, back or there))]
        self.arrivals: list[tuple[int, int, int, bytes]] = []
        self.now, self.count, self.steps = SECOND, 0, 0
        for app in self.apps:
            app.end.watch = Invariants()

    def _send(self) -> None:
        for side, app in enumerate(self.apps):
            for segment in app.end.take_sent():
                for time, data in self.links[side].carry(segment, self.now):
                    self.count += 1
                    heapq.heappush(self.arrivals, (time, self.count, 1 - side, data))

    def step(self) -> bool:
        """Go to the next event; False if there is none."""
        soonest = self.next_time()
        if soonest >= FOREVER:
            return False
        self.now = max(self.now, soonest)
        self.steps += 1
        if self.arrivals and self.arrivals[0][0] <= self.now:
            _, _, side, data = heapq.heappop(self.arrivals)
            self.apps[side].end.receive(data, self.now)
        for app in self.apps:
            if app.end.due() <= self.now:
                app.end.expire(self.now)
        return True

    def next_time(self) -> int:
        """Let applications do what they can now, and links carry what was sent; the time of the next event."""
        for app in self.apps:
            app.step(self.now)
        self._send()
        times = [app.end.due() for app in self.apps] + [app.waits_until for app in self.apps]
        if self.arrivals:
            times.append(self.arrivals[0][0])
        return min(times)

    def run(self, until: int = 3600 * SECOND, most_steps: int = 200_000) -> None:
        """Run until nothing happens any more."""
        while self.step():
            assert self.now < until, f"{[app.end.state for app in self.apps]} at {self.now / SECOND} s"
            assert self.steps < most_steps


def transfer(
    size: int,
    back: int = 0,
    impairment: Impairment | None = None,
    seed: int = 1,
    numbers: tuple[int, int] | None = None,
    pause: int = 0,
    checks: bool = True,
    **chosen: Any,
) -> tuple[Network, App, App]:
    """Open a connection, transfer so many bytes each way, close; check that all arrived intact by hash.

    `checks`: check the invariants behind each request; that takes most of the time if the core is native.
    """
    draw = random.Random(seed)
    numbers = numbers or (draw.randrange(1 << 32), draw.randrange(1 << 32))
    one, other = End(numbers[0], (5000, 80), **chosen), End(numbers[1], (80, 5000), **chosen)
    first, second = App(one, draw.randbytes(size)), App(other, draw.randbytes(back), pause=pause)
    network = Network(first, second, impairment or Impairment(), seed=seed)
    if not checks:
        one.watch = other.watch = None
    other.listen(network.now)
    one.connect(network.now)
    network.run()
    for app, peer in ((first, second), (second, first)):
        assert hashlib.sha256(app.got).digest() == hashlib.sha256(peer.data).digest()
        assert app.end.told["reason"] == 1, app.end.told
    return network, first, second
