"""`scout bench services`: the services that Scout ships, in their four modes, with work worth splitting and without.

The input is a trace of one flow (the favourable case), or of 256 flows of which one sends 90 % of the packets. Each
service is measured in two ways (`scout.tools.bench.service_trials`):

- `drain`: all requests are published beforehand. The figure is the rate at which the replicas drain the channel.
- `mlffr`: a generator offers packets at a rate, which costs it 2 to 4 % of a core. The figure is the highest rate at
  which at most 4 % are lost (RFC 2544 section 26.1, with the loss of State-Compute Replication, NSDI 2025).

`speedup` is the rate over that of one replica, in mode `sharded` where the service allows that: it does the same work
without sharing anything. `bound` is the highest speed-up that can be expected. In every mode it is that of the machine:
what independent processes on all cores reach together, each with an input of its own (mode `independent`). Two cores
that share a cache, memory or a hyper-thread are not twice one core. Replicated work has the bound of the model besides,
(R + P) / (R + P / cores), and the smaller one counts. R is measured: the time that a replica takes for a request of
which another replica is the primary. Rates and ratios are medians over the rounds; a ratio is one of the same round.

By default two services with one kind of work are measured, in under 3 minutes; `--service all --work all` measures
everything.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from scout.io.host.process import usable_cores
from scout.ring.errors import ScoutError
from scout.tools.bench.priority import preferred
from scout.tools.bench.projection import ideal_speedup
from scout.tools.bench.rounds import interleaved, spread
from scout.tools.bench.service_trials import (
    ENTRIES,
    INDEPENDENT,
    LOSS,
    MODES,
    SECONDS,
    SERVICES,
    Case,
    Figures,
    Trial,
    allows,
)
from scout.tools.bench.traces import TRACES
from scout.tools.bench.work import WORKS
from scout.tools.drawing.plot import Line, Panel, plot
from scout.tools.report import Report

__all__ = ["MEASURES", "Group", "run"]

DEFAULT_SERVICES, DEFAULT_WORKS = ("heavy_hitter", "conntrack"), ("aes-gcm",)
MEASURES = ("drain", "mlffr")
"""The fields of `Figures` that are rates."""


def _cases(service: str, work: str, trace: str, cores: int) -> Iterator[Case]:
    """One core, independent processes, and all modes: the first two are what the others are compared with."""
    yield Case(service, "sharded" if allows(service, "sharded") else "replicated", trace, work, 1)
    if cores > 1:
        for mode in (INDEPENDENT, *MODES):
            if mode == INDEPENDENT or allows(service, mode):
                yield Case(service, mode, trace, work, cores)


class Group:
    """The cases of one service, with one kind of work, under one trace, and their figures of all rounds."""

    def __init__(self, measured: dict[Case, list[Figures]]) -> None:
        self._measured = measured
        self._alone = next(figures for case, figures in measured.items() if case.replicas == 1)
        self._independent = next((f for case, f in measured.items() if case.mode == INDEPENDENT), self._alone)

    def _speedup(self, figures: Sequence[Figures], measure: str) -> float:
        return median(getattr(f, measure) / getattr(a, measure) for f, a in zip(figures, self._alone, strict=True))

    @property
    def machine(self) -> float:
        """The machine's bound."""
        return self._speedup(self._independent, "drain")

    def model(self, case: Case) -> float:
        """The bound of the model for replicated work."""
        bounds = []
        for alone, figures in zip(self._alone, self._measured[case], strict=True):
            replicated, whole = figures.follow_ns, 1e9 / alone.drain
            bounds.append(ideal_speedup((whole - replicated) / replicated, case.replicas))
        return median(bounds)

    def follow_ns(self, case: Case) -> float:
        """The time of a request in a replica that is not its primary."""
        return median(figures.follow_ns for figures in self._measured[case])

    def bound(self, case: Case) -> float:
        """The highest speed-up that can be expected of a case."""
        if case.replicas == 1:
            return 1.0
        return min(self.machine, self.model(case)) if case.mode == "replicated" else self.machine

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each case and measure."""
        for case, figures in self._measured.items():
            for measure in MEASURES:
                rates = [getattr(each, measure) for each in figures]
                if all(rates):
                    yield {
                        "name": case.name,
                        "mode": case.mode,
                        "trace": case.trace,
                        "work": case.work,
                        "replicas": case.replicas,
                        "measure": measure,
                        **spread(rates, f"{measure}_pps"),
                        "speedup": round(self._speedup(figures, measure), 3),
                        "bound": round(self.bound(case), 3),
                    }

    def sentences(self) -> Iterator[str]:
        """The bounds, and how near to them replicated work comes."""
        for case in self._measured:
            if case.mode == "replicated" and case.replicas > 1:
                share = self._speedup(self._measured[case], "drain") / self.bound(case)
                yield (
                    f"{case.name}, {case.trace}, {case.work}: {case.replicas} independent processes reach "
                    f"{self.machine:.2f} times one; the model's bound is {self.model(case):.2f} (the replicated part "
                    f"takes {self.follow_ns(case):.0f} ns); drained, replicated work reaches {share:.2f} of the smaller"
                )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of the table, short enough for a terminal."""
    measure = row["measure"]
    rates = {f"kpps {name}": round(row[f"{measure}_pps_{name}"] / 1e3) for name in ("min", "median", "max")}
    same = {key: row[key] for key in ("name", "mode", "trace", "work", "replicas", "measure")}
    return same | rates | {key: row[key] for key in ("speedup", "bound")}


