"""Parts of stages that run ahead of a group of packets: the same results as without, in every tier."""

from typing import Any

import numpy as np
import pytest
import traces
from harness import NOW, Twin, fill, one_port, two_ports

from scout.io.access import load8, load16, load32, require, store32
from scout.io.batch import new_batch
from scout.io.packet import DROPPED
from scout.paths.compiler.ahead import GROUP
from scout.paths.compiler.native import Work, compile_path
from scout.paths.compiler.plan import lower
from scout.paths.model.ahead import ahead, halves
from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.paths.model.setting import Setting
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.protocols.ipv4 import find_place, lookup, take_next_hop
from scout.paths.stages.filter import Filter

REFUSED = drop("refused")
FLOWS = [(0x0A000002, 0x0A090000 + index, traces.UDP, index, 53) for index in range(3 * GROUP)]


@ahead
def rank(frame: Any, end: Any, ranks: Any, shift: int) -> int:
    return ranks[load8(frame, 19) >> shift] if require(frame, end, 20) else -1


def ranked(frame: Any, end: Any, seen: Any, ranks: Any, shift: int) -> int:
    """A stage in two parts."""
    return admitted(seen, rank(frame, end, ranks, shift))


def admitted(seen: Any, found: int) -> int:
    seen[found] += 1
    return REFUSED if found == 3 else 0


def by_constant(frame: Any, end: Any, seen: Any, ranks: Any) -> int:
    return admitted(seen, rank(frame, end, ranks, 0))


def moves(frame: Any, end: Any) -> int:
    """Send what goes to an odd address to the one below it."""
    store32(frame, 16, load32(frame, 16) & ~1)
    return 0


def ranking(*before: Filter) -> tuple[Path, Table]:
    """A path with `ranked` behind other filters, and the table of what it counts."""
    seen = Table(np.zeros(4, np.int64), "private")
    ranks = Table(np.arange(256) % 4, "constant")
    return one_port(*before, Filter("ranked", ranked, seen=seen, ranks=ranks, shift=Setting(0))).create_path(
        "left"
    ), seen


def test_the_two_parts_of_a_stage_are_found_in_its_source() -> None:
    parts = halves(lookup)
    assert parts is not None
    assert (parts.first, parts.rest) == (find_place, take_next_hop)
    assert parts.first_arguments == ("frame", "end", "entries", "vectors", "root")
    assert parts.rest_arguments == ("packet", "entries", "vectors", "leaves", "root", "", "next_hops")
    assert halves(by_constant) is None  # its part is given something that is no parameter of the stage
    assert halves(admitted) is None


@pytest.mark.parametrize("count", [1, GROUP, GROUP + 1, len(FLOWS)])
def test_all_packets_of_a_batch_come_out_as_in_plain_python(count: int) -> None:
    path, seen = ranking()
    assert lower(path).ahead["ranked.receive"].offset == 14
    compiled = compile_path(path)
    frames = [traces.frame(flow, bytes(20)) for flow in FLOWS[:count]]
    frames[count // 2] = frames[count // 2][:30]  # cut off in its header
    leaves = [path.run(frame)[0] for frame in frames]
    expected, seen.initial[:] = seen.initial.copy(), 0
    batch, slots = new_batch(count)
    room = len(slots) // count
    tails = [fill(batch[i : i + 1], slots[i * room :], frame, {"timestamp": NOW}) for i, frame in enumerate(frames)]
    work = Work(compiled.plan)
    compiled.run(batch, 0, count, True, work.place)
    assert [row["egress"] == DROPPED for row in batch] == ["drops" in leaf for leaf in leaves]
    assert np.array_equal(seen.initial, expected) and expected.sum() == count - 1
    del tails  # the batch refers to them by address


def test_a_route_is_looked_up_ahead_only_if_nothing_rewrites_the_packet_before() -> None:
    def path(function: Any) -> Path:
        return two_ports((Filter("mine", function), ("ip", "mine", "left"))).graph.create_path("left")

    assert "ip.lookup" in lower(path(looks)).ahead
    moved = path(moves)
    assert "ip.lookup" not in lower(moved).ahead
    twin = Twin(moved)
    for destination in (0x0A090001, 0x0A000101, 0x0B000001, 0xE0000001):
        twin.both(traces.frame((0x0A000002, destination, traces.UDP, 1, 2), bytes(30)))


def looks(frame: Any, end: Any) -> int:
    return 0 if load16(frame, 2) else REFUSED


@ahead
def seen_before(frame: Any, end: Any, seen: Any) -> int:
    return seen[load8(frame, 19)] if require(frame, end, 20) else 0


def once(frame: Any, end: Any, seen: Any) -> int:
    return count_once(seen, seen_before(frame, end, seen))


def count_once(seen: Any, before: int) -> int:
    return REFUSED if before else 0


@ahead
def counts(frame: Any, end: Any, seen: Any) -> int:
    seen[0] += 1
    return 0


def counting(frame: Any, end: Any, seen: Any) -> int:
    return count_once(seen, counts(frame, end, seen))


@ahead
def by_time(packet: Any) -> int:
    return packet.timestamp & 1


def timed(frame: Any, end: Any, packet: Any, seen: Any) -> int:
    return count_once(seen, by_time(packet))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            once,
            r"seen_before, which runs ahead of stage mine.receive, depends on seen, which stages change; read that in",
        ),
        (
            counting,
            r"test_ahead.py:\d+: counts runs ahead of stage mine.receive and changes seen; do that in count_once",
        ),
        (timed, r"by_time, which runs ahead of stage mine.receive, is given packet; give it frame, end, settings"),
    ],
)
def test_what_packets_of_a_group_may_change_cannot_be_read_ahead(function: Any, message: str) -> None:
    seen = Table(np.zeros(256, np.int64), "private")
    path = one_port(Filter("mine", function, seen=seen)).create_path("left")
    with pytest.raises(GraphError, match=message):
        compile_path(path)
