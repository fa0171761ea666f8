"""Random header bytes for the native core: no crash, no broken invariant, and every segment is accounted for.

`SCOUT_STRESS` says how many segments; by default 200,000.
"""

import os
from typing import Any

import numba
import numpy as np
import pytest
from numba import types
from tcp_peer import opened

from scout.io.access import load8, store8, store16, store32
from scout.paths.compiler.inlining import native_helper
from scout.paths.protocols.tcp.actions import MOST_ACTIONS, OUT
from scout.paths.protocols.tcp.header import SEGMENT, read_header
from scout.paths.protocols.tcp.requests import ARRIVE, EXPIRE, READ, REQUEST, SEND, serve
from scout.paths.protocols.tcp.state import CLOSED, CONNECTION, GAPS, SYN_SENT, TIME_WAIT, TRANSMISSIONS
from scout.paths.protocols.tcp.timers import due
from scout.paths.stages.impairment import draw
from scout.ring.jit import Entry

pytestmark = pytest.mark.long  # it is compiled for some 15 seconds

SEGMENTS = int(float(os.environ.get("SCOUT_STRESS", "2e5")))
MALFORMED, SERVED, OPENED, ANSWERED, BROKEN, FIRST_BROKEN = range(6)
MILLISECOND = 1_000_000


def number(seed: int, index: int, purpose: int, most: int) -> int:
    """A random number below `most`."""
    return draw(seed, index, purpose) * most >> 32


def write_nonsense(frame: Any, c: Any, seed: int, index: int) -> int:
    """Write 60 bytes of a header that is near to what a connection expects, or not; the size of its segment."""
    for at in range(0, 60, 4):
        store32(frame, at, draw(seed, index, 100 + at))
    near = number(seed, index, 1, 4)
    if near == 1:
        store32(frame, 4, c.rcv_nxt)
    elif near == 2:
        store32(frame, 4, c.rcv_nxt + number(seed, index, 2, 80_000) - 3000)
    if near:
        place = number(seed, index, 3, 3)
        if place == 0:
            store32(frame, 8, c.snd_una)
        elif place == 1:
            store32(frame, 8, c.snd_nxt)
        else:
            store32(frame, 8, c.snd_una + number(seed, index, 4, 6000) - 3000)
    if number(seed, index, 5, 4):
        store8(frame, 13, 0x10 | number(seed, index, 6, 2) << 3 | (number(seed, index, 7, 64) == 0))
    if number(seed, index, 8, 2):
        store16(frame, 14, number(seed, index, 9, 3) * 20_000)
    words = number(seed, index, 10, 16) if number(seed, index, 11, 3) else 5
    store8(frame, 12, words << 4 | load8(frame, 12) & 15)
    if number(seed, index, 12, 2):  # options that are options
        at = 20
        while at < 58:
            kind = number(seed, index, 200 + at, 9)
            store8(frame, at, kind)
            size = 2 + 8 * number(seed, index, 300 + at, 4) if kind == 5 else 10 if kind == 8 else 4 if kind == 2 else 3
            if number(seed, index, 400 + at, 8) and kind > 1:
                store8(frame, at + 1, size)
            at += 1 if kind < 2 else size
    return number(seed, index, 13, 80) if number(seed, index, 14, 2) else number(seed, index, 15, 60_000)


def is_sound(c: Any, out: Any) -> bool:
    """True if the invariants hold that can be seen in one state."""
    if out.count < 0 or out.count > MOST_ACTIONS or c.state < 0 or c.state > TIME_WAIT:
        return False
    if c.state <= 1:
        return True
    if c.snd_una > c.snd_nxt or c.snd_nxt > c.snd_end + c.fin or c.cwnd < 1:
        return False
    if c.sent_count < 0 or c.sent_count > TRANSMISSIONS or c.gap_count < 0 or c.gap_count > GAPS:
        return False
    if c.pipe < 0 or c.lost < 0 or c.sacked_bytes < 0 or c.pipe + c.lost + c.sacked_bytes != c.snd_nxt - c.snd_una:
        return False
    if c.snd_una < c.snd_nxt and due(c) >= 1 << 62:
        return False  # bytes are under way, and no timer is set
    if c.state > SYN_SENT:
        if c.rcv_nxt > c.rcv_edge or c.acked > c.rcv_nxt:
            return False
        for gap in range(c.gap_count):
            if c.gaps[gap].first <= c.rcv_nxt or c.gaps[gap].first >= c.gaps[gap].last or c.gaps[gap].last > c.rcv_edge:
                return False
    return True


def fuzz(
    connections: Any,
    requests: Any,
    segments: Any,
    settings: Any,
    outs: Any,
    room: Any,
    counts: Any,
    seed: int,
    last: int,
) -> None:
    """Serve segments of random bytes, and what an application and timers do between them."""
    frame, now = room.ctypes.data, 10_000 * MILLISECOND
    c, request, segment, out = connections[0], requests[0], segments[0], outs[0]
    for index in range(last):
        if c.state == CLOSED or index & 1023 == 0:
            connections[0] = connections[1]
            now = 10_000 * MILLISECOND
            counts[OPENED] += 1
        now += number(seed, index, 50, 4) * MILLISECOND
        request.more, request.now, request.two = 0, now, 0
        does = number(seed, index, 51, 8)
        if does < 3:
            request.kind, request.one = (SEND, READ, EXPIRE)[does], number(seed, index, 52, 5000)
            if does == 2 and due(c) < 1 << 62:
                now = request.now = max(now, due(c))
            out.count = 0
            serve(connections, 0, request, segment, settings, out)
            if not is_sound(c, out):
                counts[BROKEN] += 1
                counts[FIRST_BROKEN] = min(counts[FIRST_BROKEN], index)
        size = write_nonsense(frame, c, seed, index)
        if read_header(frame, frame + 60, 0, size, segment) == 0:
            counts[MALFORMED] += 1
            continue
        request.kind, request.one, out.count = ARRIVE, 0, 0
        serve(connections, 0, request, segment, settings, out)
        counts[SERVED] += 1
        counts[ANSWERED] += out.count > 0
        if not is_sound(c, out):
            counts[BROKEN] += 1
            counts[FIRST_BROKEN] = min(counts[FIRST_BROKEN], index)


def _array(dtype: np.dtype) -> Any:
    return types.Array(numba.from_dtype(dtype), 1, "C")


@pytest.fixture(scope="module")
def native_fuzz() -> Entry:
    arrays = map(_array, (CONNECTION, REQUEST, SEGMENT))
    signature = types.void(
        *arrays, types.int64[::1], _array(OUT), types.uint8[::1], types.int64[::1], types.int64, types.int64
    )
    return Entry(native_helper(fuzz).py_func, signature)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_header_bytes_break_nothing_and_all_segments_are_accounted_for(native_fuzz: Entry, seed: int) -> None:
    end = opened((("MSS", 1000), ("SAckOK", b""))).end
    end.written = 1 << 40
    connections = np.concatenate([end.connections, end.connections])
    counts = np.zeros(6, np.int64)
    counts[FIRST_BROKEN] = SEGMENTS
    room = np.zeros(128, np.uint8)
    wanted = SEGMENTS // 2
    native_fuzz(connections, end.requests, end.segments, end.settings, end.out, room, counts, seed, wanted)
    assert counts[BROKEN] == 0, f"first at segment {counts[FIRST_BROKEN]}"
    assert counts[MALFORMED] + counts[SERVED] == wanted
    assert min(counts[MALFORMED], counts[SERVED], counts[ANSWERED]) > wanted // 100
