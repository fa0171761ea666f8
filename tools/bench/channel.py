"""`scout bench channel`: how fast replicas dequeue, by election and number of replicas; the paper's Figure 2.

Every core has a replica. In the load `prefilled`, all replicas drain a ring that was filled before the measurement. In
the load `streaming`, producers send while replicas dequeue; where there is no core for a producer, cores are shared,
and the row says so. The same ring in C works on the same memory, in the same processes. `paper` is the paper's own
scheme in C: a count for every entry, nothing else.

Descriptors are entries of 64 bytes, header and all, of which one word is read; packets of 1500 bytes are read whole.
The prefilled rings (64 and 50 MB) are meant to be larger than the caches.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from scout.io.host.process import usable_cores as cores
from scout.ring.channel import Channel
from scout.ring.layout import HEADER
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import address, shared
from scout.tools.bench.baselines import compile_c
from scout.tools.bench.channel_loops import drain, feed, touch
from scout.tools.bench.crew import Timed, Worker, together, undisturbed
from scout.tools.bench.projection import ChannelModel, fit_channel
from scout.tools.bench.rounds import interleaved, spread
from scout.tools.drawing.plot import Line, Panel, plot
from scout.tools.report import Report

__all__ = ["run"]

DESCRIPTOR, PACKET = 64, 1_500
PROJECTED = (8, 16, 64)
_BURST = 32  # requests that a streaming producer publishes at a time
_POLICIES = ("claim", "refcount", "modulo")
_STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, MOST_REPLICAS)


class Size(NamedTuple):
    """How requests of one size are measured."""

    payload: int  # bytes that a channel's payload has
    words: int  # 8-byte words that a replica reads
    prefilled: int  # entries of the ring that is filled before the measurement
    streaming: int  # entries of the ring that a producer fills during it
    streamed: int  # requests that it sends


SIZES = {
    DESCRIPTOR: Size(DESCRIPTOR - HEADER, 1, 1 << 20, 1 << 12, 1 << 20),
    PACKET: Size(PACKET, -(-PACKET // 8), 1 << 15, 1 << 10, 1 << 16),
}


@dataclass(frozen=True)
class Case:
    """The case that one row measures."""

    name: str
    load: str
    policy: str
    batch: int
    producers: int
    replicas: int
    entry_bytes: int

    @property
    def cores_shared(self) -> bool:
        """True if there are more processes than cores."""
        streaming = self.producers if self.load == "streaming" else 0
        return streaming + self.replicas > len(cores())


class _Rates(NamedTuple):
    """Million entries a second that each replica dequeued, and all of them."""

    replica: float
    total: float


class _C:
    """The loops of `baselines/ring.c`, called like those of `channel_loops`."""

    def __init__(self, library: ctypes.CDLL, drain_name: str) -> None:
        self._drain, self._feed = getattr(library, drain_name), library.feed
        self._drain.argtypes, self._drain.restype = [ctypes.c_int64] * 5, ctypes.c_int64
        self._feed.argtypes, self._feed.restype = [ctypes.c_int64] * 7, None

    def drain(self, channels: np.ndarray, members: np.ndarray, *arguments: int) -> int:
        return int(self._drain(address(channels), address(members), *arguments))

    def feed(self, channels: np.ndarray, *arguments: int) -> None:
        self._feed(address(channels), *arguments)


class _Scout:
    drain, feed = staticmethod(drain), staticmethod(feed)


class _Bench:
    """Measures cases; `shorter` divides the numbers of requests (for tests)."""

    def __init__(self, shorter: int) -> None:
        self._shorter = shorter
        self._source = np.arange(-(-PACKET // 8) + 1, dtype=np.int64)
        self.loops: dict[str, Any] = {"scout": _Scout}
        library = compile_c("ring.c", "-shared", "-fPIC")
        if library:
            loaded = ctypes.CDLL(str(library))
            self.loops |= {"c": _C(loaded, "drain"), "paper": _C(loaded, "drain_paper")}

    def measure(self, case: Case) -> _Rates:
        size = SIZES[case.entry_bytes]
        if case.load == "prefilled":
            requests = size.prefilled // self._shorter
            timed = undisturbed(partial(self._prefilled, case, size, requests))
        else:
            requests = size.streamed // self._shorter // case.producers * case.producers
            streamed = partial(self._streaming, case, size, requests)
            timed = streamed() if case.cores_shared else undisturbed(streamed)
        replicas = timed[: case.replicas]
        wall = max(worker.end for worker in replicas) - min(worker.start for worker in replicas)
        each = sum(requests / worker.ns for worker in replicas) / case.replicas
        return _Rates(1e3 * each, 1e3 * requests * case.replicas / wall)

    def _prefilled(self, case: Case, size: Size, requests: int) -> list[Timed]:
        channel = self._channel(case, size, requests)
        feed(channel.record, -1, 0, requests, requests, address(self._source), size.payload)
        return self._run(case, size, channel, requests, [])

    def _streaming(self, case: Case, size: Size, requests: int) -> list[Timed]:
        channel = self._channel(case, size, min(size.streaming, requests))
        share = requests // case.producers
        send = self.loops[case.name].feed

        def producer(number: int) -> Worker:
            turn, first = number if case.producers > 1 else -1, number * share
            given = (_BURST, address(self._source), size.payload)
            return self._worker(channel, lambda count: send(channel.record, turn, first, count, *given), share)

        return self._run(case, size, channel, requests, [producer(number) for number in range(case.producers)])

    def _run(self, case: Case, size: Size, channel: Channel, requests: int, producers: list[Worker]) -> list[Timed]:
        """Have the replicas drain `requests`, while the producers work; checks that none was lost or had no primary."""
        sums = shared(case.replicas, np.int64)
        receive = self.loops["paper" if case.policy == "paper" else case.name].drain

        def replica(number: int) -> Worker:
            def work(count: int) -> None:
                sums[number] = receive(channel.record, channel.members, number, count, size.words)

            return self._worker(channel, work, requests)

        timed = together([*(replica(number) for number in range(case.replicas)), *producers])
        expected = requests * (requests - 1) // 2 + requests * int(self._source[1 : size.words].sum())
        primaries = int(channel.members["claimed"].sum())
        if any(int(total) != expected for total in sums) or primaries != requests:
            raise RuntimeError(f"{case}: of {requests} requests {primaries} had a primary; sums {sums}, not {expected}")
        return timed

    def _channel(self, case: Case, size: Size, entries: int) -> Channel:
        policy = "refcount" if case.policy == "paper" else case.policy
        return Channel(entries, size.payload, case.replicas, policy, case.batch, producers=case.producers)

    @staticmethod
    def _worker(channel: Channel, work: Callable[[int], object], requests: int) -> Worker:
        ring, entries, stride = (int(channel.record[name][0]) for name in ("ring", "entries", "stride"))

        def prepare() -> None:
            touch(ring, entries * stride)
            work(0)  # the first call costs more

        return Worker(prepare, lambda: work(requests))


def _cases(names: Sequence[str], most: int, default: int) -> Iterator[Case]:
    """All cases with up to `most` cores; one after the other what is to be compared."""
    for entry_bytes in SIZES:
        for replicas in (step for step in _STEPS if step <= most):
            for policy in _POLICIES:
                for batch in (default, 1):
                    for name in names:
                        yield Case(name, "prefilled", policy, batch, 1, replicas, entry_bytes)
            if "c" in names:
                yield Case("c", "prefilled", "paper", 1, 1, replicas, entry_bytes)
        for producers in (1, 2):
            for replicas in sorted({1, max(1, most - producers)}):
                for policy, batch in (("claim", default), ("refcount", 1)):
                    for name in names:
                        yield Case(name, "streaming", policy, batch, producers, replicas, entry_bytes)


def _row(case: Case, figures: Sequence[_Rates], projected: bool) -> dict[str, Any]:
    return {
        **asdict(case),
        **spread([figure.replica for figure in figures], "mops_per_replica"),
        **spread([figure.total for figure in figures], "mops_total"),
        "cores_shared": case.cores_shared and not projected,
        "projected": projected,
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of the table, short enough for a terminal."""
    same = {key: row[key] for key in ("name", "load", "policy", "batch", "producers", "replicas")}
    if row["cores_shared"]:
        same["load"] += ", cores shared"
    figures = {
        "bytes": row["entry_bytes"],
        "each_mops": row["mops_per_replica_median"],
        "total_mops": row["mops_total_median"],
        "min": row["mops_total_min"],
        "max": row["mops_total_max"],
    }
    return same | figures | ({"ratio_to_c": row["ratio_to_c"]} if "ratio_to_c" in row else {})


