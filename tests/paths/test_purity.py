"""Forbidden handlers are refused when they are made; the error names the file, the line and the fix."""

import datetime
import os
import random
import re
import secrets
import threading
import time
import uuid
from os import getpid
from time import time_ns
from typing import Any

import numpy as np
import pytest
from harness import marked

from scout.io.access import length, load8, load32
from scout.io.rest import now
from scout.paths.framework.events import Event, Handler, raise_event
from scout.paths.framework.flow_table import claim, new_table, place
from scout.paths.framework.purity import assignments, impurities
from scout.paths.framework.service import Service
from scout.paths.framework.state import add_to, clear
from scout.paths.framework.timers import after
from scout.paths.model.effects import LabelledSource
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.wire.flow import flow_hash

ROWS = np.zeros(8, np.dtype([("word", "i8"), ("other", "i8")]))
EVENT = Event("purity")
UNWANTED = drop("unwanted")
HERE = re.escape(__file__)

# Each marks the line that is to be named.


def reads_the_time(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = 1
    rows[0].word = time.time_ns()  # here
    return 0


def reads_the_time_by_name(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = time_ns()  # here
    return 0


def reads_the_date(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = datetime.datetime.now().second  # here
    return 0


def reads_scouts_clock(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = now(0)  # here
    return 0


def draws(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = random.randrange(3)  # here
    return 0


def draws_with_numpy(frame: Any, end: Any, rows: Any) -> int:
    if rows[0].word:
        return 0
    rows[0].word = np.random.randint(3)  # here
    return 0


def draws_bytes(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = os.urandom(1)[0]  # here
    return 0


def draws_secrets(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = secrets.randbelow(3)  # here
    return 0


def draws_ids(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = uuid.uuid4().int  # here
    return 0


def who_am_i(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = os.getpid()  # here
    return 0


def who_am_i_by_name(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = getpid()  # here
    return 0


def which_thread(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = threading.get_ident()  # here
    return 0


def helper(rows: Any) -> None:
    rows[0].word = time.monotonic_ns()  # here


def through_a_helper(frame: Any, end: Any, rows: Any) -> int:
    helper(rows)
    return 0


def takes_an_address(frame: Any, end: Any, packet: Any, rows: Any) -> int:
    rows[0].word = packet.slot  # here
    return 0


def takes_an_address_aside(frame: Any, end: Any, packet: Any, rows: Any) -> int:
    record = packet
    rows[0].word = record.origin  # here
    return 0


def keeps_the_frame(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = frame + 4  # here
    return 0


def is_pure(frame: Any, end: Any, packet: Any, rows: Any) -> int:
    rows[flow_hash(frame, end) & 7].word = packet.timestamp + length(frame, end, packet) + load8(frame, 0)
    return np.int64(0)  # type: ignore[return-value]


CLOCK, CHANCE, SELF = "use packet.timestamp", "use a hash of the packet", 'a handler with run="primary"'
IMPURE = [
    (reads_the_time, "time.time_ns", CLOCK),
    (reads_the_time_by_name, "time_ns", CLOCK),
    (reads_the_date, "datetime.datetime.now", CLOCK),
    (reads_scouts_clock, "now", CLOCK),
    (draws, "random.randrange", CHANCE),
    (draws_with_numpy, "np.random.randint", CHANCE),
    (draws_bytes, "os.urandom", CHANCE),
    (draws_secrets, "secrets.randbelow", CHANCE),
    (draws_ids, "uuid.uuid4", CHANCE),
    (who_am_i, "os.getpid", SELF),
    (who_am_i_by_name, "getpid", SELF),
    (which_thread, "threading.get_ident", SELF),
    (takes_an_address, "packet.slot", "use the accessors"),
    (takes_an_address_aside, "packet.origin", "use the accessors"),
    (keeps_the_frame, "frame", "use the accessors"),
]


@pytest.mark.parametrize(("function", "what", "mend"), IMPURE, ids=[each[0].__name__ for each in IMPURE])
@pytest.mark.parametrize("run", ["all", "others"])
def test_impure_replicated_work_is_refused(function: Any, what: str, mend: str, run: str) -> None:
    with pytest.raises(GraphError) as caught:
        Service("s", {"rows": ROWS}, [Handler(function, run=run), Handler(is_pure)])
    said = str(caught.value)
    assert said.startswith(
        f"s: handler {function.__name__} (run={run!r}) at {__file__}:{marked(function)} refers to {what}"
    )
    assert mend in said and "\n" not in said


def test_the_place_named_is_where_it_is_done() -> None:
    with pytest.raises(
        GraphError, match=rf"through_a_helper .* at {HERE}:{marked(helper)} refers to time.monotonic_ns"
    ):
        Service("s", {"rows": ROWS}, [Handler(through_a_helper)])


def test_pure_work_is_not_refused() -> None:
    assert list(impurities(is_pure)) == []
    assert list(impurities(place)) == list(impurities(claim)) == []


def reports_the_time(frame: Any, end: Any, own: Any) -> int:
    own[0] = time_ns()
    return 0


def test_the_primary_may_do_what_replicated_work_may_not() -> None:
    Service("s", {}, [Handler(reports_the_time, run="primary")], own=Table(np.zeros(1, np.int64), "private"))


# The state is replicated work's alone.


def assigns(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word = 1  # here
    return 0


def adds(frame: Any, end: Any, rows: Any) -> int:
    rows[0].word += 1  # here
    return 0


def assigns_through_an_alias(frame: Any, end: Any, rows: Any) -> int:
    row = rows[load8(frame, 0)]
    same = row
    same.word = 1  # here
    return 0


def assigns_through_a_choice(frame: Any, end: Any, rows: Any) -> int:
    one, other = rows[0], rows[1]
    (one if load8(frame, 0) else other).word = 1  # here
    return 0


def assigns_in_a_loop(frame: Any, end: Any, rows: Any) -> int:
    for row in rows:
        row.word = 1  # here
    return 0


def assigns_by_an_accessor(frame: Any, end: Any, rows: Any) -> int:
    add_to(rows, 0, "word", 1)  # here
    return 0


def clears(frame: Any, end: Any, rows: Any) -> int:
    clear(rows, 0)  # here
    return 0


def write_to(row: Any) -> None:
    row.word = 1  # here


def assigns_in_a_helper(frame: Any, end: Any, rows: Any) -> int:
    write_to(rows[3])
    return 0


def pick(rows: Any, index: int) -> Any:
    return rows[index]


def assigns_to_what_a_helper_gave(frame: Any, end: Any, rows: Any) -> int:
    row = pick(rows, 3)
    row.word = 1  # here
    return 0


ASSIGNING = [
    (assigns, assigns),
    (adds, adds),
    (assigns_through_an_alias, assigns_through_an_alias),
    (assigns_through_a_choice, assigns_through_a_choice),
    (assigns_in_a_loop, assigns_in_a_loop),
    (assigns_by_an_accessor, assigns_by_an_accessor),
    (clears, clears),
    (assigns_in_a_helper, write_to),
    (assigns_to_what_a_helper_gave, assigns_to_what_a_helper_gave),
]


@pytest.mark.parametrize(("function", "where"), ASSIGNING, ids=[each[0].__name__ for each in ASSIGNING])
@pytest.mark.parametrize("run", ["primary", "others"])
def test_assigning_to_state_on_one_replica_is_refused(function: Any, where: Any, run: str) -> None:
    with pytest.raises(GraphError) as caught:
        Service("s", {"rows": ROWS}, [Handler(function, run=run), Handler(is_pure)])
    place = f"{__file__}:{marked(where)}"
    said = str(caught.value)
    assert said.startswith(
        f"s: handler {function.__name__} (run={run!r}) at {place} assigns to rows, which is replicated"
    )
    assert 'do it in a handler with run="all"' in said and "\n" not in said


def places(frame: Any, end: Any, packet: Any, flows: Any, counts: Any) -> int:
    place(flows, counts, 1, 1, packet.timestamp, 5, 0)
    return 0


def sets(frame: Any, end: Any, packet: Any, timers: Any) -> int:
    after(timers, packet, 5, EVENT, 0)
    return 0


def test_tables_and_timers_are_state_too() -> None:
    with pytest.raises(GraphError, match=r"places .* assigns to (counts|flows), which is replicated"):
        Service("s", {"flows": new_table(16, [])}, [Handler(places, run="primary")])
    with pytest.raises(GraphError, match=r"sets .* assigns to timers, which is replicated"):
        Service("s", {}, [Handler(sets, run="primary")])


def only_reads(frame: Any, end: Any, rows: Any, own: Any) -> int:
    row = rows[0]
    word = row.word
    own[word & 1] = word + load32(frame, 0)
    return UNWANTED if word else 0


def test_reading_state_is_not_refused() -> None:
    assert list(assignments(only_reads, ("rows",))) == []
    Service("s", {"rows": ROWS}, [Handler(only_reads, run="primary")], own=Table(np.zeros(2, np.int64), "private"))


def raises(frame: Any, end: Any, events: Any) -> int:
    raise_event(events, EVENT, 0)
    return 0


def handles(frame: Any, end: Any) -> int:
    return 0


def test_what_one_replica_raises_no_replicated_handler_may_await() -> None:
    Service("s", {}, [Handler(raises), Handler(handles, EVENT, run="primary")])
    Service("s", {}, [Handler(raises, run="primary"), Handler(handles, EVENT, run="primary")])
    line = raises.__code__.co_firstlineno
    with pytest.raises(
        GraphError, match=rf"raises \(run='primary'\) at {HERE}:{line} raises Event\('purity'\), which handles"
    ):
        Service("s", {}, [Handler(raises, run="primary"), Handler(handles, EVENT)])


def test_mode_atomic_wants_accessors() -> None:
    Service("s", {"rows": ROWS}, [Handler(assigns_by_an_accessor)], mode="atomic", atomic=True)
    for function in (assigns, clears, assigns_in_a_helper):
        with pytest.raises(
            GraphError, match=rf"{function.__name__} at .* assigns to rows by itself: use the accessors"
        ):
            Service("s", {"rows": ROWS}, [Handler(function)], atomic=True)


def test_a_handler_without_source_is_refused() -> None:
    scope: dict[str, Any] = {}
    exec("def hidden(frame, end):\n    return 0\n", scope)
    with pytest.raises(
        GraphError, match="<string>:1: the source of hidden cannot be read; write it with def, in a file"
    ):
        Service("s", {}, [Handler(scope["hidden"])])


def test_handlers_are_read_once_however_many_services_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all that the handlers of a NAPT call takes most of a second."""
    read: list[Any] = []
    source = LabelledSource.of
    monkeypatch.setattr(LabelledSource, "of", lambda *given: read.append(given) or source(*given))
    Service("s", {}, [Handler(looks_around)])
    assert read
    read.clear()
    Service("t", {}, [Handler(looks_around)])
    assert not read


def looks_around(frame: Any, end: Any) -> int:
    return helps(frame, end)


def helps(frame: Any, end: Any) -> int:
    return 0
