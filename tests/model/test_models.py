"""Every interleaving of each protocol, for small sizes; and with a bug put in, that it is found.

What is explored here is the protocol, not the code: each model says which functions it stands for. Sizes that take
longer are marked `slow`: `pytest -m slow tests/model`.
"""

from typing import Any

import pytest

from model.claim import ClaimModel
from model.dekker import DekkerModel
from model.explore import Model, Violation, explore
from model.kernel_ring import KernelRingModel
from model.modulo import ModuloModel
from model.places import PlacesModel
from model.refcount import RefcountModel
from model.ring import RingModel
from model.snapshot import SnapshotModel

Kind = type[Model]
JOIN: dict[str, Any] = {"members": 1, "joins": 1, "requests": 3, "entries": 1}
LAP: dict[str, Any] = {"laps": True, "requests": 3, "entries": 1}
PRODUCERS: dict[str, Any] = {"producers": 2, "members": 1, "replicas": 1, "requests": 2}
BLOCK: dict[str, Any] = {"rounds": 2, "blocks": 1, "deaths": 1}
RETIRED: dict[str, Any] = {**BLOCK, "retires": 1}
JOINED: dict[str, Any] = {"rounds": 2, "blocks": 1, "members": 1, "joins": 1}
REPLAYED: dict[str, Any] = {"rounds": 2, "interval": 2, "keeps": True, "deaths": 1}
PLACED: dict[str, Any] = {"rounds": 2, "requests": 1}
TOLD: dict[str, Any] = {"rounds": 1, "blocks": 1, "requests": 2, "entries": 1, "interval": 1}

RIGHT: list[tuple[Kind, dict[str, Any]]] = [
    (ClaimModel, {"requests": 6}),
    (ClaimModel, {"requests": 4, "batch": 2, "interval": 4}),
    (ClaimModel, {"requests": 3, "deaths": 1}),
    (ClaimModel, {"requests": 3, "batch": 2, "interval": 2, "keeps": True, "deaths": 1}),
    (ClaimModel, {**JOIN, "leaves": 1}),
    (ClaimModel, {**JOIN, "keeps": True, "leaves": 1}),
    (ClaimModel, {**PRODUCERS, "deaths": 1}),
    (ClaimModel, {**JOIN, "requests": 1, "producers": 2, "deaths": 1}),
    (ClaimModel, {**LAP, "requests": 2, "deaths": 1}),
    (ClaimModel, LAP),
    (RefcountModel, {"requests": 3, "deaths": 1}),
    (RefcountModel, {"requests": 4, "group": 2}),
    (RefcountModel, {"requests": 2, "group": 2, "deaths": 1}),
    (RefcountModel, {**JOIN, "leaves": 1}),
    (RefcountModel, {**LAP, "requests": 2}),
    (ModuloModel, {"requests": 3, "deaths": 1}),
    (ModuloModel, {"requests": 3, "group": 2, "deaths": 1}),
    (ModuloModel, {**JOIN, "leaves": 1}),
    (DekkerModel, {}),
    (SnapshotModel, {"deaths": 2}),
    (KernelRingModel, {"rounds": 3}),
    (KernelRingModel, BLOCK),
    (KernelRingModel, {**REPLAYED, "blocks": 1, "interval": 1}),
    (KernelRingModel, {**RETIRED, "ordered": True}),
    (KernelRingModel, {**JOINED, "rounds": 3}),
    (KernelRingModel, {**JOINED, "keeps": True}),
    (PlacesModel, {"requests": 1}),
    (PlacesModel, {**TOLD, "requests": 1, "deaths": 1}),
    (PlacesModel, {**TOLD, "members": 1, "joins": 1}),
]

