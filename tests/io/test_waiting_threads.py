"""Threads that wait at the same socket at the same time: each has its own record of its waits."""

import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scout.ring.segment import address
from scout.sockets import base
from scout.sockets.base import Socket

_WAITS = 1000  # of each thread
_ALWAYS_SHORT = 0xFF


@pytest.fixture
def waited_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Socket]:
    """A socket of a router that never sends it anything."""
    bell, ended = os.eventfd(0), os.eventfd(0)
    stack: Any = SimpleNamespace(socket_bytes=0, mapped=lambda *_: np.zeros(1), ended=ended, has_ended=False)
    made = Socket(stack, 1, 0, number=0, offset=0, bell=bell, request_bytes=0)
    monkeypatch.setattr(made, "_poll", lambda milliseconds: False)  # each wait only polls, so that polls meet often
    yield made
    made._bell = -1  # closed, as far as the socket knows: there is no router to be asked
    for each in (bell, ended):
        os.close(each)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Let every wait poll; the thread and the record of each wait."""
    used, begin_wait = [], base.begin_wait

    def begin(waits: np.ndarray, descriptor: int) -> bool:
        used.append((threading.get_ident(), address(waits)))
        waits["short"], waits["busy"] = _ALWAYS_SHORT, 0
        return bool(begin_wait(waits, descriptor))

    monkeypatch.setattr(base, "begin_wait", begin)
    return used


def test_threads_that_wait_at_a_socket_at_once_all_come_back(waited_at: Socket, records: list[tuple[int, int]]) -> None:
    together = threading.Barrier(2)

    def wait_often() -> None:
        together.wait()
        for _ in range(_WAITS):
            waited_at._wait(None)
        together.wait()  # so that neither has ended, and its record is free, before the other

    threads = [threading.Thread(target=wait_often, daemon=True) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    are_back = not any(each.is_alive() for each in threads)
    os.eventfd_write(waited_at._bell, 1)  # ends a sleep that would last for long
    for each in threads:
        each.join()
    assert are_back
    assert len(set(records)) == len({record for _, record in records}) == 2  # none had the other's record


def test_a_thread_that_waits_again_has_the_record_of_its_last_wait(
    waited_at: Socket, records: list[tuple[int, int]]
) -> None:
    for _ in range(3):
        waited_at._wait(None)
    assert len(records) == 3 and len(set(records)) == 1
