"""A kernel for stress tests: it fills a ring of blocks by the rules of TPACKET_V3, as fast as it gets them back.

The real one brings some hundred blocks a second, too few to try the words beside the ring; this one brings millions.
Every block has one packet, which says what number it is.
"""

import numba
import numpy as np

from scout.io import blocks
from scout.io.kernel_ring import BLOCK_BYTES, KernelRing
from scout.io.tpacket import BLOCK_FIRST, BLOCK_PACKETS, BLOCK_SEQUENCE, BLOCK_STATUS, STATUS_USER
from scout.paths.compiler import BATCH
from scout.ring.jit import entry, inline
from scout.ring.memory import (
    load32_acquire,
    load64,
    load64_acquire,
    store32,
    store32_release,
    store64,
    store64_release,
)
from scout.ring.shared import address, shared
from scout.ring.wait import relax

__all__ = ["FOUND", "SimulatedRing", "fill", "serve"]

FIRST, MAC, SNAPLEN, FRAME = 64, 24, 12, 96  # offsets in a block; in a frame's header; of a frame from its header
SIZE = 24  # bytes of a frame
_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)

FOUND = np.dtype(
    [
        ("blocks", "i8"),  # seen
        ("controls", "i8"),  # seen
        ("claimed", "i8"),  # blocks that it was primary of
        ("told", "i8"),  # control requests that it was primary of
        ("torn", "i8"),  # blocks that are not what their place says
        ("disputed", "i8"),  # that another had finished as their primary
        ("spare", "i8", 2),
    ]
)
"""What a replica found; written by it alone, a cache line."""

_RINGS = numba.types.Array(numba.from_dtype(blocks.RING), 1, "C")
_CURSORS = numba.types.Array(numba.from_dtype(blocks.CURSOR), 1, "C")
_FOUND = numba.types.Array(numba.from_dtype(FOUND), 1, "C")


class SimulatedRing(KernelRing):
    """A ring that `fill` fills."""

    def _map(self, blocks: int) -> int:
        self._mapped = shared(blocks * BLOCK_BYTES, np.uint8)
        return address(self._mapped)


@inline
def mix(value: int) -> int:
    """Another number for every number."""
    value = (value ^ value >> 29) * _MULTIPLIER
    return value ^ value >> 32


@entry(numba.void(_RINGS, numba.int64, numba.int64))
def fill(rings: np.ndarray, first: int, last: int) -> None:
    """Be the kernel for the blocks from `first` to `last`: the next one only when it has come back."""
    ring = rings[0]
    for number in range(first, last):
        block = ring.ring + number % ring.blocks * ring.block_bytes
        looks = 0
        while load32_acquire(block + BLOCK_STATUS) & STATUS_USER:  # pairs with who hands it back
            relax(looks)
            looks += 1
        store64_release(block + BLOCK_SEQUENCE, number + 1)  # opened; so in the kernel, before anything is written
        store32(block + BLOCK_PACKETS, 1)
        store32(block + BLOCK_FIRST, FIRST)
        header = block + FIRST
        store32(header + SNAPLEN, SIZE)
        store32(header + MAC, FRAME)
        for word in range(SIZE // 8):
            store64(header + FRAME + 8 * word, mix(number + word))
        store32_release(block + BLOCK_STATUS, STATUS_USER)


@entry(
    numba.void(
        _RINGS,
        _CURSORS,
        numba.int64,
        BATCH,
        _FOUND,
        numba.uint8[::1],
        numba.int64[::1],
        numba.int64[::1],
        numba.int64,
        numba.int64,
    )
)
def serve(rings, cursors, replica, batch, founds, primaries, tellers, heard, order, last):  # type: ignore[no-untyped-def]
    """Serve until `last` blocks are let go of, or the word at address `order` is not 0.

    `primaries` says for each block, `tellers` for each control request, who was its primary, plus 1; `heard` has for
    each control request its place in the order of all, plus 1, noted by who came first: the others compare.
    """
    ring, cursor, found = rings[0], cursors[0], founds[replica]
    looks = 0
    while cursor.sequence < last and load64_acquire(order) == 0:
        count = blocks.receive(ring, cursor, replica, batch, False)
        if cursor.open == 0:
            relax(looks)
            looks += 1
            continue
        looks = 0
        here = blocks.place(ring, cursor)
        if count and batch[0].control:
            # What a control request says is its number.
            found.torn += batch[0].argument != cursor.told
            if heard[cursor.told] == 0:
                heard[cursor.told] = here + 1
            found.torn += heard[cursor.told] != here + 1
            found.controls += 1
            if cursor.primary:
                found.disputed += tellers[cursor.told] != 0 and tellers[cursor.told] != replica + 1
                tellers[cursor.told] = replica + 1
                found.told += 1
        elif count:
            number = cursor.sequence
            for word in range(SIZE // 8):
                found.torn += load64(batch[0].frame + 8 * word) != mix(number + word)
            found.blocks += 1
            if cursor.primary:
                found.disputed += primaries[number] != 0 and primaries[number] != replica + 1
                primaries[number] = replica + 1
                found.claimed += 1
        blocks.done(ring, cursor, replica, False)
        if ring.keeps and blocks.is_due(ring, cursor):
            blocks.keep_from(ring, cursor, replica)  # as if a snapshot had been saved
