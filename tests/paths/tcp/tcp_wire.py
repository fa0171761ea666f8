"""An end on a real network: the Linux kernel is its peer, over an AF_PACKET socket on one end of a veth pair.

The kernel's side is played by ordinary sockets, in threads.
"""

import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tcp_end import End

from scout.io.channels.packet_socket import ETH_P_ALL, SOL_PACKET, VNET_HEADER_OPTION
from scout.io.host.lab import Lab
from scout.paths.protocols.tcp.state import CLOSED
from scout.paths.wire.checksum import checksum
from scout.paths.wire.tcp import CHECKSUM

KERNEL, OURS = "10.0.0.1", "10.0.0.2"
MACS = "02:00:00:00:00:01", "02:00:00:00:00:02"
VNET = struct.Struct("=BBHHHH")  # struct virtio_net_hdr (linux/virtio_net.h)
NEEDS_CHECKSUM, GSO_TCP = 1, 1
ETHERNET = bytes.fromhex((MACS[0] + MACS[1]).replace(":", "")) + b"\x08\x00"
PATIENCE = 60.0  # seconds; only a failing test takes so long


class WireEnd(End):
    """An end that has address 10.0.0.2, in real time; it sends super-frames if LARGEST_SEND says so."""

    def request(self, kind: int, now: int, one: int = 0, two: int = 0, more: int = 0) -> int:
        return super().request(kind, time.time_ns(), one, two, more)

    def pseudo(self, size: int, outgoing: bool) -> bytes:
        pair = (OURS, KERNEL) if outgoing else (KERNEL, OURS)
        return b"".join(map(socket.inet_aton, pair)) + bytes([0, 6]) + struct.pack("!H", size)

    def _built(self, action: np.void) -> bytes:
        segment = bytearray(super()._built(action))
        header, offload = (segment[12] >> 4) * 4, VNET.pack(0, 0, 0, 0, 0, 0)
        if action["length"] > action["segment"] > 0:
            offload = VNET.pack(NEEDS_CHECKSUM, GSO_TCP, 34 + header, int(action["segment"]), 34, CHECKSUM)
            partial = ~checksum(self.pseudo(len(segment), True)) & 0xFFFF
            segment[CHECKSUM : CHECKSUM + 2] = partial.to_bytes(2, "big")
        ip = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, 6, 0))
        ip += socket.inet_aton(OURS) + socket.inet_aton(KERNEL)
        ip[10:12] = checksum(bytes(ip)).to_bytes(2, "big")
        return offload + ETHERNET + bytes(ip + segment)


class Wire:
    """The link, and the ends on it."""

    def __init__(self, lab: Lab, offloads: bool) -> None:
        self.host, other = lab.namespace("host"), lab.namespace("wire")
        lab.veth((self.host, "eth0"), (other, "w0"), mac=MACS)
        self.host.address("eth0", f"{KERNEL}/24")
        self.host.neighbour("eth0", OURS, MACS[1])
        if not offloads:
            switches = dict.fromkeys(
                ("tx_checksum_ip_generic", "tx_tcp_segmentation", "tx_generic_segmentation"), False
            )
            self.host.offload("eth0", **switches)
        with other.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(SOL_PACKET, VNET_HEADER_OPTION, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.socket.bind(("w0", ETH_P_ALL))
        self.socket.setblocking(False)
        self.ends: dict[tuple[int, int], WireEnd] = {}
        self.threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []
        self.is_cut = False  # nothing passes

    # The kernel's side.

    def kernel_socket(self) -> socket.socket:
        with self.host.entered():
            made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(PATIENCE)
        return made

    def kernel_listener(self, port: int) -> socket.socket:
        made = self.kernel_socket()
        made.bind((KERNEL, port))
        made.listen(64)
        return made

    def in_thread(self, function: Callable[..., None], *args: Any) -> None:
        """Run the kernel's side; an exception in it fails the test."""

        def run() -> None:
            try:
                function(*args)
            except BaseException as error:
                self.failures.append(error)

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    # Our side.

    def end(self, port: int, kernel_port: int, **chosen: Any) -> WireEnd:
        made = WireEnd(time.time_ns() // 4000 & 0xFFFFFFFF, (port, kernel_port), **chosen)
        self.ends[port, kernel_port] = made
        return made

    def drive(self, until: Callable[[], bool], work: Callable[[int], None] | None = None) -> None:
        """Move frames and fire timers until something holds; `work(now)` is what the applications do in each round."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert not self.failures, self.failures
            assert time.monotonic() < deadline, [(each.state, each.told) for each in self.ends.values()]
            now = time.time_ns()
            if work:
                work(now)
            for each in self.ends.values():
                if each.due() <= now:
                    each.expire(now)
            self.send()
            wait = min([each.due() for each in self.ends.values()] + [now + 20_000_000]) - time.time_ns()
            if select.select([self.socket], [], [], max(wait, 0) / 1e9)[0]:
                self._receive()
            self.send()

    def send(self) -> None:
        """Send what the ends have emitted."""
        for each in self.ends.values():
            for frame in each.take_sent():
                if not self.is_cut:
                    while True:
                        try:
                            self.socket.send(frame)
                            break
                        except (BlockingIOError, OSError):  # the device's queue is full
                            time.sleep(0.001)

    def _receive(self) -> None:
        """Take a batch of frames; each connection's last segment ends its batch."""
        batches: dict[tuple[int, int], list[tuple[bytes, bool]]] = {}
        for _ in range(64):
            try:
                frame, address = self.socket.recvfrom(1 << 17)
            except BlockingIOError:
                break
            offload, packet = VNET.unpack_from(frame), frame[24:]
            if address[2] == socket.PACKET_OUTGOING or self.is_cut or frame[22:24] != b"\x08\x00" or packet[9] != 6:
                continue
            header = (packet[0] & 15) * 4
            segment = packet[header : int.from_bytes(packet[2:4], "big")]
            ports = int.from_bytes(segment[2:4], "big"), int.from_bytes(segment[:2], "big")
            batches.setdefault(ports, []).append((segment, bool(offload[0] & NEEDS_CHECKSUM)))
        now = time.time_ns()
        for ports, batch in batches.items():
            end = self.ends.get(ports)
            if end is None:
                continue
            for index, (segment, trusted) in enumerate(batch):
                end.receive(segment, now, more=int(index < len(batch) - 1), trusted=trusted)

    def finish(self) -> None:
        """Let the kernel's side end."""
        self.drive(lambda: not any(each.is_alive() for each in self.threads))
        assert not self.failures, self.failures


@contextmanager
def wired(offloads: bool = False) -> Iterator[Wire]:
    """A wire between the kernel's 10.0.0.1 and our 10.0.0.2."""
    with Lab("tcp") as lab:
        wire = Wire(lab, offloads)
        with wire.socket:
            yield wire


def is_closed(end: End) -> bool:
    return end.told["state"] == CLOSED and end.told["reason"] != 0