def _models(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int, int], ChannelModel]:
    """Of each policy, batch and size of entries, prefilled, in Scout."""
    points: dict[tuple[str, int, int], list[tuple[int, float]]] = {}
    for row in rows:
        if row["name"] == "scout" and row["load"] == "prefilled":
            key = (row["policy"], row["batch"], row["entry_bytes"])
            points.setdefault(key, []).append((row["replicas"], 1e3 / row["mops_per_replica_median"]))
    return {key: fit_channel(*zip(*found, strict=True)) for key, found in points.items() if len(found) > 1}


def _projections(models: dict[tuple[str, int, int], ChannelModel], most: int) -> list[dict[str, Any]]:
    rows = []
    for (policy, batch, entry_bytes), model in models.items():
        case = Case("scout", "prefilled", policy, batch, 1, 1, entry_bytes)
        for replicas in (number for number in PROJECTED if number > most):
            rate = 1e3 / model.ns(replicas)
            rows.append(_row(replace(case, replicas=replicas), [_Rates(rate, rate * replicas)], projected=True))
    return rows


def _panels(rows: Sequence[dict[str, Any]], default: int) -> list[Panel]:
    """All replicas together and each of them, as in the paper, for descriptors and for packets."""
    kinds = {
        f"claim, batches of {default} (the default)": ("scout", "claim", default),
        f"claim, batches of {default}, in C": ("c", "claim", default),
        f"modulo, batches of {default}": ("scout", "modulo", default),
        "claim, one by one": ("scout", "claim", 1),
        "refcount, one by one (the paper's scheme)": ("scout", "refcount", 1),
        "the paper's scheme in C, without signatures": ("c", "paper", 1),
    }
    units = {"all together": "mops_total_median", "each": "mops_per_replica_median"}
    ticks = [(number, str(number)) for number in sorted({row["replicas"] for row in rows})]
    panels = []
    for entry_bytes, what in ((DESCRIPTOR, "64-byte descriptors"), (PACKET, "1500-byte packets, read whole")):
        for who, unit in units.items():
            lines = []
            for style, (label, kind) in enumerate(kinds.items()):
                wanted = (*kind, entry_bytes, "prefilled")
                keys = ("name", "policy", "batch", "entry_bytes", "load")
                chosen = [row for row in rows if wanted == tuple(row[key] for key in keys)]
                measured = [row for row in chosen if not row["projected"]]
                projected = measured[-1:] + [row for row in chosen if row["projected"]]
                for some, dashed in ((measured, False), (projected, True)):
                    if len(some) > dashed:
                        xs, ys = [row["replicas"] for row in some], [row[unit] for row in some]
                        lines.append(Line("" if dashed else label, xs, ys, style, dashed))
            note = "dashed: projected by a model, not measured"
            axes = ("replicas, one on each core", "million entries a second")
            panels.append(Panel(f"{what}: {who}", *axes, ticks, lines, note, base=2))
    return panels


