"""`scout bench path`: a path without I/O, against the same in C, on the same batches and tables.

The frames have 60 bytes and go to random destinations in 1,000 prefixes, 256 frames to a batch. They are in the cache,
as they are when the kernel has just received them. One core.

The C program looks up the route of a packet when it comes to it (`c`), or those of a group of packets ahead, as Scout
does (`c-ahead`).

The same path behind demux (`demux.py`) shows what it costs to find the path of each packet among others.

The same path for the packets of one prefix (`attributes.py`) shows what its attributes save.

Paths with more stages (`stages.py`) show what a stage costs among others: the path of 12 stages is compared with the
sum of its parts, which are the path of 6 stages and what each half of the others adds to it alone.
"""

import ctypes
from statistics import median
from typing import Any

import numpy as np

from scout.io.batch import BATCH_SIZE
from scout.paths.compiler.ahead import GROUP
from scout.paths.stages.filter import Filter
from scout.tools.bench.attributes import attribute_benches
from scout.tools.bench.baselines import compile_c
from scout.tools.bench.demux import BASELINES, demux_benches
from scout.tools.bench.path_router import FRAME_BYTES, ROUTES, RUNS, Bench
from scout.tools.bench.rounds import interleaved, rounded, spread
from scout.tools.bench.stages import filters, no_telnet
from scout.tools.report import Report

__all__ = ["run"]

_USER_STAGE, _AHEAD = "-DUSER_STAGE", f"-DAHEAD={GROUP}"
_C = {
    "c": (),
    "c-user-stage": (_USER_STAGE,),
    "c-ahead": (_AHEAD,),
    "c-ahead-user-stage": (_AHEAD, _USER_STAGE),
}
"""The baselines in C, and how each is compiled: with the user's stage, and with lookups ahead as Scout does them."""


def run(rounds: int, brief: bool, json_path: str | None) -> None:
    """Measure, print a table, write the figures; `brief`: without the path of 12 stages, which compiles longer."""
    report = Report("bench path", json_path)
    benches = {"scout": Bench(()), "scout-user-stage": Bench((Filter("no_telnet", no_telnet),))}
    if not brief:
        six = filters()
        benches["scout-first-half"] = Bench(six[:3])
        benches["scout-other-half"] = Bench(six[3:])
        benches["scout-12-stages"] = Bench(filters())
    benches |= {**attribute_benches(), **demux_benches()}
    contenders = {name: bench.scout() for name, bench in benches.items()}
    counters = {}
    for name, flags in _C.items():
        library = compile_c("main_line.c", "-shared", "-fPIC", *flags)
        if library:
            counters[name] = np.zeros(16, np.int64)
            contenders[name] = benches["scout"].c(ctypes.CDLL(str(library)).path, counters[name])
    for contender in contenders.values():
        contender()
    figures = interleaved(list(contenders.values()), rounds, "path")
    rows: dict[str, dict[str, Any]] = {
        name: {"name": name, **spread(figure, "ns_per_packet")}
        for name, figure in zip(contenders, figures, strict=True)
    }
    laps = BATCH_SIZE * (rounds + 1)
    done = {name: (bench.runs * laps, bench.forwarded) for name, bench in benches.items()}
    done |= {name: (RUNS * laps, int(each[0])) for name, each in counters.items()}
    for name, (expected, forwarded) in done.items():
        if forwarded != expected:
            raise RuntimeError(f"of {expected} packets {name} forwarded {forwarded}")
    by_name = dict(zip(contenders, figures, strict=True))

    def ratio(name: str, other: str) -> float:
        """The median of the ratios of each round: what disturbs the machine for long disturbs both."""
        return rounded(median(one / two for one, two in zip(by_name[name], by_name[other], strict=True)))

    if counters:
        for stage in ("", "-user-stage"):
            for baseline in ("c", "c-ahead"):
                key = f"ratio_to_{baseline.replace('-', '_')}"
                rows[f"scout{stage}"][key] = ratio(f"scout{stage}", f"{baseline}{stage}")
    for name in ("attributes-destination", "attributes"):
        rows[name]["ratio_to_one_prefix"] = ratio(name, "one-prefix")
    for name, baseline in BASELINES.items():
        added = (one - other for one, other in zip(by_name[name], by_name[baseline], strict=True))
        rows[name]["added_ns_per_packet"] = rounded(median(added))
    if not brief:
        whole, first, other, none = (
            rows[name]["ns_per_packet_median"]
            for name in ("scout-12-stages", "scout-first-half", "scout-other-half", "scout")
        )
        rows["scout-12-stages"]["ratio_to_parts"] = rounded(whole / (first + other - none))
    keys = dict.fromkeys(key for row in rows.values() for key in row)
    report.show([{key: row.get(key, "") for key in keys} for row in rows.values()])
    if not counters:
        report.say("no C compiler was found, so C is left out")
    report.write({"rounds": rounds, "routes": ROUTES, "frame_bytes": FRAME_BYTES, "cores": 1}, list(rows.values()))
