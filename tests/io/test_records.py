"""The work on records as a primary does it: finding, claiming, sealing and opening, telling; and late replicas."""

import random
from collections.abc import Iterator

import pytest
from endpoint_bench import MINE, Bench
from test_ciphers import NAMES, nonce, other

from scout.io.endpoints.ciphers import CIPHERS, LONGEST_PLAIN, OVERHEAD, RECEIVING, SENDING, TAG
from scout.io.endpoints.message import HEADER, HEADER_STRUCT, KIND, NOTE, OPENED, RECORDS
from scout.io.endpoints.records import CLAIMED, DONE, FAILED, MOST_RECORDS, PIECE, REQUEST_BYTES, SMALL
from scout.io.endpoints.stream import (
    ACKNOWLEDGED,
    FREED,
    OPENED_RING,
    PLACING,
    PLAIN_RING,
    RECEIVE_RING,
    SEALING,
    SEND_RING,
)
from scout.io.endpoints.stream import OPENED as OPENED_WORD

SIZE = 1 << 17
KEY, IV = bytes(range(32)), bytes(range(50, 62))
RINGS = {SENDING: (PLAIN_RING, SEND_RING), RECEIVING: (RECEIVE_RING, OPENED_RING)}


class Records(Bench):
    """A socket whose stream is secured."""

    cipher = "AES-128-GCM"

    def put(self, direction: int, position: int, data: bytes) -> None:
        self.memory.bytes[self.ring(RINGS[direction][0], position, len(data))] = list(data)

    def got(self, direction: int, position: int, size: int) -> bytes:
        return self.memory.bytes[self.ring(RINGS[direction][1], position, size)].tobytes()

    def work(
        self, direction: int, first: int, limit: int, number: int = 0, serial: int = 1, replica: int = 0
    ) -> list[tuple[int, ...]]:
        """Let a message leave; of the requests that it becomes the note, and the words from FIRST on."""
        words = direction, serial, first, limit, number, 0, 0, NAMES.index(self.cipher)
        data = b"".join(word.to_bytes(8) for word in words) + IV.ljust(16, b"\0") + self.key.ljust(32, b"\0")
        frame = HEADER_STRUCT.pack(RECORDS, 6, 0, MINE, 0, 0, 0, 0, HEADER << 16 | len(data)) + data
        self.leave(frame, 500, replica)
        found = []
        for request in self.requests():
            assert request[KIND] == RECORDS and len(request) == HEADER + REQUEST_BYTES
            values = [int.from_bytes(request[at : at + 8]) for at in range(HEADER, HEADER + REQUEST_BYTES, 8)]
            assert values[:2] == [direction, serial]
            found.append((int.from_bytes(request[NOTE : NOTE + 2]), *values[2:]))
        assert self.word(PLACING)[0] == self.word(SEALING)[0] == self.port.transmits["writing"][0] == 0
        return found

    @property
    def key(self) -> bytes:
        return KEY[: CIPHERS[self.cipher].key_bytes]

    def record(self, plain: bytes, number: int, sealed: bool) -> bytes:
        """A record by another implementation, or with plaintext in place of ciphertext."""
        length = (len(plain) + TAG).to_bytes(4)
        if not sealed:
            return length + plain + bytes(TAG)
        return length + other(self.cipher, self.key).encrypt(nonce(IV, number), plain, length)


@pytest.fixture(scope="module", params=list(CIPHERS))
def bench(request: pytest.FixtureRequest) -> Iterator[Records]:
    made = Records(SIZE)
    made.cipher = request.param
    yield made
    made.port.close()


@pytest.fixture(autouse=True)
def fresh(bench: Records) -> None:
    bench.word(FREED)[0] = bench.word(ACKNOWLEDGED)[0] = 0


