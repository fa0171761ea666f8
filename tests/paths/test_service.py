"""Services: handlers, events, binding, who runs what, and the modes."""

import os
import random
import re
import signal
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import traces
from harness import LEFT, NOW, Replicas, Twin, fill, one_port, two_ports
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scout.io.access import length, load8, require, store8
from scout.io.batch import LONGEST, new_batch
from scout.io.packet import CONTROL_BIND, CONTROL_TICK, REACH
from scout.io.ports.memory import MemoryPort
from scout.paths.compiler.interpreter import try_stage
from scout.paths.compiler.native import compile_path, configuration
from scout.paths.compiler.plan import CompileError
from scout.paths.framework.events import ARRIVAL, HALT, QUEUED, Event, Handler, raise_event
from scout.paths.framework.service import CONTROLLED, Service
from scout.paths.framework.state import add_to, exchange_in, load_from, store_to
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.ring.errors import ScoutError
from scout.ring.segment import shared
from scout.supervisor import Supervisor

PING, PONG, STORM = Event("ping"), Event("pong"), Event("storm")
UNWANTED, LATE = drop("unwanted"), drop("late")

# A byte of the body tells the handlers what to do, so that a test says it with a packet.
BODY = 28
ALL_HALTS, ALL_DROPS, PINGS, PRIMARY_HALTS, PRIMARY_DROPS, STORMS, PINGS_TWICE = range(1, 8)


def asked(frame: Any, end: Any) -> int:
    return load8(frame, BODY) if require(frame, end, BODY + 1) else 0


def write(log: Any, word: int) -> None:
    """Note that a handler ran."""
    if log[0].word < 60:
        log[0].word += 1
        log[log[0].word].word = word


def first(frame: Any, end: Any, log: Any, events: Any) -> int:
    write(log, 1)
    what = asked(frame, end)
    if what == ALL_HALTS:
        return HALT
    if what == ALL_DROPS:
        raise_event(events, PING, 7)
        return UNWANTED
    if what == PINGS:
        raise_event(events, PING, 5)
    if what == PINGS_TWICE:
        raise_event(events, PING, 5)
        raise_event(events, PONG, 6)
        raise_event(events, PING, 50)
    if what == STORMS:
        for number in range(QUEUED + 4):
            raise_event(events, STORM, number)
    return 0


def effect(frame: Any, end: Any, own: Any, events: Any) -> int:
    write(own, 2)
    what = asked(frame, end)
    if what == PRIMARY_HALTS:
        return HALT
    if what == PRIMARY_DROPS:
        raise_event(events, LAST, 3)
        return LATE
    return 0


def second(frame: Any, end: Any, log: Any) -> int:
    write(log, 3)
    return 0


def late_effect(frame: Any, end: Any, own: Any) -> int:
    write(own, 4)
    return 0


def at_ping(frame: Any, end: Any, argument: int, log: Any, events: Any) -> int:
    write(log, 100 + argument)
    if argument == 5:
        raise_event(events, PONG, 8)
    return 0


def ping_effect(frame: Any, end: Any, argument: int, own: Any) -> int:
    write(own, 200 + argument)
    return 0


def at_pong(frame: Any, end: Any, argument: int, log: Any) -> int:
    write(log, 300 + argument)
    return HALT


def after_pong(frame: Any, end: Any, log: Any) -> int:
    write(log, 999)
    return 0


def aside(frame: Any, end: Any, own: Any) -> int:
    write(own, 5)
    return 0


def at_storm(frame: Any, end: Any, argument: int, log: Any) -> int:
    write(log, 400 + argument)
    return 0


LAST = Event("last")


def at_last(frame: Any, end: Any, argument: int, own: Any) -> int:
    write(own, 600 + argument)
    return 0


WORD = np.dtype([("word", "i8")])


def logs() -> tuple[np.ndarray, Table]:
    return np.zeros(64, WORD), Table(np.zeros(64, WORD), "private")


def read(log: np.ndarray) -> list[int]:
    """The words noted since the last call."""
    found = [int(word) for word in log["word"][1 : log["word"][0] + 1]]
    log["word"] = 0
    return found


