"""Latencies in running domains: replicas measure them while somebody looks, whether packets are queued or not."""

import time

import pytest
from port_router import finished
from queued import BULK, VOICE, Queued, numbered

from scout.io.latency import LOOK
from scout.supervisor import Supervisor
from scout.testing import await_until

HALF_MINUTE = 30_000_000_000


def is_measured(supervisor: Supervisor) -> bool:
    return bool(supervisor.memory.orders[0, LOOK // 8])


def test_replicas_measure_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets that pretend to have been received half a minute ago take longer than that."""
    router = Queued({VOICE: {"queue": 64}, BULK: {}})

    def send(count: int) -> None:
        for number in range(count):
            for port in (VOICE, BULK):
                assert router.left.send(numbered(number, port), timestamp=time.time_ns() - HALF_MINUTE)

    with router.supervisor() as supervisor:
        send(3)
        await_until(lambda: len(router.sent()) == 6)
        assert not is_measured(supervisor)
        monkeypatch.setattr("scout.path_figures._LOOK", 600.0)
        assert supervisor.latencies() == []
        await_until(lambda: is_measured(supervisor))
        send(5)
        await_until(lambda: sum(row["packets"] for row in supervisor.latencies()) == 10)
        assert all(row["replica"] == 0 and row["below_us"] > HALF_MINUTE / 1000 for row in supervisor.latencies())
        monkeypatch.setattr("scout.path_figures._LOOK", 0.0)
        supervisor.latencies()
        await_until(lambda: not is_measured(supervisor))
        send(1)
        router.end()
        assert finished(supervisor)["out"] == {"right": 18}
        assert sum(row["packets"] for row in supervisor.latencies()) == 10
