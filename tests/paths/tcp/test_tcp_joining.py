"""Segments of a batch that follow one another become one request, which comes to the same as all of them."""

from typing import Any

import pytest
from scapy.all import IP, TCP
from tcp_router import SPARE, TcpHost, accept, listen

from scout.io.endpoints import message

SIZE = 100
STAMPS: list[Any] = [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))]


def stream(size: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(size))


class Talk:
    """A connection whose peer has a stream to send."""

    def __init__(self, host: TcpHost, port: int = 1000) -> None:
        self.host, self.port = host, port
        self.ours = accept(host, port)
        self.data = stream(40 * SIZE)

    def segment(self, first: int, size: int = SIZE, flags: str = "A", **more: Any) -> bytes:
        data = self.data[first : first + size]
        acknowledgement = more.pop("ack", self.ours)
        return self.host.frame(flags, 101 + first, acknowledgement, data, sport=self.port, **more)


@pytest.fixture
def talk(host: TcpHost) -> Talk:
    listen(host, SPARE)
    return Talk(host)


def sizes(host: TcpHost, *frames: bytes) -> list[int]:
    """The bytes of data of the requests that some frames become; without data how many each stands for besides."""
    host.sent.clear()
    return host.deliver_together(list(frames))


def test_segments_in_order_become_one_request(talk: Talk) -> None:
    host = talk.host
    frames = [talk.segment(at) for at in range(0, 12 * SIZE, SIZE)]
    assert sizes(host, *frames, talk.segment(12 * SIZE, 30)) == [1230]
    assert host.readable(SPARE) == talk.data[:1230]
    assert [each[TCP].ack for each in host.sent] == [1331]


def test_a_run_goes_on_behind_a_push_and_ends_with_a_shorter_segment(talk: Talk) -> None:
    frames = [talk.segment(0), talk.segment(SIZE, flags="PA"), talk.segment(200, 50), talk.segment(250)]
    assert sizes(talk.host, *frames) == [250, SIZE]
    assert talk.host.readable(SPARE) == talk.data[:350]


def test_a_longer_segment_begins_a_run(talk: Talk) -> None:
    frames = [talk.segment(0, 50), talk.segment(50), talk.segment(150)]
    assert sizes(talk.host, *frames) == [50, 200]


@pytest.mark.parametrize(
    "difference",
    [
        {"window": 4000},
        {"flags": "FA"},
        {"flags": "UA"},
        {"flags": "EA"},
        {"options": STAMPS},
        {"options": [("SAck", (5000, 5100))]},
        {"tos": 3},
        {"ack": 5},
    ],
    ids=str,
)
def test_a_segment_that_differs_is_a_request_of_its_own(talk: Talk, difference: dict[str, Any]) -> None:
    frames = [talk.segment(0), talk.segment(SIZE), talk.segment(200, **difference), talk.segment(300)]
    first, *others = sizes(talk.host, *frames)
    assert first == 200 and others == [SIZE, SIZE]


def test_segments_with_equal_timestamps_are_joined(talk: Talk) -> None:
    later = [("NOP", None), ("NOP", None), ("Timestamp", (8, 9))]
    frames = [talk.segment(at, options=STAMPS) for at in (0, 100, 200)]
    frames += [talk.segment(at, options=later) for at in (300, 400)]
    assert sizes(talk.host, *frames) == [300, 200]


def test_a_loss_ends_a_run(talk: Talk) -> None:
    """RFC 5681 section 4.2: what is behind the gap is acknowledged segment by segment, and what fills it at once."""
    host = talk.host
    assert sizes(host, *(talk.segment(at) for at in (0, 100, 300, 400, 500))) == [200, 300]
    assert [each[TCP].ack for each in host.sent] == [301] * 3
    assert sizes(host, talk.segment(200)) == [100] and host.readable(SPARE) == talk.data[:600]
    assert [each[TCP].ack for each in host.sent] == [701]


def test_a_fin_behind_a_run_ends_the_stream(talk: Talk) -> None:
    frames = [talk.segment(0), talk.segment(SIZE), talk.segment(200, flags="FPA")]
    assert sizes(talk.host, *frames) == [200, 100]
    assert talk.host.readable(SPARE) == talk.data[:300] and talk.host.state(SPARE) == "CLOSE_WAIT"


def test_segments_of_two_connections_are_told_apart(host: TcpHost) -> None:
    listen(host, SPARE, SPARE + 1)
    one, other = Talk(host), Talk(host, 1001)
    frames = [each.segment(at) for at in (0, 100) for each in (one, other)]
    assert sizes(host, *frames) == [SIZE] * 4
    assert host.readable(SPARE) == host.readable(SPARE + 1) == one.data[:200]


