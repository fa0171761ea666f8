"""Random segments and requests for an end, near to what it expects or not, seeded."""

import random
from collections.abc import Iterator
from typing import Any

from tcp_end import End
from tcp_peer import opened
from tcp_simulator import Invariants

from scout.paths.protocols.tcp.requests import ARRIVE, CHOOSE, CLOSE, EXPIRE, PATH_MTU, READ, SEND, URGE
from scout.paths.protocols.tcp.settings import BBR, CONGESTION, CUBIC
from scout.paths.protocols.tcp.state import CLOSED, FOREVER

SECOND = 1_000_000_000
KINDS = [ARRIVE] * 12 + [SEND, READ, EXPIRE] * 2 + [CLOSE, PATH_MTU, URGE, CHOOSE]


def nonsense(draw: random.Random, end: End) -> dict[str, Any]:
    """A segment that is near to what the end expects, or not."""
    c = end.c
    near = [c.rcv_nxt, c.rcv_edge, c.irs, c.rcv_nxt + draw.randrange(-3000, 70_000), draw.randrange(1 << 32)]
    acks = [c.snd_una, c.snd_nxt, c.iss, c.snd_una + draw.randrange(-3000, 3000), draw.randrange(1 << 32)]
    flags = draw.choice([0x10, 0x10, 0x10, 0x18, 0x11, 0x02, 0x12, 0x04, 0x14, 0x30, 0xD0, draw.randrange(256)])
    count = draw.choice([0, 0, 1, 2, 3, 4])
    length = draw.choice([0, 0, 1, 1000, 60_000])
    joined = draw.choice([0, 0, 1, length // 2, length, 9 * length]) if flags in (0x10, 0x18) else 0
    sacks = [tuple((draw.choice(acks) + draw.randrange(3000)) & 0xFFFFFFFF for _ in range(2)) for _ in range(4)]
    return {
        "sequence": draw.choice(near) & 0xFFFFFFFF,
        "acknowledgement": draw.choice(acks) & 0xFFFFFFFF,
        "flags": flags,
        "window": draw.choice([0, 1, 500, 65535]),
        "urgent": draw.randrange(1 << 16),
        "length": length,
        "run": length + joined,
        "congested": draw.randrange(2),
        "mss": draw.choice([0, 0, 1, 1460, 65535]),
        "scale": draw.choice([-1, 0, 14, 255]),
        "sack_permitted": draw.randrange(2),
        "has_timestamp": draw.randrange(2),
        "tsval": draw.randrange(1 << 32),
        "tsecr": draw.randrange(1 << 32),
        "sack_count": count,
        "sacks": sacks,
    }


def talks_of_nonsense(seed: int, requests: int) -> Iterator[End]:
    """Ends that have served at least so many requests in all, with a log; invariants were checked behind each batch."""
    draw, count = random.Random(seed), 0
    while count < requests:
        end = opened(
            (("MSS", 1000), ("SAckOK", b""))[: draw.randrange(3)], ECN=1, CONGESTION=draw.choice([CUBIC, BBR])
        ).end
        end.log, check, now = [], Invariants(), 2 * SECOND
        while end.c.state != CLOSED and len(end.log) < 300:
            now += draw.choice([0, 1000, 10_000_000, 3 * SECOND])
            kind, more = draw.choice(KINDS), draw.randrange(2)
            if kind == ARRIVE:
                for name, value in nonsense(draw, end).items():
                    end.segments[name][0] = value
            if kind == EXPIRE and end.due() < FOREVER:
                now = max(now, end.due())
            if kind == CHOOSE:
                end.choose(CONGESTION, draw.randrange(4), now)
                continue
            end.written += 5000  # what the rings contain does not matter here
            end.request(kind, now, draw.randrange(5000) if kind in (SEND, READ, PATH_MTU) else 0, more=more)
            if not more:
                check(end)
        count += len(end.log)
        yield end