def logging(mode: str = "replicated") -> Service:
    log, own = logs()
    return Service(
        "log",
        {"log": log},
        [
            Handler(first),
            Handler(effect, run="primary"),
            Handler(second),
            Handler(late_effect, run="primary"),
            Handler(aside, run="others"),
            Handler(at_ping, PING),
            Handler(ping_effect, PING, run="primary"),
            Handler(at_pong, PONG),
            Handler(after_pong, PONG),
            Handler(at_storm, STORM),
            Handler(at_last, LAST, run="primary"),
        ],
        mode=mode,
        own=own,
    )


def packet(what: int = 0, sport: int = 5) -> bytes:
    return traces.frame((0x0A000002, 0x0A090007, 17, sport, 53), bytes([what]))


@pytest.fixture(scope="module")
def made() -> SimpleNamespace:
    service = logging()
    twin = Twin(one_port(service).create_path("left"))
    return SimpleNamespace(service=service, twin=twin, path=twin.path)


@pytest.fixture
def twin(made: SimpleNamespace) -> Twin:
    made.twin.reset()
    return made.twin


def ran(made: SimpleNamespace, what: int, **fields: int) -> tuple[str, list[int], list[int]]:
    """Where a packet came to, what ran everywhere, and what ran here alone."""
    leaf = made.twin.both(packet(what), **fields).leaf
    own = made.service.bindings["own"].initial
    return leaf, read(made.service.tables["log"].initial), read(own)


@pytest.mark.parametrize(
    ("what", "leaf", "everywhere", "here"),
    [
        (0, "end", [1, 3], [2, 4]),
        # A replicated handler that halts also halts what would run after it on one replica.
        (ALL_HALTS, "end", [1], []),
        # Events raised before a drop are still served.
        (ALL_DROPS, "log.receive drops unwanted", [1, 107], [207]),
        (PINGS, "end", [1, 3, 105, 308], [2, 4, 205]),
        # In the order raised, those that events raise behind those that were there: PING, PONG, PING, PONG.
        (PINGS_TWICE, "end", [1, 3, 105, 306, 150, 308], [2, 4, 205, 250]),
        # A handler of one replica never keeps replicated work from being done.
        (PRIMARY_HALTS, "end", [1, 3], [2]),
        (PRIMARY_DROPS, "log.receive drops late", [1, 3], [2, 603]),
    ],
)
def test_handlers_run_in_order(
    made: SimpleNamespace, twin: Twin, what: int, leaf: str, everywhere: list[int], here: list[int]
) -> None:
    assert ran(made, what) == (leaf, everywhere, here)


def test_events_that_do_not_fit_are_counted(made: SimpleNamespace, twin: Twin) -> None:
    _, everywhere, _ = ran(made, STORMS)
    assert everywhere == [1, 3, *(400 + number for number in range(QUEUED))]
    assert made.service.account()["events-lost"] == 4
    assert ran(made, 0)[1] == [1, 3]  # nothing is left over for the next request
    ran(made, STORMS)
    assert made.service.account()["events-lost"] == 8


def test_handlers_are_bound_and_unbound_by_a_request(made: SimpleNamespace, twin: Twin) -> None:
    at = list(made.path.stages).index("log.receive")
    mask = made.service.mask(["first", "late_effect", "at_pong"])
    result = twin.both(packet(PINGS), at=at, control=CONTROL_BIND, argument=mask)
    assert result.leaf == "control"
    assert ran(made, PINGS) == ("end", [1], [4])  # nobody handles PING, which would raise PONG
    assert twin.both(packet(PINGS), at=at, control=CONTROL_TICK).leaf == "control"
    twin.both(b"", at=at, control=CONTROL_BIND, argument=made.service.mask(["second"]))
    assert ran(made, PINGS) == ("end", [3], [])


def test_a_handler_may_begin_unbound() -> None:
    log, _ = logs()
    service = Service("one", {"log": log}, [Handler(second, bound=False), Handler(second)])
    assert service.mask(["second_2"]) == 2
    assert service.tables["bound"].initial[0] == 2
    with pytest.raises(GraphError, match="one: no handler 'third'; there are second, second_2"):
        service.mask(["third"])


