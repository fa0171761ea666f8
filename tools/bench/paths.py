"""`scout bench paths`: Scout's experiments with path queues (Mosberger and Peterson, OSDI '96), on one core.

- `flood`: a paced stream, whose packets take most of the core, and a flood of packets to another path, four times as
  many as the core could serve. With a path and a queue for each, and the earliest deadline first; and with one queue
  for all.
- `streams`: eight slow streams that send bursts, and a fast one. The earliest deadline first against round robin, by
  the length of the queues. The slow streams have time until their next burst, packets of the fast one have little.
- `discard`: a flood of packets that are dropped, if a path that discards takes them, of one flow and of many; if a
  filter drops them in a path without a queue, which ends there; and if the filter is behind a queue. The time that a
  core takes for such a packet, and how many of other packets are lost, one of 16, if a full channel of all comes at
  once.
- `creation`: how fast paths come and go, and what they cost (`scout.tools.bench.path_creation`).
- `under-load`: how fast paths come while a router between two interfaces forwards at half its capacity
  (`scout.tools.bench.path_under_load`).
- `accounting`: what it costs to account for paths (`scout.tools.bench.path_accounting`).

But for `under-load`, the traffic comes from a trace in memory (`scout.tools.bench.trace_port`), so the core spends
nothing on sending and receiving. A packet's time ends behind the work. A miss is a packet of the stream that came later
than its deadline, or not at all. `late_anyway` are those of the worst round that no scheduler could have had in time
(`scout.tools.bench.path_pauses`); `longest_pause_ms` is how long the core stood still in that round, `channel_full`
how many packets of all kinds found no room in the channel. `busy_percent` is the share of the core that the work took.
`rate` is in packets a second: of the stream, of all streams, and in `discard` of a flood that takes a whole core.
Figures are medians over the rounds; `misses_max` is that of the worst round.

No generator offers the packets of `discard`: it sleeps between bursts, and at millions of packets a second the frames
of one burst fill the channel, so that a search for the highest rate would find the length of its sleeps.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

from scout.ring.errors import ScoutError
from scout.tools.bench import path_accounting, path_creation, path_under_load
from scout.tools.bench.path_trials import (
    CLOSED,
    Kind,
    Running,
    capacity,
    datagram,
    running,
    spread_evenly,
)
from scout.tools.bench.priority import preferred
from scout.tools.bench.rounds import interleaved, rounded
from scout.tools.drawing.plot import Line, Panel, plot
from scout.tools.report import Report

__all__ = ["MEASURES", "run"]

MEASURES = ("flood", "streams", "discard", "creation", "under-load", "accounting")
ENTRIES = 1 << 14  # of the channel
FLOOD_ENTRIES = 1 << 15  # as many as come within longer than the stream's deadline: what finds no room would be late
SECONDS = 1.0  # of an offer

# flood
STREAM_PPS, SHARE, TIMES = 500, 0.7, 4
STREAM = Kind("stream", range(5000, 5001), SHARE / STREAM_PPS, 0.010)
FLOOD = Kind("flood", range(7, 8), 2e-6, 1.0)
BY_PATH, ONE_QUEUE = "by path, earliest deadline first", "one queue for all"

# streams: ten times as fast as Scout's (8 at 10 frames a second, 1 at 30), to need a tenth of the time
SLOW_COUNT, SLOW_PPS, FAST_PPS, BURST, LOAD = 8, 100, 300, 10, 0.85
WORK = LOAD / (SLOW_COUNT * SLOW_PPS + FAST_PPS)
SLOW = Kind("slow", range(6000, 6000 + SLOW_COUNT), WORK, BURST / SLOW_PPS)
FAST = Kind("fast", range(5000, 5001), WORK, 0.012)
LENGTHS = (8, 16, 32, 64, 128)
SLOTS = 1 << 11  # of a trace that lasts from one burst to the next
SCHEDULES = {"deadline": "earliest deadline first", "round-robin": "round robin"}

# discard
GOOD = Kind("good", range(5000, 5001), 0.0, 1.0)
CLOSED_ONLY: Mapping[str, Any] = {"protocol": "udp", "destination_port": CLOSED}
ONE_OF, PLACES = 16, 1024  # of so many packets one is let through; the places of a queue, as many as these packets need
BURSTS = 10
DEMUX, FLOWS, AT_PORT = "discard path", "discard path, packets of many flows", "filter at the port"
CONNECTION: Mapping[str, Any] = {"protocol": "udp", "source_port": 7, "destination_port": 7}
"""A path for one flow: so packets of different flows have each to be looked for."""
BEHIND, FULL = "filter behind a queue that holds the flood", "filter behind a queue that is full"
SHARED = "filter behind one queue for all"


class _Flood:
    """A stream and a flood."""

    def __init__(self, one_queue: bool, flood_pps: float) -> None:
        self.name, self.variant = "flood", ONE_QUEUE if one_queue else BY_PATH
        self.parameters = {"flood_times": TIMES if flood_pps else 0, "flood_pps": round(flood_pps)}
        share = STREAM_PPS / (STREAM_PPS + flood_pps)
        count = max(1, round(FLOOD_ENTRIES * share))
        self._trace = spread_evenly(FLOOD_ENTRIES, datagram(STREAM.ports.start), count, datagram(FLOOD.ports.start))
        self._share, self._pps = count / FLOOD_ENTRIES, STREAM_PPS * FLOOD_ENTRIES / count
        wish = {"queue": 128, "batch": 1}
        if one_queue:
            self._wishes: list[Mapping[str, Any]] = [{"protocol": "udp", **wish, "queue": 256}]
        else:
            self._wishes = [
                {**STREAM.only, **wish, "deadline": STREAM.deadline},
                {**FLOOD.only, **wish, "deadline": FLOOD.deadline, "batch": 32},
            ]
        self._schedule = "round-robin" if one_queue else "deadline"

    def measure(self) -> dict[str, float]:
        with running(self._trace, [STREAM, FLOOD], self._wishes, self._schedule) as router:
            return _missed(router, self._pps, {STREAM: self._share})


class _Streams:
    """Eight slow streams and a fast one."""

    def __init__(self, schedule: str, length: int) -> None:
        self.name, self.variant, self.parameters = "streams", SCHEDULES[schedule], {"queue": length}
        self._schedule = schedule
        period = BURST / SLOW_PPS
        self._pps = SLOTS / period
        self._trace = [datagram(CLOSED)] * SLOTS  # where no packet is due, one comes that is discarded at once
        fast = round(FAST_PPS * period)
        for number in range(fast):
            self._trace[number * SLOTS // fast] = datagram(FAST.ports.start)
        free = (index for index, each in enumerate(self._trace) if each == datagram(CLOSED))
        for _ in range(BURST):
            for port in SLOW.ports:
                self._trace[next(free)] = datagram(port)
        self._shares = {FAST: fast / SLOTS, SLOW: BURST * SLOW_COUNT / SLOTS}
        wish = {"protocol": "udp", "queue": length, "batch": 1}
        self._wishes = [{**wish, "destination_port": FAST.ports, "deadline": FAST.deadline}]
        self._wishes += [{**wish, "destination_port": port, "deadline": SLOW.deadline} for port in SLOW.ports]
        self._wishes += [{"protocol": "udp", "destination_port": CLOSED}]

    def measure(self) -> dict[str, float]:
        with running(self._trace, [FAST, SLOW], self._wishes, self._schedule, closed=True) as router:
            return _missed(router, self._pps, self._shares)


class _Discard:
    """A flood of packets that are dropped, alone, and with other packets."""

    def __init__(self, variant: str) -> None:
        self.name, self.variant = "discard", variant
        self.parameters: dict[str, Any] = {}
        self._wishes: list[Mapping[str, Any]] = [{**GOOD.only, "queue": PLACES}]
        if variant == SHARED:
            self._wishes = [{"protocol": "udp", "queue": PLACES}]
        elif variant == FLOWS:
            self._wishes.append(CONNECTION)
        elif variant != DEMUX:
            self._wishes.append({**CLOSED_ONLY, "queue": {AT_PORT: 0, BEHIND: ENTRIES, FULL: PLACES}[variant]})
        self._discards = [CLOSED_ONLY] if variant in (DEMUX, FLOWS) else []

    def measure(self) -> dict[str, float]:
        flood, good = datagram(CLOSED), datagram(GOOD.ports.start)
        sources = range(1, 1 + ENTRIES) if self.variant == FLOWS else [1] * ENTRIES
        with self._running([datagram(CLOSED, source) for source in sources]) as router:
            router.burst()  # warms caches
            nanoseconds = min(router.burst() for _ in range(BURSTS)) / ENTRIES
        count = ENTRIES // ONE_OF
        with self._running(spread_evenly(ENTRIES, good, count, flood)) as router:
            for _ in range(BURSTS):
                router.burst()
            came, _ = router.figures(GOOD)
        lost = 100 * (1 - int(came) / (count * BURSTS))
        return {"rate": 1e9 / nanoseconds, "ns_per_packet": nanoseconds, "others_lost_percent": lost}

    def _running(self, trace: list[bytes]) -> AbstractContextManager[Running]:
        return running(trace, [GOOD], self._wishes, "round-robin", closed=True, discards=self._discards, wait="spin")


def _missed(router: Running, pps: float, shares: Mapping[Kind, float]) -> dict[str, float]:
    """Offer traffic, of which each kind has a share; the packets of these kinds, and those that missed a deadline."""
    for kind in shares:
        router.offer(pps, SECONDS / 10, kind)  # warms caches
    before = {kind: router.figures(kind) for kind in shares}
    with router.watched() as watch:
        offer = router.port.offer(pps, SECONDS)
        router.settle()
    found = {kind: router.figures(kind) - before[kind] for kind in shares}
    machine = router.machine({kind: int(came) for kind, (came, _) in found.items()}, watch)
    packets = {kind: round(offer.packets * share) for kind, share in shares.items()}
    in_time = {kind: int(came - late) for kind, (came, late) in found.items()}
    rate = sum(int(came) for came, _ in found.values()) / SECONDS
    misses = {kind: max(0, packets[kind] - in_time[kind]) for kind in shares}
    by_kind = {f"misses_{kind.name}": count for kind, count in misses.items()} if len(shares) > 1 else {}
    return {
        "packets": sum(packets.values()),
        "misses": sum(misses.values()),
        "late_anyway": machine.late_anyway,
        **by_kind,
        "rate": rate,
        "busy_percent": 100 * machine.busy,
        "longest_pause_ms": 1e3 * machine.longest,
        "channel_full": offer.lost,
    }


def _row(trial: Any, figures: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The figures of all rounds of a trial as one row."""
    row: dict[str, Any] = {"name": trial.name, "variant": trial.variant, **trial.parameters}
    for key in figures[0]:
        values = [each[key] for each in figures]
        row[key] = rounded(median(values))
        if key == "misses":
            row["misses_max"] = max(values)
    if "misses" in row:  # of the worst round: how many the machine caused, and how
        worst = max(figures, key=lambda each: each["misses"])
        row |= {key: rounded(worst[key]) for key in ("late_anyway", "longest_pause_ms", "channel_full")}
    return row


