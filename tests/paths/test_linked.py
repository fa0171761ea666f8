"""The linked tier: stages called by address do with packets, tables and counters just what fused code does."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fuzz import Packets, router
from harness import one_port
from numba.core import types

from scout.io.access import load8
from scout.io.batch import BATCH_SIZE, WHOLE
from scout.io.packet import NOTES
from scout.paths.compiler.context import CONTEXT, ENTRY, ROOM, Places, write_context
from scout.paths.compiler.linked import rows, walk
from scout.paths.compiler.native import BATCH, Work, compile_path
from scout.paths.compiler.objects import Unit, fused_unit, stage_unit
from scout.paths.compiler.plan import lower
from scout.paths.compiler.source import LIVE_ROWS
from scout.paths.model.path import Path
from scout.paths.model.setting import Setting
from scout.paths.model.table import Table
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.paths.stages.filter import Filter
from scout.ring.code_memory import CodeMemory
from scout.ring.jit import entry
from scout.ring.linked import caller
from scout.ring.segment import address, private

NUMBER = 3  # of the path
BATCHES = 8

_by_address = caller(ENTRY)


@entry(types.void(types.int64, BATCH, types.int64, types.int64, types.boolean, types.int64))
def call(code: int, batch: np.ndarray, first: int, last: int, primary: bool, place: int) -> None:
    _by_address(code, (batch, first, last, primary, place))


class Tiers:
    """A path that runs as fused code of the start, in the linked tier, and as fused code that is called by address."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.plan, self.packets, self._seed = path, lower(path), Packets(seed), seed
        for each in path.router_graph.routers:
            each.start(path.router_graph)
        self._first = {id(table): table.initial.copy() for table in path.tables}
        self._whole = private(WHOLE, np.uint8)
        self.compiled = compile_path(path)
        memory = self._memory = CodeMemory()
        stages = {node: _loaded(memory, stage_unit(node, each.stage)) for node, each in self.plan.blocks.items()}
        self.fused = _loaded(memory, fused_unit(self.plan))
        self._blocks, self._edges = rows(self.plan, stages)
        self._counters = np.zeros((NUMBER + 1, ROOM.counters), np.int64)
        self._configuration = self.plan.configuration
        self._records = np.zeros((NUMBER + 1, ROOM.own), np.int64)
        self._records[NUMBER, : len(self.plan.own)] = self.plan.record.view(np.int64)[: len(self.plan.own)]
        self._context = np.zeros(CONTEXT, np.int64)
        places = Places(
            counters=address(self._counters),
            row=ROOM.counters,
            whole=address(self._whole),
            blocks=address(self._blocks),
            edges=address(self._edges),
            configuration=address(self._configuration),
            records=address(self._records),
            table=lambda table: address(table.initial),
        )
        write_context(self._context, self.plan, places, LIVE_ROWS)

    def by_address(self, code: int, primary: bool) -> Callable[[], np.ndarray]:
        """Run code that is called by its address, and return what it has counted."""

        def run() -> np.ndarray:
            call(code, self.packets.batch, 0, BATCH_SIZE, primary, address(self._context))
            return self._counters[NUMBER, : self.plan.counters]

        return run

    def at_start(self, primary: bool) -> Callable[[], np.ndarray]:
        """Run code as a router has it from the start, and return what it has counted."""
        work = Work(self.plan)

        def run() -> np.ndarray:
            self.compiled.run(self.packets.batch, 0, BATCH_SIZE, primary, work.place)
            return work.counters[0, : self.plan.counters]

        return run

    def results(self, run: Callable[[], np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
        """Records, bytes, tables and counters after each batch."""
        self._counters[:] = 0
        self.packets.random = np.random.default_rng(self._seed)
        for table in self.path.tables:
            if table.kind != "constant":
                table.initial[:] = self._first[id(table)]
        for number in range(BATCHES):
            self.packets.slots[:] = 0
            self.packets.fill(10**18 + number)
            self.packets.batch["path"] = NUMBER
            for name in ("egress", *NOTES):
                self.packets.batch[name] = 0
            counted = run()
            tables = [table.initial.copy() for table in self.path.tables if table.kind != "constant"]
            yield self.packets.batch.copy(), self.packets.slots.copy(), counted.copy(), *tables


def _loaded(memory: CodeMemory, unit: Unit) -> int:
    if unit.found() is None:
        unit.build()
    code = unit.found()
    assert code
    return memory.load(code)


def _assert_equal(first: Any, second: Any) -> None:
    for number, (ours, theirs) in enumerate(zip(first, second, strict=True)):
        for one, other in zip(ours, theirs, strict=True):
            assert np.array_equal(one, other), number


LIMIT, SEEN = Setting(200), Table(np.zeros(4, np.int64), "private")


def short(frame: Any, end: Any, packet: Any, limit: int, odd: int, seen: Any) -> int:
    seen[packet.flags & 3] += odd
    return 0 if load8(frame, 1) < limit else odd  # no verdict of the stage: it is counted as unknown in every tier


def _filtered() -> Path:
    return one_port(Filter("short", short, limit=LIMIT, odd=7, seen=SEEN), HeavyHitter("heavy", 1 << 40)).create_path(
        "left"
    )


@pytest.fixture(scope="module", params=["filter and service", pytest.param("router", marks=pytest.mark.long)])
def tiers(request: pytest.FixtureRequest) -> Tiers:
    return Tiers(router().create_path("left") if request.param == "router" else _filtered(), 5)


def test_every_tier_does_the_same_with_random_packets(tiers: Tiers) -> None:
    for primary in (True, False):
        expected = list(tiers.results(tiers.at_start(primary)))
        _assert_equal(expected, tiers.results(tiers.by_address(walk.address, primary)))
        _assert_equal(expected, tiers.results(tiers.by_address(tiers.fused, primary)))
