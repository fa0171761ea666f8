"""Timers: when they fire, in which order, and that they are the same on every replica."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import traces
from harness import NOW, Replicas, Twin, one_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scout.io.access import require
from scout.io.packet import CONTROL_TICK
from scout.paths.framework.events import Event, Handler
from scout.paths.framework.service import Service
from scout.paths.framework.timers import MOST_TIMERS, after, cancel, new_timers
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.ring.errors import ScoutError

RING, AGAIN = Event("ring"), Event("again")
LATE = drop("too-late")
CAPACITY = 4
WORD = np.dtype([("word", "i8")])

NOTHING, SET, CANCEL = 0, 1, 2


def act(frame: Any, end: Any, packet: Any, timers: Any, log: Any) -> int:
    """Do what the record says: set a timer by `next_hop` ns from now, with `error` to tell, or cancel that handle."""
    if packet.destination == SET:
        log[1].word = after(timers, packet, packet.next_hop, RING, packet.error)
    if packet.destination == CANCEL:
        log[1].word = cancel(timers, packet.error)
    return 0


def at_ring(frame: Any, end: Any, packet: Any, argument: int, timers: Any, log: Any) -> int:
    if require(frame, end, 1):
        return LATE  # never: on behalf of no packet
    log[0].word += 1
    log[1 + log[0].word].word = argument
    if argument == AGAIN_AT_ONCE:
        after(timers, packet, 0, RING, argument)
    return LATE if argument == DROPS else 0


def ring_effect(frame: Any, end: Any, argument: int, rung: Any) -> int:
    rung[0] += 1
    return 0


AGAIN_AT_ONCE, DROPS = 77, 78


def ringing(mode: str = "replicated") -> SimpleNamespace:
    rung = Table(np.zeros(1, np.int64), "private")
    service = Service(
        "bell",
        {"log": np.zeros(64, WORD)},
        [Handler(act), Handler(at_ring, RING), Handler(ring_effect, RING, run="primary")],
        mode=mode,
        timers=CAPACITY,
        rung=rung,
    )
    twin = Twin(one_port(service).create_path("left"))
    at = list(twin.path.stages).index("bell.receive")
    return SimpleNamespace(service=service, twin=twin, at=at, log=service.tables["log"].initial, rung=rung.initial)


@pytest.fixture(scope="module", params=["replicated", "locked"])
def made(request: pytest.FixtureRequest) -> SimpleNamespace:
    return ringing(request.param)


@pytest.fixture
def bell(made: SimpleNamespace) -> SimpleNamespace:
    made.twin.reset()
    return made


DATA = traces.frame((0x0A000002, 0x0A090007, 17, 5, 53), b"body")


def serve(bell: SimpleNamespace, time: int, **fields: int) -> list[int]:
    """Serve a packet both ways; the arguments of the timers that fired before it, in order."""
    bell.log["word"][0] = 0
    assert bell.twin.both(DATA, timestamp=NOW + time, **fields).leaf == "end"
    return [int(word) for word in bell.log["word"][2 : 2 + bell.log["word"][0]]]


def set_timer(bell: SimpleNamespace, time: int, delay: int, argument: int) -> int:
    assert serve(bell, time, destination=SET, next_hop=delay, error=argument) == []
    return int(bell.log["word"][1])


@pytest.mark.filterwarnings(
    "error::numba.core.errors.NumbaPedanticWarning"
)  # users would see them, of a locked service
def test_timers_fire_by_when_they_are_due_then_in_the_order_set(bell: SimpleNamespace) -> None:
    for delay, argument in ((30, 1), (10, 2), (20, 3), (10, 4)):
        assert set_timer(bell, 0, delay, argument)
    assert serve(bell, 9) == []
    assert serve(bell, 10) == [2, 4]
    assert serve(bell, 100) == [3, 1]
    assert serve(bell, 1000) == []
    assert bell.rung[0] == 4


def test_a_tick_fires_them_when_nothing_else_comes(bell: SimpleNamespace) -> None:
    set_timer(bell, 0, 10, 1)
    bell.log["word"][0] = 0
    for time, fired in ((9, 0), (10, 1), (11, 1)):
        assert bell.twin.both(b"", timestamp=NOW + time, at=bell.at, control=CONTROL_TICK).leaf == "control"
        assert bell.log["word"][0] == fired


def test_a_timer_is_cancelled_once_and_only_by_its_handle(bell: SimpleNamespace) -> None:
    kept, gone = set_timer(bell, 0, 10, 1), set_timer(bell, 0, 10, 2)
    assert kept < gone
    for handle, done in ((gone, 1), (gone, 0), (0, 0), (-1, 0), (MOST_TIMERS, 0), (kept + (1 << 16), 0)):
        serve(bell, 1, destination=CANCEL, error=handle)
        assert bell.log["word"][1] == done
    reused = set_timer(bell, 2, 10, 3)  # in the row of the one that is gone
    assert reused & MOST_TIMERS == gone & MOST_TIMERS and reused > gone
    serve(bell, 3, destination=CANCEL, error=gone)
    assert bell.log["word"][1] == 0
    assert serve(bell, 20) == [1, 3]
    serve(bell, 21, destination=CANCEL, error=kept)
    assert bell.log["word"][1] == 0


def test_what_does_not_fit_is_refused_and_counted(bell: SimpleNamespace) -> None:
    handles = [set_timer(bell, 0, 10, number) for number in range(CAPACITY + 2)]
    assert all(handles[:CAPACITY]) and handles[CAPACITY:] == [0, 0]
    assert bell.service.account()["timers-full"] == 2
    assert serve(bell, 10) == list(range(CAPACITY))
    assert set_timer(bell, 11, 0, 9)


def test_a_timer_set_by_a_timer_waits_for_the_next_request(bell: SimpleNamespace) -> None:
    set_timer(bell, 0, 5, AGAIN_AT_ONCE)
    for time in (10, 10, 11):
        assert serve(bell, time) == [AGAIN_AT_ONCE]


def test_a_timers_verdict_is_not_the_packets(bell: SimpleNamespace) -> None:
    set_timer(bell, 0, 5, DROPS)
    assert serve(bell, 10) == [DROPS]
    # It halts the rest: the effect behind it did not run.
    assert bell.rung[0] == 0


@pytest.mark.parametrize("capacity", [0, MOST_TIMERS + 1])
def test_a_table_of_no_size_is_refused(capacity: int) -> None:
    with pytest.raises(ScoutError, match=f"a table of {capacity} timers; give 1 to 65535"):
        new_timers(capacity)


@pytest.mark.parametrize("made", ["replicated"], indirect=True)
def test_all_replicas_fire_at_the_same_request_and_one_has_the_effect(bell: SimpleNamespace) -> None:
    replicas = Replicas(bell.twin.path)
    for number in range(40):
        replicas.serve(DATA, number * 7 // 3 % 2, timestamp=NOW + number * 10, destination=SET, next_hop=25, error=1)
    for table in bell.service.tables.values():
        if table.kind == "replicated":
            assert np.array_equal(replicas.table(table, 0), replicas.table(table, 1))
    rung = [int(replicas.table(bell.service.bindings["rung"], replica)[0]) for replica in range(2)]
    assert min(rung) > 0
    assert sum(rung) == int(replicas.table(bell.service.tables["log"], 0)[0]["word"]) == 37


class Model:
    """Timers as a plain list."""

    def __init__(self) -> None:
        self.set: list[tuple[int, int, int]] = []
        self.count = 0

    def serve(self, time: int, what: int, delay: int, argument: int, handle: int) -> tuple[list[int], int | None]:
        due = sorted(each for each in self.set if each[0] <= time)
        self.set = [each for each in self.set if each not in due]
        result = None
        if what == SET:
            result = 0
            if len(self.set) < CAPACITY:
                self.count += 1
                self.set.append((time + delay, self.count, argument))
                result = self.count
        if what == CANCEL:
            left = [each for each in self.set if each[1] != handle]
            result = len(self.set) - len(left)
            self.set = left
        return [argument for _, _, argument in due], result


STEPS = st.tuples(
    st.integers(0, 8), st.sampled_from([NOTHING, SET, SET, CANCEL]), st.integers(0, 20), st.integers(0, 9)
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=30))
def test_any_sequence_is_as_a_plain_list_would_have_it(made: SimpleNamespace, steps: list[Any]) -> None:
    made.twin.reset()
    model, time, handles = Model(), 0, [0]
    for passed, what, delay, argument in steps:
        time += passed
        number = argument % len(handles)
        expected = model.serve(time, what, delay, argument, number)
        error = handles[number] if what == CANCEL else argument
        fired = serve(made, time, destination=what, next_hop=delay, error=error)
        result = int(made.log["word"][1])
        if what == SET and expected[1]:
            handles.append(result)
            assert result >> 16 == len(handles) - 1
        elif what != NOTHING:
            assert result == expected[1]
        assert fired == expected[0]
