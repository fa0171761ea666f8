"""The device of the port for replays of TCP: transmit rings in memory.

It copies each packet to the transmit ring of its replica, cuts it into segments, and computes the checksums that were
left to it: that is the per-byte work of sending. `bare` leaves out the work on bytes of data. It notes when a replica
has sent last.
"""

import numpy as np

from scout.io.byte_order import swapped16, swapped32
from scout.io.packet import NEEDS_CHECKSUM
from scout.io.system import clock
from scout.io.transmit.sums import complete, updated
from scout.ring.atomics import copy, load32, store32
from scout.ring.jit import Record, inline
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import LINE, address, shared
from scout.tools.bench.tcp_segments import CHECKSUM, HEADERS, IP_CHECKSUM, LENGTH, PREFIX, SEQUENCE

__all__ = ["TRANSMIT", "Device", "enqueue", "flush"]

_HALF = 1 << 31
_RING = 1 << 18  # bytes of a transmit ring; behind it is room for a struct timespec

TRANSMIT = np.dtype(
    [
        ("ring", "i8"),  # address of the transmit ring
        ("filled", "i8"),  # bytes of it in use; then it begins again
        ("last", "i8"),  # address of the frame that was sent last
        ("sent", "i8"),  # frames
        ("reached", "i8"),  # the end of the data that were sent: a sequence number that does not wrap
        ("bare", "i8"),  # 1: only headers are copied, and no checksum is computed
        ("made", "i8"),  # as of any port
        ("number", "i8"),
        ("moment", "i8"),  # when the replica had sent what its last batch had to send: nanoseconds since 1970
        ("spare", "i8", 7),
    ]
)
"""The sending side of a replica."""


@inline
def enqueue(transmit: Record, packet: Record, record: int) -> None:
    """Copy a packet to the transmit ring, cut into segments, each with its checksum: as a device does."""
    size, at = packet.gso_size if packet.gso_type else max(packet.tail_bytes, 1), 0
    while at == 0 or at < packet.tail_bytes:
        _enqueue_segment(transmit, packet, at, min(size, packet.tail_bytes - at))
        at += size


@inline
def _enqueue_segment(transmit: Record, packet: Record, at: int, size: int) -> None:
    """Copy the headers of a packet, and `size` bytes of its data from byte `at` on."""
    head = packet.end - packet.frame
    if transmit.filled + head + size > _RING:
        transmit.filled = 0
    frame = transmit.ring + transmit.filled
    copy(frame, packet.frame, head)
    end = swapped32(load32(frame + SEQUENCE)) + at + head + size - HEADERS
    if packet.gso_type:
        _write_numbers(frame, head, size, at, packet.tail_bytes)
    if transmit.bare == 0:
        copy(frame + head, packet.tail + at, size)
        if packet.flags & NEEDS_CHECKSUM:
            start = packet.checksum_start + packet.origin - packet.frame
            if start >= 0 and start + packet.checksum_offset + 2 <= head + size:
                complete(frame + start, frame + start + packet.checksum_offset, frame + head + size)
    transmit.last = frame
    transmit.filled += head + size + 63 & ~63
    transmit.sent += 1
    ahead = (end - transmit.reached + _HALF & 0xFFFFFFFF) - _HALF
    transmit.reached += max(ahead, 0)


@inline
def _store16(place: int, value: int) -> None:
    """Store 16 bits in this machine's order."""
    store32(place, load32(place) & ~0xFFFF | value)


@inline
def _write_numbers(frame: int, head: int, size: int, at: int, whole: int) -> None:
    """Write the lengths and the sequence number of one of the segments that a packet with `whole` bytes is cut into."""
    before, after = swapped16(head - PREFIX + whole), swapped16(head - PREFIX + size)
    _store16(frame + LENGTH, after)
    header, pseudo = frame + IP_CHECKSUM, frame + CHECKSUM
    _store16(header, ~updated(~load32(header) & 0xFFFF, before, after) & 0xFFFF)
    _store16(pseudo, updated(load32(pseudo) & 0xFFFF, before, after))  # the sum of the pseudo-header
    store32(frame + SEQUENCE, swapped32(swapped32(load32(frame + SEQUENCE)) + at & 0xFFFFFFFF))


@inline
def flush(transmit: Record) -> None:
    """Note the time; the domain flushes all ports behind each batch. Frames have left when they are in the ring."""
    transmit.moment = clock(transmit.ring + _RING)


class Device:
    """The sending side of the port: a transmit ring for each replica."""

    def __init__(self) -> None:
        self.transmits = shared(MOST_REPLICAS, TRANSMIT)
        self._rings: list[np.ndarray] = []
        self.descriptors: list[int] = []

    def enlist(self, replica: int) -> None:
        """Prepare the sending side of one more replica."""
        self._rings.append(shared(_RING + LINE, np.uint8))
        self.transmits["ring"][replica] = address(self._rings[-1])

    def resume(self, replica: int) -> None:
        """Prepare the sending side for a successor."""

    def close(self) -> None:
        """Keep the figures."""

    def transmitted(self) -> dict[str, int]:
        """Frames that were sent."""
        return {name: int(self.transmits[name].sum()) for name in ("sent", "made")}
