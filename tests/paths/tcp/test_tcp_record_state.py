"""Secured streams as state: pieces that are claimed, done out of order, told twice, or that fail."""

from typing import Any

import numpy as np
import pytest

from scout.paths.compiler.plain import Record
from scout.paths.protocols.tcp.records import (
    DIRECTION,
    LAST_NUMBER,
    PIECES,
    begin_direction,
    claim,
    finish,
    is_idle,
    look,
)

BEGIN, SIZE = 1000, 120


@pytest.fixture
def d() -> Any:
    made = Record(np.zeros(1, DIRECTION)[0])
    begin_direction(made, BEGIN)
    return made


def claimed(d: Any, pieces: int) -> list[tuple[int, int]]:
    """Have so many pieces of one record claimed; of each the serial and the end."""
    found = []
    d.limit = max(d.limit, d.next + pieces * SIZE)
    for _ in range(pieces):
        assert look(d, 0)
        last = d.next + SIZE
        claim(d, d.serial, last, 1, last + 4, False, 0)
        found.append((d.serial, last))
    return found


def test_records_are_looked_for_when_they_may_be_there(d: Any) -> None:
    assert not look(d, 0) and is_idle(d)
    d.limit = BEGIN + 3
    assert not look(d, 0)
    d.limit = BEGIN + 4
    assert look(d, 0) and not look(d, 0) and not is_idle(d)
    claim(d, d.serial, BEGIN, 0, BEGIN + SIZE, False, 0)
    assert not look(d, 0) and is_idle(d)
    d.limit = BEGIN + SIZE
    assert look(d, 0)
    claim(d, d.serial, BEGIN + SIZE, 1, BEGIN + SIZE + 4, False, 0)
    assert not is_idle(d) and (d.next, d.number, d.done) == (BEGIN + SIZE, 1, BEGIN)
    finish(d, d.serial, BEGIN + SIZE, False, 0)
    assert is_idle(d) and d.done == BEGIN + SIZE


def test_pieces_are_done_in_any_order(d: Any) -> None:
    chance = np.random.default_rng(1)
    for turn in range(1, 20):
        before, pieces = d.done, claimed(d, PIECES)
        assert not look(d, 0)  # no more at a time
        done = set()
        for index in chance.permutation(PIECES):
            serial, last = pieces[index]
            finish(d, serial, last, False, 0)
            done.add(last)
            expected = before
            while expected + SIZE in done:
                expected += SIZE
            assert d.done == expected
        assert is_idle(d) and d.number == turn * PIECES


def test_what_is_told_again_changes_nothing(d: Any) -> None:
    (first, end), (second, last) = claimed(d, 2)
    state = d._record.copy()
    claim(d, first, end, 1, end + 4, False, 0)
    claim(d, second, last + SIZE, 2, 0, False, 0)  # found again, when more was there
    claim(d, 7, end, 1, end + 4, False, 0)
    finish(d, 7, last, False, 0)
    finish(d, second, last - 1, False, 0)  # one that was found shorter
    assert d._record == state
    finish(d, second, last + SIZE, False, 0)  # one that was found longer
    finish(d, second, last, False, 0)
    assert d.done == BEGIN
    finish(d, first, end, False, 0)
    finish(d, first, end, False, 0)
    assert d.done == last and is_idle(d)


def test_a_piece_that_fails_does_so_behind_those_before_it(d: Any) -> None:
    (first, end), (second, last), (third, behind) = claimed(d, 3)
    finish(d, second, last - 5, True, 0)
    finish(d, third, behind, False, 0)
    assert (d.done, d.failed) == (BEGIN, 0)
    finish(d, first, end, False, 0)
    assert (d.done, d.failed) == (last - 5, 1)
    d.limit += SIZE
    assert not look(d, 0) and is_idle(d)


def test_what_is_no_record_fails_behind_those_before_it(d: Any) -> None:
    ((first, end),) = claimed(d, 1)
    d.limit += SIZE
    assert look(d, 0)
    claim(d, d.serial, end, 0, end + 4, True, 0)
    assert (d.failed, d.done) == (0, BEGIN)
    finish(d, first, end, False, 0)
    assert (d.failed, d.done) == (1, end) and not look(d, 0)


def test_numbers_do_not_wrap(d: Any) -> None:
    d.number = LAST_NUMBER - 2
    ((serial, end),) = claimed(d, 1)
    finish(d, serial, end, False, 0)
    assert d.failed == 0 and d.done == end
    d.limit += SIZE
    assert look(d, 0)
    claim(d, d.serial, end + SIZE, 1, end + SIZE + 4, False, 0)
    assert d.failed == 1 and d.done == end
