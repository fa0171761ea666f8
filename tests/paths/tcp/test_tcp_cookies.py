"""SYN cookies: a connection is opened by the acknowledgement of a cookie alone, with the options of its SYN."""

from typing import Any

import numpy as np
import pytest
from tcp_end import End, join

from scout.io.access import Frame
from scout.paths.compiler.plain import Record, View
from scout.paths.protocols.tcp.cookies import MINUTES, SIZES, answer_with_cookie, open_by_cookie
from scout.paths.protocols.tcp.header import read_header
from scout.paths.protocols.tcp.output import finish
from scout.paths.protocols.tcp.secret import new_secret

SECOND = 1_000_000_000
FLOW = (6 << 32 | 80 << 16 | 5000, 0, 1, 0, 2)
SECRET = Record(new_secret(bytes(range(16)))[0])


class Server(End):
    """An end that has no row until a cookie is acknowledged."""

    flow = FLOW

    def _parsed(self, segment: bytes) -> Any:
        record = Record(self.segments[0])
        assert read_header(Frame(segment, headroom=0), len(segment), 0, len(segment), record)
        return record

    def answer(self, syn: bytes, now: int) -> None:
        self.out["count"] = 0
        answer_with_cookie(SECRET, self.flow, self._parsed(syn), View(self.settings), Record(self.out[0]), now)
        self._carry_out(self.out["actions"][0][0])
        assert self.connections.tobytes() == np.zeros(1, self.connections.dtype).tobytes()

    def open(self, segment: bytes, now: int) -> bool:
        self.out["count"] = 0
        table, out = View(self.connections), Record(self.out[0])
        opened = open_by_cookie(table, 0, SECRET, self.flow, self._parsed(segment), View(self.settings), out, now)
        if opened:
            finish(table[0], out, now)
            for index in range(int(self.out["count"][0])):
                self._carry_out(self.out["actions"][0][index])
        return opened


def handshake(now: int = SECOND, **chosen: int) -> tuple[End, Server, bytes]:
    """A client, a server that has answered with a cookie, and the client's acknowledgement."""
    client, server = End(1000, (5000, 80), **chosen), Server(0, (80, 5000))
    client.connect(now)
    (syn,) = client.take_sent()
    server.answer(syn, now)
    (answer,) = server.take_sent()
    client.receive(answer, now + 1)
    (ack,) = client.take_sent()
    assert client.state == "ESTABLISHED"
    return client, server, ack


@pytest.mark.parametrize("chosen", [{}, {"SACK": 0}, {"WINDOW_SCALE": 0}, {"ECN": 2}, {"RECEIVE_BUFFER": 1 << 24}])
def test_a_cookie_brings_the_options_back(chosen: dict[str, int]) -> None:
    client, server, ack = handshake(**chosen)
    assert server.open(ack, SECOND + 2)
    assert server.state == "ESTABLISHED"
    for name in ("sack", "scale", "timestamps", "ecn"):
        assert server.c.__getattr__(name) == client.c.__getattr__(name), name
    assert (server.c.snd_scale, server.c.rcv_scale) == (client.c.rcv_scale, client.c.snd_scale)
    client.write(b"x" * 5000, SECOND + 3)
    join(client, server, SECOND + 4)
    client.expire(max(client.due(), SECOND + 5))
    join(client, server, max(client.due(), SECOND + 6))
    assert server.read(2 * SECOND).startswith(b"x" * 2800)


def test_without_timestamps_only_the_size_comes_back() -> None:
    client, server, ack = handshake(TIMESTAMPS=0)
    assert server.open(ack, SECOND + 2)
    assert (server.c.sack, server.c.scale, server.c.mss) == (0, 0, 1460)
    assert client.c.sack == 0


@pytest.mark.parametrize("mss", [80, 536, 1219, 1460])
def test_the_size_is_one_that_the_peer_takes(mss: int) -> None:
    _, server, ack = handshake(LARGEST_SEGMENT=mss, TIMESTAMPS=0)
    assert server.open(ack, SECOND + 2)
    assert server.c.mss == max(size for size in SIZES if size <= mss)


def test_a_cookie_grows_old() -> None:
    _, server, ack = handshake()
    assert not server.open(ack, SECOND + MINUTES * 60 * SECOND)
    assert not server.open(ack, SECOND + 32 * 60 * SECOND)  # when the minute's bits in the cookie are the same again
    assert server.open(ack, SECOND + 59 * SECOND)


@pytest.mark.parametrize("place", range(4, 12))
def test_a_forged_cookie_opens_nothing(place: int) -> None:
    _, server, ack = handshake()
    forged = bytearray(ack)
    forged[place] ^= 1
    assert not server.open(bytes(forged), SECOND + 2)
    server.flow = (*FLOW[:4], 3)
    assert not server.open(ack, SECOND + 2)
    assert server.state == "CLOSED"
