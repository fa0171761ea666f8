"""The payload of a segment, copied to the receive ring of its socket before the segment becomes a request.

The protocol is in `scout.io.endpoints.stream`.
"""

from scout.io.endpoints.stream import FREED, PLACING, WORDS
from scout.ring.atomics import copy, exchange, load64_acquire, store64_release
from scout.ring.jit import Record, inline
from scout.ring.segment import LINE

__all__ = ["place"]


@inline
def place(
    stream: int, stream_bytes: int, replica: int, position: int, packet: Record, header: int, offset: int, size: int
) -> int:
    """Copy `size` bytes of a packet, from address `header` + `offset` on, to a stream; 1 if they are there.

    Bytes that the application has read are left out: they came before.

    Parameters
    ----------
    stream, stream_bytes : int
        Address of the stream in its socket's area, and bytes of its receive ring.
    replica : int
    position : int
        That of the first byte in the stream.
    """
    placing = stream + PLACING + replica * LINE
    # seq_cst, before the load of FREED: the application stores FREED, has a fence, and loads PLACING. One side sees the
    # other.
    exchange(placing, 1 + position)
    freed = load64_acquire(stream + FREED)  # pairs with the application's store: it has read what is overwritten now
    fits = freed - position <= size and position - freed <= stream_bytes - size
    if fits:
        read = max(0, freed - position)
        linear = packet.end - header
        here = max(0, min(size, linear - offset))
        _copy_in(stream + WORDS, stream_bytes, position + read, header + offset + read, here - read)
        behind = max(here, read)
        tail = packet.tail + max(0, offset - linear) - here
        _copy_in(stream + WORDS, stream_bytes, position + behind, tail + behind, size - behind)
    # Release, pairs with the application's load in `free`: what was written was written before.
    store64_release(placing, 0)
    return 1 if fits or freed - position > size else 0


@inline
def _copy_in(ring: int, ring_bytes: int, position: int, source: int, size: int) -> None:
    """Copy bytes, if `size` is more than 0, to a position in a ring."""
    if size > 0:
        at = position & (ring_bytes - 1)
        first = min(size, ring_bytes - at)
        copy(ring + at, source, first)
        copy(ring, source + first, size - first)
