"""The outbox of a primary: what of several requests of a batch is sent once."""

from typing import Any

import numpy as np

from scout.io.endpoints import stream
from scout.paths.compiler.plain import Record, View
from scout.paths.protocols.tcp import actions
from scout.paths.protocols.tcp.outbox import ENTRIES, ENTRY, OPENED, REPORT, SEGMENT, next_entry, post
from scout.paths.protocols.tcp.rows import HOST
from scout.paths.protocols.tcp.state import CLOSED, ESTABLISHED, RESET
from scout.paths.wire.tcp import ACK


class Box:
    """An outbox, and requests that put something into it."""

    def __init__(self) -> None:
        self._entries, self._counts, self._host = (
            np.zeros(ENTRIES, ENTRY),
            np.zeros((2, 1), np.int64),
            np.zeros(1, HOST),
        )

    def post(self, number: int, *wanted: dict[str, int]) -> None:
        """One request of a socket with these actions."""
        host = self._host[0]
        host["number"], host["ports"], host["out"]["count"] = number, number, len(wanted)
        host["out"]["actions"] = np.zeros((), actions.ACTION)
        for action, fields in zip(host["out"]["actions"], wanted, strict=False):
            for name, value in fields.items():
                action[name] = value
        post(View(self._entries), *map(View, self._counts), Record(host))

    def waiting(self) -> Any:
        return self._entries[: self._counts[0, 0]]


def ack(position: int, **fields: int) -> dict[str, int]:
    return {"kind": actions.EMIT, "flags": ACK, "acknowledgement": position} | fields


def report(received: int, **fields: int) -> dict[str, int]:
    return {"kind": actions.REPORT, "received": received, "state": ESTABLISHED} | fields


def test_a_batch_of_segments_is_acknowledged_and_reported_once() -> None:
    box = Box()
    box.post(1, report(10))
    for position in (20, 30, 40):
        box.post(1, ack(position), report(position))
    assert box.waiting()["kind"].tolist() == [REPORT, SEGMENT]
    assert box.waiting()["acknowledgement"][1] == 40 and box.waiting()["words"][0, 0] == 40


def test_the_words_of_a_report_only_grow() -> None:
    box = Box()
    box.post(1, report(10, acknowledged=7, ended=1))
    box.post(1, report(0, state=CLOSED, reason=RESET, error=3))
    (entry,) = box.waiting()
    assert entry["words"].tolist() == [10, 7, stream.CLOSED << 8 | RESET, 11, 3, 0]


def test_the_end_is_told_behind_the_records_that_were_opened() -> None:
    box = Box()
    box.post(1, report(10))
    entry = box._entries[next_entry(*map(View, (box._entries, *box._counts)), 0)]
    entry["kind"], entry["number"] = OPENED, 1
    box.post(1, report(0, state=CLOSED, reason=RESET))
    assert box.waiting()["kind"].tolist() == [REPORT, OPENED, REPORT]


def test_what_tells_something_of_its_own_is_sent() -> None:
    """Data, equal acknowledgements, which tell of a loss, those with SACK blocks, and those of other sockets."""
    for first, then in (
        (ack(10), ack(20, length=5)),
        (ack(10, length=5), ack(20)),
        (ack(10), ack(10)),
        (ack(10, sack_count=1), ack(20)),
    ):
        box = Box()
        box.post(1, first, report(10))
        box.post(1, then, report(20))
        assert box.waiting()["kind"].tolist() == [SEGMENT, REPORT, SEGMENT]
    box = Box()
    for number in (1, 2, 1):
        box.post(number, ack(10 * number), report(10 * number))
    assert box.waiting()["number"].tolist() == [1, 1, 2, 2, 1, 1]
