"""Services: handlers, events, binding, and which replica runs which handler."""

import random
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import traces
from harness import NOW, Replicas, Twin, one_port, two_ports

from scout.io.access import load8, require, store8
from scout.io.packet import CONTROL_BIND, CONTROL_TICK
from scout.paths.compiler.interpreter import try_stage
from scout.paths.framework.events import HALT, QUEUED, Event, Handler, raise_event
from scout.paths.framework.service import CONTROLLED, Service
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.ring.errors import ScoutError

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
    assert re.search(r"^# +1 effect +\w+\.py:\d+, at arrival, on the primary alone$", text, re.M)
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
    off = Service("off", {"seen": np.zeros(1, WORD)}, [Handler(ttl_down)], connects="icmp")
    sent = Service("sent", {"seen": np.zeros(1, WORD)}, [Handler(ttl_down)], connects="adjacency")
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
