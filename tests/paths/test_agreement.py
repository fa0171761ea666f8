"""Agreement of replicas: a path that could diverge is refused or made right."""

from typing import Any

import numpy as np
import pytest
import traces
from harness import NOW, Replicas, two_ports

from scout.io.access import load8, store8, trim
from scout.paths.framework.events import Handler
from scout.paths.framework.flow_table import rows
from scout.paths.framework.service import Service
from scout.paths.framework.state import add_to
from scout.paths.limit import within
from scout.paths.model.effects import effects
from scout.paths.model.router import GraphError
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.paths.services.token_bucket import TokenBucket
from scout.paths.stages.filter import Filter
from scout.paths.stages.tee import Tee

FLOW = (0x0A000002, 0x0A090001, traces.UDP, 5, 6)


def looks(frame: Any, end: Any, packet: Any) -> int:
    return load8(frame, 0) + packet.port


def marks(frame: Any, end: Any) -> int:
    store8(frame, 1, 7)
    return 0


def mark(frame: Any) -> None:
    store8(frame, 1, 7)


def marks_by_helper(frame: Any, end: Any) -> int:
    mark(frame)
    return 0


def marks_on_primary(frame: Any, end: Any, primary: bool) -> int:
    if primary:
        mark(frame)
    return 0


def marks_unless_other(frame: Any, end: Any, primary: bool) -> int:
    if not primary:
        return 0
    store8(frame, 1, 7)
    return 0


def cuts(frame: Any, end: Any, packet: Any) -> int:
    trim(frame, end, packet, 4)
    return 0


def shortens(frame: Any, end: Any, packet: Any) -> int:
    packet.end -= 1
    return 0


def counts(frame: Any, end: Any, seen: Any) -> int:
    row = seen[0]
    row.packets += 1
    return 0


def counts_atomically(frame: Any, end: Any, seen: Any) -> int:
    add_to(seen, 0, "packets", 1)
    return 0


def drops_by_table(frame: Any, end: Any, seen: Any) -> int:
    return 0 if seen[0].packets else 1


def drops_by_local(frame: Any, end: Any, seen: Any) -> int:
    verdict = 0
    if seen[0].packets > 3:
        verdict = 1
    return verdict


def marks_by_table(frame: Any, end: Any, seen: Any) -> int:
    store8(frame, 1, seen[0].packets)
    return 0


def counts_on_primary(frame: Any, end: Any, seen: Any, primary: bool) -> int:
    if primary:
        seen[0].packets += 1
    return 0


@pytest.mark.parametrize(
    ("function", "writes", "resizes", "changes", "varies"),
    [
        (looks, False, False, set(), False),
        (marks, True, False, set(), False),
        (marks_by_helper, True, False, set(), False),
        (marks_on_primary, False, False, set(), True),
        (marks_unless_other, False, False, set(), True),
        (cuts, False, True, set(), False),
        (shortens, False, True, set(), False),
        (counts, False, False, {"seen"}, False),
        (drops_by_table, False, False, set(), True),
        (drops_by_local, False, False, set(), True),
        (marks_by_table, True, False, set(), True),
        (counts_on_primary, False, False, {"seen"}, False),
    ],
)
def test_what_a_function_does_is_found_in_its_source(
    function: Any, writes: bool, resizes: bool, changes: set[str], varies: bool
) -> None:
    found = effects(function, {"seen": True})
    assert (found.writes, found.resizes, found.changes, found.varies) == (writes, resizes, changes, varies)
    assert not effects(function, {"seen": True}).unread


def test_without_source_everything_is_taken_to_happen() -> None:
    scope: dict[str, Any] = {}
    exec("def hidden(frame, end, primary): return 0", scope)
    found = effects(scope["hidden"], {})
    assert "the source of hidden cannot be read" in found.unread
    assert (found.writes, found.resizes, found.varies) == (True, True, True)


def test_stages_are_what_their_functions_do() -> None:
    path = two_ports().graph.create_path("left")
    assert {node for node, stage in path.stages.items() if stage.keeps_state} == {"arp.in"}
    assert path.stages["icmp.error"].resizes and not path.stages["ip.lookup"].resizes
    writing = {node for node, stage in path.stages.items() if stage.writes}
    assert {"ip.forward", "left.out", "icmp.error"} <= writing
    assert not {"left.in", "ip.lookup", "arp.resolve", "arp.in"} & writing
    assert Stage(marks, (), writes=False).writes, "a parameter adds to what is found, and takes nothing away"


