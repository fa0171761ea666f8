"""`scout bench tcp`: one TCP connection, on Scout with one core and more, and on the kernel.

*Replayed*: the segments of a peer lie in memory before the measurement, so the figures are those of the stack alone
(`scout.tools.bench.tcp_replay`). Receiving, the stack verifies the checksum of each segment of 1448 bytes and copies
its data to the reader's ring. Segments that follow one another become one request, and `requests` says how many a
segment becomes; of `receive-apart` none can be joined. Sending, each acknowledgement of two segments lets it send two
more, whose data are copied from the writer's ring to a transmit ring, with their checksum. Modes are replicated work
with 1 to all replicas; sharded, where each core has a stack, and one of them the connection; locked, where all replicas
share one state under a lock; and independent, where each core has a stack and a connection: so much the machine can do.

`speedup` is the rate over that of one core, sharded. `bound` is the highest speed-up that can be expected: that of
independent stacks, and for replicated work that of the model, (R + P) / (R + P / cores), if it is smaller. R is
measured: the time that a replica takes for a segment of which another one is the primary. It is the replicated header
work, and includes what the channels take. Rates and ratios are medians over the rounds; a ratio is one of the same
round.

*Live*: over a veth pair, with the kernel at the other end, and with the kernel at both ends
(`scout.tools.bench.tcp_live`). There `speedup` is the rate over that of one replica, and `of_kernel` that over the
kernel's. `slowest` is the slowest run as a share of the median, among runs in which the host had the cores placed
alike, as `handoff_ns` tells: a store's way from one core to another (`scout.tools.bench.placement`). It is measured
before and behind each transfer; transfers in which it changed are counted as `moved`, and left out of `slowest`. With
`--no-offloads` each segment is a packet of its own, with its checksum, at both ends of all links.

*Channels*: the requests of a connection that sends, in one channel and in two (`scout.tools.bench.tcp_channels`).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

from scout.io.host.lab import Lab
from scout.io.host.process import usable_cores
from scout.ring.errors import ScoutError
from scout.tools.bench.placement import has_moved, slowest_of_median
from scout.tools.bench.priority import preferred
from scout.tools.bench.projection import ideal_speedup
from scout.tools.bench.rounds import interleaved, rounded, spread
from scout.tools.bench.tcp_channels import compared
from scout.tools.bench.tcp_live import LiveFigures, LiveHost, contenders
from scout.tools.bench.tcp_replay import DIRECTIONS, LAPS, SECURED, SEGMENTS, WORKS, Case, Direction, Figures, Trial
from scout.tools.drawing.plot import Line, Panel, plot
from scout.tools.report import Report

__all__ = ["MEASURES", "WORKS", "Group", "run"]

MEASURES = ("replay", "channels", "live")
TRIPS = 1000


def _cases(work: str, cores: int) -> Iterator[Case]:
    """One core first: all others are compared with it."""
    yield Case("sharded", work, cores)
    for replicas in range(1, cores + 1):
        yield Case("replicated", work, replicas)
    if cores > 1:
        if work != SECURED:  # replicas look for records by state that only a lock would keep still
            yield Case("locked", work, cores)
        yield Case("independent", work, cores)


class Group:
    """The replays with one kind of work, and their figures of all rounds."""

    def __init__(self, measured: dict[Case, list[Figures]]) -> None:
        self._measured = measured
        self._alone = next(figures for case, figures in measured.items() if case.mode == "sharded")

    def _figures(self, case: Case, direction: str) -> list[Direction]:
        return [figures[direction] for figures in self._measured[case]]

    def _one(self, direction: str) -> list[Direction]:
        return [figures[direction] for figures in self._alone]

    def _directions(self) -> list[str]:
        return list(self._alone[0])

    def speedup(self, case: Case, direction: str) -> float:
        """The rate over that of one core."""
        pairs = zip(self._figures(case, direction), self._one(direction), strict=True)
        return median(each.gbps / one.gbps for each, one in pairs)

    def machine(self, direction: str) -> float:
        """The machine's bound: what stacks that share nothing reach."""
        each = next((case for case in self._measured if case.mode == "independent"), None)
        return self.speedup(each, direction) if each else 1.0

    def model(self, case: Case, direction: str) -> float:
        """The bound of the model for replicated work."""
        pairs = zip(self._figures(case, direction), self._one(direction), strict=True)
        ratios = [(max(one.ns - each.follow_ns, 0), each.follow_ns) for each, one in pairs]
        return median(ideal_speedup(work / replicated, case.replicas) for work, replicated in ratios)

    def bound(self, case: Case, direction: str) -> float:
        """The highest speed-up that can be expected of a case."""
        if case.mode == "sharded" or case.replicas == 1:
            return 1.0
        machine = self.machine(direction)
        return min(machine, self.model(case, direction)) if case.mode == "replicated" else machine

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each case and direction."""
        for direction in self._directions():
            for case in self._measured:
                figures = self._figures(case, direction)
                yield {
                    "name": "scout",
                    "mode": case.mode,
                    "direction": direction,
                    "work": case.work,
                    "replicas": case.replicas,
                    "live": False,
                    **spread([each.gbps for each in figures], "gbps"),
                    "speedup": round(self.speedup(case, direction), 3),
                    "bound": round(self.bound(case, direction), 3),
                    "ns": rounded(median(each.ns for each in figures)),
                    "header_ns": rounded(median(each.header_ns for each in figures)),
                    "follow_ns": rounded(median(each.follow_ns for each in figures)),
                    "requests": round(median(each.requests for each in figures), 3),
                    **spread([each.handoff_ns for each in figures], "handoff_ns"),
                }

    def sentences(self) -> Iterator[str]:
        """The measured split of work, and the bounds."""
        for direction in self._directions():
            what = "acknowledgement of two segments" if direction == "send" else "segment"
            one = self._one(direction)
            whole, header = (median(getattr(each, name) for each in one) for name in ("ns", "header_ns"))
            for case in self._measured:
                if case.mode == "replicated" and case.replicas > 1:
                    follow = median(each.follow_ns for each in self._figures(case, direction))
                    split = f"{whole - header:.0f} of per-byte work and {header:.0f} besides; " if header else ""
                    requests = median(each.requests for each in self._figures(case, direction))
                    yield (
                        f"{direction}, {case.work}: one core takes {whole:.0f} ns for each {what}, "
                        f"{split}{follow:.0f} are replicated, in {requests:.2f} requests. "
                        f"The model's bound is {self.model(case, direction):.2f}; {case.replicas} independent stacks "
                        f"reach {self.machine(direction):.2f}, replicated work {self.speedup(case, direction):.2f}."
                    )


def _live_rows(hosts: Sequence[LiveHost], figures: Sequence[Sequence[LiveFigures]]) -> Iterator[dict[str, Any]]:
    """Two rows for each contender, and one of its round trips."""
    kernel, one = figures[0], figures[1]
    for direction in DIRECTIONS:
        for host, own in zip(hosts, figures, strict=True):
            rates, kernels, ones = ([getattr(each, direction) for each in of] for of in (own, kernel, one))
            handoffs = [each.around(direction) for each in own]
            yield {
                **_who(host),
                "direction": direction,
                "work": "copy",
                "replicas": host.replicas,
                "live": True,
                **spread(rates, "gbps"),
                "speedup": round(median(map(_ratio, rates, ones)), 3) if host.replicas else None,
                "bound": None,
                "of_kernel": round(median(map(_ratio, rates, kernels)), 3),
                "slowest": None if (least := slowest_of_median(rates, handoffs)) is None else round(least, 3),
                "moved": sum(map(has_moved, handoffs)),
                **spread([before for before, _ in handoffs], "handoff_ns"),
            }


def _ratio(a: float, b: float) -> float:
    return a / b


def _trip_rows(hosts: Sequence[LiveHost], figures: Sequence[Sequence[LiveFigures]]) -> Iterator[dict[str, Any]]:
    for host, own in zip(hosts, figures, strict=True):
        low, high = (median(getattr(each, name) for each in own) for name in ("us_p50", "us_p99"))
        half = median(each.us_p50 / its.us_p50 for each, its in zip(own, figures[0], strict=True))
        yield {
            **_who(host),
            "direction": "round-trip",
            "replicas": host.replicas,
            "live": True,
            "us_p50": rounded(low),
            "us_p99": rounded(high),
            "of_kernel": round(half, 3),
        }


def _who(host: LiveHost) -> dict[str, str]:
    return {"name": "scout", "mode": "replicated"} if host.replicas else {"name": "kernel", "mode": "kernel"}


def _panels(rows: Sequence[dict[str, Any]]) -> list[Panel]:
    """The rates by number of cores, replayed and live."""
    panels = []
    for live in (False, True):
        for direction in dict.fromkeys(row["direction"] for row in rows if row["direction"] != "round-trip"):
            own = [row for row in rows if row["live"] is live and row["direction"] == direction]
            kinds = dict.fromkeys((row["mode"], row["work"]) for row in own)
            lines = []
            for style, (mode, work) in enumerate(kinds):
                points = [row for row in own if (row["mode"], row["work"]) == (mode, work)]
                xs, ys = [max(row["replicas"], 1) for row in points], [row["gbps_median"] for row in points]
                lines.append(Line(f"{mode}, {work}", xs, ys, style, thin=mode == "independent"))
            if lines:
                cores = sorted({x for line in lines for x in line.x})
                title = f"{'live' if live else 'replayed'}: {direction}"
                panels.append(Panel(title, "replicas", "Gbit/s", [(count, str(count)) for count in cores], lines))
    return panels


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of a table, short enough for a terminal."""
    return {
        key.replace("_median", ""): "" if value is None else value
        for key, value in row.items()
        if key not in ("live", "gbps_min", "gbps_max", "handoff_ns_min", "handoff_ns_max")
    }


