"""A kernel for stress tests: it fills a ring of blocks by the rules of TPACKET_V3, as fast as it gets them back.

The real one brings some hundred blocks a second, too few to try the words beside the ring; this one brings millions.
Every block has one packet or several, more than a batch holds; each says which it is.
"""

import numba
import numpy as np

from scout.io.channels import blocks
from scout.io.channels.kernel_ring import BLOCK_BYTES, KernelRing
from scout.io.channels.tpacket import BLOCK_FIRST, BLOCK_PACKETS, BLOCK_SEQUENCE, BLOCK_STATUS, STATUS_USER
from scout.paths.compiler.native import BATCH
from scout.ring.atomics import (
    load32_acquire,
    load64,
    load64_acquire,
    store32,
    store32_release,
    store64,
    store64_release,
)
from scout.ring.jit import entry, inline
from scout.ring.segment import address, shared
from scout.ring.wait import relax

__all__ = ["FOUND", "SimulatedRing", "fill", "packets_in", "serve", "steps"]

FIRST, MAC, SNAPLEN, FRAME = 64, 24, 12, 96  # offsets in a block; in a frame's header; of a frame from its header
SIZE, STEP = 24, 128  # bytes of a frame; from one header to the next
MOST_PACKETS = 11  # of a block
_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)

FOUND = np.dtype(
    [
        ("blocks", "i8"),  # seen
        ("controls", "i8"),  # seen
        ("claimed", "i8"),  # blocks that it was primary of
        ("told", "i8"),  # control requests that it was primary of
        ("torn", "i8"),  # packets that are not what their place says
        ("disputed", "i8"),  # blocks and control requests that another had finished as their primary
        ("packets", "i8"),  # that it was primary of
        ("saved", "i8"),  # blocks << 32 | control requests let go of where it would go on from
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


@inline
def packets_of(number: int) -> int:
    """How many packets the block of this number has."""
    return 1 + (mix(number) & 0xFFFF) % MOST_PACKETS


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
        store32(block + BLOCK_PACKETS, packets_of(number))
        store32(block + BLOCK_FIRST, FIRST)
        for index in range(packets_of(number)):
            header = block + FIRST + index * STEP
            store32(header, STEP)
            store32(header + SNAPLEN, SIZE)
            store32(header + MAC, FRAME)
            store64(header + FRAME, number)
            store64(header + FRAME + 8, index)
            store64(header + FRAME + 16, mix(number ^ index << 48))
        store32_release(block + BLOCK_STATUS, STATUS_USER)


@entry(
    numba.void(
        _RINGS,
        _CURSORS,
        numba.int64,
        BATCH,
        _FOUND,
        numba.uint8[::1],
        numba.uint16[::1],
        numba.int64[::1],
        numba.int64[::1],
        numba.int64,
        numba.int64,
    )
)
def serve(rings, cursors, replica, batch, founds, primaries, handled, tellers, heard, order, last):  # type: ignore[no-untyped-def]
    """Serve until `last` blocks are let go of, or the word at address `order` is not 0.

    `primaries` says for each block, `tellers` for each control request, who was its primary, plus 1; `handled` which of
    a block's packets a primary has done, a bit each, before it lets go of their batch; `heard` has for each control
    request its place in the order of all, plus 1, noted by who came first: the others compare.
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
        here = blocks.position(ring, cursor)
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
            first = packets_of(number) - cursor.remaining - count
            for index in range(count):
                frame = batch[index].frame
                found.torn += load64(frame) != number or load64(frame + 8) != first + index
                found.torn += load64(frame + 16) != mix(number ^ (first + index) << 48)
            found.blocks += cursor.remaining == 0
            if cursor.primary:
                found.disputed += primaries[number] != 0 and primaries[number] != replica + 1
                found.claimed += primaries[number] == 0
                primaries[number] = replica + 1
                for index in range(count):
                    handled[number] |= 1 << (first + index)
                found.packets += count
        blocks.release(ring, cursor, replica, False)
        if ring.keeps and blocks.snapshot_due(ring, cursor):
            found.saved = cursor.sequence << 32 | cursor.told  # as if a snapshot had been: whole, or not at all
            blocks.advance_floor(ring, cursor, replica)


@entry(numba.int64(numba.uint16[::1]))
def packets_in(handled: np.ndarray) -> int:
    """How many packets blocks have of which all packets are handled; -1 if of one they are not."""
    total = 0
    for number in range(len(handled)):
        packets = packets_of(number)
        if handled[number] != (1 << packets) - 1:
            return -1
        total += packets
    return total


@entry(numba.int64(_RINGS, _CURSORS, numba.int64, BATCH, numba.uint16[::1], numba.int64))
def steps(rings, cursors, replica, batch, handled, times):  # type: ignore[no-untyped-def]
    """Deal with so many batches, noting in `handled` what it was primary of; how many packets that was."""
    packets = 0
    for _ in range(times):
        count = blocks.receive(rings[0], cursors[0], replica, batch, False)
        if cursors[0].open and cursors[0].primary:
            packets += count
            for index in range(count):
                handled[cursors[0].sequence] |= 1 << load64(batch[index].frame + 8)
        blocks.release(rings[0], cursors[0], replica, False)
    return packets
