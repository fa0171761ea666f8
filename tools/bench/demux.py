"""The path of `scout bench path` behind demux: what it costs to find the path of each packet among others.

A packet's path is found as in a domain's loop, by the addresses, the protocol and the L4 ports of its flow.

- `demux-1-path`: the port has one path, and might get more.
- `demux-2-paths`: one flow has a path of its own.
- `demux-10000-paths`: 10,000 flows have; the packets of a batch belong to 256 of them, again and again.
- `demux-10000-paths-in-turn`: packets of all flows come in turn, so that neither packets nor patterns stay in the
  nearest caches. `packets-in-turn` are the same packets without demux.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

import numba
import numpy as np
from numba.core import types

from scout.domain_demux import demux_functions, find_source, grouped
from scout.io.batch import BATCH_SIZE
from scout.io.packet import NO_PATH
from scout.paths.compiler.context import ENTRY
from scout.paths.compiler.generated import load_generated
from scout.paths.compiler.native import BATCH, CompiledPath, Work, compile_path
from scout.paths.demux.find import ENTRY as PATTERN
from scout.paths.demux.find import KIND, NO_SHAPE, PATH, PORT
from scout.paths.demux.pattern import patterns, rank
from scout.paths.demux.table import DemuxTable
from scout.paths.demux.walk import fields_of, steps
from scout.paths.model.attributes import Attributes
from scout.paths.model.path import Path
from scout.ring.linked import caller
from scout.tools.bench.path_router import RUNS, Bench

__all__ = ["BASELINES", "DemuxBench", "demux_benches"]

PATHS = 10_000
IN_TURN = -(-PATHS // BATCH_SIZE) * BATCH_SIZE

BASELINES = {
    "demux-1-path": "scout",
    "demux-2-paths": "scout",
    "demux-10000-paths": "scout",
    "demux-10000-paths-in-turn": "packets-in-turn",
}
"""The rows with demux, and the row of the same packets without it."""


class DemuxBench(Bench):
    """The router with paths for the flows of the first `paths` packets besides the path for all packets."""

    def __init__(self, paths: int, packets: int = BATCH_SIZE) -> None:
        super().__init__(packets=packets)
        ports, room = len(self.graph.ports), len(self.graph.ports) + paths
        self.table, self.kinds = DemuxTable(ports, room), np.zeros(NO_PATH + 1, PATH)
        self.kinds["shape"] = NO_SHAPE
        self.kinds["shape"][0] = self.kinds["shape"][ports:room] = 0
        self.table.set_default(0, 0)
        self.work = Work(self.compiled.plan, paths=room)
        self.refused = np.zeros(8, np.int64)
        fields = fields_of(steps(self.graph, "left"))
        for number in range(paths):
            flow = _flow(self.frames[number % packets], number)
            self.table.add(0, ports + number, rank(flow, fields), patterns(flow, fields))

    def compile(self, path: Path) -> CompiledPath:
        return compile_path(path, many=True)

    def scout(self) -> Callable[[], float]:
        table, repeat = self.table, self._repeated()
        demux = (table.ports, table.kinds, table.heads, table.entries, self.kinds, self.refused)
        code, place = self.compiled.run.address, self.work.place
        return lambda: self.measure(lambda: repeat(RUNS, self.packets, self.batch, *demux, code, place))

    def _repeated(self) -> Any:
        """A native loop that finds the paths of a batch and runs them, as a domain's does."""
        tables = "demux_ports, demux_kinds, demux_heads, demux_entries"
        run = "run(code, (batch, first, last, True, context))"
        lines = [
            "import numpy as np",
            "",
            "from scout.io.access import allow",
            "from scout.paths.demux.find import forget",
            "from scout.paths.demux.find import memo as find_memo",
            "from scout.ring.jit import inline",
            "",
            "",
            *find_source(self.graph, ["left"], "find"),
            "",
            "",
            "@entry",
            f"def repeat(times, packets, all_packets, {tables}, demux_paths, demux_refused, code, context):",
            "    memo = find_memo()",
            "    for _ in range(times):",
            f"        for start in range(0, packets, {BATCH_SIZE}):",
            f"            batch, count = all_packets[start : start + {BATCH_SIZE}], {BATCH_SIZE}",
            "            forget(memo)",
            "            for index in range(count):",
            "                packet = batch[np.uintp(index)]",
            f"                packet.path = find(packet.port, packet.frame, packet.end, memo, {tables}, 0)",
            *(f"            {line}" for line in grouped({"shape == 0": [run]}, primary=True)),
            "",
        ]
        arrays: list[Any] = [types.Array(numba.from_dtype(dtype), 1, "C") for dtype in (PORT, KIND, PATTERN, PATH)]
        arrays.insert(2, types.int64[::1])
        signature = types.void(types.int64, types.int64, BATCH, *arrays, types.int64[::1], types.int64, types.int64)
        given = {"run": caller(ENTRY), **demux_functions(self.graph)}
        return load_generated("bench_demux", "\n".join(lines), "", signature, given).repeat


def _flow(frame: np.ndarray, number: int) -> Attributes:
    """What is known of the flow of a frame; the source port is the flow's number."""
    source, destination = (IPv4Address(frame[at : at + 4].tobytes()) for at in (26, 30))
    return Attributes.checked(
        "left",
        source=str(source),
        destination=str(destination),
        protocol="udp",
        source_port=number,
        destination_port=int.from_bytes(frame[36:38].tobytes(), "big"),
    )


def demux_benches() -> Mapping[str, Bench]:
    """The routers of the rows, by name."""
    return {
        "demux-1-path": DemuxBench(0),
        "demux-2-paths": DemuxBench(1),
        "demux-10000-paths": DemuxBench(PATHS),
        "packets-in-turn": Bench(packets=IN_TURN),
        "demux-10000-paths-in-turn": DemuxBench(PATHS, IN_TURN),
    }