SLOW: list[tuple[Kind, dict[str, Any]]] = [
    (ClaimModel, {"requests": 5, "batch": 2, "interval": 4, "deaths": 1}),
    (ClaimModel, {"requests": 4, "entries": 4, "batch": 2, "interval": 2, "keeps": True, "deaths": 1}),
    (ClaimModel, {"requests": 3, "deaths": 2}),
    (ClaimModel, {"requests": 3, "entries": 1, "joins": 1, "leaves": 1, "deaths": 1}),
    (ClaimModel, {"requests": 4, "batch": 2, "interval": 2, "keeps": True, "joins": 1, "leaves": 1}),
    (ClaimModel, {"requests": 2, "entries": 1, "producers": 2, "members": 1, "joins": 1, "deaths": 1}),
    (ClaimModel, {**LAP, "deaths": 1}),
    (ClaimModel, {**LAP, "requests": 4, "entries": 2}),
    (ClaimModel, {**LAP, "keeps": True}),
    (RefcountModel, {"requests": 3, "deaths": 2}),
    (RefcountModel, {"requests": 4, "group": 2, "deaths": 1}),
    (RefcountModel, {"requests": 3, "group": 2, "joins": 1, "leaves": 1}),
    (RefcountModel, {"requests": 3, "group": 2, "joins": 1, "leaves": 1, "deaths": 1}),
    (RefcountModel, LAP),
    (RefcountModel, {**LAP, "entries": 2, "group": 2}),
    (ModuloModel, {"requests": 3, "deaths": 2}),
    (ModuloModel, {"requests": 3, "group": 2, "joins": 1, "leaves": 1, "deaths": 1}),
    (SnapshotModel, {"saves": 5, "deaths": 3}),
    (KernelRingModel, {"rounds": 4}),
    (KernelRingModel, {"rounds": 3, "deaths": 1}),
    (KernelRingModel, {**BLOCK, "deaths": 2}),
    (KernelRingModel, {**REPLAYED, "rounds": 3, "deaths": 2}),
    (KernelRingModel, {**JOINED, "rounds": 4, "blocks": 2, "keeps": True}),
    (KernelRingModel, {**RETIRED, "joins": 1, "keeps": True}),
    (KernelRingModel, {**RETIRED, "joins": 1}),
    (KernelRingModel, {**REPLAYED, "retires": 1, "joins": 1, "ordered": True}),
    (KernelRingModel, {**REPLAYED, "deaths": 2, "retires": 1, "ordered": True}),
    (PlacesModel, {}),
    (PlacesModel, {"blocks": 1, "interval": 1}),
    (PlacesModel, {**PLACED, "deaths": 1}),
    (PlacesModel, {**PLACED, "deaths": 1, "retires": 1, "joins": 1}),
    (PlacesModel, {"members": 1, "joins": 1, "requests": 2, "rounds": 2}),
    (PlacesModel, {**PLACED, "blocks": 1, "interval": 1, "requests": 3, "entries": 1, "members": 1, "joins": 1}),
    (PlacesModel, {**TOLD, "deaths": 1}),
    (PlacesModel, {**PLACED, "rounds": 1, "requests": 2, "deaths": 1}),
]

CLAIM = {
    "publish first": {},
    "no gate": {},
    "floor first": {},
    "floor before head": {"deaths": 1},
    "floor before snapshot": {"requests": 2, "entries": 1, "deaths": 1, "keeps": True},
    "stale floor": {"requests": 2, "entries": 1, "deaths": 1},
    "hasty leave": {"requests": 1, "entries": 1, "deaths": 1, "leaves": 1},
    "asked in replay": {"requests": 2, "interval": 2, "keeps": True, "deaths": 1, "leaves": 1},
    "limit falls": {**JOIN, "keeps": True},
    "unchecked join": JOIN,
    "off the chain": {"members": 1, "joins": 1, "batch": 2, "interval": 4, "entries": 4},
    "old claims": {"requests": 2, "keeps": True, "joins": 1, "leaves": 1},
    "one word": {**JOIN, "requests": 2, "producers": 2, "deaths": 1},
    "pushes the living": {**PRODUCERS, "requests": 1},
    "unlock first": {**PRODUCERS, "requests": 1},
    "trusted floor": {**LAP, "deaths": 1},
    "checked again": {**JOIN, "deaths": 1},
    "laps the busy": LAP,
    "laps all": {**LAP, "requests": 2},
    "clears its bits": LAP,
    "idle too early": {**LAP, "deaths": 1},
    "plain store": {"requests": 2},
    "untagged": {"requests": 4, "batch": 2, "interval": 4},
    "forgets its claim": {"requests": 2, "deaths": 1},
}
CLAIM_SLOW = {
    "head in replay": {
        "members": 1,
        "joins": 1,
        "entries": 4,
        "batch": 2,
        "interval": 4,
        "keeps": True,
        "deaths": 1,
    },
    "forgets until": {"joins": 1, "leaves": 1, "keeps": True},
}
REFCOUNT = {
    "hasty leave": CLAIM["hasty leave"],
    "mid-group": {"group": 2, "leaves": 1},
    "nobody": {"members": 0, "joins": 1, "requests": 2},
    "plain signature": {"requests": 2},
    "two steps": {"requests": 2, "deaths": 1},
    "only members sign": {**JOIN, "requests": 2, "leaves": 1},
}
MODULO = {
    "hasty leave": CLAIM["hasty leave"],
    "members first": JOIN,
    "nobody": {"members": 0, "joins": 1, "requests": 2},
    "leaves at once": {"requests": 2, "leaves": 1},
    "first without": {**JOIN, "requests": 2, "leaves": 1},
    "members now": {"requests": 2, "leaves": 1},
}
KERNEL: dict[str, dict[str, Any]] = {
    "status first": {"rounds": 3, "blocks": 2, "deaths": 0},
    "no number": {"deaths": 0},
    "plain store": {"rounds": 1, "deaths": 0},
    "untagged": RETIRED,
    "forgets its claim": {},
    "claims in replay": {**REPLAYED, "blocks": 2},
    "floor first": {"deaths": 0},
    "floor before head": {},
    "floor before snapshot": {"keeps": True},
    "stale floor": {"rounds": 1},
    "own floor": {"deaths": 0},
    "plain lock": {"rounds": 3, "deaths": 0},
    "number first": {"rounds": 3},
    "not again": {"rounds": 3},
    "handed first": {},
    "no second look": {**JOINED, "deaths": 0},
    "limit falls": {**JOINED, "deaths": 0},
    "looks before it lets go": {"deaths": 0},
    "unchecked join": {**JOINED, "deaths": 0},
    "bit first": {**JOINED, "deaths": 0},
    "refused stays": {**JOINED, "deaths": 0},
    "refused is silent": {**JOINED, "deaths": 0},
    "lock not freed": {"rounds": 1},
    "successor is silent": {"rounds": 1},
    "retired is silent": {**RETIRED, "rounds": 1},
    "lost and done": {**RETIRED, "joins": 1, "keeps": True},
    "old claims": {**RETIRED, **REPLAYED, "blocks": 2, "joins": 1},
}
KERNEL_SLOW = {
    "forgets until": {**REPLAYED, "blocks": 2, "deaths": 2},
    "turn not passed": {**RETIRED, "ordered": True},
    "retired at head": {**REPLAYED, "blocks": 2, "deaths": 2, "retires": 1, "ordered": True},
}
PLACES = {
    "one word a block": {"blocks": 1, "interval": 1},
    "untagged": {"rounds": 3, "blocks": 1, "interval": 1},
    "not settled": {},
    "own count": {},
    "plain raise": {},
    "plain settle": {},
    "raises the settled": {},
    "forgets the told": {"deaths": 1},
    "told is not kept": {**TOLD, "deaths": 1},
    "unchecked told": {**TOLD, "members": 1, "joins": 1},
    "joins meanwhile": {**TOLD, "members": 1, "joins": 1},
    "published first": {},
    "lost and done": {"deaths": 1, "retires": 1, "joins": 1},
}
PLACES_SLOW = {
    "blocks only": {"interval": 4, "deaths": 1},
    "retired at head": {"deaths": 2, "retires": 1},
}


