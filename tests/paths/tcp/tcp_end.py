"""One end of a TCP connection around the core: rings for the application, segments as bytes with checksums.

It does what the primary of a request does: builds segments from actions, verifies checksums, and copies bytes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from scout.io.access import Frame
from scout.paths.compiler.plain import Record, View
from scout.paths.protocols.tcp.actions import ADVICE, EMIT, OUT, REPORT
from scout.paths.protocols.tcp.calls import send_room
from scout.paths.protocols.tcp.header import SEGMENT, read_header, write_header
from scout.paths.protocols.tcp.native import serve_first
from scout.paths.protocols.tcp.requests import (
    ABORT,
    ARRIVE,
    CHOOSE,
    CLOSE,
    CONNECT,
    EXPIRE,
    LEAVE,
    LISTEN_FOR,
    READ,
    REQUEST,
    SEND,
)
from scout.paths.protocols.tcp.sequence import position
from scout.paths.protocols.tcp.settings import RECEIVE_BUFFER, SEND_BUFFER, settings
from scout.paths.protocols.tcp.state import CLOSED, CONNECTION, LISTEN, STATES, SYN_SENT
from scout.paths.protocols.tcp.timers import due
from scout.paths.wire.checksum import checksum
from scout.paths.wire.tcp import CHECKSUM

Serve = Callable[..., int]


class End:
    """An end: `sent` collects what it emits, as bytes; `told` the last report.

    `serve` is the core's function, or a native one with the same effect. `pseudo` gives the bytes of the pseudo-header
    for a segment of so many bytes.
    """

    def __init__(
        self,
        iss: int = 1000,
        ports: tuple[int, int] = (5000, 80),
        serve: Serve | None = None,
        **chosen: int,
    ) -> None:
        self.connections, self.out = np.zeros(1, CONNECTION), np.zeros(1, OUT)
        self.segments, self.requests = np.zeros(1, SEGMENT), np.zeros(1, REQUEST)
        self.settings = settings(**chosen)
        self.iss, self.ports = iss, ports
        self._serve = serve or plain_serve
        self.c = Record(self.connections[0])
        self.writes, self.reads = bytearray(self.settings[SEND_BUFFER]), bytearray(self.settings[RECEIVE_BUFFER])
        self.written = self.read_bytes = 0
        self.sent: list[bytes] = []
        self.actions: list[dict[str, Any]] = []
        self.told: dict[str, Any] = {"state": CLOSED, "received": 0, "acknowledged": 0, "ended": 0, "reason": 0}
        self.advice = 0
        self.bad = 0  # segments with a wrong checksum
        self.watch: Callable[[End], None] | None = None
        self.log: list[tuple[np.ndarray, ...]] | None = None  # of each request: itself, the segment, state, actions

    @property
    def state(self) -> str:
        return STATES[self.c.state]

    def request(self, kind: int, now: int, one: int = 0, two: int = 0, more: int = 0) -> int:
        """Serve a request and carry out its actions."""
        if self.requests["more"][0] == 0:
            self.out["count"] = 0
        self.requests[0] = (kind, now, one, two, more)
        given = self.requests.copy(), self.segments.copy()
        result = self._serve(self.connections, 0, self.requests, self.segments, self.settings, self.out)
        if self.log is not None:
            self.log.append((*given, self.connections.copy(), self.out.copy()))
        if not more:
            for index in range(int(self.out["count"][0])):
                self._carry_out(self.out["actions"][0][index])
            if self.watch:
                self.watch(self)
        return result

    def _carry_out(self, action: np.void) -> None:
        names = action.dtype.names or ()
        if action["kind"] == EMIT:
            self.actions.append({name: action[name] for name in names})
            self.sent.append(self._built(action))
        elif action["kind"] == REPORT:
            self.told = {name: int(action[name]) for name in names if name != "sacks"}
        elif action["kind"] == ADVICE:
            self.advice += 1

    def _built(self, action: np.void) -> bytes:
        frame = Frame(bytes(60), headroom=0)
        header = write_header(frame, 0, *self.ports, Record(action))
        data, size, at = b"", int(action["length"]), int(action["offset"])
        if size:
            assert at + size <= self.written, "bytes that nobody wrote"
            ring = len(self.writes)
            first = min(size, ring - at % ring)
            data = bytes(self.writes[at % ring : at % ring + first] + self.writes[: size - first])
        whole = bytearray(bytes(frame)[:header] + data)
        whole[CHECKSUM : CHECKSUM + 2] = checksum(self.pseudo(len(whole), True) + whole).to_bytes(2, "big")
        return bytes(whole)

    def pseudo(self, size: int, outgoing: bool) -> bytes:
        """The pseudo-header of a segment; here one without addresses."""
        return bytes(8) + bytes([0, 6]) + size.to_bytes(2, "big")

    # The application.

    def connect(self, now: int = 0) -> None:
        self.request(CONNECT, now, self.iss, 77)

    def listen(self, now: int = 0) -> None:
        self.request(LISTEN_FOR, now, self.iss, 99)

    def write(self, data: bytes, now: int, more: int = 0) -> int:
        """Write as much as there is room for."""
        size = min(len(data), send_room(self.c))
        ring = len(self.writes)
        at = self.written % ring
        first = min(size, ring - at)
        self.writes[at : at + first], self.writes[: size - first] = data[:first], data[first:size]
        self.written += size
        taken = self.request(SEND, now, size, more=more)
        self.written -= size - taken
        return taken

    def read(self, now: int, most: int = 1 << 30) -> bytes:
        size = min(self.told["received"] - self.read_bytes, most)
        if size <= 0:
            return b""
        ring = len(self.reads)
        at = self.read_bytes % ring
        first = min(size, ring - at)
        data = bytes(self.reads[at : at + first] + self.reads[: size - first])
        self.read_bytes += size
        assert self.request(READ, now, size) == size
        return data

    def close(self, now: int) -> None:
        self.request(CLOSE, now)

    def leave(self, now: int) -> None:
        self.request(LEAVE, now)

    def abort(self, now: int) -> None:
        self.request(ABORT, now)

    def choose(self, setting: int, value: int, now: int) -> int:
        return self.request(CHOOSE, now, setting, value)

    # The network.

    def receive(self, segment: bytes, now: int, more: int = 0, trusted: bool = False, congested: int = 0) -> int:
        """Take a segment: verify it, copy its bytes, and only then let the core know."""
        if not trusted and checksum(self.pseudo(len(segment), False) + segment):
            self.bad += 1
            return -1
        frame = Frame(segment, headroom=0)
        record = Record(self.segments[0])
        header = read_header(frame, len(segment), 0, len(segment), record)
        if not header:
            self.bad += 1
            return -1
        record.congested = congested
        self._copy(record.sequence, segment[header:])
        return self.request(ARRIVE, now, more=more)

    def _copy(self, sequence: int, data: bytes) -> None:
        """Put bytes into the receive ring, as far as the window that was offered goes."""
        c = self.c
        if not data or c.state in (CLOSED, LISTEN, SYN_SENT):
            return
        begin = position(sequence, c.rcv_nxt)
        first, last = max(begin, c.rcv_nxt), min(begin + len(data), c.rcv_edge)
        if last > first:
            ring, at, data = len(self.reads), first - c.irs - 1, data[first - begin : last - begin]
            whole = min(len(data), ring - at % ring)
            self.reads[at % ring : at % ring + whole], self.reads[: len(data) - whole] = data[:whole], data[whole:]

    def due(self) -> int:
        return due(self.c)

    def expire(self, now: int) -> None:
        self.request(EXPIRE, now)

    def take_sent(self) -> list[bytes]:
        taken, self.sent = self.sent, []
        return taken


def plain_serve(connections: Any, row: int, request: Any, segment: Any, chosen: Any, out: Any) -> int:
    """The core as plain Python on numpy arrays."""
    return serve_first(View(connections), row, View(request), View(segment), View(chosen), View(out))


def join(one: End, other: End, now: int = 0, rounds: int = 200) -> int:
    """Hand segments over without a delay until both ends are silent; how many there were."""
    count = 0
    for _ in range(rounds):
        moved = [(other, each) for each in one.take_sent()] + [(one, each) for each in other.take_sent()]
        if not moved:
            return count
        for to, segment in moved:
            to.receive(segment, now)
            count += 1
    raise AssertionError("the ends do not fall silent")


def established(now: int = 0, **chosen: int) -> tuple[End, End]:
    """Two ends with an open connection."""
    one, other = End(1000, (5000, 80), **chosen), End(7000, (80, 5000), **chosen)
    other.listen(now)
    one.connect(now)
    join(one, other, now)
    assert (one.state, other.state) == ("ESTABLISHED", "ESTABLISHED")
    for end in (one, other):
        end.actions.clear()
    return one, other