def test_a_run_is_lost_whole_if_its_row_has_another_socket(talk: Talk) -> None:
    """A replica that was behind has placed its data for a connection that is none any more."""
    host = talk.host
    _, request = host.receive(talk.segment(0))
    request[message.RUN : message.RUN + 8] = (5 * SIZE).to_bytes(8)
    request[message.SOCKET] ^= 1
    assert host.serve(bytes(request)) == "data lost"
    assert host.readable(SPARE) == b""


@pytest.mark.parametrize("joins", [True, False])
def test_acknowledgements_that_come_together_let_one_segment_be_sent(talk: Talk, joins: bool) -> None:
    """MUST-58."""
    host, ours = talk.host, talk.ours
    host.write(SPARE, 0, stream(40_000))
    under_way = sum(len(each[TCP].payload) for each in host.sent)
    stamps = [[] if joins else [("NOP", None), ("NOP", None), ("Timestamp", (count, 9))] for count in range(7)]
    frames = [talk.segment(0, 0, ack=ours + 1000 * count, options=stamps[count - 1]) for count in range(1, 8)]
    assert sizes(host, *frames) == ([6] if joins else [0] * 7)
    assert len(host.sent) == 1 and len(host.sent[0][TCP].payload) > 7000
    assert host.sent[0][TCP].seq == ours + under_way and host.sent[0][IP].len > 1500
    assert connection(host)["snd_una"] - connection(host)["iss"] == 7001


def connection(host: TcpHost) -> Any:
    return host.tcp.connections.initial[SPARE & message.ROW]


def test_joined_acknowledgements_open_the_window_as_each_of_them_does(talk: Talk) -> None:
    """RFC 9406 section 4.2 bounds what one of them does in slow start."""
    host, ours = talk.host, talk.ours
    host.write(SPARE, 0, stream(60_000))
    before = int(connection(host)["cwnd"])
    host.deliver_together([talk.segment(0, 0, ack=ours + 3000 * count) for count in range(1, 5)])
    assert connection(host)["cwnd"] == before + 12_000


def test_the_window_of_the_last_acknowledgement_counts(talk: Talk) -> None:
    host, ours = talk.host, talk.ours
    host.write(SPARE, 0, stream(5000))
    windows = (9000, 8000, 30_000)
    frames = [talk.segment(0, 0, ack=ours + 1000 + at, window=window) for at, window in enumerate(windows)]
    assert sizes(host, *frames) == [2] and connection(host)["snd_wnd"] == 30_000


@pytest.mark.parametrize(
    "difference",
    [{"ack": 0}, {"ack": -500}, {"flags": "PA"}, {"flags": "EA"}, {"tos": 3}, {"options": STAMPS}, {"first": -1}],
    ids=str,
)
def test_an_acknowledgement_that_says_other_things_is_a_request_of_its_own(
    talk: Talk, difference: dict[str, Any]
) -> None:
    host, ours = talk.host, talk.ours
    host.write(SPARE, 0, stream(5000))
    more = dict(difference)
    first, ahead = more.pop("first", 0), more.pop("ack", 1000)
    frames = [talk.segment(0, 0, ack=ours + at) for at in (1000, 2000)]
    frames += [talk.segment(first, 0, ack=ours + 2000 + ahead, **more), talk.segment(0, 0, ack=ours + 4000)]
    found = sizes(host, *frames)
    assert found[0] == 1 and len(found) > 1 and sum(found) + len(found) == 4


@pytest.mark.parametrize("beyond", [1, 1 << 24, 1 << 30])
def test_an_acknowledgement_of_more_than_was_sent_takes_the_place_of_none(talk: Talk, beyond: int) -> None:
    """It is refused (RFC 9293 section 3.10.7.4), and those that were before it are good."""
    host, ours = talk.host, talk.ours
    host.write(SPARE, 0, stream(5000))
    told = (1000, 2000, 5000 + beyond, 5001 + beyond, 3000, 4000)
    assert sizes(host, *(talk.segment(0, 0, ack=ours + each) for each in told)) == [1, 0, 0, 1]
    assert connection(host)["snd_una"] - connection(host)["iss"] == 4001


def test_an_acknowledgement_joins_no_data(talk: Talk) -> None:
    host, ours = talk.host, talk.ours
    host.write(SPARE, 0, stream(5000))
    frames = [
        talk.segment(0, 0, ack=ours + 1000),
        talk.segment(0, ack=ours + 1000),
        talk.segment(0, 0, ack=ours + 2000),
    ]
    assert sizes(host, *frames) == [0, SIZE, 0] and host.readable(SPARE) == talk.data[:SIZE]


def test_the_end_of_a_connection_is_told_though_other_segments_follow(talk: Talk) -> None:
    host = talk.host
    host.deliver(talk.segment(0, 0, flags="FA"))
    host.call(message.SHUTDOWN, SPARE)
    assert host.state(SPARE) == "LAST_ACK"
    sizes(host, *[talk.segment(1, 0, ack=talk.ours + 1)] * 2)
    assert host.state(SPARE) == "CLOSED" and host.phase(SPARE)[0] == 3
