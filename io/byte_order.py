"""Numbers in the other byte order, for compiled code that reads them from packets as the machine has them."""

from scout.ring.jit import inline

__all__ = ["swapped16", "swapped32", "swapped64"]


@inline
def swapped16(value: int) -> int:
    """16 bits in the other byte order."""
    return value >> 8 & 0xFF | (value & 0xFF) << 8


@inline
def swapped32(value: int) -> int:
    """32 bits in the other byte order."""
    return swapped16(value >> 16) | swapped16(value) << 16


@inline
def swapped64(value: int) -> int:
    """64 bits in the other byte order."""
    return swapped32(value >> 32) | swapped32(value) << 32
