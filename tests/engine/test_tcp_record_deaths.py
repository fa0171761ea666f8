"""Secured connections while replicas are killed: transfers complete, intact; nothing is sealed twice in other words."""

import random
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from host_router import Host, running_host
from test_tcp import accepted, connected, together
from test_tcp_deaths import kill_again_and_again
from test_tcp_records import finish, received, secured

from scout import Tcp
from scout.testing import await_until

pytestmark = [pytest.mark.needs_namespaces, pytest.mark.long]

KILLS = 12
DATA = random.Random(8).randbytes(2_000_000)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running_host(2, False, Tcp("tcp")) as running:
        yield running


@pytest.mark.parametrize("opened", [accepted, connected])
def test_transfers_go_on_when_replicas_die(host: Host, opened) -> None:  # type: ignore[no-untyped-def]
    stop, killed = threading.Event(), []  # type: ignore[var-annotated]
    killer = threading.Thread(target=kill_again_and_again, args=(host, stop, killed))
    killer.start()
    try:
        while len(killed) < KILLS:
            ours, peer = secured(host, 7301, opened=opened)
            with ours, peer.sock:

                def send(peer=peer) -> None:  # type: ignore[no-untyped-def]
                    peer.send(DATA)
                    peer.finish()

                *_, here, there = together(
                    lambda ours=ours: finish(ours, DATA[::-1]),  # type: ignore[misc]
                    send,
                    lambda ours=ours: received(ours),  # type: ignore[misc]
                    peer.receive,
                )
                assert here == DATA and there == DATA[::-1]
    finally:
        stop.set()
        killer.join()


def test_the_states_of_all_replicas_are_equal(host: Host) -> None:
    for name in ("tcp.hosts", "tcp.rows", "tcp.connections", "tcp.secured"):
        await_until(lambda name=name: np.array_equal(*(host.supervisor.table(name, each) for each in (0, 1))))  # type: ignore[misc]