def _panel(rows: Sequence[dict[str, Any]], trace: str, work: str, measure: str, services: Sequence[str]) -> Panel:
    """The speed-up of every service in every mode."""
    places = {service: 2**index for index, service in enumerate(services)}
    lines = []
    for style, mode in enumerate((*MODES, INDEPENDENT)):
        own = [
            row
            for row in rows
            if (row["mode"], row["trace"], row["work"], row["measure"]) == (mode, trace, work, measure)
            and row["replicas"] > 1
        ]
        if own:
            xs, ys = [places[row["name"]] for row in own], [row["speedup"] for row in own]
            lines.append(Line(mode, xs, ys, style, thin=mode == INDEPENDENT, joined=False))
    ticks = [(place, service.replace("_", "\n")) for service, place in places.items()]
    return Panel(f"{work}, {trace} trace: {measure}", "", "speed-up over one core", ticks, lines)


def _chosen(option: str, given: Sequence[str], known: Iterable[str], default: Iterable[str]) -> list[str]:
    """The names that an option gave, or the default; "all" stands for all known names."""
    known = list(known)
    for name in given:
        if name != "all" and name not in known:
            raise ScoutError(f"--{option} {name}: use some of {', '.join(known)}, or all")
    return known if "all" in given else list(given or default)


def run(
    rounds: int,
    services: Sequence[str],
    works: Sequence[str],
    traces: Sequence[str],
    picture: str | None,
    json_path: str | None,
) -> None:
    """Measure, print a table, plot, write the figures.

    Parameters
    ----------
    rounds : int
        How often each service is measured in each mode.
    services, works, traces : sequence of str
        Names out of `SERVICES`, `WORKS` and `TRACES`, or "all"; empty for the default.
    picture : str or None
        Where to plot the speed-ups, as SVG and PNG.
    json_path : str or None
        Where to write the figures.
    """
    report = Report("bench services", json_path)
    services = _chosen("service", services, SERVICES, DEFAULT_SERVICES)
    works = _chosen("work", works, WORKS, DEFAULT_WORKS)
    traces = _chosen("trace", traces, TRACES, TRACES)
    cores = len(usable_cores())
    groups = [list(_cases(*names, cores)) for names in itertools.product(services, works, traces)]
    cases = [case for group in groups for case in group]
    with preferred():
        figures = interleaved([Trial(case).measure for case in cases], rounds, "services")
    measured = dict(zip(cases, figures, strict=True))
    results = [Group({case: measured[case] for case in group}) for group in groups]
    rows = [row for result in results for row in result.rows()]
    report.show([_shown(row) for row in rows])
    report.say(*(sentence for result in results for sentence in result.sentences()))
    if cores == 1:
        report.say("one core only: there is nothing to split work among")
    elif picture:
        panels = [_panel(rows, *names, services) for names in itertools.product(traces, works, MEASURES)]
        files = plot(picture, f"Services on {cores} cores: their rate over that of one core", panels)
        report.say(f"plotted: {files[0]}, {files[1]}")
    parameters = {"rounds": rounds, "cores": cores, "loss": LOSS, "seconds": SECONDS, "entries": ENTRIES}
    report.write(parameters, rows)