def table(kind: str) -> Table:
    return Table(np.zeros(1, [("packets", "i8")]), kind)


def keep(frame: Any, end: Any, state: Any) -> int:
    state[0].packets += 1
    return 0


def below(filter_: Filter) -> Any:
    """A filter that packets pass on their way to a service whose state is replicated."""
    service = Service("service", {"state": np.zeros(1, [("packets", "i8")])}, [Handler(keep)])
    return two_ports((service, ("ip", "service", "left")), (filter_, ("service", filter_.name, "left"))).graph


def limited(frame: Any, end: Any, packet: Any, words: Any) -> int:
    return 0 if within(words, 0, packet.timestamp, 10, 0) else 1


@pytest.mark.parametrize(
    ("filter_", "words"),
    [
        (Filter("mine", drops_by_table, seen=table("shared")), "table seen, which is shared"),
        (Filter("mine", drops_by_local, seen=table("private")), "table seen, which is private"),
        (Filter("mine", limited, words=Table(np.zeros(1, np.int64), "shared")), "table words, which is shared"),
        (Filter("mine", marks_on_primary), "whether this replica is its primary"),
    ],
)
def test_a_path_that_could_diverge_is_refused(filter_: Filter, words: str) -> None:
    with pytest.raises(GraphError) as caught:
        below(filter_).create_path("left")
    text = str(caught.value)
    assert "mine.receive" in text and words in text and "service.receive is replicated" in text and "\n" not in text


@pytest.mark.parametrize(
    "filter_",
    [
        Filter("mine", counts_atomically, seen=table("shared")),
        Filter("mine", counts_on_primary, seen=table("private")),
        Filter("mine", drops_by_table, seen=table("constant")),
        Filter("mine", drops_by_table, seen=table("replicated")),
        Tee("mine", "/dev/null"),
    ],
)
def test_a_path_that_cannot_diverge_is_taken(filter_: Filter) -> None:
    assert "service.receive" in below(filter_).create_path("left").replicated


def test_a_replicated_table_changed_by_the_primary_alone_is_refused() -> None:
    filter_ = Filter("mine", counts_on_primary, seen=table("replicated"))
    with pytest.raises(GraphError, match=r"mine\.receive: counts_on_primary changes table seen, which is replicated"):
        two_ports((filter_, ("ip", "mine", "left"))).graph.create_path("left")


def test_a_stage_that_changes_a_replicated_table_runs_on_every_replica() -> None:
    seen = table("replicated")
    path = two_ports((Filter("mine", counts, seen=seen), ("ip", "mine", "left"))).graph.create_path("left")
    assert "mine.receive" in path.replicated
    replicas = Replicas(path, 2)
    replicas.serve(traces.frame(FLOW), 0)
    assert [int(replicas.table(seen, replica)["packets"][0]) for replica in (0, 1)] == [1, 1]


@pytest.mark.long
def test_icmp_errors_reach_a_replicated_service_in_all_replicas_or_in_none() -> None:
    """The limit of errors is one for all replicas; behind it each keeps it by itself, from the same requests."""
    bucket = TokenBucket("bucket", 1000, 100_000, connects="adjacency")
    made = two_ports((bucket, ("ip", "bucket", "arp")), errors_per_second=1, burst=1)
    path = made.graph.create_path("left")
    assert made.icmp.limit.kind == "replicated"
    assert "timeout" not in path.nodes["arp.resolve"], "only its primary has a packet that was held too long"
    replicas = Replicas(path, 2)
    expired = bytearray(traces.frame(FLOW, bytes(100)))
    expired[22], expired[24:26] = 1, b"\0\0"
    expired[24:26] = traces.checksum(bytes(expired[14:34])).to_bytes(2, "big")
    for number in range(3):
        replicas.serve(bytes(expired), number % 2, timestamp=NOW + number)
    assert replicas.leaves()["drops"]["icmp-rate-limited"] == 2
    one, other = (replicas.table(bucket.tables["buckets"], each) for each in (0, 1))
    assert len(rows(one)) > 0 and np.array_equal(one, other)


def test_without_replicated_work_behind_it_one_limit_serves_all_replicas() -> None:
    made = two_ports()
    path = made.graph.create_path("left")
    assert made.icmp.limit.kind == "shared" and path.nodes["arp.resolve"]["timeout"] == "icmp.error"
