"""Calls of stream sockets that wait while the descriptor is readable for something else."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import test_streams

from scout.sockets import base

stack, pair = test_streams.stack, test_streams.pair


def test_a_writer_does_not_take_a_core_beside_data_that_nobody_reads(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, peer = pair
    waits, pauses, wait = 0, 0, sock._wait

    def count_wait(*arguments: Any) -> None:
        nonlocal waits
        waits += 1
        wait(*arguments)

    def count_pause(seconds: float) -> None:
        nonlocal pauses
        pauses += seconds == base._PAUSE
        time.sleep(seconds)

    monkeypatch.setattr(sock, "_wait", count_wait)
    monkeypatch.setattr(base, "time", SimpleNamespace(sleep=count_pause, monotonic=time.monotonic))
    peer.sendall(b"unread")
    size = 1 << 25  # more than the kernel's buffers take
    writer = threading.Thread(target=sock.sendall, args=(bytes(size),))
    writer.start()
    while pauses < 20:
        assert waits < 100_000
        time.sleep(0.001)
    assert sock.recv(10) == b"unread"
    got = 0
    while got < size:
        got += len(peer.recv(1 << 20))
    writer.join()
