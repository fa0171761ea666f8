"""GSO packets: how many packets the device will cut one into, and how long they are together."""

from typing import Any

from scout.io.access import length, load8, require
from scout.io.packet import GSO_NONE
from scout.paths.wire import ipv4, tcp, udp
from scout.paths.wire.ipv4 import header_length
from scout.paths.wire.tcp import tcp_header_length
from scout.ring.jit import outline

__all__ = ["segments"]


def segments(frame: Any, end: Any, packet: Any) -> tuple[int, int]:
    """How many packets the network gets of this one, and their bytes.

    A GSO packet holds many segments behind one header; the device sends each segment behind a header of its own. So
    a service that counts or polices has to take a GSO packet for as many packets as it will be.

    Parameters
    ----------
    frame, end, packet
        As the stage got them, at the IPv4 header or at that of another protocol.

    Returns
    -------
    tuple of int
        The number of packets, 1 or more, and their bytes from the IPv4 header on. Of a packet of another protocol: 1,
        and its bytes.
    """
    size = length(frame, end, packet)
    if packet.gso_type == GSO_NONE:
        return 1, size
    return gso_segments(frame, end, packet, size)


@outline
def gso_segments(frame: Any, end: Any, packet: Any, size: int) -> tuple[int, int]:
    """`segments` of a GSO packet of `size` bytes."""
    if packet.gso_size == 0 or not require(frame, end, ipv4.HEADER) or load8(frame, 0) >> 4 != 4:
        return 1, size
    header = header_length(frame, 0)
    if load8(frame, ipv4.PROTOCOL) == ipv4.UDP:
        header += udp.HEADER
    elif require(frame, end, header + tcp.HEADER):
        header += tcp_header_length(frame, header)
    count = max((size - header + packet.gso_size - 1) // packet.gso_size, 1)
    return count, size + (count - 1) * header
