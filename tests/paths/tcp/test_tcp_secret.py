"""Initial sequence numbers: a known answer, and what RFC 6528 asks for."""

import pytest

from scout.paths.compiler.plain import Record
from scout.paths.protocols.tcp import secret
from scout.paths.protocols.tcp.secret import initial_number, new_secret, timestamp_offset

# The key, the message 0, 1, 2 … 47 and the tag's first half of Chaskey-12's reference implementation.
KEY = b"".join(word.to_bytes(4, "little") for word in (0x833D3433, 0x009F389F, 0x2398E64F, 0x417ACF39))
TAG = 0x8F34677F_F36E748B

FLOW = (6 << 32 | 5000 << 16 | 80, 0, 0xA000001, 0, 0xA000002)


def test_chaskey_gives_the_known_answer() -> None:
    words = [int.from_bytes(bytes(range(at, at + 8)), "little") for at in range(0, 48, 8)]
    tag = secret.authenticate(Record(new_secret(KEY)[0]), *words)
    assert tag & (1 << 64) - 1 == TAG


def test_initial_numbers_follow_a_clock() -> None:
    """MUST-8: the clock ticks every 4 microseconds."""
    record = Record(new_secret(KEY)[0])
    first = initial_number(record, FLOW, 0)
    assert (initial_number(record, FLOW, 4_000_000) - first) & 0xFFFFFFFF == 1000


def test_initial_numbers_differ_by_flow_and_secret() -> None:
    """MUST-9: only a host that has the secret can foresee them."""
    record = Record(new_secret(KEY)[0])
    other_flow = (FLOW[0] + 1, *FLOW[1:])
    numbers = {
        initial_number(record, FLOW, 0),
        initial_number(record, other_flow, 0),
        initial_number(Record(new_secret(bytes(16))[0]), FLOW, 0),
        timestamp_offset(record, FLOW),
    }
    assert len(numbers) == 4
    assert (new_secret()["key"] != new_secret()["key"]).any()


@pytest.mark.parametrize("word", range(5))
def test_every_word_of_the_flow_matters(word: int) -> None:
    record = Record(new_secret(KEY)[0])
    changed = tuple(value ^ (1 << 20) if index == word else value for index, value in enumerate(FLOW))
    assert initial_number(record, changed, 0) != initial_number(record, FLOW, 0)  # type: ignore[arg-type]
