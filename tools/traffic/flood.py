"""A flood of UDP packets, faster than the router that it measures.

One `send` on an AF_PACKET socket hands the kernel a super-frame of many segments, with a virtio-net header that says so
(VIRTIO_NET_HDR_GSO_UDP_L4). The kernel cuts it into frames at a device that does not take super-frames itself
(`Namespace.offload(..., tx_udp_segmentation=False)`). So neither Python nor a UDP stack limits the rate.
"""

import os
import socket
import struct
import time

import numpy as np

from scout.ring.errors import ScoutError
from scout.ring.segment import shared

__all__ = ["HEADERS", "Flood"]

SOL_PACKET, PACKET_VNET_HDR = 263, 15
NEEDS_CSUM, GSO_UDP_L4 = 1, 5  # linux/virtio_net.h
ETHERNET, IP, UDP = 14, 20, 8
HEADERS = ETHERNET + IP + UDP
"""Bytes of a frame before its UDP payload."""
SEGMENTS = 64  # of a super-frame: the most that older kernels take
LONGEST = 65_000  # bytes of an IP packet, a little less than the maximum


class Flood:
    """Sends equal UDP frames through an interface of this process's namespace.

    Parameters
    ----------
    frame_bytes : int
        The size of each frame, without the check sequence: 60 to 1514.
    source, destination : str
        IPv4 addresses.
    source_mac, next_hop_mac : int
        The frames' MAC addresses.
    ttl : int

    Attributes
    ----------
    sent : int
        Frames handed over so far; may be read by the process that made the flood.
    """

    def __init__(
        self,
        frame_bytes: int,
        source: str,
        destination: str,
        source_mac: int,
        next_hop_mac: int,
        ttl: int = 64,
    ) -> None:
        payload = frame_bytes - HEADERS
        if not 1 <= payload <= 1472:
            raise ScoutError(f"frames of {frame_bytes} bytes: give {HEADERS + 1} to {HEADERS + 1472}")
        self._segments = min(SEGMENTS, (LONGEST - IP - UDP) // payload)
        size = self._segments * payload
        ip = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, IP + UDP + size, 0, 0x4000, ttl, socket.IPPROTO_UDP, 0,
            socket.inet_aton(source), socket.inet_aton(destination),
        )  # fmt: skip
        ip = ip[:10] + struct.pack("!H", ~_sum(ip) & 0xFFFF) + ip[12:]
        # The checksum is left to the device: the field holds the pseudo-header's sum.
        pseudo = _sum(ip[12:20] + struct.pack("!HH", socket.IPPROTO_UDP, UDP + size))
        udp = struct.pack("!HHHH", 4000, 4001, UDP + size, pseudo)
        macs = next_hop_mac.to_bytes(6, "big") + source_mac.to_bytes(6, "big")
        offload = struct.pack("<BBHHHH", NEEDS_CSUM, GSO_UDP_L4, HEADERS, payload, ETHERNET + IP, 6)
        self._frame = offload + macs + b"\x08\x00" + ip + udp + bytes(size)
        self._words = shared(2, np.int64)

    @property
    def sent(self) -> int:
        return int(self._words[0])

    def stop(self) -> None:
        """End `run` in the process that runs it."""
        self._words[1] = 1

    def run(self, interface: str, seconds: float, pps: float | None = None, core: int | None = None) -> None:
        """Send for so many seconds, as fast as possible or at `pps` frames a second, pinned to `core`."""
        if core is not None:
            os.sched_setaffinity(0, [core])
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            sender.bind((interface, 0))
            start = time.monotonic()
            end, due = start + seconds, start
            while (now := time.monotonic()) < end and not self._words[1]:
                if pps is not None and now < due:
                    time.sleep(due - now)
                    continue
                sender.send(self._frame)
                self._words[0] += self._segments
                if pps is not None:
                    due = max(due, now - 0.01) + self._segments / pps


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)