def test_one_replica_has_the_effects_and_all_have_the_state(made: SimpleNamespace, twin: Twin) -> None:
    replicas = Replicas(made.path, 3)
    log, own = made.service.tables["log"], made.service.bindings["own"]
    for number, what in enumerate([0, PINGS, ALL_HALTS, PINGS_TWICE, PRIMARY_DROPS, STORMS]):
        replicas.serve(packet(what), primary := number % 3)
        seen = [read(replicas.table(log, replica)) for replica in range(3)]
        assert seen[0] and seen[0] == seen[1] == seen[2]
        for replica in range(3):
            effects = read(replicas.table(own, replica))
            if what == ALL_HALTS:
                assert effects == []
            elif replica == primary:
                assert effects[0] == 2 and 5 not in effects
            else:
                assert effects == [5]
    for name in ("bound", "counts"):
        table = made.service.tables[name]
        assert np.array_equal(replicas.table(table, 0), replicas.table(table, 2))
    assert replicas.leaves() == {"out": {}, "drops": {"late": 1}, "ended": {"end": 5}}


def test_the_function_can_be_read_and_names_its_handlers(made: SimpleNamespace) -> None:
    text = made.service.file.read_text()
    assert re.search(r"^   1 effect +test_service\.py:\d+, at arrival, on the primary alone$", text, re.M)
    assert "given = on_first(frame, end, log, events)" in text
    assert str(made.service.file.name) in made.path.explain()


def test_try_stage_runs_a_service(made: SimpleNamespace, twin: Twin) -> None:
    bindings = made.service.bindings
    verdict, _ = try_stage(made.service.function, packet(ALL_DROPS)[14:], **bindings)
    assert verdict == UNWANTED
    verdict, _ = try_stage(made.service.function, b"", packet={"control": CONTROL_TICK}, **bindings)
    assert verdict == CONTROLLED


# In a whole router.


def ttl_down(frame: Any, end: Any, seen: Any) -> int:
    seen[0].word += 1
    return 0


def test_control_requests_reach_services_on_and_off_the_main_line() -> None:
    on = Service("on", {"seen": np.zeros(1, WORD)}, [Handler(ttl_down)])
    off = Service("off", {"seen": np.zeros(1, WORD)}, [Handler(ttl_down)], service="icmp")
    sent = Service("sent", {"seen": np.zeros(1, WORD)}, [Handler(ttl_down)], service="adjacency")
    twin = Twin(
        two_ports(
            (on, ("ip", "on", "left")), (off, ("icmp", "off", "ip")), (sent, ("ip", "sent", "arp"))
        ).graph.create_path("left")
    )
    stages = list(twin.path.stages)
    assert "on.receive" in twin.path.main_line and "off.receive" not in twin.path.main_line
    for name in ("on.receive", "off.receive", "sent.send"):
        assert twin.both(packet(), at=stages.index(name), control=CONTROL_TICK).leaf == "control"
    assert [int(each.tables["seen"].initial[0]["word"]) for each in (on, off, sent)] == [0, 0, 0]
    assert twin.both(packet()).leaf == "to right"
    echo = traces.frame((0x0A000002, 0x0A000001, 1, 1, 1), b"x")
    assert twin.both(echo).leaf == "to left"
    assert [int(each.tables["seen"].initial[0]["word"]) for each in (on, off, sent)] == [2, 1, 2]


def rewrite(frame: Any, end: Any) -> int:
    store8(frame, 8, 9)
    return 0


def test_replicated_work_behind_what_the_primary_alone_changes_is_refused() -> None:
    changes = Service("changes", {}, [Handler(rewrite, run="primary")])
    log, _ = logs()
    behind = Service("behind", {"log": log}, [Handler(second)])
    one_port(Service("last", {}, [Handler(rewrite, run="primary")])).create_path("left")
    with pytest.raises(ScoutError, match=r"changes.receive: a handler .* behind it behind.receive is replicated"):
        one_port(changes, behind).create_path("left")


def test_replicas_write_the_packet_where_a_replicated_handler_does() -> None:
    for run, writes in (("all", True), ("primary", False)):
        service = Service("changes", {}, [Handler(rewrite, run=run)])
        assert one_port(service).create_path("left").stages["changes.receive"].writes is writes


