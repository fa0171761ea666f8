"""The registry's table of sockets, where the channel is full or a replica late: nothing is lost, nobody is kept out."""

from types import SimpleNamespace

import numpy as np
import pytest

from scout.endpoints.sockets import Refused, SocketTable
from scout.io.endpoints.message import HEADER_STRUCT, ROW

TCP, UDP = 6, 17
APPLICATION = 1


class Port:
    """A port whose channel has no room for one request where the test says so."""

    sockets = 2

    def __init__(self) -> None:
        self.full = self.late = False
        self.requests: list[int] = []
        self.tails = np.zeros((1, self.sockets), np.int64)
        numbers = np.zeros(self.sockets, np.int64)
        self.ended: set[int] = set()
        self.memory = SimpleNamespace(
            numbers=numbers,
            owners=numbers.copy(),
            bells=numbers,
            clear_socket=lambda row, tails: self.ended.clear(),
            has_ended=self.ended.__contains__,
            ring=lambda application: None,
            pending=lambda application: False,
        )
        self.feed = SimpleNamespace(sent=0, reached=lambda position: not self.late)

    def request(self, header: bytes, timestamp: int) -> int:
        if self.full:
            self.full = False  # there is room again
            return 0
        self.requests.append(HEADER_STRUCT.unpack(header[:48])[0])
        self.feed.sent += 1
        return self.feed.sent


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_socket_that_cannot_be_closed_as_the_channel_is_full_stays_open(protocol: int) -> None:
    port = Port()
    table = SocketTable(port, {TCP: None, UDP: None})  # type: ignore[arg-type]
    number, _ = table.open(APPLICATION, protocol)
    port.full = True
    with pytest.raises(Refused):
        table.close(APPLICATION, number)
    table.close(APPLICATION, number)
    assert len(port.requests) == 1


def test_the_sockets_of_an_application_that_has_died_are_closed_though_the_channel_was_full() -> None:
    port = Port()
    table = SocketTable(port, {TCP: None})  # type: ignore[arg-type]
    numbers = [table.open(APPLICATION, TCP)[0] for _ in range(port.sockets)]
    port.full = True
    table.close_all(APPLICATION)
    assert len(port.requests) == len(numbers)


def test_a_row_gets_another_socket_when_every_replica_has_done_all_for_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scout.endpoints.sockets._PATIENCE", 0.01)
    port = Port()
    table = SocketTable(port, {TCP: None})  # type: ignore[arg-type]
    numbers = [table.open(APPLICATION, TCP)[0] for _ in range(port.sockets)]
    table.close(APPLICATION, numbers[0])
    with pytest.raises(Refused):
        table.open(APPLICATION, TCP)  # its connection has not come to its end
    port.ended.add(numbers[0])
    port.late = True
    with pytest.raises(Refused):
        table.open(APPLICATION, TCP)
    port.late = False
    assert table.open(APPLICATION, TCP)[0] & ROW == numbers[0] & ROW


def test_an_l4_port_is_given_again_when_no_socket_has_it() -> None:
    port = Port()
    table = SocketTable(port, {TCP: None})  # type: ignore[arg-type]
    first, second = (table.open(APPLICATION, TCP)[0] for _ in range(2))
    assert table.bind(APPLICATION, first, "", 80) == (("0.0.0.0", 80), None)
    with pytest.raises(Refused):
        table.bind(APPLICATION, second, "", 80)
    ((_, chosen), _) = table.bind(APPLICATION, second, "", 0)
    table.close(APPLICATION, first)  # its connection has not come to its end, but that is no hindrance
    port.ended.add(first)
    third, _ = table.open(APPLICATION, TCP)
    assert table.bind(APPLICATION, third, "", 80) == (("0.0.0.0", 80), None)
    table.close(APPLICATION, second)
    port.ended.add(second)
    fourth, _ = table.open(APPLICATION, TCP)
    with pytest.raises(Refused):
        table.bind(APPLICATION, fourth, "", 80)
    assert table.bind(APPLICATION, fourth, "", chosen) == (("0.0.0.0", chosen), None)


def opened_streams(port: Port) -> SocketTable:
    table = SocketTable(port, {TCP: None})  # type: ignore[arg-type]
    for _ in range(port.sockets):
        table.open(APPLICATION, TCP)
    table.stop()
    return table


def test_all_connections_are_reset_though_the_channel_was_full() -> None:
    port = Port()
    table = opened_streams(port)
    port.full = True
    table.reset()
    assert len(port.requests) == port.sockets


@pytest.mark.parametrize("room", [True, False])
def test_resets_end_in_time_if_the_channel_is_slow(room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    port, now, tries = Port(), [0.0], []
    table = opened_streams(port)

    def request(header: bytes, timestamp: int) -> int:
        tries.append(header)
        now[0] += 1.0  # as long as a port waits for room
        return int(room)

    port.request = request  # type: ignore[method-assign]
    port.sockets = 100
    table._sockets |= {number: next(iter(table._sockets.values())) for number in range(1000, 1100)}
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None, time_ns=lambda: 0)
    monkeypatch.setattr("scout.endpoints.sockets.time", clock)
    monkeypatch.setattr("scout.endpoints.sockets._RESETTING", 2.0)
    table.reset()
    assert len(tries) <= 3
