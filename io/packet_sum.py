"""The Internet checksum of received packets, which may lie in two pieces: the first bytes, and the tail.

`scout.paths.wire.checksum` says where else checksums are computed, and when to use which.
"""

from typing import Any

from scout.io.access import lowering
from scout.io.byte_order import swapped16
from scout.io.transmit.sums import fold, total_of

__all__ = ["packet_sum16"]


def packet_sum16(frame: Any, packet: Any, offset: int, size: int) -> int:
    """Ones' complement sum of `size` bytes at `offset`, 0 to 0xFFFF, as `scout.io.access.sum16`; also of the tail.

    Nothing is copied. Bytes that the packet does not have do not count; `offset` lies in its first piece.
    """
    data = bytes(frame.data[frame.start + offset : frame.start + offset + size])
    total = sum(data[0::2]) * 256 + sum(data[1::2])
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@lowering(packet_sum16)
def _native_packet_sum16(frame, packet, offset, size):  # type: ignore[no-untyped-def]
    def native(frame, packet, offset, size):  # type: ignore[no-untyped-def]
        start = frame + offset
        here = max(0, min(size, packet.end - start))
        total = swapped16(total_of(start, here))
        rest = total_of(packet.tail, max(0, min(size - here, packet.tail_bytes)))
        # The bytes of a tail behind an odd number of bytes change places in their words (RFC 1071 section 2).
        return fold(total + (rest if here & 1 else swapped16(rest)))

    return native
