"""Single frames that leave by an AF_XDP socket, past the interface's queueing discipline."""

import os
import signal
import socket
from collections.abc import Iterator
from multiprocessing import Pipe
from typing import Any

import pytest
from lab_router import RIGHT, Running, running
from pyroute2 import IPRoute

from scout.testing import await_until
from scout.tools.traffic.peers import ping, tcp_transfer

pytestmark = pytest.mark.needs_namespaces

ETH_P_ALL, ICMP, ECHO_REQUEST = 0x0003, 1, 8


@pytest.fixture(scope="module")
def run() -> Iterator[Running]:
    """A router of two replicas whose ports may bypass the queueing discipline."""
    with running(2, bypass=True) as made:
        if not made.supervisor.port("right")._express:
            pytest.skip("this kernel has no AF_XDP sockets")
        yield made


def _bypasses(run: Running, pings: int) -> int:
    """How many frames left to the right in this way until so many pings were answered."""
    port: Any = run.supervisor.port("right")
    before = port.bypassed
    for _ in range(pings):
        _await_answer(run)
    return int(port.bypassed) - before


def _await_answer(run: Running) -> None:
    await_until(lambda: ping(run.left, RIGHT, 1)["received"] == 1)


def _state(run: Running) -> int:
    return int(run.supervisor.port("right").transmits["longest_frame"][0])


def test_frames_leave_so(run: Running) -> None:
    assert _bypasses(run, 3) >= 3
    assert run.reports == []


def test_tcp_passes_in_both_ways_at_once(run: Running) -> None:
    result = tcp_transfer(run.left, run.right, RIGHT, 1 << 22, 600.0)
    assert result["intact"] and result["bytes"] == 1 << 22


def test_checksums_that_are_left_to_the_device_are_right_at_the_far_end(run: Running) -> None:
    with run.right.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with run.left.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind((RIGHT, 4001))
        receiver.settimeout(600)
        for size in (1, 211, 700, 1400):
            payload = bytes(number & 0xFF for number in range(size))
            sender.sendto(payload, (RIGHT, 4001))
            assert receiver.recv(2048) == payload  # the kernel at the far end drops what has a wrong checksum


def _capture(bound: Any) -> None:
    """See all frames at r1, as tcpdump does; report the first echo request that is seen to leave."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind(("r1", ETH_P_ALL))
        bound.send("bound")
        bound.recv()
        while True:
            frame, about = raw.recvfrom(2048)
            if about[2] == socket.PACKET_OUTGOING and frame[23] == ICMP and frame[34] == ECHO_REQUEST:
                break
        bound.send("seen")
        bound.recv()


def test_whoever_captures_there_sees_the_frames(run: Running) -> None:
    ours, theirs = Pipe()
    process = run.router.run(_capture, theirs)
    try:
        assert ours.poll(600) and ours.recv() == "bound"
        await_until(lambda: _state(run) == 0)
        ours.send("go")
        assert _bypasses(run, 2) == 0
        assert ours.poll(600) and ours.recv() == "seen"
    finally:
        process.terminate()
        process.join()
    await_until(lambda: _state(run) > 0)
    assert _bypasses(run, 2) >= 2


def test_frames_to_an_interface_that_is_down_are_counted(run: Running) -> None:
    port: Any = run.supervisor.port("right")
    before = port.transmitted()["tx-down"]
    with run.router.entered(), IPRoute() as route:
        index = route.link_lookup(ifname="r1")[0]
        route.link("set", index=index, state="down")
        assert ping(run.left, RIGHT, 1)["received"] == 0
        await_until(lambda: port.transmitted()["tx-down"] > before)
        await_until(lambda: run.reports)
        route.link("set", index=index, state="up")
    await_until(lambda: len(run.reports) == 2)
    _await_answer(run)
    assert "up again" in run.reports[1]
    run.reports.clear()


def test_a_successor_and_a_replica_that_joins_send_so_too(run: Running) -> None:
    assert _bypasses(run, 2) >= 2
    os.kill(run.supervisor.processes[0].pid, signal.SIGKILL)
    await_until(lambda: run.reports)
    assert _bypasses(run, 2) >= 2
    joined = run.supervisor.add_replica()  # with more replicas than cores, it has no such socket
    for replica in run.supervisor.taking_part:
        if replica != joined:
            run.supervisor.remove_replica(replica)
    _await_answer(run)
