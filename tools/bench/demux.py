"""The path of `scout bench path` behind demux: what it costs to find the path of each packet among others.

A packet's path is found as in a domain's loop, by the addresses, the protocol and the L4 ports of its flow: each packet
is looked at where it lies, and then the batch goes through the path.

- `demux-1-path`: the port has one path, and might get more.
- `demux-2-paths`: one flow has a path of its own.
- `demux-10000-paths`: 10,000 flows have; the packets of a batch belong to 256 of them, again and again.
- `demux-10000-flows`: the packets belong to all 10,000 flows in turn, in another order than that in which the paths
  were created. Each batch of frames is written before, as the kernel writes those that it receives; `flows` are the
  same frames, written the same, without demux. So packets are in the nearest cache, and patterns and counters of 10,000
  paths are not.
"""

import random
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

import numba
import numpy as np
from numba.core import types

from scout.domain_demux import demux_functions, find_source, grouped, look_source
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
from scout.ring.segment import LINE, address
from scout.tools.bench.path_router import FRAME_BYTES, RUNS, Bench

__all__ = ["BASELINES", "DemuxBench", "demux_benches"]

PATHS = 10_000
_SOURCE_PORT = 34  # its offset in a frame

BASELINES = {
    "demux-1-path": "scout",
    "demux-2-paths": "scout",
    "demux-10000-paths": "scout",
    "demux-10000-flows": "flows",
}
"""The rows with demux, and the row of the same packets without it."""


class DemuxBench(Bench):
    """The router with paths for the flows of the first `paths` packets besides the path for all packets."""

    def __init__(self, paths: int) -> None:
        super().__init__()
        ports, room = len(self.graph.ports), len(self.graph.ports) + paths
        self.table, self.kinds = DemuxTable(ports, room), np.zeros(NO_PATH + 1, PATH)
        self.kinds["shape"] = NO_SHAPE
        self.kinds["shape"][0] = self.kinds["shape"][ports:room] = 0
        self.table.set_default(0, 0)
        self.work = Work(self.compiled.plan, paths=room)
        self.refused = np.zeros(8, np.int64)
        fields = fields_of(steps(self.graph, "left"))
        for index, number in enumerate(random.sample(range(paths), paths)):
            flow = _flow(self.frames[number % BATCH_SIZE], number)
            self.table.add(0, ports + index, rank(flow, fields), patterns(flow, fields))

    def compile(self, path: Path) -> CompiledPath:
        return compile_path(path, many=True)

    def scout(self) -> Callable[[], float]:
        table, repeat = self.table, self._repeated()
        demux = (table.ports, table.kinds, table.heads, table.entries, self.kinds, self.refused)
        code, place, flows, frames = self.compiled.run.address, self.work.place, *self._arrivals()
        return lambda: self.measure(lambda: repeat(RUNS, self.batch, flows, address(frames), *demux, code, place))

    def _arrivals(self) -> tuple[np.ndarray, np.ndarray]:
        """The flows of the packets that come, none if they are there; and a frame of each flow, modulo their number."""
        return np.zeros(0, np.int64), self.frames

    def _repeated(self) -> Any:
        """A native loop that finds the paths of a batch and runs them, as a domain's does."""
        tables = "demux_ports, demux_kinds, demux_heads, demux_entries"
        looked = f"memo, {tables}, demux_paths, 0, 0, context, 0, 0"  # without accounts, in epoch 0
        run = "run(code, (batch, first, last, True, context))"
        lines = [
            "import numpy as np",
            "",
            "from scout.domain_shapes import count_discarded",
            "from scout.io.access import allow, store16",
            "from scout.paths.demux.find import forget",
            "from scout.paths.demux.find import memo as find_memo",
            "from scout.ring.atomics import copy",
            "from scout.ring.jit import inline",
            "",
            "",
            *find_source(self.graph, ["left"], "find"),
            "",
            "",
            *look_source("look", "find", accounts=False),
            "",
            "",
            "@entry",
            f"def repeat(times, batch, flows, frames, {tables}, demux_paths, demux_refused, code, context):",
            f"    memo, at, count = find_memo(), 0, {BATCH_SIZE}",
            "    for _ in range(times):",
            "        if len(flows):",
            "            for index in range(count):",
            "                flow, frame = flows[at], batch[np.uintp(index)].frame",
            f"                copy(frame, frames + (flow & {BATCH_SIZE - 1}) * {LINE}, {FRAME_BYTES})",
            f"                store16(frame, {_SOURCE_PORT}, flow)",
            "                at = at + 1 if at + 1 < len(flows) else 0",
            "        forget(memo)",
            *(f"        {line}" for line in self._looks(looked)),
            *(f"        {line}" for line in grouped({"shape == 0": [run]}, primary=True)),
            "",
        ]
        arrays: list[Any] = [types.Array(numba.from_dtype(dtype), 1, "C") for dtype in (PORT, KIND, PATTERN, PATH)]
        arrays.insert(2, types.int64[::1])
        word, words = types.int64, types.int64[::1]
        signature = types.void(word, BATCH, words, word, *arrays, words, word, word)
        given = {"run": caller(ENTRY), **demux_functions(self.graph)}
        return load_generated("bench_demux", "\n".join(lines), "", signature, given).repeat

    def _looks(self, looked: str) -> list[str]:
        """The lines that find the path of each packet."""
        return [
            "for index in range(count):",
            "    packet = batch[np.uintp(index)]",
            f"    look(({looked}), packet, packet.frame, packet.end - packet.frame, 1)",
        ]


class FlowsBench(DemuxBench):
    """The same, through which packets of all flows come in turn."""

    runs = 2 * RUNS

    def measure(self, work: Callable[[], Any]) -> float:
        """Run twice: the first time brings what the flows need into the caches."""
        super().measure(work)
        return super().measure(work)

    def _arrivals(self) -> tuple[np.ndarray, np.ndarray]:
        frames = np.zeros((BATCH_SIZE, LINE), np.uint8)
        frames[:, :FRAME_BYTES] = self.frames
        return np.random.default_rng(1).permutation(PATHS), frames


class PlainFlowsBench(FlowsBench):
    """The same packets without demux: all take one path."""

    def _looks(self, looked: str) -> list[str]:
        return []


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
        "flows": PlainFlowsBench(0),
        "demux-10000-flows": FlowsBench(PATHS),
    }
