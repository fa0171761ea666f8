"""The Internet checksum (RFC 1071) of packets that leave: sums over memory, by address.

A ones' complement sum of 16-bit words does not depend on the order of their bytes, so these are sums in this machine's
order, over words of 32 bits. Stages use `scout.io.access.sum16`, which goes through the accessors; the rules of
protocols are in `scout.paths.wire.checksum`.
"""

from scout.ring.atomics import load32, load64, store32, sum_words
from scout.ring.jit import inline

__all__ = ["complete", "fold", "is_right", "total_of", "updated"]

_PIECE = 256  # bytes that `sum_words` adds up


@inline
def fold(total: int) -> int:
    """Reduce a sum of up to 2 ** 16 words of 32 bits to a ones' complement sum of 16 bits; 0 only if all are 0."""
    for _ in range(3):  # to 33 bits, to 18, to 16
        total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


@inline
def total_of(start: int, size: int) -> int:
    """The ones' complement sum, 16 bits, of `size` bytes at an address; 0 only if all are 0.

    The 3 bytes before the last one are read, also if they lie before `start`.
    """
    total = 0
    while size >= _PIECE:
        total += sum_words(start)
        start += _PIECE
        size -= _PIECE
    for word in range(start, start + (size & ~7), 8):
        both = load64(word)
        total += (both & 0xFFFFFFFF) + (both >> 32 & 0xFFFFFFFF)
    if size & 4:
        total += load32(start + (size & ~7))
    if size & 3:  # the last bytes as if zeros followed
        total += load32(start + size - 4) >> 8 * (4 - (size & 3))
    return fold(total)


@inline
def complete(start: int, place: int, end: int) -> None:
    """Write the checksum of the bytes at addresses `start` to `end` (exclusive) to the 16-bit field at `place`.

    The field lies between `start` and `end` and holds the sum of the pseudo-header, which so becomes part of the total.
    """
    total = total_of(start, end - start)
    # In UDP a checksum of 0 says that there is no checksum (RFC 768). 0xFFFF is equivalent in ones' complement.
    checksum = ~total & 0xFFFF if total != 0xFFFF else 0xFFFF
    store32(place, load32(place) & ~0xFFFF | checksum)


@inline
def is_right(header: int, place: int) -> bool:
    """True if an IPv4 header of 20 bytes has the checksum, at address `place`, that the kernel would write."""
    total = load32(header) + load32(header + 4) + load32(header + 8) + load32(header + 12) + load32(header + 16)
    return fold(total) == 0xFFFF and load32(place) & 0xFFFF != 0xFFFF  # the kernel writes 0 instead of 0xFFFF


@inline
def updated(total: int, before: int, after: int) -> int:
    """The sum `total` after one of its 16-bit words has changed from `before` to `after` (RFC 1624); never 0."""
    return fold(total + (before ^ 0xFFFF) + after)
