"""Sending by AF_PACKET sockets: packets are queued and leave by sendmmsg(2), many with one system call.

The kernel reads each packet where it lies, with a virtio-net header before it. Packets that can make up a super-frame
become one message (`scout.io.transmit.coalesce`).
"""

import errno

import numpy as np

from scout.io.batch import BATCH_SIZE
from scout.io.packet import NEEDS_CHECKSUM, OFFLOAD
from scout.io.system import (
    MESSAGE,
    MESSAGE_VECTOR,
    MESSAGE_VECTORS,
    VECTOR,
    VECTORS,
    VNET_HEADER,
    error_number,
    sendmmsg,
)
from scout.io.transmit.coalesce import HEADER_ROOM, gather
from scout.ring.atomics import load32, load64, store32, store64
from scout.ring.jit import Record, inline
from scout.ring.segment import address, private

__all__ = ["TRANSMIT", "enqueue", "flush", "new_line"]

TRANSMIT = np.dtype(
    [
        ("socket", "i8"),
        ("messages", "i8"),  # address of the mmsghdrs
        ("vectors", "i8"),  # address of the iovecs
        ("count", "i8"),  # messages waiting
        ("made", "i8"),  # frames that the router made itself
        ("sent", "i8"),  # frames that the kernel took
        ("full", "i8"),  # frames it refused for lack of room,
        ("too_big", "i8"),  # for their size,
        ("down", "i8"),  # because the interface is down or gone, or frames that were not sent as it has no carrier
        ("refused", "i8"),  # and for another reason
        ("coalesce", "i8"),  # protocols whose runs of packets leave as one message: UDP, TCP
        ("longest", "i8"),  # bytes of the longest frame that the device takes; the supervisor writes it
        ("gathered", "i8"),  # address of the mmsghdrs that `gather` makes,
        ("gathered_vectors", "i8"),  # of the iovecs of the super-frames among them,
        ("headers", "i8"),  # of the headers of these,
        ("packets", "i8"),  # and of an int64 for each message: how many packets it has
        ("number", "i8"),  # of the batch; not used here
        ("no_carrier", "i8"),  # not 0 while the device has no carrier; the supervisor writes it
        ("spare", "i8", 6),
    ]
)
"""The sending side of a replica, written by it alone except `longest` and `no_carrier`. The supervisor sets it up."""


def new_line(transmit: np.ndarray) -> np.ndarray:
    """Set up the addresses of the one `TRANSMIT` in `transmit`, and return the memory that they refer to."""
    sizes = {
        "messages": BATCH_SIZE * MESSAGE,
        "vectors": BATCH_SIZE * VECTORS,
        "gathered": BATCH_SIZE * MESSAGE,
        "gathered_vectors": BATCH_SIZE // 2 * VECTOR + BATCH_SIZE * VECTORS,
        "headers": BATCH_SIZE // 2 * HEADER_ROOM,
        "packets": BATCH_SIZE * 8,
    }
    line = private(sum(sizes.values()) // 8, np.int64)
    place = address(line)
    for name, size in sizes.items():
        transmit[name] = place
        place += size
    messages = line[: BATCH_SIZE * MESSAGE // 8].reshape(BATCH_SIZE, MESSAGE // 8)
    messages[:, MESSAGE_VECTOR // 8] = transmit["vectors"] + np.arange(BATCH_SIZE) * VECTORS
    return line


@inline
def enqueue(transmit: Record, packet: Record, record: int) -> None:
    """Add a packet to those that `flush` sends; its memory is read then."""
    message, vector = (
        transmit.messages + transmit.count * MESSAGE,
        transmit.vectors + transmit.count * VECTORS,
    )
    start = packet.frame - VNET_HEADER
    if packet.flags & NEEDS_CHECKSUM:
        # The checksum starts at an offset from the frame's beginning, which pushed and pulled headers have moved.
        packet.checksum_start += packet.origin - packet.frame
    store64(start, load64(record + OFFLOAD))
    store32(start + 6, load32(record + OFFLOAD + 6))  # with the one above, 10 bytes
    store64(vector, start)
    store64(vector + 8, packet.end - start)
    store64(vector + 16, packet.tail)
    store64(vector + 24, packet.tail_bytes)
    store64(message + MESSAGE_VECTORS, 2 if packet.tail_bytes else 1)
    transmit.count += 1


@inline
def flush(transmit: Record) -> None:
    """Send the packets that were added; count every frame as sent, or under the reason why it was not."""
    if transmit.no_carrier:
        transmit.down += transmit.count  # the kernel would take them, report no error, and drop them
    elif transmit.coalesce and transmit.count > 1:
        _send_gathered(transmit, gather(transmit))
    else:
        _send(transmit, 0, transmit.count)
    transmit.count = 0


@inline
def _send_gathered(transmit: Record, count: int) -> None:
    """Send the `count` messages that `gather` made."""
    message = packet = 0
    while message < count:
        taken = sendmmsg(transmit.socket, transmit.gathered + message * MESSAGE, count - message, 0)
        for _ in range(taken):
            packets = load64(transmit.packets + message * 8)
            transmit.sent += packets
            packet += packets
            message += 1
        if taken <= 0:
            packets, error = load64(transmit.packets + message * 8), error_number()
            if packets == 1 or _is_full(error) or _is_down(error):
                _count_refused(transmit, packets, error)
            else:  # the kernel may be too old for such super-frames: no more are made
                transmit.coalesce = 0
                _send(transmit, packet, packet + packets)
            packet += packets
            message += 1


@inline
def _send(transmit: Record, first: int, end: int) -> None:
    """Send the packets from `first` to `end` one by one."""
    while first < end:
        taken = sendmmsg(transmit.socket, transmit.messages + first * MESSAGE, end - first, 0)
        if taken > 0:
            transmit.sent += taken
            first += taken
            continue
        # The error is that of the first message: it is dropped, the others are tried.
        first += 1
        _count_refused(transmit, 1, error_number())


@inline
def _is_full(error: int) -> bool:
    return error == errno.ENOBUFS or error == errno.EAGAIN


@inline
def _is_down(error: int) -> bool:
    return error == errno.ENETDOWN or error == errno.ENXIO or error == errno.ENODEV


@inline
def _count_refused(transmit: Record, packets: int, error: int) -> None:
    if _is_full(error):
        transmit.full += packets
    elif error == errno.EMSGSIZE:
        transmit.too_big += packets
    elif _is_down(error):
        transmit.down += packets
    else:
        transmit.refused += packets
