"""Random traces of TCP connections whose ends mostly behave as TCP does, and now and then do not."""

import random

import traces
from harness import NOW

__all__ = ["TALKS"]

SECOND = 1_000_000_000
FIN, SYN, RST, ACK = traces.FIN, traces.SYN, traces.RST, traces.ACK


class Talk:
    """A connection that both ends talk on: mostly as TCP does, now and then not."""

    def __init__(self, chance: random.Random, calm: float = 0.85) -> None:
        self.chance, self.calm = chance, calm
        flow = traces.random_flow(chance, (6,))
        self.flows = [flow, (flow[1], flow[0], 6, flow[4], flow[3])]
        self.restart()

    def restart(self) -> None:
        # One in three begins close to where sequence numbers wrap.
        self.next = [self.chance.choice((self.chance.getrandbits(32), 0xFFFFFF00, 0xFFFFFFFF)) for _ in range(2)]
        self.step, self.closed = 0, [False, False]

    def send(self, side: int, flags: int, size: int = 0) -> bytes:
        sequence, ack = self.next[side], self.next[1 - side] if flags & ACK else 0
        data = traces.frame(self.flows[side], bytes(size), flags, sequence, ack)
        self.next[side] = (sequence + size + bool(flags & SYN) + bool(flags & FIN)) % (1 << 32)
        return data

    def frame(self) -> bytes:
        if self.chance.random() > self.calm:
            return self.odd()
        self.step += 1
        if self.step <= 3:
            return self.send(self.step == 2, (SYN, SYN | ACK, ACK)[self.step - 1])
        side = self.chance.randrange(2)
        if all(self.closed) and self.chance.random() < 0.5:
            self.restart()
        elif self.chance.random() < 0.12 and not self.closed[side]:
            self.closed[side] = True
            return self.send(side, FIN | ACK)
        size = 0 if self.closed[side] else self.chance.randrange(300)
        return self.send(side, ACK, size)

    def odd(self) -> bytes:
        chance, side = self.chance, self.chance.randrange(2)
        flow = self.flows[side]
        kind = chance.randrange(10)
        if kind == 0:  # any flags, right numbers
            return traces.frame(flow, b"", chance.randrange(32), self.next[side], self.next[1 - side])
        if kind == 1:  # any numbers, plausible flags
            flags = chance.choice((ACK, SYN, SYN | ACK, RST, RST | ACK, FIN | ACK))
            return traces.frame(flow, b"x", flags, chance.getrandbits(32), chance.getrandbits(32))
        if kind == 2:
            return traces.frame(flow, b"", RST, self.next[side])
        if kind == 3:
            return traces.frame(flow, b"", RST | ACK, 0, self.next[1 - side])
        if kind == 4:
            return traces.frame(flow, bytes(40), fragment=chance.choice((0x2000, 3)))
        if kind == 5:  # sent again, or a little early
            back = chance.randrange(-3000, 3000)
            return traces.frame(flow, bytes(100), ACK, (self.next[side] - back) % (1 << 32), self.next[1 - side])
        if kind == 6:  # both call at once, or one calls again
            return traces.frame(flow, b"", SYN, (self.next[side] - chance.randrange(2)) % (1 << 32))
        if kind == 7:
            data = bytearray(traces.frame(flow, bytes(20)))
            data[46] = chance.randrange(16) << 4
            return bytes(data)
        if kind == 8:
            return traces.frame(flow)[: chance.randrange(14, 54)]
        self.restart()
        return self.frame()


def talking(seed: int, talks: int, count: int = 2500, share: float = 0.0) -> traces.Trace:
    """Several connections; with `share`, one has that part of all packets. Sometimes nothing comes for minutes."""
    chance, now, trace = random.Random(seed), NOW, []
    known = [Talk(chance) for _ in range(talks)]
    for _ in range(count):
        now += chance.choice((1000, 1_000_000, SECOND)) if chance.random() < 0.98 else 150 * SECOND
        trace.append(((known[0] if chance.random() < share else chance.choice(known)).frame(), now))
    return trace


TALKS = {
    "talking": talking(41, 12),
    "one talks most": talking(42, 12, share=0.9),
    "random": traces.random_trace(43, longest=60),
    "skewed": traces.skewed_trace(44, longest=60),
}
"""Traces by name: frames, each with the time at which it arrives (ns)."""