def run(rounds: int, measures: Sequence[str], picture: str | None, json_path: str | None) -> None:
    """Measure, print tables, plot, write the figures.

    Parameters
    ----------
    rounds : int
        How often each is measured.
    measures : sequence of str
        Out of `MEASURES`; empty for all.
    picture : str or None
        Where to plot the misses of `streams`, and the packets' times by the paths of `creation`, as SVG and PNG.
    json_path : str or None
        Where to write the figures.
    """
    report = Report("bench paths", json_path)
    chosen = _chosen(measures)
    with preferred():
        alone = capacity(FLOOD, ENTRIES) if "flood" in chosen else 0.0
        trials = [trial for name in chosen for trial in _trials(name, alone)]
        measured = interleaved([trial.measure for trial in trials], rounds, "paths")
        rows = [_row(trial, figures) for trial, figures in zip(trials, measured, strict=True)]
        rows += path_creation.rows(rounds, ENTRIES) if "creation" in chosen else []
        rows += path_under_load.rows(rounds) if "under-load" in chosen else []
        rows += path_accounting.rows(rounds) if "accounting" in chosen else []
    for name in dict.fromkeys(row["name"] for row in rows):
        report.show([row for row in rows if row["name"] == name])
    report.say(*_sentences(rows))
    if picture and {"streams", "creation"} & set(chosen):
        panels = [_panel(rows)] if "streams" in chosen else []
        panels += [_alive_panel(rows)] if "creation" in chosen else []
        files = plot(picture, "Paths: missed deadlines, and what many paths cost", panels)
        report.say(f"plotted: {files[0]}, {files[1]}")
    parameters = {"rounds": rounds, "seconds": SECONDS, "stream_pps": STREAM_PPS, "stream_share": SHARE, "load": LOAD}
    report.write({**parameters, "flood_capacity_pps": round(alone), "entries": ENTRIES}, rows)


