"""`scout bench replication`: replicated work against a lock and atomic instructions; the paper's Figure 1(b).

The paper's synthetic service: each request makes `--updates` updates of shared state, and `ratio` times as many of a
core's own memory (`scout.tools.bench.synthetic`). All modes take their requests from the same kind of channel: policy
`claim`, filled before the measurement, as every core has a replica. With the lock and with atomics only the primary
works: the requests are divided among the cores. `speedup` is requests a second over those of the same mode on one
core, `speedup_to_plain` over those of a plain loop without a channel. `ideal` is (R + P) / (R + P / cores).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from scout.io.host.process import usable_cores as cores
from scout.ring.channel import Channel
from scout.ring.errors import ScoutError
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import LINE, address, shared
from scout.tools.bench.channel_loops import feed, touch
from scout.tools.bench.crew import Timed, Worker, together, undisturbed
from scout.tools.bench.projection import Sample, ServiceModel, fit_service, ideal_speedup
from scout.tools.bench.rounds import interleaved, spread
from scout.tools.bench.synthetic import (
    ATOMIC,
    LOCKED,
    PRIVATE_WORDS,
    REPLICATED,
    STATE_WORDS,
    WORK,
    sequential,
    serve,
)
from scout.tools.drawing.plot import Line, Panel, plot
from scout.tools.report import Report

__all__ = ["run"]

RATIOS = (100, 50, 20, 10, 5, 2, 1)
PROJECTED = (8, 16, 64)
UPDATES = 20
"""Shared updates of a request by default. At 10:1 they take some 60 ns of replicated work and 600 ns of divided work,
like the header and the encryption of a packet; the channel costs 2 ns a request."""
_MODES = {"replicated": REPLICATED, "locked": LOCKED, "atomic": ATOMIC}
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, MOST_REPLICAS)
_UPDATES_A_RUN = 8_000_000  # 10 to 70 ms on one core
_FEWEST, _MOST = 1 << 14, 1 << 17  # requests; with fewer, the last batch would weigh too much


@dataclass(frozen=True)
class Case:
    """The case that one row measures."""

    name: str
    ratio: int
    cores: int


class _Bench:
    def __init__(self, updates: int, shorter: int) -> None:
        self._updates, self._shorter = updates, shorter
        self._zeros = np.zeros(1, np.int64)

    def requests(self, ratio: int) -> int:
        """How many requests a measurement has: a power of two, about equal times for all ratios."""
        fitting = _UPDATES_A_RUN // (self._updates * (1 + ratio))
        return max(1, min(_MOST, max(_FEWEST, 1 << fitting.bit_length())) // self._shorter)

    def measure(self, case: Case) -> float:
        """Nanoseconds from one request to the next."""
        requests = self.requests(case.ratio)
        timed = undisturbed(partial(self._run, case, requests))
        return (max(worker.end for worker in timed) - min(worker.start for worker in timed)) / requests

    def _run(self, case: Case, requests: int) -> list[Timed]:
        works, states = self._works(case)
        if case.name == "sequential":
            return together([Worker(lambda: sequential(works, 0), lambda: sequential(works, requests))])
        channel = Channel(requests, 8, case.cores)
        feed(channel.record, -1, 0, requests, requests, address(self._zeros), 8)
        ring, stride = (int(channel.record[name][0]) for name in ("ring", "stride"))

        def replica(number: int) -> Worker:
            def prepare() -> None:
                touch(ring, requests * stride)
                serve(channel.record, channel.members, number, works, 0)

            return Worker(prepare, lambda: serve(channel.record, channel.members, number, works, requests))

        timed = together([replica(number) for number in range(case.cores)])
        if int(works["primary"].sum()) != requests or (case.name == "replicated" and (states != states[0]).any()):
            raise RuntimeError(f"{case}: primaries {works['primary']} of {requests} requests, or states that differ")
        return timed

    def _works(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """The work of each replica, and the states: one each, or one for all."""
        own = case.name in ("replicated", "sequential")
        works, states = shared(case.cores, WORK), shared((case.cores if own else 1, STATE_WORDS), np.int64)
        private = shared((case.cores, PRIVATE_WORDS), np.int64)
        lock = shared(LINE // 8, np.int64)
        works["mode"] = _MODES.get(case.name, REPLICATED)
        works["shared_updates"], works["private_updates"] = self._updates, case.ratio * self._updates
        works["lock"] = address(lock)
        for number in range(case.cores):
            works["state"][number] = address(states[number if own else 0])
            works["private"][number] = address(private[number])
        self._kept = (states, private, lock)  # as long as the workers need them
        return works, states


def _cases(most: int) -> Iterator[Case]:
    for ratio in RATIOS:
        yield Case("sequential", ratio, 1)
        for number in (step for step in _STEPS if step <= most):
            for name in _MODES:
                yield Case(name, ratio, number)


def _rows(measured: Mapping[Case, Sequence[float]]) -> list[dict[str, Any]]:
    """One row for each measured case; `measured` has its nanoseconds for each request, one figure a round."""
    rates = {case: 1e9 / median(figures) for case, figures in measured.items()}
    rows = []
    for case, figures in measured.items():
        alone, plain = (rates[Case(name, case.ratio, 1)] for name in (case.name, "sequential"))
        rows.append(
            {
                **asdict(case),
                **spread([1e9 / ns for ns in figures], "requests_per_s"),
                "speedup": round(rates[case] / alone, 3),
                "speedup_to_plain": round(rates[case] / plain, 3),
                "ideal": round(ideal_speedup(case.ratio, case.cores), 3),
                "projected": False,
            }
        )
    return rows


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of the table, short enough for a terminal."""
    rates = {f"kreq/s {name}": round(row[f"requests_per_s_{name}"] / 1e3) for name in ("min", "median", "max")}
    same = {key: row[key] for key in ("name", "ratio", "cores")}
    return same | rates | {key: row[key] for key in ("speedup", "speedup_to_plain", "ideal")}