def run(
    rounds: int,
    seconds: float,
    measures: Sequence[str],
    works: Sequence[str],
    offloads: bool,
    picture: str | None,
    json_path: str | None,
) -> None:
    """Measure, print tables, plot, write the figures.

    Parameters
    ----------
    rounds : int
        How often each contender is measured.
    seconds : float
        How long a live transfer lasts.
    measures, works : sequence of str
        Names out of `MEASURES` and `WORKS`; empty for all.
    offloads : bool
        Whether live links have segmentation, receive and checksum offload.
    picture : str or None
        Where to plot the rates, as SVG and PNG.
    json_path : str or None
        Where to write the figures.
    """
    report = Report("bench tcp", json_path)
    for option, given, known in (("measure", measures, MEASURES), ("work", works, WORKS)):
        for name in given:
            if name not in known:
                raise ScoutError(f"--{option} {name}: use some of {', '.join(known)}")
    cores = len(usable_cores())
    rows: list[dict[str, Any]] = []
    if not measures or "replay" in measures:
        for group in _replayed(works or WORKS, rounds, cores):
            shown = list(group.rows())
            report.show([_shown(row) for row in shown])
            report.say(*group.sentences())
            rows += shown
    if not measures or "channels" in measures:
        with preferred():
            shown = compared(rounds, sorted({1, cores}))
        report.show([_shown(row) for row in shown])
        rows += shown
    if not measures or "live" in measures:
        hosts, figures = _live(rounds, seconds, offloads, sorted({1, cores}))
        rates, trips = list(_live_rows(hosts, figures)), list(_trip_rows(hosts, figures))
        report.show([_shown(row) for row in rates])
        report.show([_shown(row) for row in trips])
        rows += rates + trips
    if picture:
        files = plot(picture, f"One TCP connection on {cores} cores", _panels(rows))
        report.say(f"plotted: {files[0]}, {files[1]}")
    parameters = {"rounds": rounds, "seconds": seconds, "cores": cores, "segments": SEGMENTS, "laps": LAPS}
    parameters["offloads"] = offloads
    report.write(parameters, rows)


def _replayed(works: Sequence[str], rounds: int, cores: int) -> list[Group]:
    cases = [case for work in works for case in _cases(work, cores)]
    with preferred():
        figures = interleaved([Trial(case).measure for case in cases], rounds, "replays")
    measured = dict(zip(cases, figures, strict=True))
    return [Group({case: own for case, own in measured.items() if case.work == work}) for work in works]


def _live(
    rounds: int, seconds: float, offloads: bool, replicas: list[int]
) -> tuple[list[LiveHost], list[list[LiveFigures]]]:
    with ExitStack() as stack:
        hosts = contenders(stack, stack.enter_context(Lab("bench")), replicas, offloads)
        measures = [partial(host.measure, seconds, TRIPS) for host in hosts]
        return hosts, interleaved(measures, rounds, "live")
