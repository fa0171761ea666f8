"""Modes of services, and the accessors by which handlers change a state that all replicas share."""

import os
import signal
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import traces
from harness import LEFT, NOW, Twin, fill, one_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scout.io.batch import new_batch
from scout.io.ports.memory import MemoryPort
from scout.paths.compiler.native import Work, compile_path
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.framework.state import add_to, exchange_in, load_from, store_to
from scout.ring.errors import ScoutError
from scout.ring.segment import shared
from scout.supervisor import Supervisor


def packet(what: int = 0) -> bytes:
    return traces.frame((0x0A000002, 0x0A090007, 17, 5, 53), bytes([what]))


def bump(frame: Any, end: Any, packet: Any, sums: Any) -> int:
    """Read, change and write so that what is not exclusive goes wrong."""
    row = packet.next_hop
    before = sums[row].total
    sums[row].other += 1
    sums[row].total = before + 1
    return 0


SUMS = np.dtype([("total", "i8"), ("other", "i4"), ("key", "i8"), ("owner", "i8")])


@pytest.mark.parametrize("mode", ["sharded", "locked", "atomic", "replicated"])
def test_modes_say_whose_the_state_is(mode: str) -> None:
    service = Service("sums", {"sums": np.zeros(4, SUMS)}, [Handler(atomic_bump)], mode=mode, atomic=True)
    path = one_port(service).create_path("left")
    stage = path.stages["sums.receive"]
    kinds = {"sharded": "private", "locked": "shared", "atomic": "shared", "replicated": "replicated"}
    assert service.tables["sums"].kind == service.tables["bound"].kind == kinds[mode]
    assert (stage.replicated, stage.sharded) == (mode == "replicated", mode == "sharded")
    assert ("sums.receive" in path.replicated) == (mode == "replicated")
    assert (service.lock is not None) == (mode == "locked")


def atomic_bump(frame: Any, end: Any, packet: Any, sums: Any) -> int:
    row = packet.next_hop
    if exchange_in(sums, row, "key", 0, 1 + packet.port):
        store_to(sums, row, "owner", 1 + packet.port)
    add_to(sums, row, "other", 2)
    add_to(sums, row, "total", 1)
    return 0


REQUESTS, ROUNDS = 200, 300


def _hammer(mode: str, handler: Any) -> tuple[np.ndarray, Service]:
    """Serve 60,000 requests in each of two processes at once, over four rows of one state."""
    service = Service("sums", {"sums": np.zeros(4, SUMS)}, [Handler(handler)], mode=mode, atomic=mode == "atomic")
    path = one_port(service).create_path("left")
    compiled = compile_path(path)
    arrays = {
        id(table): shared(table.initial.shape, table.initial.dtype) if table.kind == "shared" else table.initial
        for table in path.tables
    }
    for table in path.tables:
        arrays[id(table)][:] = table.initial
    ready = shared(2, np.int64)

    def serve(replica: int) -> None:
        batch, slots = new_batch(REQUESTS)
        fill(batch, slots, packet(), {})
        batch[:] = batch[0]
        batch["next_hop"] = np.arange(REQUESTS) % 4
        batch["port"] = replica
        record = batch.copy()
        work = Work(compiled.plan, lambda t: arrays[id(t)] if t.kind != "number" else t.initial + replica)
        ready[replica] = 1
        while not ready.all():
            os.sched_yield()
        for _ in range(ROUNDS):
            batch[:] = record
            compiled.run(batch, 0, REQUESTS, True, work.place)
        assert path.account(work.counters[0])["ended"]["end"] == REQUESTS * ROUNDS

    processes = [get_context("fork").Process(target=serve, args=(replica,)) for replica in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return arrays[id(service.tables["sums"])], service


def test_two_processes_under_the_lock_lose_nothing() -> None:
    sums, service = _hammer("locked", bump)
    assert list(sums["total"]) == list(sums["other"]) == [REQUESTS * ROUNDS // 2] * 4
    assert service.lock is not None


def test_two_processes_with_atomic_accessors_lose_nothing() -> None:
    sums, _ = _hammer("atomic", atomic_bump)
    assert list(sums["total"]) == [REQUESTS * ROUNDS // 2] * 4
    assert list(sums["other"]) == [REQUESTS * ROUNDS] * 4
    assert list(sums["owner"]) == list(sums["key"])  # one of the two claimed each row, and only that one


def test_the_lock_names_its_holder_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service("sums", {"sums": np.zeros(4, SUMS)}, [Handler(bump)], mode="locked")
    path = one_port(service).create_path("left")
    assert service.lock is not None
    service.lock.initial[0] = 3
    with pytest.raises(ScoutError, match="the lock is held by replica 2"):
        path.run(packet())
    service.lock.initial[0] = 0
    assert path.run(packet())[0] == "end"
    assert service.lock.initial[0] == 0
    assert service.tables["sums"].initial[0]["total"] == 1


def test_a_lock_whose_holder_died_is_freed() -> None:
    service = Service("sums", {"sums": np.zeros(4, SUMS)}, [Handler(bump)], mode="locked")
    port = MemoryPort(LEFT)
    graph = one_port(service, port=port)
    assert service.lock is not None
    said: list[str] = []
    with Supervisor(graph, [graph.create_path("left")], 2, report=said.append) as supervisor:
        supervisor.table(service.lock, 0)[0] = 1  # as if replica 0 had been killed while it held the lock
        victim = supervisor.processes[0]
        os.kill(victim.pid, signal.SIGKILL)
        victim.join(600)
        for _ in range(100):
            assert port.send(packet(), NOW)
        port.end()
        assert supervisor.wait(600)
        supervisor.stop()
        assert supervisor.table(service.tables["sums"], 1)[0]["total"] == 100
    assert "replica 0" in said[0]


# Accessors of state.


SEEN = np.dtype([("exchanged", "i8"), ("before", "i8"), ("loaded", "i8")])


def accessed(frame: Any, end: Any, packet: Any, sums: Any, seen: Any) -> int:
    row = packet.next_hop
    store_to(seen, 0, "exchanged", exchange_in(sums, row, "total", packet.destination, packet.error))
    store_to(seen, 0, "before", add_to(sums, row, "other", packet.destination))
    store_to(seen, 0, "loaded", load_from(sums, row, "other"))
    store_to(sums, row, "key", packet.error)
    return 0


@pytest.fixture(scope="module", params=["replicated", "atomic"])
def accesses(request: pytest.FixtureRequest) -> Twin:
    state = {"sums": np.zeros(4, SUMS), "seen": np.zeros(1, SEEN)}
    service = Service("sums", state, [Handler(accessed)], mode=request.param, atomic=True)
    return Twin(one_port(service).create_path("left"))


LARGE = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-2, 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 3), expected=LARGE, value=LARGE)
def test_accessors_are_the_same_both_ways(accesses: Twin, row: int, expected: int, value: int) -> None:
    accesses.both(packet(), next_hop=row, destination=expected, error=value)
