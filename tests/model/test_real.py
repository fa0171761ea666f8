"""Every interleaving of the functions that run, for small sizes; and with a change to their text, that it is found.

Sizes that take longer are marked `long`: `pytest -m long tests/model`.
"""

from typing import Any

import pytest

from model.channels import KernelModel, SoftwareModel
from model.explore import cases, explore, finds

Kind = type[SoftwareModel] | type[KernelModel]
ALONE: dict[str, Any] = {"replicas": 1, "members": 1, "entries": 1}
JOINED: dict[str, Any] = {"entries": 1, "members": 1, "joins": 1}
REPLAYED: dict[str, Any] = {"requests": 2, "interval": 2, "keeps": True, "deaths": 1}
RETIRED: dict[str, Any] = {"ordered": True, "deaths": 1, "retires": 1}

RIGHT: list[tuple[Kind, dict[str, Any]]] = [
    (SoftwareModel, {"requests": 2}),
    (SoftwareModel, {"requests": 2, "batch": 2, "interval": 2}),
    (SoftwareModel, {"requests": 1, "deaths": 1}),
    (SoftwareModel, {"requests": 2, "ordered": True}),
    (KernelModel, {"requests": 3, **ALONE, "deaths": 1}),
    (KernelModel, {"requests": 2, **ALONE, "controls": 1, "room": 1}),
]
LONG: list[tuple[Kind, dict[str, Any]]] = [
    (KernelModel, {"requests": 1, "entries": 1}),
    (SoftwareModel, {"requests": 3, **JOINED}),
    (SoftwareModel, {"requests": 3}),
    (SoftwareModel, {"requests": 2, "entries": 1, "deaths": 1}),
    (SoftwareModel, REPLAYED),
    (SoftwareModel, {**REPLAYED, "deaths": 2}),
    (SoftwareModel, {"requests": 2, "ordered": True, "deaths": 1}),
    (SoftwareModel, {"requests": 2, **RETIRED}),
    (KernelModel, {"requests": 2, "entries": 1}),
    (KernelModel, {"requests": 1, "entries": 1, "deaths": 1}),
    (KernelModel, {"requests": 2, **JOINED}),
    (KernelModel, {"requests": 1, "entries": 1, "controls": 1}),
    (KernelModel, {"requests": 0, "entries": 1, "controls": 2, "room": 1}),
]

