"""Services that see the whole payload, on the primary alone."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import traces
from harness import Replicas, Twin, one_port

from scout.io.access import length, load8, require, store8
from scout.io.batch import LONGEST
from scout.io.packet import REACH
from scout.paths.framework.events import Event, Handler, raise_event
from scout.paths.framework.service import Service
from scout.paths.model.verdict import drop

SEEN_OF = np.dtype([("packets", "i8"), ("bytes", "i8"), ("reached", "i8")])
INSPECT, SECRET = Event("inspect"), drop("secret")
LATE = drop("late")


def packet(what: int = 0) -> bytes:
    return traces.frame((0x0A000002, 0x0A090007, 17, 5, 53), bytes([what]))


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
    data = traces.frame((0x0A000002, 0x0A090007, 17, 5, 53), bytes(0xFFFF - 28))  # with its Ethernet header, too long
    assert len(data) > LONGEST
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
