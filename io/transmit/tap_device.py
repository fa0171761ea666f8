"""Sending by a TAP device: each frame, with its virtio-net header, is one writev(2)."""

import errno

import numpy as np

from scout.io.packet import NEEDS_CHECKSUM, OFFLOAD
from scout.io.system import VECTOR, VNET_HEADER, error_number, writev
from scout.ring.atomics import load32, load64, store32, store64
from scout.ring.jit import Record, inline

__all__ = ["TRANSMIT", "enqueue", "flush"]

TRANSMIT = np.dtype(
    [
        ("file", "i8"),  # descriptor of the device
        ("vectors", "i8"),  # address of two struct iovec
        ("number", "i8"),  # of the batch; not used here
        ("made", "i8"),  # frames that the router made itself
        ("sent", "i8"),  # frames that the kernel took
        ("full", "i8"),  # frames for which it had no room
        ("down", "i8"),  # frames that it refused because the interface is down
        ("refused", "i8"),  # frames that it refused for another reason
    ]
)
"""The sending side of a replica, a cache line, written by it alone. The supervisor sets it up."""


@inline
def enqueue(transmit: Record, packet: Record, record: int) -> None:
    """Send a packet; count it as sent, or under the reason why it was not."""
    start = packet.frame - VNET_HEADER
    if packet.flags & NEEDS_CHECKSUM:
        # The checksum starts at an offset from the frame's beginning, which pushed and pulled headers have moved.
        packet.checksum_start += packet.origin - packet.frame
    store64(start, load64(record + OFFLOAD))
    store32(start + 6, load32(record + OFFLOAD + 6))  # with the one above, 10 bytes
    store64(transmit.vectors, start)
    store64(transmit.vectors + 8, packet.end - start)
    store64(transmit.vectors + VECTOR, packet.tail)
    store64(transmit.vectors + VECTOR + 8, packet.tail_bytes)
    if writev(transmit.file, transmit.vectors, 2 if packet.tail_bytes else 1) > 0:
        transmit.sent += 1
        return
    error = error_number()
    if error == errno.EAGAIN or error == errno.ENOBUFS:
        transmit.full += 1
    elif error == errno.EIO:  # tun_get_user in drivers/net/tun.c
        transmit.down += 1
    else:
        transmit.refused += 1


@inline
def flush(transmit: Record) -> None:
    """Do nothing: everything has left."""