def _model(measured: Mapping[Case, Sequence[float]], updates: int) -> ServiceModel:
    samples = [
        Sample(case.name, case.ratio * updates, updates, case.cores, median(figures))
        for case, figures in measured.items()
    ]
    return fit_service(samples, STATE_WORDS * 8 // LINE)


def _projections(model: ServiceModel, updates: int, most: int) -> list[dict[str, Any]]:
    """Rows that the model gives for more cores than the machine has."""

    def rate(name: str, ratio: int, number: int) -> float:
        return 1e9 / model.ns(name, ratio * updates, updates, number)

    rows = []
    for ratio in RATIOS:
        for number in (some for some in PROJECTED if some > most):
            for name in _MODES if most > 1 else ("replicated",):
                rows.append(
                    {
                        **asdict(Case(name, ratio, number)),
                        "requests_per_s_median": round(rate(name, ratio, number)),
                        "speedup": round(rate(name, ratio, number) / rate(name, ratio, 1), 3),
                        "speedup_to_plain": round(rate(name, ratio, number) / rate("sequential", ratio, 1), 3),
                        "ideal": round(ideal_speedup(ratio, number), 3),
                        "projected": True,
                    }
                )
    return rows


def _lost(rows: Sequence[dict[str, Any]], number: int) -> list[int]:
    """The ratios at which a lock or atomics serve more requests than replicated work, on so many cores."""
    rates = {(row["name"], row["ratio"]): row["requests_per_s_median"] for row in rows if row["cores"] == number}
    others = [name for name in _MODES if name != "replicated"]
    return [r for r in RATIOS if any(rates["replicated", r] < rates.get((name, r), 0) for name in others)]


def _share(rows: Sequence[dict[str, Any]], number: int) -> str:
    """The ratios at which replicated work loses on `number` cores, and its gain at the smallest ratio."""
    lost = ", ".join(f"{ratio}:1" for ratio in _lost(rows, number))
    least = next(row for row in rows if (row["name"], row["ratio"], row["cores"]) == ("replicated", RATIOS[-1], number))
    gain = f"at {RATIOS[-1]}:1 it gains but {least['speedup']:.2f} (limit: {1 + RATIOS[-1]})"
    return (f"replicated work loses at {lost}; " if lost else "replicated work leads; ") + gain


def _panels(rows: Sequence[dict[str, Any]], most: int, shown: int) -> list[Panel]:
    """The paper's figure at ratio `shown`, and the speed-up at all ratios on all cores."""
    scaling: list[Line] = []
    across: list[Line] = []
    for style, name in enumerate(_MODES):
        mine = [row for row in rows if row["name"] == name]
        at_ratio = [row for row in mine if row["ratio"] == shown]
        measured = [row for row in at_ratio if not row["projected"]]
        projected = measured[-1:] + [row for row in at_ratio if row["projected"]]
        for some, dashed in ((measured, False), (projected, True)):
            if len(some) > dashed:
                xs, ys = [row["cores"] for row in some], [row["speedup_to_plain"] for row in some]
                scaling.append(Line(f"{name}, projected" if dashed else name, xs, ys, style, dashed))
        here = [row for row in mine if row["cores"] == most and not row["projected"]]
        xs, ys = [row["ratio"] for row in here], [row["speedup_to_plain"] for row in here]
        across.append(Line(name, xs, ys, style))
    numbers = sorted({row["cores"] for row in rows})
    scaling.append(Line("ideal", numbers, [ideal_speedup(shown, number) for number in numbers], 6, thin=True))
    across.append(Line("ideal", RATIOS, [ideal_speedup(ratio, most) for ratio in RATIOS], 6, thin=True))
    title = f"{shown}:1 split to replicated work"
    dashes = f"up to {most} cores measured; dashed: projected by a model"
    return [
        Panel(title, "cores", "speed-up to a plain loop", [(n, str(n)) for n in numbers], scaling, dashes, base=2),
        Panel(
            f"{most} cores, measured",
            "private updates for each shared one",
            "speed-up to a plain loop",
            [(ratio, f"{ratio}:1") for ratio in RATIOS],
            across,
            _share(rows, most) if most > 1 else "",
        ),
    ]


def _verdicts(rows: Sequence[dict[str, Any]], most: int) -> Iterator[str]:
    """The conclusions from the figures, in sentences."""
    if most == 1:
        yield "one core: nothing to compare; only replicated work is projected"
        return
    row = next(row for row in rows if (row["name"], row["ratio"], row["cores"]) == ("replicated", 10, most))
    share = row["speedup"] / row["ideal"]
    yield f"10:1 on {most} cores: speed-up {row['speedup']:.2f}, {share:.2f} of the ideal {row['ideal']:.2f}"
    yield f"on {most} cores: {_share(rows, most)}"
    for number in sorted({row["cores"] for row in rows if row["projected"]}):
        yield f"projected to {number} cores: {_share(rows, number)}"


def run(
    rounds: int,
    json_path: str | None,
    picture: str | None,
    updates: int = UPDATES,
    shorter: int = 1,
    most: int | None = None,
) -> None:
    """Measure, print a table, plot, write the figures.

    Parameters
    ----------
    rounds : int
        How often each case is measured.
    json_path : str or None
        Where to write the figures.
    picture : str or None
        Where to plot them as SVG and PNG.
    updates : int
        Shared updates of a request.
    shorter : int
        A power of two by which the numbers of requests are divided.
    most : int, optional
        At most so many cores; all by default.
    """
    if updates < 1:
        raise ScoutError(f"--updates {updates}: give at least 1")
    report = Report("bench replication", json_path)
    most = min(most or len(cores()), len(cores()), MOST_REPLICAS)
    bench = _Bench(updates, shorter)
    cases = list(_cases(most))
    contenders = [partial(bench.measure, case) for case in cases]
    measured = dict(zip(cases, interleaved(contenders, rounds, "replication"), strict=True))
    rows = _rows(measured)
    report.show([_shown(row) for row in rows])
    model = _model(measured, updates)
    rows += _projections(model, updates, most)
    report.say(*_verdicts(rows, most))
    if picture:
        files = plot(picture, "Replicated work, a lock and atomic instructions", _panels(rows, most, 10))
        report.say(f"plotted: {files[0]}, {files[1]}")
    parameters = {
        "rounds": rounds,
        "cores": most,
        "shorter": shorter,
        "shared_updates": updates,
        "state_words": STATE_WORDS,
        "private_words": PRIVATE_WORDS,
        "model_ns": {key: round(value, 4) for key, value in asdict(model).items()},
    }
    report.write(parameters, rows)