def _verdicts(rows: Sequence[dict[str, Any]], default: int) -> Iterator[str]:
    """The conclusions from the figures, in sentences."""

    def total(name: str, policy: str, batch: int, replicas: int) -> float:
        wanted = (name, policy, batch, replicas, DESCRIPTOR, "prefilled")
        keys = ("name", "policy", "batch", "replicas", "entry_bytes", "load")
        return next((float(row["mops_total_median"]) for row in rows if wanted == tuple(row[k] for k in keys)), 0.0)

    most = max(row["replicas"] for row in rows if not row["projected"] and row["load"] == "prefilled")
    for replicas in sorted({1, most}):
        which = f"claim, batches of {default}, {replicas} replica{'s' if replicas > 1 else ''}"
        ours, c = (total(name, "claim", default, replicas) for name in ("scout", "c"))
        if c:
            yield f"{which}: {ours / c:.2f} of the same ring in C"
        paper, scheme = total("scout", "refcount", 1, replicas), total("c", "paper", 1, replicas)
        literal = f", {ours / scheme:.1f} times the paper's count in C" if scheme else ""
        yield f"{which}: {ours / paper:.1f} times refcount one by one{literal}"


def _compare(rows: Sequence[dict[str, Any]]) -> None:
    """Add `ratio_to_c`: how many times as long an entry takes as in C, in the same case."""
    keys = [field.name for field in fields(Case) if field.name != "name"]
    in_c = {tuple(row[key] for key in keys): row["mops_total_median"] for row in rows if row["name"] == "c"}
    for row in rows:
        row["ratio_to_c"] = round(in_c[tuple(row[key] for key in keys)] / row["mops_total_median"], 3)


def run(rounds: int, json_path: str | None, picture: str | None, shorter: int = 1, most: int | None = None) -> None:
    """Measure, print a table, plot, write the figures.

    Parameters
    ----------
    rounds : int
        How often each case is measured.
    json_path : str or None
        Where to write the figures.
    picture : str or None
        Where to plot them as SVG and PNG.
    shorter : int
        A power of two by which the numbers of requests are divided.
    most : int, optional
        At most so many cores; all by default.
    """
    report = Report("bench channel", json_path)
    most = min(most or len(cores()), len(cores()), MOST_REPLICAS)
    bench = _Bench(shorter)
    default = int(Channel(1 << 12, 8, 1).record["batch"][0])
    cases = list(_cases([name for name in bench.loops if name != "paper"], most, default))
    measured = interleaved([partial(bench.measure, case) for case in cases], rounds, "channel")
    rows = [_row(case, figures, projected=False) for case, figures in zip(cases, measured, strict=True)]
    if "c" in bench.loops:
        _compare(rows)
    else:
        report.say("no C compiler was found, so C is left out")
    report.show([_shown(row) for row in rows])
    models = _models(rows)
    rows += _projections(models, most)
    report.say(*_verdicts(rows, default))
    if picture:
        files = plot(picture, "Dequeuing from a replicated channel", _panels(rows, default))
        report.say(f"plotted: {files[0]}, {files[1]}")
    fits = {
        f"{policy}, batch {batch}, {entry_bytes} bytes": {
            "alone_ns": round(model.alone, 2),
            "other_ns": round(model.other, 3),
            "error": round(model.error, 4),
        }
        for (policy, batch, entry_bytes), model in models.items()
    }
    parameters = {"rounds": rounds, "cores": most, "shorter": shorter, "default_batch": default, "model": fits}
    report.write(parameters, rows)
