"""Single frames leave by AF_PACKET where they may not, or cannot, go past the queueing discipline."""

import ctypes
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab_router import RIGHT, running

from scout.io.host.lab import Lab
from scout.io.host.process import Child
from scout.io.ports.afpacket import AfPacketPort
from scout.io.transmit.xdp_socket import CHUNK, SLOTS, XdpSocket
from scout.ring.segment import shared
from scout.testing import await_until
from scout.tools.traffic.peers import ping
from scout.tools.traffic.two_hosts import two_hosts

pytestmark = pytest.mark.needs_namespaces

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def taken() -> Iterator[None]:
    """In a namespace whose interface r1 another AF_XDP program uses."""
    with Lab("test") as lab:
        _, router, _ = two_hosts(lab)
        with router.entered():
            try:
                other = XdpSocket(socket.if_nametoindex("r1"), shared(SLOTS * CHUNK, np.uint8))
            except OSError:
                pytest.skip("this kernel has no AF_XDP sockets")
            with other:
                yield


def _way(bypass: bool | None) -> str:
    """How single frames leave by a port on r1."""
    port = AfPacketPort("r1", bypass=bypass)
    port.open(0)
    port.enlist(0)
    found = port.way
    port.close()
    return found


def test_another_program_keeps_the_queue(taken: None) -> None:
    assert _way(None) == _way(True) == "AF_PACKET"


def test_false_means_never() -> None:
    with running(bypass=False) as run:
        port: Any = run.supervisor.port("right")
        await_until(lambda: ping(run.left, RIGHT, 1)["received"] == 1)
        assert port.way == "AF_PACKET" and port.bypassed == 0 and port.descriptors() == port.descriptors()[:2]


def _as_ordinary_user(locked: int | None) -> None:
    """In a user namespace, where root may not ask for BPF programs; with so many bytes of locked memory."""
    user = os.geteuid()
    assert _libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0, ctypes.get_errno()
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")  # programs that it runs are root there too
    subprocess.run(["ip", "link", "add", "r1", "type", "veth", "peer", "name", "e1"], check=True)
    for name in ("r1", "e1"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    if locked is not None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (locked, locked))
    assert _way(None) == "AF_PACKET"
    assert _way(True) == ("AF_XDP" if locked is None else "AF_PACKET")


@pytest.mark.parametrize("locked", [None, 0])
def test_in_a_user_namespace_frames_leave_by_af_packet(taken: None, locked: int | None) -> None:
    child = Child(_as_ordinary_user, locked)
    assert child.join(600) and child.exitcode == 0
