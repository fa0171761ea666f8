"""Two ends of a TCP connection on a network that loses, repeats and reorders: what a middle box has to let pass.

The ends do what RFC 9293 section 3.10.7 tells them, as far as a connection of a few segments needs it: handshake, data,
acknowledgements, retransmission, and closing from either side.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SYN, ACK, FIN = "S", "A", "F"
MODULUS = 1 << 32


@dataclass(frozen=True)
class Segment:
    """Flags by their letters, sequence number, acknowledgement, bytes of data."""

    flags: str
    sequence: int
    ack: int
    size: int

    @property
    def span(self) -> int:
        return self.size + (SYN in self.flags) + (FIN in self.flags)


class End:
    """One end: it opens (or listens), sends some data, and closes."""

    def __init__(self, start: int, opens: bool, sizes: list[int]) -> None:
        self.state = "CLOSED" if opens else "LISTEN"
        self.start, self.expected = start, None
        # The segments to send, in order: (flags, bytes); each begins where the one before ends.
        self.script = [(SYN, 0), *((ACK, size) for size in sizes), (FIN, 0)]
        self.acknowledged = 0  # parts of the script

    @property
    def done(self) -> bool:
        return self.acknowledged == len(self.script)

    def numbers(self) -> Iterator[int]:
        at = self.start
        for flags, size in self.script:
            yield at
            at = (at + size + (flags != ACK)) % MODULUS
        yield at

    def send(self, ahead: int = 0) -> Segment | None:
        """The first part that is not acknowledged, or one of those behind it."""
        number = self.acknowledged + ahead
        if number >= len(self.script) or self.state == "LISTEN" or (ahead and self.acknowledged == 0):
            return None
        flags, size = self.script[number]
        self.state = "OPEN"
        if self.expected is None:
            return Segment(SYN, self.start, 0, 0)
        if flags == FIN and ahead:
            return None
        return Segment("".join(sorted({flags, ACK})), list(self.numbers())[number], self.expected, size)

    def acknowledge(self) -> Segment:
        sent = self.acknowledged  # nothing new: the number that is sent next
        return Segment(ACK, list(self.numbers())[sent], self.expected or 0, 0)

    def receive(self, segment: Segment) -> Segment | None:
        """Take a segment; the answer to it, if it has one."""
        if self.expected is None:
            if SYN not in segment.flags:
                return None
            self.expected, self.state = (segment.sequence + 1) % MODULUS, "OPEN"
            self._take_ack(segment)
            return self.send() if self.acknowledged == 0 else self.acknowledge()
        self._take_ack(segment)
        if segment.span == 0 or self.acknowledged == 0:
            return None
        if segment.sequence == self.expected and SYN not in segment.flags:
            self.expected = (self.expected + segment.span) % MODULUS
        return self.acknowledge()

    def _take_ack(self, segment: Segment) -> None:
        if ACK in segment.flags:
            numbers = list(self.numbers())
            reached = [index for index, number in enumerate(numbers) if number == segment.ack]
            self.acknowledged = max(self.acknowledged, *reached, 0) if reached else self.acknowledged


def converse(chance: random.Random, passes: Callable[[str, Segment], bool], steps: int = 600) -> dict[str, End]:
    """Let A and B talk until both have closed; `passes` is the middle box, asked at each segment in turn.

    Raises
    ------
    AssertionError
        If the box keeps a segment back, or they do not come to an end.
    """
    sizes = lambda: [chance.randrange(1, 1400) for _ in range(chance.randrange(4))]  # noqa: E731
    ends = {
        "A": End(chance.choice((chance.getrandbits(32), MODULUS - 500)), True, sizes()),
        "B": End(chance.choice((chance.getrandbits(32), MODULUS - 500)), False, sizes()),
    }
    before: dict[str, list[Segment]] = {"A": [], "B": []}  # on the way to the box, by the sender
    behind: dict[str, list[Segment]] = {"A": [], "B": []}
    for step in range(steps):
        if all(end.done for end in ends.values()) and not any((*before.values(), *behind.values())):
            return ends
        name = chance.choice("AB")
        other = "B" if name == "A" else "A"
        hostile = step < steps // 2
        kind = chance.randrange(4)
        if kind == 0 and len(before[name]) < 4:
            segment = ends[name].send(chance.choice((0, 0, 1, 2)))
            if segment is not None:
                before[name].append(segment)
        elif kind == 1 and before[name]:
            segment = before[name].pop(chance.randrange(min(3, len(before[name]))))
            assert passes(name, segment), f"{name} {segment}"
            if not hostile or chance.random() > 0.2:
                behind[name] += [segment] * (1 if chance.random() > 0.1 else 2)
        elif behind[name]:
            answer = ends[other].receive(behind[name].pop(chance.randrange(min(3, len(behind[name])))))
            if answer is not None:
                before[other].append(answer)
    raise AssertionError("they do not come to an end")
