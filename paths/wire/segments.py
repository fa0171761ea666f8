"""GSO packets: how many packets the device will cut one into, and how long they are together."""

from typing import Any

from scout.io.access import length, load8, load16, require
from scout.io.packet import GSO_NONE
from scout.paths.wire.flow import HEADER, PROTOCOL, UDP

__all__ = ["segments"]

TOTAL_LENGTH = 2
UDP_HEADER, TCP_HEADER, DATA_OFFSET = 8, 20, 12


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
        The number of packets, 1 or more, and their bytes from the IPv4 header on, without what the link has padded.
        Of a packet of another protocol: 1, and its bytes.
    """
    size = length(frame, end, packet)
    if not require(frame, end, HEADER) or load8(frame, 0) >> 4 != 4:
        return 1, size
    if packet.gso_type == GSO_NONE or packet.gso_size == 0:
        return 1, min(size, load16(frame, TOTAL_LENGTH))
    header = (load8(frame, 0) & 15) * 4
    if load8(frame, PROTOCOL) == UDP:
        header += UDP_HEADER
    elif require(frame, end, header + TCP_HEADER):
        header += (load8(frame, header + DATA_OFFSET) >> 4) * 4
    count = max((size - header + packet.gso_size - 1) // packet.gso_size, 1)
    return count, size + (count - 1) * header
