"""TCP connections while replicas are killed: transfers complete, intact, with no reset; the states stay equal."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from host_router import Host, running_host
from test_tcp import DATA, accepted, check_transfers, connected

from scout import Tcp
from scout.testing import await_until

pytestmark = [pytest.mark.needs_namespaces, pytest.mark.long]

KILLS = 8
TABLES = ("tcp.hosts", "tcp.rows", "tcp.bindings", "tcp.connections", "tcp.deadlines")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running_host(2, False, Tcp("tcp")) as running:
        yield running


def kill_again_and_again(host: Host, stop: threading.Event, killed: list[int]) -> None:
    while not stop.wait(0.02):
        before = len(host.supervisor.stalls)
        replica = len(killed) % 2
        os.kill(host.supervisor.processes[replica].pid, signal.SIGKILL)
        await_until(lambda before=before: len(host.supervisor.stalls) > before)  # type: ignore[misc]
        killed.append(replica)


@pytest.mark.parametrize("opened", [accepted, connected])
def test_transfers_go_on_when_replicas_die(host: Host, opened: Any) -> None:
    stop, killed = threading.Event(), []  # type: ignore[var-annotated]
    ours, theirs = opened(host, 7101)
    if opened is connected:
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    killer = threading.Thread(target=kill_again_and_again, args=(host, stop, killed))
    with ours, theirs:
        killer.start()
        try:
            while len(killed) < KILLS:  # connections are opened and closed meanwhile, too
                others = opened(host, 7102)
                with others[0], others[1]:
                    check_transfers(*others)
            check_transfers(ours, theirs, DATA * 5)
        finally:
            stop.set()
            killer.join()


def test_the_states_of_all_replicas_are_equal(host: Host) -> None:
    for name in TABLES:
        tables = [host.supervisor.table(name, replica) for replica in (0, 1)]
        await_until(lambda tables=tables: np.array_equal(*tables))  # type: ignore[misc]