def _chosen(measures: Sequence[str]) -> Sequence[str]:
    for name in measures:
        if name not in MEASURES:
            raise ScoutError(f"--measure {name}: give one of {', '.join(MEASURES)}")
    return measures or MEASURES


def _trials(name: str, alone: float) -> list[Any]:
    """The trials of a measure; `alone` is how many packets of the flood the core could serve in a second."""
    if name == "flood":
        return [_Flood(one_queue, pps) for one_queue in (False, True) for pps in (0, TIMES * alone)]
    if name == "streams":
        return [_Streams(schedule, length) for schedule in SCHEDULES for length in LENGTHS]
    if name == "discard":
        return [_Discard(variant) for variant in (DEMUX, FLOWS, AT_PORT, BEHIND, FULL, SHARED)]
    return []  # the others have no variants that are measured in turn


def _sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the figures say."""
    floods = {row["variant"]: row for row in rows if row["name"] == "flood" and row["flood_times"]}
    alone = {row["variant"]: row for row in rows if row["name"] == "flood" and not row["flood_times"]}
    discards = {row["variant"]: row for row in rows if row["name"] == "discard"}
    return [
        *(
            f"under a flood, {name}: {row['misses']:.0f} of {row['packets']:.0f} deadlines missed; the rate of the "
            f"stream is {row['rate'] / alone[name]['rate']:.3f} of that without the flood"
            f"{_of_the_worst(row) if name == BY_PATH else ''}"
            for name, row in floods.items()
        ),
        *(
            f"{variant}: {discards[DEMUX]['rate'] / row['rate']:.2f} times the time of a {DEMUX} for a packet; of the "
            f"others {row['others_lost_percent']:.0f} % are lost in a burst"
            for variant, row in discards.items()
            if variant != DEMUX
        ),
        *(
            f"{row['name']}: a path has its first packet {row['p50_us']:g} us after the call, 99 of 100 within "
            f"{row['p99_us']:g} us"
            for row in rows
            if row["variant"] == path_creation.FIRST
        ),
        *(
            f"{row['paths']} paths, batches of {row['batch']}, {row['variant']}: {row['overhead_percent']:g} % more "
            "time for a packet"
            for row in rows
            if row["name"] == "accounting" and row["variant"] != path_accounting.NONE
        ),
    ]


def _of_the_worst(row: Mapping[str, Any]) -> str:
    """How the machine behaved in the round with the most misses."""
    if not row["misses_max"]:
        return ""
    return (
        f"; {row['misses_max']:.0f} in the worst round, {row['late_anyway']:.0f} of them because of the machine: the "
        f"core stood still for up to {row['longest_pause_ms']:.1f} ms, and {row['channel_full']:.0f} packets found the "
        "channel full"
    )


def _panel(rows: Sequence[Mapping[str, Any]]) -> Panel:
    """The misses of the streams by the length of their queues."""
    lines = []
    for style, variant in enumerate(SCHEDULES.values()):
        found = [row for row in rows if row["name"] == "streams" and row["variant"] == variant]
        lines.append(Line(variant, [row["queue"] for row in found], [row["misses"] for row in found], style))
    ticks = [(length, str(length)) for length in LENGTHS]
    return Panel("8 slow streams and a fast one", "packets in each queue, at most", "misses", ticks, lines)


def _alive_panel(rows: Sequence[Mapping[str, Any]]) -> Panel:
    """The time of a packet by the paths that there are."""
    found = [row for row in rows if row["name"] == "alive" and row["paths"]]
    counts, times = ([row[key] for row in found] for key in ("paths", "ns_per_packet"))
    ticks = [(count, f"{count:,}") for count in counts]
    return Panel("Packets of all paths in turn", "paths", "ns a packet", ticks, [Line("", counts, times, 0)])