def _seeded(kind: Kind, cases: dict[str, dict[str, Any]], **sizes: Any) -> list[tuple[Kind, str, dict[str, Any]]]:
    return [(kind, bug, {**sizes, **case}) for bug, case in cases.items()]


WRONG = [
    *_seeded(ClaimModel, CLAIM, requests=3),
    *_seeded(RefcountModel, REFCOUNT, requests=3),
    *_seeded(ModuloModel, MODULO, requests=3),
    *_seeded(DekkerModel, {bug: {} for bug in DekkerModel.bugs}),
    *_seeded(SnapshotModel, {bug: {} for bug in SnapshotModel.bugs}),
    *_seeded(KernelRingModel, KERNEL, **BLOCK),
    *_seeded(PlacesModel, PLACES, **PLACED),
]
WRONG_SLOW = [
    *_seeded(ClaimModel, CLAIM_SLOW, requests=3),
    *_seeded(KernelRingModel, KERNEL_SLOW, **BLOCK),
    *_seeded(PlacesModel, PLACES_SLOW, **PLACED),
]


def _name(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "-"
    return value if isinstance(value, str) else str(value.__name__)


@pytest.mark.parametrize(("kind", "sizes"), RIGHT, ids=_name)
def test_nothing_is_found(kind: Kind, sizes: dict[str, Any]) -> None:
    explore(kind(**sizes))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "sizes"), SLOW, ids=_name)
def test_nothing_is_found_in_bigger_ones(kind: Kind, sizes: dict[str, Any]) -> None:
    explore(kind(**sizes))


@pytest.mark.parametrize(("kind", "bug", "sizes"), WRONG, ids=_name)
def test_a_seeded_bug_is_found(kind: Kind, bug: str, sizes: dict[str, Any]) -> None:
    with pytest.raises(Violation):
        explore(kind(bug=bug, **sizes))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bug", "sizes"), WRONG_SLOW, ids=_name)
def test_a_seeded_bug_is_found_in_bigger_ones(kind: Kind, bug: str, sizes: dict[str, Any]) -> None:
    with pytest.raises(Violation):
        explore(kind(bug=bug, **sizes))


def test_every_bug_is_tried() -> None:
    tried = {(kind, bug) for kind, bug, _ in (*WRONG, *WRONG_SLOW)}
    ring = {bug for kind, bug in tried if issubclass(kind, RingModel)}
    assert set(RingModel.bugs) <= ring
    for kind in {kind for kind, _ in tried}:
        own = set(kind.bugs) - set(RingModel.bugs)
        assert {(kind, bug) for bug in own} <= tried
