"""Sending by AF_PACKET sockets: packets are queued and leave by sendmmsg(2), many with one system call.

The kernel reads each packet where it lies. Packets that can make up a super-frame become one message
(`scout.io.transmit.coalesce`).

A packet of which nothing is left to a device needs no virtio-net header, and without one the kernel takes 3 to 6 % less
time. If that holds for all packets that wait, they leave by a socket of their own, which takes none. The checksum of a
packet that lies in one piece is completed for that: it takes less time than the kernel saves.

A port that may bypass the queueing discipline sends single frames by an AF_XDP socket (`scout.io.transmit.frames`).
"""

import numpy as np

from scout.io.batch import BATCH_SIZE, TAIL
from scout.io.packet import GSO_NONE, NEEDS_CHECKSUM, OFFLOAD, REACH
from scout.io.system import (
    MESSAGE,
    MESSAGE_VECTOR,
    MESSAGE_VECTORS,
    VECTORS,
    VNET_HEADER,
    error_number,
    sendmmsg,
)
from scout.io.transmit.coalesce import GATHERED, gather, next_of
from scout.io.transmit.frames import FRAMES, SHORTEST, send_frames
from scout.io.transmit.refused import count_refused, is_down, is_full
from scout.io.transmit.sums import complete
from scout.ring.atomics import load32, load64, store32, store64
from scout.ring.jit import Record, inline
from scout.ring.segment import address, private

__all__ = ["TRANSMIT", "enqueue", "flush", "new_line"]

TRANSMIT = np.dtype(
    [
        ("socket", "i8"),  # takes a virtio-net header before each frame
        ("plain_socket", "i8"),  # takes none
        ("messages", "i8"),  # address of the mmsghdrs
        ("vectors", "i8"),  # address of the iovecs
        ("count", "i8"),  # packets waiting
        ("offloads", "i8"),  # what was left to the device by any of them: _CHECKSUM, _MORE
        ("made", "i8"),  # frames that the router made itself
        ("sent", "i8"),  # frames that the kernel took
        ("full", "i8"),  # frames it refused for lack of room,
        ("too_big", "i8"),  # for their size,
        ("down", "i8"),  # because the interface is down or gone, or frames that were not sent as it has no carrier
        ("refused", "i8"),  # and for another reason
        ("coalesce", "i8"),  # protocols whose runs of packets leave as one message: UDP, TCP
        ("longest", "i8"),  # bytes of the longest frame that the device takes; the supervisor writes it
        *((name, "i8") for name in GATHERED),  # addresses of what `gather` works on
        ("generation", "i8"),  # of the table of flows among that
        ("number", "i8"),  # of the batch; not used here
        ("no_carrier", "i8"),  # not 0 while the device has no carrier; the supervisor writes it
        *((name, "i8") for name in FRAMES),  # of the AF_XDP socket
        ("spare", "i8", 8),
    ]
)
"""The sending side of a replica, written by it alone except `longest` and `no_carrier`. The supervisor sets it up."""

_CHECKSUM, _MORE, _OTHER = 1, 2, 4
"""Bits of `offloads`: checksums of packets in one piece; segmentation, or the checksum of another packet; a packet that
does not leave by the AF_XDP socket."""

_ONE_PIECE = REACH + TAIL  # bytes of a packet of which the router completes the checksum: it lies in one piece


def new_line(transmit: np.ndarray) -> np.ndarray:
    """Set up the addresses of the one `TRANSMIT` in `transmit`, and return the memory that they refer to."""
    sizes = {"messages": BATCH_SIZE * MESSAGE, "vectors": BATCH_SIZE * VECTORS, **GATHERED}
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
    linear, tail_bytes = packet.end - start, packet.tail_bytes
    if packet.tail == packet.end:
        linear, tail_bytes = linear + tail_bytes, 0
    store64(vector, start)
    store64(vector + 8, linear)
    store64(vector + 16, packet.tail)
    store64(vector + 24, tail_bytes)
    store64(message + MESSAGE_VECTORS, 2 if tail_bytes else 1)
    size, field = linear + tail_bytes, 0
    if packet.gso_type != GSO_NONE:
        transmit.offloads |= _MORE | _OTHER
    elif packet.flags & NEEDS_CHECKSUM:
        field = VNET_HEADER + (load32(start + 6) & 0xFFFF) + (load32(start + 6) >> 16) + 2  # its end
        transmit.offloads |= _CHECKSUM if tail_bytes == 0 and field <= linear <= VNET_HEADER + _ONE_PIECE else _MORE
    if not max(field, SHORTEST) <= size <= transmit.longest_frame:
        transmit.offloads |= _OTHER
    transmit.count += 1


@inline
def flush(transmit: Record) -> None:
    """Send the packets that were added; count every frame as sent, or under the reason why it was not."""
    if transmit.count == 0:
        return
    joins = transmit.offloads & (_CHECKSUM | _MORE) and transmit.coalesce and transmit.count > 1
    messages = gather(transmit) if joins else transmit.count
    if transmit.no_carrier:
        transmit.down += transmit.count  # the kernel would take them, report no error, and drop them
    elif messages < transmit.count:
        _send_gathered(transmit, messages)
    elif transmit.offloads & _OTHER == 0 and send_frames(transmit):
        pass  # it has counted them
    elif transmit.offloads & _MORE:
        _send(transmit, transmit.socket, 0, transmit.count)
    else:
        _complete(transmit)
        _send(transmit, transmit.plain_socket, 0, transmit.count)
    transmit.count = transmit.offloads = 0


@inline
def _complete(transmit: Record) -> None:
    """Complete the checksums, and leave out the virtio-net headers."""
    for vector in range(transmit.vectors, transmit.vectors + transmit.count * VECTORS, VECTORS):
        header, size = load64(vector), load64(vector + 8)
        if load32(header) & NEEDS_CHECKSUM:
            start = header + VNET_HEADER + (load32(header + 6) & 0xFFFF)
            complete(start, start + (load32(header + 6) >> 16), header + size)
        store64(vector, header + VNET_HEADER)
        store64(vector + 8, size - VNET_HEADER)


@inline
def _send_gathered(transmit: Record, count: int) -> None:
    """Send the `count` messages that `gather` made."""
    message = 0
    while message < count:
        taken = sendmmsg(transmit.socket, transmit.gathered + message * MESSAGE, count - message, 0)
        for _ in range(taken):
            transmit.sent += load64(transmit.packets + message * 16)
            message += 1
        if taken <= 0:
            packets, error = load64(transmit.packets + message * 16), error_number()
            if packets == 1 or is_full(error) or is_down(error):
                count_refused(transmit, packets, error)
            else:  # the kernel may be too old for such super-frames: no more are made
                transmit.coalesce = 0
                packet = load64(transmit.packets + message * 16 + 8)
                for _ in range(packets):
                    _send(transmit, transmit.socket, packet, packet + 1)
                    packet = next_of(transmit, packet)
            message += 1


@inline
def _send(transmit: Record, socket: int, first: int, end: int) -> None:
    """Send the packets from `first` to `end` one by one, by a socket."""
    while first < end:
        taken = sendmmsg(socket, transmit.messages + first * MESSAGE, end - first, 0)
        if taken > 0:
            transmit.sent += taken
            first += taken
            continue
        # The error is that of the first message: it is dropped, the others are tried.
        first += 1
        count_refused(transmit, 1, error_number())
