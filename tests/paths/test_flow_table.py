"""Tables of flows against plain dicts, and what happens when they are full."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import traces
from harness import NOW, Twin, one_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scout.paths.framework.events import Handler
from scout.paths.framework.flow_table import EVICT, FOREVER, PROBES, REFUSE, claim, find, new_table, place, remove, rows
from scout.paths.framework.service import Service
from scout.ring.errors import ScoutError

PLACE, FIND, REMOVE = 0, 1, 2
RESULT = np.dtype([("row", "i8"), ("hits", "i8")])
LIFETIME = 50


def work(frame: Any, end: Any, packet: Any, flows: Any, counts: Any, result: Any, lifetime: int, policy: int) -> int:
    """What `destination` says, with key `next_hop`."""
    key, more, now = packet.next_hop, -packet.next_hop, packet.timestamp
    if packet.destination == PLACE:
        row = place(flows, counts, key, more, now, lifetime, policy)
        if row >= 0:
            flows[row].hits += 1
    else:
        row = find(flows, key, more, now, lifetime)
        if row >= 0 and packet.destination == REMOVE:
            remove(flows, row)
    result[0].row = row
    result[0].hits = flows[row].hits if row >= 0 else -1
    return 0


def tabled(capacity: int, lifetime: int, policy: int) -> SimpleNamespace:
    flows = new_table(capacity, [("hits", "i8")])
    service = Service(
        "work",
        {"flows": flows, "result": np.zeros(1, RESULT)},
        [Handler(work)],
        lifetime=lambda: made.lifetime,
        policy=lambda: made.policy,
    )
    made = SimpleNamespace(service=service, lifetime=lifetime, policy=policy)
    made.twin = Twin(one_port(service).create_path("left"))
    return made


@pytest.fixture(scope="module")
def full() -> SimpleNamespace:
    """A table in which every key may stand in every row: so it is exactly what a dict of 16 would be."""
    return tabled(PROBES, LIFETIME, EVICT)


class Model:
    """Key -> [hits, last used], of at most 16."""

    def __init__(self, lifetime: int, policy: int) -> None:
        self.rows: dict[int, list[int]] = {}
        self.lifetime, self.policy, self.refused, self.evicted = lifetime, policy, 0, 0

    def do(self, what: int, key: int, now: int) -> int:
        self.rows = {k: row for k, row in self.rows.items() if now - row[1] < self.lifetime}
        if what == FIND:
            return self.rows[key][0] if key in self.rows else -1
        if what == REMOVE:
            return 0 if self.rows.pop(key, None) else -1
        if key not in self.rows:
            if len(self.rows) == PROBES:
                if self.policy == REFUSE:
                    self.refused += 1
                    return -1
                self.evicted += 1
                del self.rows[min(self.rows, key=lambda k: self.rows[k][1])]
            self.rows[key] = [0, now]
        self.rows[key][0] += 1
        self.rows[key][1] = now
        return self.rows[key][0]


# Time passes with every step: which of two rows of one age is older is nobody's business.
STEP = st.tuples(st.sampled_from([PLACE, PLACE, PLACE, PLACE, FIND, REMOVE]), st.integers(1, 24), st.integers(1, 3))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    policy=st.sampled_from([EVICT, REFUSE]),
    lifetime=st.sampled_from([LIFETIME, FOREVER]),
    steps=st.lists(STEP, min_size=20, max_size=60),
)
def test_a_full_table_is_what_a_dict_would_be(
    full: SimpleNamespace, policy: int, lifetime: int, steps: list[Any]
) -> None:
    full.twin.reset()
    full.policy, full.lifetime = policy, lifetime
    model, now = Model(lifetime, policy), NOW
    data = traces.frame((1, 2, 17, 3, 4))
    for what, key, passed in steps:
        now += passed
        full.twin.both(data, timestamp=now, destination=what, next_hop=key)
        assert full.service.tables["result"].initial["hits"][0] == model.do(what, key, now)
    taken = rows(full.service.tables["flows"].initial)
    alive = taken[now - taken["used"] < lifetime]
    assert {int(r["key"]): int(r["hits"]) for r in alive} == {
        key: row[0] for key, row in model.rows.items() if now - row[1] < lifetime
    }
    assert full.service.account() == {"events-lost": 0, "table-full": model.refused, "evicted": model.evicted}


def claims(frame: Any, end: Any, packet: Any, flows: Any, counts: Any, result: Any) -> int:
    result[0].row = claim(flows, counts, packet.next_hop, packet.destination)
    return 0


def test_keys_of_two_words_that_meet_are_told_apart() -> None:
    service = Service("claims", {"flows": new_table(16, []), "result": np.zeros(1, RESULT)}, [Handler(claims)])
    twin, result = Twin(one_port(service).create_path("left")), service.tables["result"].initial
    found = {}
    for key in (1, 2, 3, 4):
        for more in (1, 2, -3, 4):
            twin.both(traces.frame((1, 2, 17, 3, 4)), next_hop=key, destination=more)
            found[key, more] = int(result["row"][0])
    assert sorted(found.values()) == list(range(16))
    for (key, more), row in found.items():
        twin.both(traces.frame((1, 2, 17, 3, 4)), next_hop=key, destination=more)
        assert result["row"][0] == row
    assert service.account()["table-full"] == 0
    twin.both(traces.frame((1, 2, 17, 3, 4)), next_hop=5, destination=1)
    assert result["row"][0] == -1
    assert service.account()["table-full"] == 1


def test_a_table_filled_to_70_percent_refuses_next_to_nothing() -> None:
    made = tabled(1 << 12, FOREVER, REFUSE)
    path, flows = made.twin.path, made.service.tables["flows"].initial
    keys = np.random.default_rng(3).choice(1 << 40, int(0.7 * len(flows)), replace=False) + 1
    data = traces.frame((1, 2, 17, 3, 4))
    for key in keys:
        made.twin.native(data, timestamp=NOW, destination=PLACE, next_hop=int(key))
    assert path.source == "left"
    assert made.service.account()["table-full"] < 0.005 * len(keys)
    assert len(rows(flows)) == len(keys) - made.service.account()["table-full"]


@pytest.mark.parametrize("capacity", [0, 8, 24])
def test_a_capacity_that_is_no_power_of_two_is_refused(capacity: int) -> None:
    with pytest.raises(ScoutError, match=f"a table of {capacity} rows; give a power of two, 16 or more"):
        new_table(capacity, [])
