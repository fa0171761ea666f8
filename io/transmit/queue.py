"""Sending by AF_PACKET sockets: packets wait in line and leave by `sendmmsg`, many with one system call.

Each has its virtio-net header before it, and is read where it lies. Packets that make up a super-frame become
one message (`scout.io.transmit.coalesce`).
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
        ("made", "i8"),  # frames that began here and were received by no port
        ("sent", "i8"),  # frames that the kernel took
        ("full", "i8"),  # frames it refused for lack of room,
        ("too_big", "i8"),  # for their size,
        ("down", "i8"),  # because the interface is down or gone,
        ("refused", "i8"),  # for another reason: the last such error number is `error`
        ("error", "i8"),
        ("coalesce", "i8"),  # protocols of which runs of packets go out as one message
        ("longest", "i8"),  # bytes of the longest frame that the device takes
        ("gathered", "i8"),  # address of the mmsghdrs of what was gathered,
        ("gathered_vectors", "i8"),  # of the iovecs of the super-frames in there,
        ("headers", "i8"),  # of their headers,
        ("packets", "i8"),  # and of how many packets each message is
        ("number", "i8"),  # of the requests that the batch at hand comes of; not used here
        ("spare", "i8", 6),
    ]
)
"""A replica's sending end; written by it alone. Set up by the supervisor."""


def new_line(transmit: np.ndarray) -> np.ndarray:
    """Set up the addresses of the one `TRANSMIT` in `transmit`; the memory that they refer to."""
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
    """Put a packet in line for `flush`. Its memory is read then."""
    message, vector = (
        transmit.messages + transmit.count * MESSAGE,
        transmit.vectors + transmit.count * VECTORS,
    )
    start = packet.frame - VNET_HEADER
    if packet.flags & NEEDS_CHECKSUM:
        # Headers pushed or pulled since move the place where the checksum starts.
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
    """Send what is in line; count every frame as sent, or under the reason why it was not."""
    if transmit.coalesce and transmit.count > 1:
        _send_gathered(transmit, gather(transmit))
    else:
        _send(transmit, 0, transmit.count)
    transmit.count = 0


@inline
def _send_gathered(transmit: Record, count: int) -> None:
    """Send the `count` messages that were gathered."""
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
            else:  # an older kernel, perhaps, that takes no such super-frames: they are not tried again
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
        # The error is the first message's: it is left out, the others are tried.
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
        transmit.error = error
