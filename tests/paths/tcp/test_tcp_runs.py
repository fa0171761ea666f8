"""A run of segments comes to the same as its segments one by one."""

from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as some
from tcp_end import End
from tcp_peer import kinds, opened

from scout.paths.protocols.tcp.actions import ROOM
from scout.paths.protocols.tcp.requests import ARRIVE, CLOSE, LEAVE
from scout.paths.protocols.tcp.settings import RECEIVE_BUFFER

SIZE = 1000
OPTIONS = (("MSS", 1000), ("SAckOK", b""), ("Timestamp", (1000, 0)))
ACKNOWLEDGING = {"acked", "owed", "ack_due", "again", "timers", "rcv_edge", "ts_recent", "ts_recent_at", "challenges"}
"""Fields of a connection that depend on when it acknowledges."""


def end_of(before: dict[str, Any]) -> End:
    """An end with a history."""
    peer = opened(OPTIONS if before["has_options"] else OPTIONS[:1], RECEIVE_BUFFER=before["buffer"])
    end = peer.end
    for offset in before["gaps"]:
        arrive(end, offset, SIZE)
    if before["sent"]:
        end.write(bytes(before["sent"]), peer.now)
    if before["call"] >= 0:
        end.request(before["call"], peer.now)
    end.take_sent()
    return end


def arrive(end: End, offset: int, size: int, run: int = 0, more: int = 0, **fields: int) -> None:
    """Let a segment arrive whose data begin so far behind what was received in order, or a run of them."""
    chosen = {"flags": 0x10, "acknowledgement": end.c.snd_una, "window": 65535, "scale": -1} | fields
    chosen |= {"sequence": end.c.rcv_nxt + offset & 0xFFFFFFFF, "length": size, "run": run or size}
    end.segments[0] = np.zeros(1, end.segments.dtype)[0]
    for name, value in chosen.items():
        end.segments[name][0] = value
    if end.c.timestamps:
        end.segments["has_timestamp"], end.segments["tsval"] = 1, 2000
    end.request(ARRIVE, 5_000_000_000, more=more)


def told(end: End) -> list[int]:
    return [end.told[name] for name in ("state", "reason", "received", "acknowledged", "ended", "error")]


def differing(one: End, other: End) -> set[str]:
    first, second = one.connections, other.connections
    return {name for name in first.dtype.names or () if first[name].tobytes() != second[name].tobytes()}


def both(before: dict[str, Any], offset: int, sizes: list[int], **fields: int) -> tuple[End, End]:
    """Two ends with the same history: one takes a run, the other its segments as one batch."""
    together, apart = end_of(before), end_of(before)
    arrive(together, offset, sizes[0], sum(sizes), **fields)
    begin = apart.c.rcv_nxt + offset
    for index, size in enumerate(sizes):
        arrive(apart, begin - apart.c.rcv_nxt, size, more=index + 1 < len(sizes), **fields)
        begin += size
    return together, apart


HISTORIES = some.fixed_dictionaries(
    {
        "has_options": some.booleans(),
        "buffer": some.sampled_from([1 << 16, 1 << 13, 5000]),
        "gaps": some.lists(some.sampled_from([0, 1500, 3000, 6000]), max_size=3),
        "sent": some.sampled_from([0, 500, 30_000]),
        "call": some.sampled_from([-1, -1, CLOSE, LEAVE]),
    }
)
PLAIN = {"has_options": True, "buffer": 1 << 16, "gaps": [], "sent": 0, "call": -1}


@settings(max_examples=100, deadline=None)
@given(
    before=HISTORIES,
    offset=some.sampled_from([0, 0, 0, -500, -2000, 1000, 1500, -100_000]),
    count=some.integers(1, 12),
    size=some.sampled_from([1, 100, SIZE, 1448]),
    last=some.integers(1, 1448),
    fields=some.fixed_dictionaries(
        {
            "flags": some.sampled_from([0x10, 0x18]),
            "window": some.sampled_from([65535, 65535, 100, 0]),
            "congested": some.sampled_from([0, 0, 1]),
        }
    ),
    ahead=some.sampled_from([0, 0, 0, 400, -1000, 100_000]),
)
@example(PLAIN, 0, 12, SIZE, 7, {"flags": 0x18, "window": 65535, "congested": 0}, 0)
@example(PLAIN | {"buffer": 5000}, 0, 12, SIZE, 7, {"flags": 0x18, "window": 65535, "congested": 0}, 0)
def test_a_run_is_what_its_segments_are(
    before: dict[str, Any], offset: int, count: int, size: int, last: int, fields: dict[str, int], ahead: int
) -> None:
    history = end_of(before)
    c, sizes = history.c, [size] * count + [min(last, size)]
    acknowledgement = c.snd_una + ahead & 0xFFFFFFFF
    together, apart = both(before, offset, sizes, acknowledgement=acknowledgement, **fields)
    is_usual = offset == 0 and c.gap_count == 0 and sum(sizes) <= c.rcv_edge - c.rcv_nxt and ahead >= 0
    if is_usual and ahead <= c.snd_nxt - c.snd_una and not c.reader_gone:
        assert differing(together, apart) <= {"changes"}
        assert together.sent == apart.sent and told(together) == told(apart)
    else:
        assert differing(together, apart) <= ACKNOWLEDGING | {"changes"}
        assert told(together) == told(apart)


def test_a_run_out_of_order_is_acknowledged_segment_by_segment() -> None:
    """RFC 5681 section 4.2: the peer counts duplicates."""
    peer = opened()
    arrive(peer.end, 1000, SIZE, 5 * SIZE)
    assert kinds(peer.answers()) == [("A", 1001, 101, 0)] * 5
    peer = opened()
    arrive(peer.end, 1000, 1, 60)
    assert len(peer.answers()) == ROOM + 1


def test_a_run_that_fills_a_gap_is_acknowledged_up_to_the_end() -> None:
    peer = opened(OPTIONS)
    arrive(peer.end, 3000, SIZE)
    peer.answers()
    arrive(peer.end, 0, SIZE, 3 * SIZE)
    *_, last = kinds(peer.answers())
    assert last == ("A", 1001, 4101, 0) and peer.end.c.gap_count == 0


def test_a_run_beyond_the_window_is_taken_as_far_as_that_goes() -> None:
    peer = opened(RECEIVE_BUFFER=5000)
    assert peer.end.settings[RECEIVE_BUFFER] == 5000
    arrive(peer.end, 0, SIZE, 9 * SIZE)
    assert peer.end.told["received"] == 5000


def test_of_a_run_every_second_segment_is_acknowledged_at_once() -> None:
    """SHLD-19: one segment is acknowledged late, two at once."""
    peer = opened()
    arrive(peer.end, 0, SIZE)
    arrive(peer.end, 0, 10, 15)
    assert peer.answers() == []
    arrive(peer.end, 0, SIZE, 2 * SIZE)
    assert kinds(peer.answers()) == [("A", 1001, 101 + 3015, 0)]
