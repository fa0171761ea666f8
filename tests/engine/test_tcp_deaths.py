"""TCP connections while replicas are killed: transfers complete, intact, with no reset; the states stay equal."""

import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from host_router import Host, running_host
from test_tcp import accepted, check_transfers, connected

from scout import Tcp
from scout.testing import await_until

pytestmark = [pytest.mark.needs_namespaces, pytest.mark.long]

TABLES = ("tcp.hosts", "tcp.rows", "tcp.bindings", "tcp.connections", "tcp.deadlines")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running_host(2, False, Tcp("tcp")) as running:
        yield running


def kill_again_and_again(host: Host, stop: threading.Event) -> None:
    number = 0
    while not stop.wait(0.1):
        before = len(host.supervisor.stalls)
        os.kill(host.supervisor.processes[number % 2].pid, signal.SIGKILL)
        await_until(lambda before=before: len(host.supervisor.stalls) > before)  # type: ignore[misc]
        number += 1


@pytest.mark.parametrize("opened", [accepted, connected])
def test_transfers_go_on_when_replicas_die(host: Host, opened) -> None:
    stop = threading.Event()
    ours, theirs = opened(host, 7101)
    killer = threading.Thread(target=kill_again_and_again, args=(host, stop))
    with ours, theirs:
        killer.start()
        try:
            for _ in range(3):
                check_transfers(*opened(host, 7102))
            check_transfers(ours, theirs)
        finally:
            stop.set()
            killer.join()


def test_the_states_of_all_replicas_are_equal(host: Host) -> None:
    for name in TABLES:
        tables = [host.supervisor.table(name, replica) for replica in (0, 1)]
        await_until(lambda tables=tables: np.array_equal(*tables))  # type: ignore[misc]
