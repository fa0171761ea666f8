"""Secured streams in the router: what becomes work on records, and what TCP sends and tells when it is done.

The tests answer in place of the replicas that do the work; the bytes themselves say nothing.
"""

import pytest
from scapy.all import TCP
from tcp_router import RING, SPARE, TcpHost, accept, listen

from scout.io.endpoints.ciphers import RECEIVING, SENDING
from scout.io.endpoints.message import CLOSE, RECORDS, ROW, SECURE, SHUTDOWN, WRITE
from scout.io.endpoints.records import CLAIMED, DONE, FAILED
from scout.io.endpoints.stream import CLOSED
from scout.paths.protocols.tcp.records import PATIENCE
from scout.paths.protocols.tcp.state import ABORTED, BAD_RECORD, FINISHED

SECRETS = *range(100, 106), *range(200, 206)
SIZE = 120  # of a record
CIPHER = 2


@pytest.fixture
def secured(host: TcpHost) -> TcpHost:
    """A host with a secured connection; `iss` is its first number."""
    listen(host, SPARE)
    host.iss = accept(host)  # type: ignore[attr-defined]
    assert host.call(SECURE, SPARE, CIPHER, 0, 0, *SECRETS) == "served"
    assert host.works == []
    return host


def answer(host: TcpHost, work: tuple[int, ...], records: int, note: int, reached: int = -1) -> str:
    """Tell what a replica has found and done: so many records of `SIZE` bytes."""
    _, direction, serial, first, limit, *_ = work
    last = first + records * SIZE
    assert last <= limit
    return tell(host, note, direction, serial, first, last, records, last + SIZE, last if reached < 0 else reached)


def tell(host: TcpHost, note: int, *words: int) -> str:
    data = b"".join(word.to_bytes(8, signed=True) for word in words)
    return host.request(RECORDS, SPARE, data=data, note=note)


def sent(host: TcpHost) -> list[tuple[int, str]]:
    """The bytes of the segments that were sent, and their flags."""
    found = [(len(bytes(each[TCP].payload)), str(each[TCP].flags)) for each in host.sent]
    host.sent.clear()
    return found


def test_what_is_written_is_sent_when_it_is_sealed(secured: TcpHost) -> None:
    assert secured.call(WRITE, SPARE, 3 * SIZE) == "served"
    (work,) = secured.works
    assert work == (SPARE, SENDING, 1, 0, 3 * SIZE, 0, 0, 0, CIPHER, *SECRETS[:6])
    assert answer(secured, work, 2, CLAIMED) == "served" and sent(secured) == []
    secured.works.remove(work)
    (more,) = secured.works  # another replica goes on meanwhile, and is done first
    assert more[1:6] == (SENDING, 2, 2 * SIZE, 3 * SIZE, 2)
    answer(secured, more, 1, CLAIMED | DONE)
    assert sent(secured) == []
    answer(secured, work, 2, DONE)
    assert sent(secured) == [(3 * SIZE, "PA")]
    answer(secured, work, 2, DONE)
    answer(secured, more, 1, CLAIMED | DONE)
    assert sent(secured) == [] and len(secured.works) == 1


@pytest.mark.parametrize("direction", [SENDING, RECEIVING])
def test_work_that_nobody_tells_of_is_asked_for_again(secured: TcpHost, direction: int) -> None:
    """The request that tells of it was lost, as its replica had no room for it."""
    if direction == SENDING:
        secured.call(WRITE, SPARE, 3 * SIZE)
    else:
        secured.say("PA", 101, secured.iss, bytes(3 * SIZE))  # type: ignore[attr-defined]
    (work,) = secured.works
    secured.wait(PATIENCE - 1)
    assert secured.works == [work]
    secured.wait(PATIENCE)
    assert secured.works == [work] * 2
    answer(secured, work, 2, CLAIMED)
    answer(secured, work, 2, CLAIMED)  # the first one was late
    more = secured.works[2]
    secured.works.clear()
    secured.wait(2 * PATIENCE)
    again = (*work[:4], 2 * SIZE, *work[5:])
    assert secured.works == [again, more] * 2
    answer(secured, more, 1, CLAIMED | DONE)
    secured.works.clear()
    secured.wait(PATIENCE)
    assert secured.works == [again]
    answer(secured, again, 2, CLAIMED | DONE)
    secured.works.clear()
    secured.wait(10 * PATIENCE)
    assert secured.works == []
    c = secured.tcp.connections.initial[SPARE & ROW]
    assert c["snd_nxt"] - c["iss"] - 1 == 3 * SIZE if direction == SENDING else secured.opened[SPARE] == 3 * SIZE


def test_the_end_of_the_stream_waits_until_all_is_sealed(secured: TcpHost) -> None:
    secured.call(WRITE, SPARE, SIZE)
    assert secured.call(SHUTDOWN, SPARE) == "served" and sent(secured) == []
    secured.call(WRITE, SPARE, 2 * SIZE)  # too late
    answer(secured, secured.works[0], 1, CLAIMED | DONE)
    assert [flags for _, flags in sent(secured)] == ["PA", "FA"] and secured.state(SPARE) == "FIN_WAIT_1"