@pytest.mark.parametrize("direction", [SENDING, RECEIVING])
@pytest.mark.parametrize("first", [0, SIZE - 2, 9 * SIZE - 10_000])
def test_a_stream_is_sealed_and_opened_piece_by_piece(bench: Records, direction: int, first: int) -> None:
    chance, sizes = random.Random(first), [*[LONGEST_PLAIN] * 6, *[0, 5, 700, 3000] * 2]
    chance.shuffle(sizes)
    plains, number = [chance.randbytes(size) for size in sizes], 7
    size = min(sum(map(len, plains)) + OVERHEAD * len(plains), SIZE)
    sources = [
        b"".join(bench.record(plain, 7 + n, sealed) for n, plain in enumerate(plains))[:size] for sealed in (0, 1)
    ]
    bench.put(direction, first, sources[direction])
    position, limit = first, first + size - 3  # the last record is not there whole
    pieces = 0
    while True:
        answers = bench.work(direction, position, limit, number)
        at, last, count, need, reached = answers[0][1:]
        assert at == position
        if count == 0:
            assert answers == [(CLAIMED, position, position, 0, need, position)] and need > limit
            break
        assert last - position <= max(PIECE, LONGEST_PLAIN + OVERHEAD) and count <= MOST_RECORDS
        if last - position <= SMALL:
            assert [answer[0] for answer in answers] == [CLAIMED | DONE]
        else:
            assert [answer[0] for answer in answers] == [CLAIMED, DONE] and reached == position
        assert answers[-1][2] == answers[-1][5] == last
        position, number, pieces = last, number + count, pieces + 1
    assert pieces > 1 and position > first + size - LONGEST_PLAIN - OVERHEAD - 3
    if direction == SENDING:
        assert bench.got(direction, first, position - first) == sources[1][: position - first]
    else:
        at = first
        for plain in plains[: number - 7]:
            assert bench.got(direction, at, 4 + len(plain)) == (len(plain) + TAG).to_bytes(4) + plain
            at += OVERHEAD + len(plain)
        assert at == position


def test_a_record_that_cannot_be_opened_is_told_with_those_before_it(bench: Records) -> None:
    good, size = [bench.record(bytes(1000), number, True) for number in range(5)], 1000 + OVERHEAD
    data = bytearray(b"".join(good))
    data[3 * size + 90] ^= 1
    bench.put(RECEIVING, 0, bytes(data))
    (claimed, done) = bench.work(RECEIVING, 0, 5 * size)
    assert claimed[0] == CLAIMED and done == (DONE | FAILED, 0, 5 * size, 5, 5 * size + 4, 3 * size)
    assert bench.work(RECEIVING, 0, size) == [(CLAIMED | DONE, 0, size, 1, size + 4, size)]
    (answer,) = bench.work(RECEIVING, 3 * size, 4 * size, 3)
    assert answer == (CLAIMED | DONE | FAILED, 3 * size, 4 * size, 1, 4 * size + 4, 3 * size)


@pytest.mark.parametrize("length", [0, TAG - 1, TAG + LONGEST_PLAIN + 1, 0xFFFFFFFF])
def test_a_length_that_no_record_has_fails_behind_those_before_it(bench: Records, length: int) -> None:
    good = bench.record(b"good", 0, True)
    bench.put(RECEIVING, 0, good + length.to_bytes(4))
    size = len(good)
    assert bench.work(RECEIVING, 0, size + 4) == [(CLAIMED | DONE, 0, size, 1, size + 4, size)]
    assert bench.work(RECEIVING, size, size + 4, 1) == [(CLAIMED | FAILED, size, size, 0, size + 4, size)]


@pytest.mark.parametrize(("direction", "word"), [(SENDING, ACKNOWLEDGED), (RECEIVING, FREED)])
def test_a_replica_that_is_late_changes_and_tells_nothing(bench: Records, direction: int, word: int) -> None:
    bench.put(direction, 0, bench.record(b"first", 0, direction == RECEIVING))
    size = 5 + OVERHEAD
    answers = bench.work(direction, 0, size)
    assert bench.work(direction, 0, size) == answers  # again: the same
    bench.word(word)[0] = 1
    before = bench.memory.bytes.copy()
    bench.put(direction, SIZE, bench.record(b"newer", 1, direction == RECEIVING))  # in the same place
    newer = bench.got(direction, 0, size)
    assert bench.work(direction, 0, size) == []
    assert bench.got(direction, 0, size) == newer == before[bench.ring(RINGS[direction][1], 0, size)].tobytes()


def test_nothing_is_done_for_a_socket_that_is_closed(bench: Records) -> None:
    bench.put(SENDING, 0, bench.record(b"first", 0, False))
    bench.memory.numbers[0] = -1
    assert bench.work(SENDING, 0, 5 + OVERHEAD) == []
    bench.memory.numbers[0] = MINE


def test_the_application_is_told_how_far_records_are_opened(bench: Records) -> None:
    for position in (500, 300, 700):
        frame = HEADER_STRUCT.pack(OPENED, 6, 0, MINE, 0, 0, 0, 0, HEADER << 16 | 8) + position.to_bytes(8)
        bench.leave(frame, 500)
    assert bench.word(OPENED_WORD)[0] == 700
