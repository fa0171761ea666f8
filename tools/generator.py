"""The flood generator: UDP over IPv4, one flow or many, as fast as one core can or at a given rate.

A packet socket gives the kernel super-frames (up to 64 UDP packets in one, with a virtio-net header that
says where to cut), which the kernel cuts just before the device: so a system call, and all that lies
between it and the device, is paid once for 64 packets. Measured into a veth pair whose far end drops the
frames at once, in thousand packets per second (Xeon, Linux 6.18):

    frames of                                              60 B    1514 B
    packet socket, super-frames of 64 or 44 packets       4,400     3,500
    the same of 16 packets                                3,700     3,000
    UDP socket with UDP_SEGMENT, 64 or 44 packets         2,000     1,650
    packet socket, one frame a call                       1,200

Super-frames of 128 packets are no faster, and such bursts would fill half the ring (256) of a veth with XDP.
"""

import errno
import itertools
import mmap
import os
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from pyroute2.ethtool.ioctl import IoctlEthtool

from scout.ring.errors import ScoutError

__all__ = ["Control", "Flood", "flood"]

SOL_PACKET, PACKET_VNET_HDR = 263, 15  # linux/if_packet.h
NEEDS_CHECKSUM, GSO_NONE, GSO_UDP_L4 = 1, 0, 5  # linux/virtio_net.h
ETHERNET, IP, UDP = 14, 20, 8  # bytes of the headers
CHECKSUM_AT = 6  # of the UDP header
LONGEST = 0xFFFF  # bytes of an IPv4 packet, and so of a super-frame behind its Ethernet header
BURST = 64  # packets of a super-frame
BURST_SECONDS = 50e-6  # at a given rate, a super-frame holds what is due in this time
MOST_BEHIND = 1e-3  # seconds; what was missed longer ago is not made up for: that would be a long burst
FIRST_PORT, DISCARD = 1024, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What to send.

    Attributes
    ----------
    interface : str
        To send out of, in the namespace of the process; its `tx-udp-segmentation` must be off.
    mac : str
        The MAC address to send to.
    source : str
        The source address.
    destinations : sequence of str
        The destination addresses, in turn, a super-frame each.
    frame_bytes : int
        Without the frame check sequence: 60 up to the MTU and 14.
    flows : int
        How many source ports, in turn, a super-frame each.
    rate : float
        Packets per second; 0 for as many as go.
    seconds : float
        How long; 0 for until it is stopped.
    core : int, optional
        To run on.
    """

    interface: str
    mac: str
    source: str
    destinations: Sequence[str]
    frame_bytes: int = 60
    flows: int = 1
    rate: float = 0
    seconds: float = 0
    core: int | None = None


class Control:
    """What a flood shares with the process that started it; to be made before the fork.

    Examples
    --------
    >>> control = Control()
    >>> control.stop()
    >>> control.stopped, control.sent
    (True, 0)
    """

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")  # stop, sent, began, ended

    def stop(self) -> None:
        """Tell the generator to end after the super-frame at hand."""
        self._words[0] = 1

    @property
    def stopped(self) -> bool:
        """Whether it was told to end."""
        return self._words[0] != 0

    @property
    def sent(self) -> int:
        """Packets handed to the device so far; exact once the generator has ended."""
        return self._words[1]

    @property
    def seconds(self) -> float:
        """From the first packet to the last so far."""
        return (self._words[3] - self._words[2]) / 1e9

    def _record(self, sent: int, began: float, now: float) -> None:
        self._words[1], self._words[2], self._words[3] = sent, int(began * 1e9), int(now * 1e9)


def flood(spec: Flood, control: Control) -> None:
    """Send until the time is over or `control` says stop; runs in a process forked for it.

    The device counts every packet that `control.sent` counts, as sent or as dropped.

    Raises
    ------
    ScoutError
        If `spec` makes no sense, or the interface is not there, not up or does not cut super-frames.
    """
    room = (LONGEST - IP - UDP) // _payload_bytes(spec)
    packets = max(1, min(BURST, room, int(spec.rate * BURST_SECONDS) if spec.rate else BURST))
    payload = bytes(packets * _payload_bytes(spec))
    if spec.core is not None:
        os.sched_setaffinity(0, {spec.core})
    with _open(spec.interface) as sock:
        own = sock.getsockname()[4]
        messages = itertools.cycle(
            [
                (_headers(spec, own, destination, FIRST_PORT + flow, packets), payload)
                for flow in range(spec.flows)
                for destination in spec.destinations
            ]
        )
        interval = packets / spec.rate if spec.rate else 0.0
        clock, sent = time.perf_counter, 0
        began = now = due = clock()
        end = began + spec.seconds if spec.seconds else float("inf")
        while now < end and not control.stopped:
            if now >= due:
                try:
                    sock.sendmsg(next(messages))
                except OSError as error:
                    if error.errno != errno.ENOBUFS:  # the device dropped the last packet, and counted it
                        raise ScoutError(f"flood out of {spec.interface}: {error.strerror}") from error
                sent += packets
                control._record(sent, began, now)
                due = max(due + interval, now - MOST_BEHIND)
            now = clock()
        control._record(sent, began, now)


def _payload_bytes(spec: Flood) -> int:
    return spec.frame_bytes - ETHERNET - IP - UDP


def _open(interface: str) -> socket.socket:
    place = f"flood out of {interface}"
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: receives nothing
    except PermissionError as error:
        raise ScoutError(f"{place}: raw sockets are not allowed; run as root, or see scout doctor") from error
    try:
        sock.bind((interface, 0))
    except OSError as error:
        sock.close()
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise ScoutError(f"{place}: {error.strerror}; there are: {names}") from error
    ethtool = IoctlEthtool(interface)
    try:
        whole = bool(ethtool.get_features()["tx-udp-segmentation"])
    finally:
        ethtool.close()
    if whole:
        sock.close()
        raise ScoutError(
            f"{place}: super-frames would pass whole; switch its tx-udp-segmentation off "
            f"(Namespace.offload, or ethtool -K {interface} tx-udp-segmentation off)"
        )
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    return sock


def _headers(spec: Flood, own: bytes, destination: str, port: int, packets: int) -> bytes:
    """The virtio-net header and the headers of a super-frame; the kernel derives each packet's from them."""
    payload = _payload_bytes(spec)
    gso_type, gso_bytes = (GSO_UDP_L4, payload) if packets > 1 else (GSO_NONE, 0)
    virtio = struct.pack(
        "=BBHHHH",
        NEEDS_CHECKSUM,
        gso_type,
        ETHERNET + IP + UDP,
        gso_bytes,
        ETHERNET + IP,
        CHECKSUM_AT,
    )
    try:
        addresses = IPv4Address(spec.source).packed + IPv4Address(destination).packed
    except AddressValueError as error:
        raise ScoutError(f"flood out of {spec.interface}: {error}") from error
    udp_bytes = UDP + packets * payload
    ip = struct.pack("!BBHIBBH", 0x45, 0, IP + udp_bytes, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    ip = ip[:10] + struct.pack("!H", ~_sum(ip) & 0xFFFF) + ip[12:]
    # With NEEDS_CHECKSUM the field holds the pseudo-header's sum (linux/skbuff.h).
    pseudo = _sum(addresses + struct.pack("!HH", socket.IPPROTO_UDP, udp_bytes))
    ethernet = bytes.fromhex(spec.mac.replace(":", "")) + own + b"\x08\x00"
    return virtio + ethernet + ip + struct.pack("!HHHH", port, DISCARD, udp_bytes, pseudo)


def _sum(data: bytes) -> int:
    """The one's complement sum of 16-bit words (RFC 1071)."""
    return sum(struct.unpack(f"!{len(data) // 2}H", data)) % 0xFFFF
