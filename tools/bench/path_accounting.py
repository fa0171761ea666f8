"""`scout bench paths`, measure `accounting`: what it costs to account for the paths of packets, on one core.

Packets of 60 bytes are forwarded by paths of one shape, and the port that they leave by drops them: nothing is spent on
interfaces. They come at once, as many as the channel holds, and it is measured how long they take: a generator that
offers them while they are served is slower than the router. They are received together as from a memory port, and as
from a busy interface, since the clock is read for each batch. The same running router measures with and without
accounts in turn: its paths are deleted, and created anew. With a budget, which no path exceeds, each packet's path is
also asked whether it has been exceeded. Times of the same turn, milliseconds apart, are compared, since a virtual
machine's core is not always equally fast; the median of these ratios counts.
"""

from itertools import product
from statistics import median
from typing import Any

from scout.io.ports.fed import BATCH
from scout.ring.errors import ScoutError
from scout.tools.bench.path_trials import Running, datagram, running
from scout.tools.bench.rounds import rounded, spread
from scout.tools.bench.trace_port import drain

__all__ = ["rows"]

FIRST_PORT = 10_000
PATHS = (1, 16, 256)
BATCHES = (BATCH, 128)
ENTRIES = 4096  # of the channel: what they take stays in the nearer caches
BURSTS, WARMING = 60, 5  # full channels that come at once, after some that warm caches
TURNS = 10  # a round; accounts are on and off in turn
NONE, ACCOUNTS, BUDGETS = "no accounts", "accounts", "accounts and budgets"
SHARE = 1.0  # of the domain's time, divided among the paths: receiving takes some of it


def rows(rounds: int) -> list[dict[str, Any]]:
    """Measure; a row for each variant, number of paths and size of batches."""
    found = []
    for batch, count in product(BATCHES, PATHS):
        trace = [datagram(FIRST_PORT + index % count) for index in range(ENTRIES)]
        room = 2 * count + 64
        # A domain that sleeps would wake up some time after a trace is there.
        with running(trace, [], [{"protocol": "udp"}], most_paths=room, wait="spin", batch=batch) as router:
            measured = _measured(router, count, rounds * TURNS)
        bare = measured[NONE]
        for variant, times in measured.items():
            row: dict[str, Any] = {"name": "accounting", "variant": variant, "paths": count, "batch": batch}
            row |= {"rate": rounded(1e9 / median(times)), **spread(times, "ns_per_packet")}
            ratio = median(one / other for one, other in zip(times, bare, strict=True))
            found.append(row | {"overhead_percent": round(100 * (ratio - 1), 2)})
    return found


def _measured(router: Running, count: int, turns: int) -> dict[str, list[float]]:
    """For each variant the nanoseconds a packet takes, one figure for each turn in which no path was throttled.

    A path gets over its budget if the domain is kept from its core. Packets that are dropped then take less time.
    """
    (udp, *_) = router.supervisor.paths
    variants: dict[str, dict[str, Any]] = {NONE: {}, ACCOUNTS: {"account": True}, BUDGETS: {"cpu": SHARE / count}}
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(turns):
        before = _throttled(router)
        turn = {}
        for variant, wishes in variants.items():
            paths = [udp.narrowed(destination_port=FIRST_PORT + index, **wishes) for index in range(count)]
            for path in paths:
                router.supervisor.create_path(path)
            router.port.restore()
            bursts = [drain([router.port], spins=True) for _ in range(WARMING + BURSTS)]
            turn[variant] = median(bursts[WARMING:]) / ENTRIES
            for path in paths:
                router.supervisor.delete_path(path)
        if _throttled(router) == before:
            for variant, time in turn.items():
                times[variant].append(time)
    if not times[NONE]:
        raise ScoutError("paths were over their budgets in every turn; measure when less else runs")
    return times


def _throttled(router: Running) -> int:
    return int(router.supervisor.account()["drops"].get("over-budget", 0))