def test_a_socket_that_is_closed_sends_what_was_written(secured: TcpHost) -> None:
    secured.call(WRITE, SPARE, SIZE)
    assert secured.request(CLOSE, SPARE) == "served" and sent(secured) == []
    answer(secured, secured.works[0], 1, CLAIMED)
    assert sent(secured) == []
    answer(secured, secured.works[0], 1, DONE)
    assert sent(secured) == [(SIZE, "PA"), (0, "FA")] and secured.state(SPARE) == "FIN_WAIT_1"
    secured.say("A", 101, secured.iss + SIZE + 1)  # type: ignore[attr-defined]
    secured.say("FA", 101, secured.iss + SIZE + 1)  # type: ignore[attr-defined]
    assert secured.state(SPARE) == "TIME_WAIT"


def test_a_socket_that_is_closed_behind_half_a_record_keeps_no_row(secured: TcpHost) -> None:
    secured.call(WRITE, SPARE, SIZE - 1)
    secured.request(CLOSE, SPARE)
    answer(secured, secured.works[0], 0, CLAIMED)
    assert sent(secured) == [(0, "FA")]


def test_what_has_come_is_told_when_it_is_opened(secured: TcpHost) -> None:
    secured.say("PA", 101, secured.iss, bytes(2 * SIZE + 10))  # type: ignore[attr-defined]
    (work,) = secured.works
    assert work[1:6] == (RECEIVING, 1, 0, 2 * SIZE + 10, 0) and work[-6:] == SECRETS[6:]
    assert secured.words[SPARE][0] == 0 and SPARE not in secured.opened
    answer(secured, work, 2, CLAIMED)
    assert len(secured.works) == 1 and SPARE not in secured.opened
    answer(secured, work, 2, DONE)
    assert secured.opened[SPARE] == 2 * SIZE and secured.words[SPARE][0] == 0
    secured.say("PA", 101 + 2 * SIZE + 10, secured.iss, bytes(SIZE - 10))  # type: ignore[attr-defined]
    assert secured.works[1][1:6] == (RECEIVING, 2, 2 * SIZE, 3 * SIZE, 2)


def test_what_came_before_is_opened_too_and_the_end_does_not_stop_it(host: TcpHost) -> None:
    listen(host, SPARE)
    iss = accept(host)
    host.say("PA", 101, iss, bytes(SIZE + 5))
    host.call(SECURE, SPARE, CIPHER, 0, 5, *SECRETS)  # the application has read 5 bytes
    (work,) = host.works
    assert work[1:6] == (RECEIVING, 1, 5, SIZE + 5, 0)
    host.request(SHUTDOWN, SPARE)
    host.say("FA", 101 + SIZE + 5, iss + 1)
    host.wait(61_000_000_000)
    assert host.phase(SPARE) == (CLOSED, FINISHED)
    answer(host, work, 1, CLAIMED)
    answer(host, work, 1, DONE)
    assert host.opened[SPARE] == SIZE + 5


@pytest.mark.parametrize("direction", [SENDING, RECEIVING])
def test_a_record_that_cannot_be_opened_ends_the_connection(secured: TcpHost, direction: int) -> None:
    if direction == SENDING:
        secured.call(WRITE, SPARE, 3 * SIZE)
    else:
        secured.say("PA", 101, secured.iss, bytes(3 * SIZE))  # type: ignore[attr-defined]
    (work,) = secured.works
    secured.sent.clear()
    answer(secured, work, 3, CLAIMED)
    assert answer(secured, work, 3, DONE | FAILED, SIZE) == "tcp.serve drops tcp-bad-record"
    assert [flags for _, flags in sent(secured)][-1] == "RA"
    assert secured.phase(SPARE) == (CLOSED, BAD_RECORD)
    assert secured.opened.get(SPARE, 0) == (SIZE if direction == RECEIVING else 0)
    assert answer(secured, work, 3, DONE) == "served"


def test_what_is_no_record_ends_the_connection(secured: TcpHost) -> None:
    secured.say("PA", 101, secured.iss, bytes(SIZE))  # type: ignore[attr-defined]
    secured.sent.clear()
    assert answer(secured, secured.works[0], 0, CLAIMED | FAILED) == "tcp.serve drops tcp-bad-record"
    assert sent(secured) == [(0, "RA")] and secured.phase(SPARE) == (CLOSED, BAD_RECORD)


@pytest.mark.parametrize("words", [(3, 0, 0), (-1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1)])
def test_a_request_to_secure_that_cannot_be_right_ends_the_connection(host: TcpHost, words: tuple[int, ...]) -> None:
    listen(host, SPARE)
    accept(host)
    assert host.call(SECURE, SPARE, *words, *SECRETS) == "tcp.serve drops bad-request"
    assert sent(host) == [(0, "RA")] and host.phase(SPARE) == (CLOSED, ABORTED)


def test_a_stream_is_secured_once(secured: TcpHost) -> None:
    assert secured.call(SECURE, SPARE, CIPHER, 0, 0, *SECRETS) == "tcp.serve drops bad-request"
    assert secured.phase(SPARE) == (CLOSED, ABORTED)


def test_a_write_beyond_the_ring_counts_up_to_its_end(secured: TcpHost) -> None:
    secured.call(WRITE, SPARE, 1 << 40)
    assert secured.works[0][4] == RING


def test_what_is_told_of_a_stream_that_is_not_secured_says_nothing(host: TcpHost) -> None:
    listen(host, SPARE)
    accept(host)
    assert tell(host, CLAIMED | DONE, SENDING, 1, 0, SIZE, 1, SIZE + 4, SIZE) == "served"
    assert host.sent == [] and host.state(SPARE) == "ESTABLISHED"
