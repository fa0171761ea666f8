"""Probes of the kernel's networking: namespaces, veth pairs, AF_PACKET sockets and their receive ring."""

import ctypes
import mmap
import os
import select
import socket
import statistics
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from scout.io.host import sandbox
from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.tools.probes.probe import Shortfall

__all__ = ["af_packet", "packet_ring", "ring_latency", "user_namespaces", "veth", "veth_offloads"]

NOBODY = 65534
PR_SET_DUMPABLE = 4  # linux/prctl.h

# linux/if_packet.h
SOL_PACKET, PACKET_RX_RING, PACKET_VERSION, PACKET_VNET_HDR = 263, 5, 10, 15
TPACKET_V3, ETH_P_ALL = 2, 0x0003
BLOCK_STATUS = 8  # offset in struct tpacket_block_desc; the number of frames and the first frame's offset follow
TP_STATUS_USER = 1
FRAME_MAC = 24  # offset of tp_mac in struct tpacket3_hdr
VNET_HDR_BYTES, VNET_HDR_F_NEEDS_CSUM = 10, 1  # linux/virtio_net.h
BLOCK_BYTES, FRAME_BYTES = 1 << 20, 2048
RETIRE_MS, RETIRE_OK_MS = 1, 2.5

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
    """A TPACKET_V3 receive ring of one block."""

    def __init__(self, interface: str) -> None:
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        self.sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        geometry = struct.pack("7I", BLOCK_BYTES, 1, FRAME_BYTES, BLOCK_BYTES // FRAME_BYTES, RETIRE_MS, 0, 0)
        self.sock.setsockopt(SOL_PACKET, PACKET_RX_RING, geometry)
        self.memory = mmap.mmap(self.sock.fileno(), BLOCK_BYTES)
        self.sock.bind((interface, ETH_P_ALL))

    def first_frame(self) -> int:
        """Wait for the block and give the offset of its first frame's header."""
        if not select.select([self.sock], [], [], 1)[0]:
            raise TimeoutError("no frame came within a second")
        status, _, first = struct.unpack_from("3I", self.memory, BLOCK_STATUS)
        if not status & TP_STATUS_USER:
            raise OSError("the kernel announced a block and did not hand it over")
        return int(first)

    def release(self) -> None:
        struct.pack_into("I", self.memory, BLOCK_STATUS, 0)


def packet_ring() -> str:
    with _link() as here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        here.address("a", "10.0.0.1/24")
        here.neighbour("a", "10.0.0.2", "02:00:00:00:00:02")
        ring = _Ring("b")
        sender.sendto(b"hello", ("10.0.0.2", 9))
        header = ring.first_frame()
        (mac,) = struct.unpack_from("H", ring.memory, header + FRAME_MAC)
        flags = ring.memory[header + mac - VNET_HDR_BYTES]
    if not flags & VNET_HDR_F_NEEDS_CSUM:
        raise OSError("it does not say that a checksum is left to do")
    return "a UDP packet came with its offload header"


def ring_latency() -> str:
    waits = []
    with _link(), _packet_socket("a") as sender:
        ring = _Ring("b")
        for _ in range(9):
            sent = time.perf_counter()
            sender.send(FRAME)
            ring.first_frame()
            waits.append((time.perf_counter() - sent) * 1000)
            ring.release()
    wait = statistics.median(waits)
    found = f"a lone packet waits {wait:.1f} ms for a time-out of {RETIRE_MS} ms"
    if wait > RETIRE_OK_MS:
        raise Shortfall(found)
    return found


def veth_offloads() -> str:
    with _link() as here:
        here.offload("a", tx_udp_segmentation=False)
        here.offload("a", tx_udp_segmentation=True)
    return "UDP segmentation can be switched off and on"
