"""Every interleaving of each protocol, for small sizes; and with a bug put in, that it is found.

These tests explore the protocol, not the code: each model says which functions it stands for. `test_real` explores the
functions themselves. Sizes that take longer are marked `long`: `pytest -m long tests/model`.
"""

from typing import Any

import pytest

from model.bell import BellModel
from model.claim import ClaimModel
from model.collecting import CollectingModel
from model.dekker import DekkerModel
from model.explore import Model, cases, explore, finds
from model.modulo import ModuloModel
from model.placing import PlacingModel
from model.refcount import RefcountModel
from model.ring import RingModel
from model.snapshot import SnapshotModel

Kind = type[Model]
JOIN: dict[str, Any] = {"members": 1, "joins": 1, "requests": 3, "entries": 1}
LAP: dict[str, Any] = {"laps": True, "requests": 3, "entries": 1}
PRODUCERS: dict[str, Any] = {"producers": 2, "members": 1, "replicas": 1, "requests": 2}

RIGHT: list[tuple[Kind, dict[str, Any]]] = [
    (ClaimModel, {"requests": 4}),
    (ClaimModel, {"requests": 4, "batch": 2, "interval": 4}),
    (ClaimModel, {"requests": 3, "deaths": 1}),
    (ClaimModel, {"requests": 3, "batch": 2, "interval": 2, "keeps": True, "deaths": 1}),
    (ClaimModel, {**JOIN, "leaves": 1}),
    (ClaimModel, {**JOIN, "keeps": True, "leaves": 1}),
    (ClaimModel, {**PRODUCERS, "deaths": 1}),
    (ClaimModel, {"laps": True, "requests": 1, "entries": 1, "deaths": 1}),
    (RefcountModel, {"requests": 2, "deaths": 1}),
    (RefcountModel, {"requests": 4, "group": 2}),
    (RefcountModel, {"requests": 2, "group": 2, "deaths": 1}),
    (RefcountModel, {**JOIN, "leaves": 1}),
    (RefcountModel, {**LAP, "requests": 2}),
    (ModuloModel, {"requests": 3, "deaths": 1}),
    (ModuloModel, {"requests": 3, "group": 2, "deaths": 1}),
    (ModuloModel, {**JOIN, "leaves": 1}),
    (DekkerModel, {}),
    (SnapshotModel, {"deaths": 2}),
    (BellModel, {}),
    (PlacingModel, {"deaths": 2}),
    (CollectingModel, {}),
    (CollectingModel, {"replicas": 3, "batches": 5}),
]

LONG: list[tuple[Kind, dict[str, Any]]] = [
    (BellModel, {"deaths": 1, "frames": 1}),
    (ClaimModel, {"requests": 6}),
    (ClaimModel, {"requests": 5, "batch": 2, "interval": 4, "deaths": 1}),
    (ClaimModel, {"requests": 4, "entries": 4, "batch": 2, "interval": 2, "keeps": True, "deaths": 1}),
    (ClaimModel, {"requests": 3, "deaths": 2}),
    (ClaimModel, {"requests": 3, "entries": 1, "joins": 1, "leaves": 1, "deaths": 1}),
    (ClaimModel, {"requests": 4, "batch": 2, "interval": 2, "keeps": True, "joins": 1, "leaves": 1}),
    (ClaimModel, {**JOIN, "requests": 1, "producers": 2, "deaths": 1}),
    (ClaimModel, {**JOIN, "requests": 2, "producers": 2, "deaths": 1}),
    (ClaimModel, {**LAP, "requests": 2, "deaths": 1}),
    (ClaimModel, LAP),
    (ClaimModel, {**LAP, "deaths": 1}),
    (ClaimModel, {**LAP, "requests": 4, "entries": 2}),
    (ClaimModel, {**LAP, "keeps": True}),
    (RefcountModel, {"requests": 3, "deaths": 1}),
    (RefcountModel, {"requests": 3, "deaths": 2}),
    (RefcountModel, {"requests": 4, "group": 2, "deaths": 1}),
    (RefcountModel, {"requests": 3, "group": 2, "joins": 1, "leaves": 1}),
    (RefcountModel, {"requests": 3, "group": 2, "joins": 1, "leaves": 1, "deaths": 1}),
    (RefcountModel, LAP),
    (RefcountModel, {**LAP, "entries": 2, "group": 2}),
    (ModuloModel, {"requests": 3, "deaths": 2}),
    (ModuloModel, {"requests": 3, "group": 2, "joins": 1, "leaves": 1, "deaths": 1}),
    (SnapshotModel, {"saves": 5, "deaths": 3}),
    (BellModel, {"deaths": 1}),
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
    "pushes the living": {**PRODUCERS, "requests": 1},
    "unlock first": {**PRODUCERS, "requests": 1},
    "checked again": {**JOIN, "deaths": 1},
    "laps the busy": LAP,
    "laps all": {**LAP, "requests": 2},
    "clears its bits": LAP,
    "idle too early": {**LAP, "deaths": 1},
    "plain store": {"requests": 2},
    "untagged": {"requests": 4, "batch": 2, "interval": 4},
    "forgets its claim": {"requests": 2, "deaths": 1},
}
CLAIM_LONG = {
    "one word": {**JOIN, "requests": 2, "producers": 2, "deaths": 1},
    "trusted floor": {**LAP, "deaths": 1},
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
BELL = {bug: {"deaths": int("lookout" in bug), "frames": 1} for bug in BellModel.bugs}


def _seeded(kind: Kind, cases: dict[str, dict[str, Any]], **sizes: Any) -> list[tuple[Kind, str, dict[str, Any]]]:
    return [(kind, bug, {**sizes, **case}) for bug, case in cases.items()]


WRONG = [
    *_seeded(ClaimModel, CLAIM, requests=3),
    *_seeded(RefcountModel, REFCOUNT, requests=3),
    *_seeded(ModuloModel, MODULO, requests=3),
    *_seeded(DekkerModel, {bug: {} for bug in DekkerModel.bugs}),
    *_seeded(SnapshotModel, {bug: {} for bug in SnapshotModel.bugs}),
    *_seeded(PlacingModel, {bug: {} for bug in PlacingModel.bugs}),
    *_seeded(CollectingModel, {bug: {} for bug in CollectingModel.bugs}),
    *_seeded(BellModel, {bug: size for bug, size in BELL.items() if bug != "new lookout by flag"}),
]
WRONG_LONG = [
    *_seeded(ClaimModel, CLAIM_LONG, requests=3),
    *_seeded(BellModel, {"new lookout by flag": BELL["new lookout by flag"]}),
]


@pytest.mark.parametrize(("kind", "sizes"), cases(RIGHT, LONG))
def test_nothing_is_found(kind: Kind, sizes: dict[str, Any]) -> None:
    explore(kind(**sizes))


@pytest.mark.parametrize(("kind", "bug", "sizes"), cases(WRONG, WRONG_LONG))
def test_a_seeded_bug_is_found(kind: Kind, bug: str, sizes: dict[str, Any]) -> None:
    assert finds(kind(bug=bug, **sizes))


def test_every_bug_is_tried() -> None:
    tried = {(kind, bug) for kind, bug, _ in (*WRONG, *WRONG_LONG)}
    ring = {bug for kind, bug in tried if issubclass(kind, RingModel)}
    assert set(RingModel.bugs) <= ring
    for kind in {kind for kind, _ in tried}:
        own = set(kind.bugs) - set(RingModel.bugs)
        assert {(kind, bug) for bug in own} <= tried
