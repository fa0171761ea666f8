"""Live traces: packets of a running router, followed beside it."""

import socket
from threading import Thread

import pytest
from lab_router import RIGHT, running

from scout.io.host.socket_filter import FrameFilter
from scout.live_trace import live_trace
from scout.ring.errors import ScoutError
from scout.testing import MemoryRouter, ipv4_router
from scout.tools.traffic.peers import ping


def test_packets_are_picked_and_followed_while_the_router_forwards() -> None:
    with running() as router:
        assert ping(router.left, RIGHT, 3)["received"] == 3
        supervisor = router.supervisor
        path = supervisor.paths[0]
        stop: list[bool] = []

        def send() -> None:
            with router.left.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                while not stop:
                    sock.sendto(b"not asked for", (RIGHT, 9))
                    sock.sendto(b"picked", (RIGHT, 4000))
                    sock.sendto(b"dropped", ("224.0.0.9", 4000))

        sender = Thread(target=send)
        sender.start()
        try:
            with router.router.entered():
                forwarded = next(
                    each
                    for each in live_trace(supervisor, path, FrameFilter(host=RIGHT, port=4000), seconds=60)
                    if each.steps[-1].target == "to right"
                )
                dropped = next(live_trace(supervisor, path, FrameFilter(), reason="multicast", seconds=60))
                assert not list(live_trace(supervisor, path, FrameFilter(port=5), seconds=0.3))
                assert not list(live_trace(supervisor, path, FrameFilter(), stopped=lambda: True))
        finally:
            stop.append(True)
            sender.join()
        assert b"picked" in forwarded.frame and forwarded.steps[-1].stage == "right.out"
        assert {change.name for change in forwarded.steps[3].changes} == {"ipv4.ttl", "ipv4.checksum"}
        assert b"dropped" in dropped.frame and dropped.steps[-1].outcome == "multicast"
        router.settle()


def test_a_port_in_memory_cannot_be_tapped() -> None:
    with MemoryRouter(ipv4_router()) as router, pytest.raises(ScoutError, match="port left is on no interface"):
        next(live_trace(router.supervisor, router.supervisor.paths[0], FrameFilter()))