# The fault in words; the module, its text and the faulty text; and the sizes with which the fault is found.
WRONG: list[tuple[str, Kind, tuple[str, str, str], dict[str, Any]]] = [
    (
        "two replicas can claim the same requests",
        SoftwareModel,
        ("claims", "if compare_exchange(mark, found, mine):", "if compare_exchange(mark, load64_acquire(mark), mine):"),
        {"requests": 1},
    ),
    (
        "a claim of an earlier lap is followed",
        KernelModel,
        ("claims", "found >> _LAP == lap and found != 0", "found != 0"),
        {"requests": 2, **ALONE, "controls": 1, "room": 1},
    ),
    (
        "a claim is taken for plain that is not",
        SoftwareModel,
        ("claims", "(found >> _PLAIN) & 1 == 1", "found != 0"),
        {"requests": 2},
    ),
    (
        "to mark a claim as plain changes its owner",
        SoftwareModel,
        ("claims", "load64_acquire(mark) | (1 << _PLAIN)", "load64_acquire(mark) + 1 | (1 << _PLAIN)"),
        {"requests": 1, "deaths": 1},
    ),
    (
        "a successor does not know the claims of its predecessor",
        SoftwareModel,
        ("election", "role = PRIMARY if owner == replica else 0", "role = 0"),
        {"requests": 1, "deaths": 1},
    ),
    (
        "the producer publishes an entry that it has not filled",
        SoftwareModel,
        ("producer", "word(channel, TAIL), tail + count)", "word(channel, TAIL), tail + count + 1)"),
        {"requests": 2},
    ),
    (
        "the producer goes by another floor than the lowest",
        SoftwareModel,
        ("floors", "low < 0 or floor < low", "low < 0 or floor > low"),
        {"requests": 2, "entries": 1},
    ),
    (
        "the floors are not read a second time",
        SoftwareModel,
        (
            "floors",
            "confirmed = max(granted, min(limit, lowest_floor(channel) + channel.entries))",
            "confirmed = limit",
        ),
        {"requests": 3, **JOINED},
    ),
    (
        "the limit is not announced",
        SoftwareModel,
        ("floors", "exchange(word(channel, LIMIT), limit)", "pass"),
        {"requests": 3, **JOINED},
    ),
    (
        "a replica joins without a look at the limit",
        SoftwareModel,
        ("membership", "if load64_seq(word(channel, LIMIT)) > member.floor + channel.entries:", "if False:"),
        {"requests": 3, **JOINED},
    ),
    (
        "a frame is read before the one in its slot was returned",
        KernelModel,
        (
            "kernel_ring_protocol",
            "last = min(cursor.head + ring.batch, load64_acquire(word(ring, RETURNED)) + ring.entries)",
            "last = cursor.head + ring.batch",
        ),
        {"requests": 2, "entries": 1},
    ),
    (
        "a frame is returned twice",
        KernelModel,
        ("kernel_ring_protocol", " and load32(frame + LENGTH) == 0", ""),
        {"requests": 3, **ALONE, "deaths": 1},
    ),
    (
        "frames are marked again",
        KernelModel,
        ("kernel_ring_protocol", "prepared_of(ring), number + 1)", "prepared_of(ring), 0)"),
        {"requests": 3, **ALONE, "deaths": 1},
    ),
    (
        "the lock of a dead replica stays locked",
        KernelModel,
        ("kernel_ring_protocol", "if load64_acquire(word(ring, LOCK)) == replica + 1:", "if False:"),
        {"requests": 1, **ALONE, "deaths": 1},
    ),
    (
        "frames that a dead replica should have returned stay",
        KernelModel,
        ("kernel_ring_protocol", "    _return_frames(ring, _SUPERVISOR)", "    pass"),
        {"requests": 1, **ALONE, "deaths": 1},
    ),
    (
        "control requests are written over",
        KernelModel,
        ("kernel_ring_protocol", "number - floor >= MOST_CONTROLS", "False"),
        {"requests": 0, "entries": 1, "controls": 2, "room": 1},
    ),
    (
        "a control request waits for a frame",
        KernelModel,
        ("kernel_ring_protocol", "> cursor.controls  # pairs with add_control", "> cursor.controls + 1"),
        {"requests": 1, **ALONE, "controls": 1, "room": 1},
    ),
]
WRONG_LONG: list[tuple[str, Kind, tuple[str, str, str], dict[str, Any]]] = [
    (
        "a replayed request is done again",
        SoftwareModel,
        ("batch", "if replay > 0:", "if False:"),
        REPLAYED,
    ),
    (
        "a successor forgets how far its predecessor was",
        SoftwareModel,
        ("membership", "member.until = max(member.until, position(member))", "pass"),
        REPLAYED,
    ),
    (
        "the floor is raised before the head",
        SoftwareModel,
        (
            "batch",
            "    _move(channel, replica, head)\n",
            "    store64_release(floor_of(channel, replica), head)\n    _move(channel, replica, head)\n",
        ),
        {"requests": 2, "entries": 1, "deaths": 1},
    ),
    (
        "a successor does not raise the floor that its predecessor had not raised",
        SoftwareModel,
        ("membership", "    exchange(floor_of(channel, replica), member.head)", "    pass"),
        {"requests": 2, "entries": 1, "deaths": 1},
    ),
    (
        "a replica sends before its turn",
        SoftwareModel,
        ("turn", "return is_turn(channel, here)", "return load64_acquire(word(channel, TURN)) <= here + 1"),
        {"requests": 2, "ordered": True, "deaths": 1},
    ),
    (
        "a retired replica keeps its turn",
        SoftwareModel,
        ("retirement", "pass_turn(channel, here + lost)", "pass"),
        {"requests": 2, **RETIRED},
    ),
]


@pytest.mark.parametrize(("kind", "sizes"), cases(RIGHT, LONG))
def test_nothing_is_found(kind: Kind, sizes: dict[str, Any]) -> None:
    explore(kind(**sizes))


@pytest.mark.parametrize(("what", "kind", "change", "sizes"), cases(WRONG, WRONG_LONG))
def test_a_seeded_bug_is_found(what: str, kind: Kind, change: tuple[str, str, str], sizes: dict[str, Any]) -> None:
    assert finds(kind(change, **sizes))
