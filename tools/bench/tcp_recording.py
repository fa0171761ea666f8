"""The requests of a connection that sends, recorded: by one channel, and by two (`scout.tools.bench.tcp_interleaving`).

The peer acknowledges every second segment a round trip later. The application writes some segments at a time, seldom
more than the peer's window takes, so that now the window holds the connection back and now the application.
"""

import random
from typing import Any

import numpy as np

from scout.paths.compiler.plain import Record, View
from scout.paths.protocols.tcp.actions import OUT
from scout.paths.protocols.tcp.calls import send_room
from scout.paths.protocols.tcp.requests import ARRIVE, CONNECT, SEND, serve
from scout.paths.protocols.tcp.sequence import MODULUS
from scout.paths.protocols.tcp.settings import SEND_BUFFER, settings
from scout.paths.protocols.tcp.state import CONNECTION
from scout.paths.wire.tcp import ACK, SYN
from scout.tools.bench.tcp_interleaving import MARK, RECORDED, RING, Recording, comes_first

__all__ = ["Sender", "record"]

_ROUND_TRIP = 200_000  # nanoseconds
_MSS, _SCALE, _WINDOW = 1460, 7, 1 << 17  # of the peer
_ISS, _PEER = 4000, 9000  # the first numbers of both


class Sender:
    """A connection that is established, on the plain core.

    Attributes
    ----------
    connections : numpy.ndarray
        Its state.
    """

    def __init__(self) -> None:
        self.now = _ROUND_TRIP
        self.connections, self._out, self._settings = np.zeros(1, CONNECTION), np.zeros(1, OUT), settings()
        self._settings[SEND_BUFFER] = RING
        self.c = Record(self.connections[0])
        self.serve(self.request(CONNECT, _ISS))
        self.now += _ROUND_TRIP
        self.serve(self.segment(1, SYN | ACK, mss=_MSS, scale=_SCALE, sack_permitted=1))

    def request(self, kind: int, one: int = 0) -> np.ndarray:
        """A request, one `RECORDED`."""
        made = np.zeros(1, RECORDED)
        made["request"][0] = (kind, self.now, one, 0, 0)
        return made

    def segment(self, position: int, flags: int = ACK, **fields: int) -> np.ndarray:
        """A segment that acknowledges all before a position of the stream of numbers."""
        made = self.request(ARRIVE)
        segment = made["segment"]
        segment["flags"], segment["scale"] = flags, -1
        segment["sequence"] = _PEER if flags & SYN else _PEER + 1
        segment["acknowledgement"] = _ISS + position & MODULUS
        segment["window"] = 0xFFFF if flags & SYN else _WINDOW >> _SCALE
        for name, value in fields.items():
            segment[name] = value
        return made

    def acknowledgements(self) -> list[np.ndarray]:
        """The peer has got all that was sent."""
        una, nxt = self.c.snd_una - _ISS, self.c.snd_nxt - _ISS
        step = 2 * self.c.mss
        return [self.segment(min(position, nxt)) for position in range(una + step, nxt + step, step)]

    def serve(self, request: np.ndarray) -> None:
        """Serve a request."""
        each = request[0]
        self._out["count"] = 0
        given: Any = Record(each["request"]), Record(each["segment"]), View(self._settings), Record(self._out[0])
        serve(View(self.connections), 0, *given)


def record(separate: bool, rounds: int, seed: int = 1) -> Recording:
    """Record a connection for so many round trips, by one channel or by two."""
    draw, sender = random.Random(seed), Sender()
    before = sender.connections.copy()
    network: list[np.ndarray] = []
    application: list[np.ndarray] = []
    served = 0
    for _ in range(rounds):
        sender.now += _ROUND_TRIP
        arrived, room = sender.acknowledgements(), send_room(sender.c)
        written = []
        for _ in range(draw.randrange(8)):
            size = min(draw.randrange(1, 33 if draw.random() < 0.1 else 9) * sender.c.mss, room)
            room -= size
            written.append(sender.request(SEND, size))
        if not separate:
            network += arrived + written
            for each in arrived + written:
                sender.serve(each)
            continue
        application += written
        arrived.append(sender.request(MARK))
        for each in arrived:
            each["cover"] = len(application)
            network.append(each)
            is_mark = each is arrived[-1]
            while served < len(application):
                kind = int(application[served]["request"]["kind"][0])
                if not comes_first(len(application), is_mark, served, sender.c, kind):
                    break
                sender.serve(application[served])
                served += 1
            if not is_mark:
                sender.serve(each)
    empty = np.zeros(0, RECORDED)
    return Recording(
        before,
        np.concatenate([empty, *network]),
        np.concatenate([empty, *application]),
        sender.connections.copy(),
    )