# Modes.


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
        tables = [arrays[id(t)] if t.kind != "number" else t.initial + replica for t in path.tables]
        counters, whole = np.zeros(len(path.counter_names), np.int64), compiled.whole()
        ready[replica] = 1
        while not ready.all():
            os.sched_yield()
        for _ in range(ROUNDS):
            batch[:] = record
            compiled.run(batch, 0, REQUESTS, counters, configuration(path), whole, *tables)
        assert path.account(counters)["ended"]["end"] == REQUESTS * ROUNDS

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
        victim.join(30.0)
        for _ in range(100):
            assert port.send(packet(), NOW)
        port.end()
        assert supervisor.wait(30.0)
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


# The payload, for the primary alone.

SEEN_OF = np.dtype([("packets", "i8"), ("bytes", "i8"), ("reached", "i8")])
INSPECT, SECRET = Event("inspect"), drop("secret")


def measure(frame: Any, end: Any, packet: Any, seen: Any, events: Any) -> int:
    seen[0].packets += 1
    seen[0].bytes += length(frame, end, packet)
    seen[0].reached += require(frame, end, 700)
    if load8(frame, 9) == 17:
        raise_event(events, INSPECT, length(frame, end, packet))
    return 0


def inspect_payload(frame: Any, end: Any, argument: int) -> int:
    """Needs the last byte, and writes it."""
    if not require(frame, end, argument):
        return LATE
    if load8(frame, argument - 1) == 7:
        return SECRET
    store8(frame, argument - 1, 99)
    return 0


def inspect_all(frame: Any, end: Any, packet: Any) -> int:
    return inspect_payload(frame, end, length(frame, end, packet))


@pytest.fixture(scope="module", params=["raised", "at arrival"])
def inspecting(request: pytest.FixtureRequest) -> SimpleNamespace:
    handler = Handler(inspect_payload, INSPECT, "primary")
    if request.param == "at arrival":
        handler = Handler(inspect_all, run="primary")
    state = {"seen": np.zeros(1, SEEN_OF)}
    service = Service("inspect", state, [Handler(measure), handler], payload="primary")
    return SimpleNamespace(service=service, twin=Twin(one_port(service).create_path("left")))


@pytest.mark.parametrize("size", [1, REACH - 43, REACH - 42, REACH - 41, 700, 1400])
@pytest.mark.parametrize(("last", "leaf"), [(7, "inspect.receive drops secret"), (8, "end")])
def test_the_primary_alone_sees_the_payload(inspecting: SimpleNamespace, size: int, last: int, leaf: str) -> None:
    inspecting.twin.reset()
    data = traces.frame((0x0A000002, 0x0A090007, 17, 5, 53), bytes(size - 1) + bytes([last]))
    result = inspecting.twin.both(data)
    assert result.leaf == leaf
    assert result.data[-1] == (99 if last == 8 else 7)
    seen = inspecting.service.tables["seen"].initial[0]
    # Replicated work sees what replicas see: the length, and no more bytes than they.
    assert (seen["packets"], seen["bytes"], seen["reached"]) == (1, size + 28, 0)
    assert len(result.data) == size + 28


def test_replicated_work_is_done_also_for_what_is_too_long_for_the_primary(inspecting: SimpleNamespace) -> None:
    inspecting.twin.reset()
    data = traces.frame((0x0A000002, 0x0A090007, 17, 5, 53), bytes(1400)) + bytes(LONGEST)
    assert inspecting.twin.both(data).leaf == "inspect.receive drops too-long-for-payload"
    assert inspecting.service.tables["seen"].initial[0]["packets"] == 1
    assert inspecting.twin.both(packet(8)).leaf == "end"  # and no event is left over


def test_replicas_that_are_not_the_primary_do_not_touch_the_payload(inspecting: SimpleNamespace) -> None:
    inspecting.twin.reset()
    path = inspecting.twin.path
    text = inspecting.twin.compiled.file.read_text()
    run, replicate = text.split("def replicate(")
    assert "packet.origin - origin" in run and "packet.origin - origin" not in replicate
    assert "linearise(packet" not in text.split('"""', 2)[2].replace("import linearise", "")
    replicas = Replicas(path)
    for number in range(4):
        replicas.serve(packet(8), number % 2)
    seen = [replicas.table(inspecting.service.tables["seen"], replica) for replica in range(2)]
    assert seen[0] == seen[1] and seen[0][0]["packets"] == 4


