"""Probes of the kernel's networking: namespaces, veth pairs, AF_PACKET sockets and their receive ring."""

import ctypes
import mmap
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from scout.io.channels.kernel_ring_frame import MAC, STATUS_USER
from scout.io.channels.packet_socket import ETH_P_ALL, Slots, ring_socket
from scout.io.host import sandbox
from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.packet import NEEDS_CHECKSUM
from scout.io.system import VNET_HEADER
from scout.tools.probes.probe import Shortfall

__all__ = ["af_packet", "latency", "packet_ring", "user_namespaces", "veth", "veth_offloads"]

NOBODY = 65534
PR_SET_DUMPABLE = 4  # linux/prctl.h

ETHERNET_HEADER = 14
SLOTS = Slots(2048, 64)  # of the receive ring
LONE_PACKETS, LONE_INTERVAL = 100, 0.003  # how many packets are sent, seconds between two
LATENCY_OK_US = 1000

FRAME = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + bytes(46)  # a broadcast of an experimental type

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def _link() -> Iterator[Namespace]:
    """Enter a namespace with a veth pair from `a` to `b`."""
    sandbox.enter()
    with Lab("doctor") as lab:
        here = lab.namespace("here")
        lab.veth((here, "a"), (here, "b"))
        with here.entered():
            yield here


def user_namespaces() -> str:
    with suppress(OSError):  # not root, or in a sandbox already: there is no other user to become
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        # A change of user closes /proc/self to the process itself; this opens it again.
        _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    return "an ordinary user may enter one" if sandbox.enter() else "this process is in one"


def veth() -> str:
    start = time.perf_counter()
    with _link():
        seconds = time.perf_counter() - start
    return f"a namespace with a veth pair made in {seconds * 1000:.0f} ms"


def _packet_socket(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((interface, ETH_P_ALL))
    sock.settimeout(1)
    return sock


def af_packet() -> str:
    with _link(), _packet_socket("a") as sender, _packet_socket("b") as receiver:
        sender.send(FRAME)
        if receiver.recv(100) != FRAME:
            raise OSError("the frame that came is not the one that was sent")
    return "a frame came through"


class _Ring:
    """A TPACKET_V2 receive ring, as Scout's."""

    def __init__(self, interface: str) -> None:
        self.sock = ring_socket(interface, SLOTS, 1)
        self.memory = mmap.mmap(self.sock.fileno(), SLOTS.size * SLOTS.together)
        self.sock.bind((interface, ETH_P_ALL))
        self._slot = 0

    def next_frame(self) -> int:
        """Wait for a frame and give the offset of its slot."""
        slot = self._slot * SLOTS.size
        while not self._word(slot) & STATUS_USER:
            if not select.select([self.sock], [], [], 1)[0]:
                raise TimeoutError("no frame came within a second")
        self._slot = (self._slot + 1) % SLOTS.together
        return slot

    def release(self, slot: int) -> None:
        struct.pack_into("I", self.memory, slot, 0)

    def _word(self, offset: int) -> int:
        return int(struct.unpack_from("I", self.memory, offset)[0])


def packet_ring() -> str:
    with _link() as here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        here.address("a", "10.0.0.1/24")
        here.neighbour("a", "10.0.0.2", "02:00:00:00:00:02")
        ring = _Ring("b")
        sender.sendto(b"hello", ("10.0.0.2", 9))
        slot = ring.next_frame()
        (mac,) = struct.unpack_from("H", ring.memory, slot + MAC)
        flags = ring.memory[slot + mac - VNET_HEADER]
    if not flags & NEEDS_CHECKSUM:
        raise OSError("it does not say that a checksum is left to do")
    return "a UDP packet came with its offload header"


def latency() -> str:
    """How long a lone packet takes to a process that sleeps until it comes, and how long a router adds to a ping.

    A ping passes an idle router twice, and waits each time until the router's process wakes up.
    """
    times = []
    with _link(), _packet_socket("a") as sender:
        ring = _Ring("b")
        pid = os.fork()
        if pid == 0:
            _send_lone_packets(sender)
        try:
            for _ in range(LONE_PACKETS):
                slot = ring.next_frame()
                arrived = time.time_ns()
                times.append((arrived - _sent_at(ring, slot)) / 1000)
                ring.release(slot)
        finally:
            os.waitpid(pid, 0)
    times.sort()
    middle, high = times[len(times) // 2], times[len(times) * 99 // 100]
    found = f"a lone packet reaches an idle process after {middle:.0f} µs ({high:.0f} µs at most for 99 %)"
    if middle > LATENCY_OK_US:
        raise Shortfall(found)
    return f"{found}; a router adds that twice to a ping"


def _send_lone_packets(sender: socket.socket) -> None:
    """Send frames with the time at which they leave, far enough apart that the receiver sleeps; in a child."""
    try:
        for _ in range(LONE_PACKETS):
            time.sleep(LONE_INTERVAL)
            sender.send(FRAME[:ETHERNET_HEADER] + struct.pack("q", time.time_ns()) + bytes(38))
    finally:
        os._exit(0)


def _sent_at(ring: _Ring, slot: int) -> int:
    (mac,) = struct.unpack_from("H", ring.memory, slot + MAC)
    return int(struct.unpack_from("q", ring.memory, slot + mac + ETHERNET_HEADER)[0])


def veth_offloads() -> str:
    with _link() as here:
        here.offload("a", tx_udp_segmentation=False)
        here.offload("a", tx_udp_segmentation=True)
    return "UDP segmentation can be switched off and on"
