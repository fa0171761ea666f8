"""Sending without a device: frames become pcap records, in memory or in a file.

Nobody completes a checksum behind such a port, so it is done here.
"""

import numpy as np

from scout.io.packet import NEEDS_CHECKSUM
from scout.io.system import write
from scout.ring.jit import Record, inline
from scout.ring.memory import copy, load32, store32
from scout.ring.shared import address, shared

__all__ = ["RECORD_HEADER", "TRANSMIT", "Sink", "enqueue", "flush"]

RECORD_HEADER = 16  # of pcap: seconds, nanoseconds, bytes kept, bytes there were; 32 bits each
_SPARE = 64  # behind the buffer, for accesses of 4 bytes

TRANSMIT = np.dtype(
    [
        ("buffer", "i8"),  # address of the records
        ("capacity", "i8"),  # bytes
        ("used", "i8"),
        ("file", "i8"),  # descriptor to write them to; -1: they stay
        ("made", "i8"),  # the rest as in afpacket.TRANSMIT
        ("sent", "i8"),
        ("full", "i8"),
        ("refused", "i8"),
    ]
)
"""A replica's sending end; written by it alone, a cache line."""


@inline
def enqueue(transmit: Record, packet: Record, record: int) -> None:
    """Append a packet to the buffer, or count that there is no room."""
    head = packet.end - packet.frame
    size = head + packet.tail_bytes
    if transmit.used + RECORD_HEADER + size > transmit.capacity:
        if transmit.file >= 0:
            flush(transmit)
        if transmit.used + RECORD_HEADER + size > transmit.capacity:
            transmit.full += 1
            return
    at = transmit.buffer + transmit.used
    store32(at, packet.timestamp // 1_000_000_000)
    store32(at + 4, packet.timestamp % 1_000_000_000)
    store32(at + 8, size)
    store32(at + 12, size)
    frame = at + RECORD_HEADER
    copy(frame, packet.frame, head)
    copy(frame + head, packet.tail, packet.tail_bytes)
    if packet.flags & NEEDS_CHECKSUM:
        start = packet.checksum_start + packet.origin - packet.frame
        if start >= 0 and start + packet.checksum_offset + 2 <= size:
            _complete(frame + start, size - start, packet.checksum_offset)
    transmit.used += RECORD_HEADER + size
    transmit.sent += 1


@inline
def _complete(start: int, size: int, offset: int) -> None:
    """Replace the partial checksum, which holds the pseudo-header's sum, by the whole one (RFC 1071)."""
    total = 0
    for index in range(0, size - 1, 2):
        total += load32(start + index) & 0xFFFF  # as the bytes stand: the sum does not depend on their order
    if size & 1:
        total += load32(start + size - 1) & 0xFF
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~total & 0xFFFF
    if checksum == 0:
        checksum = 0xFFFF  # 0 would say that there is none (RFC 768)
    store32(start + offset, load32(start + offset) >> 16 << 16 | checksum)


@inline
def flush(transmit: Record) -> None:
    """Write the buffer to the file, if there is one, with a single call: replicas append to the same file."""
    if transmit.file < 0 or transmit.used == 0:
        return
    if write(transmit.file, transmit.buffer, transmit.used) != transmit.used:
        transmit.refused += 1
    transmit.used = 0


class Sink:
    """The sending half of a memory or pcap port.

    Parameters
    ----------
    replicas : int
    capacity : int
        Bytes of each replica's buffer.
    file : int
        Descriptor opened for appending, or -1.
    """

    def __init__(self, replicas: int, capacity: int, file: int = -1) -> None:
        self._buffers = [shared(capacity + _SPARE, np.uint8) for _ in range(replicas)]
        self.transmits = shared(replicas, TRANSMIT)
        for transmit, buffer in zip(self.transmits, self._buffers, strict=True):
            transmit["buffer"], transmit["capacity"], transmit["file"] = address(buffer), capacity, file

    def records(self) -> list[tuple[int, bytes]]:
        """Time stamps (nanoseconds) and frames of what was sent and kept, replica by replica."""
        found = []
        for transmit, buffer in zip(self.transmits, self._buffers, strict=True):
            at, used = 0, int(transmit["used"])
            while at < used:
                seconds, nanoseconds, size, _ = (int(n) for n in buffer[at : at + RECORD_HEADER].view(np.uint32))
                at += RECORD_HEADER
                found.append((seconds * 1_000_000_000 + nanoseconds, buffer[at : at + size].tobytes()))
                at += size
        return found

    def counters(self) -> dict[str, int]:
        """Frames sent, those of them made here, those refused by reason."""
        names = {"sent": "sent", "made": "made", "full": "tx-full", "refused": "tx-refused"}
        return {name: int(self.transmits[field].sum()) for field, name in names.items()}
