"""The spare sockets of a listener: lists against sets, under random work."""

import random

import numpy as np

from scout.paths.compiler.plain import View
from scout.paths.protocols.tcp.rows import CONNECTED, FRESH, RESTING, ROW
from scout.paths.protocols.tcp.spares import (
    begin_listening,
    end_opening,
    first_spare,
    is_crowded,
    offer,
    rest,
    take_spare,
    withdraw,
)

ROWS, REST = 24, 10


def listed(rows: np.ndarray, listener: int, kind: int) -> list[int]:
    """The rows of a list, checked from both ends."""
    forward, each = [], rows[listener]["first"][kind]
    while each:
        forward.append(each - 1)
        each = rows[each - 1]["next"]
    backward, each = [], rows[listener]["last"][kind]
    while each:
        backward.append(each - 1)
        each = rows[each - 1]["before"]
    assert forward == backward[::-1]
    return forward


def test_lists_have_the_sockets_that_they_should() -> None:
    chance, rows, listener = random.Random(1), np.zeros(ROWS, ROW), 3
    rows["number"] = np.arange(ROWS) + 1
    view = View(rows)
    begin_listening(view, listener, 0)
    fresh: list[int] = []
    resting: dict[int, int] = {}
    opening: set[int] = set()
    unused = set(range(ROWS)) - {listener}
    for now in range(5000):
        for row in [row for row, until in resting.items() if until <= now]:
            del resting[row]
            fresh.append(row)
        match chance.randrange(5):
            case 0 if unused:
                row = unused.pop()
                first_spare(view, listener, now)
                offer(view, listener, row)
                fresh.append(row)
            case 1:
                row = take_spare(view, listener, now)
                assert row == (fresh.pop(0) if fresh else -1)
                if row >= 0:
                    rows[row]["role"] = CONNECTED
                    opening.add(row)
            case 2 if opening:  # it has come to nothing
                row = opening.pop()
                assert end_opening(view, row)
                rest(view, listener, row, now + REST)
                resting[row] = now + REST
            case 3 if opening:  # it is open
                row = opening.pop()
                assert end_opening(view, row)
                unused.add(row)
            case 4 if fresh or resting:
                row = chance.choice([*fresh, *resting])
                withdraw(view, row)
                unused.add(row)
                resting.pop(row, None)
                if row in fresh:
                    fresh.remove(row)
        assert first_spare(view, listener, now) == (fresh[0] if fresh else -1)
        assert listed(rows, listener, FRESH) == fresh and listed(rows, listener, RESTING) == list(resting)
        assert is_crowded(view, listener) == (len(opening) >= len(fresh))