# Errors are reported at once.


def unknown(frame: Any, end: Any, what: Any) -> int:
    return 0


def by_replica(frame: Any, end: Any, replica: int) -> int:
    return 0


def arrives(frame: Any, end: Any, events: Any) -> int:
    raise_event(events, ARRIVAL, 0)
    return 0


HERE = re.escape(__file__)
STATE = {"log": np.zeros(64, WORD)}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Service("s", STATE, [Handler(second)], payload="all"), "s: payload='all'; use True, False or"),
        (lambda: Service("s", STATE, [Handler(second)], payload="primary"), "s: payload='primary', and no handler"),
        (lambda: Service("s", STATE, [Handler(second)], mode="fast"), "s: mode 'fast'; use replicated, sharded"),
        (lambda: Service("s", STATE, [Handler(second)], mode="atomic"), "s: its handlers are not written for .*atomic"),
        (lambda: Service("s", STATE, []), "s: 0 handlers; give 1 to 62"),
        (lambda: Service("s", STATE, [Handler(second)] * 63), "s: 63 handlers"),
        (lambda: Service("s", {"packet": STATE["log"]}, [Handler(second)]), "s: 'packet' cannot be the name"),
        (lambda: Service("s", {"log": [1]}, [Handler(second)]), "s: state log=.* numpy array"),  # type: ignore[dict-item]
        (lambda: Service("s", STATE, [Handler(7)]), "s: 7 is no plain function"),  # type: ignore[arg-type]
        (lambda: Service("s", STATE, [Handler(second, 3)]), rf"s: second at {HERE}:\d+: event 3; give one made with"),  # type: ignore[arg-type]
        (lambda: Service("s", STATE, [Handler(second, run="some")]), "run='some'; use all, primary, others"),
        (lambda: Service("s", {}, [Handler(unknown)]), rf"unknown at {HERE}:\d+: parameter 'what' is not known; give"),
        (lambda: Service("s", {}, [Handler(by_replica)]), r"'replica' is not known; use Handler\(..., run="),
        (lambda: Service("s", STATE, [Handler(second)], port=3), "s: no handler has a parameter 'port'; leave it out"),
        (lambda: Service("s", {}, [Handler(arrives)]), rf"arrives .* at {HERE}:\d+ raises the arrival of a packet"),
    ],
)
def test_a_bad_service_is_refused_at_once(make: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def fails(frame: Any, end: Any, log: Any) -> int:
    log[0].word = 1
    return log[0].word + "text"  # type: ignore[no-any-return]


def no_field(frame: Any, end: Any, log: Any) -> int:
    return log[0].nothing


@pytest.mark.parametrize(
    ("handler", "plain", "native"),
    [
        (fails, "2: stage s.receive: TypeError", "2: .*"),
        (no_field, "1: .* no field 'nothing'", "0: .* no field 'nothing'"),
    ],
)
def test_what_fails_is_named_with_the_handlers_file_and_line(handler: Any, plain: str, native: str) -> None:
    path = one_port(Service("s", {"log": np.zeros(64, WORD)}, [Handler(handler)])).create_path("left")

    def at(text: str) -> str:
        line, rest = text.split(":", 1)
        return f"{HERE}:{handler.__code__.co_firstlineno + int(line)}:{rest}"

    with pytest.raises(ScoutError, match=at(plain)):
        path.run(packet())
    with pytest.raises(CompileError, match=at(native)):
        compile_path(path)


def test_events_are_numbered_by_their_names() -> None:
    assert Event("ping") is PING and PING != PONG
    assert repr(PING) == "Event('ping')"
    assert int(PING) == int(Event("ping"))


def test_a_random_mixture_is_the_same_both_ways(made: SimpleNamespace, twin: Twin) -> None:
    chance = random.Random(1)
    at = list(made.path.stages).index("log.receive")
    for number in range(150):
        control = chance.choice((0, 0, 0, 0, 0, CONTROL_BIND, CONTROL_TICK))
        fields = {"at": at, "control": control, "argument": chance.getrandbits(11)} if control else {}
        twin.both(packet(chance.randrange(9)), timestamp=NOW + number, **fields)
        if number % 5 == 0:
            read(made.service.tables["log"].initial)
            read(made.service.bindings["own"].initial)
