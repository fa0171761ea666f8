"""Sending by an AF_XDP socket in copy mode: single frames leave nearly twice as fast as by an AF_PACKET socket.

The socket needs no BPF program, and leaves the interface and its offloads as they are. It sends from memory that it
shares with the kernel (the UMEM), of chunks of 2 KiB. A ring of descriptors says which chunks to send, and a second
ring brings back those that were sent (Documentation/networking/af_xdp.rst). That the checksum of a frame is left to the
device is said before the frame (xsk-tx-metadata.rst; Linux 6.8 or later).
"""

import ctypes
import mmap
import os
import socket
import struct
from contextlib import suppress
from typing import Any, Self

import numpy as np
from numba import types

from scout.ring.atomics import load32_acquire, store32, store32_release, store64
from scout.ring.jit import Record, inline
from scout.ring.segment import address

__all__ = [
    "CHECKSUM",
    "CHUNK",
    "DESCRIPTOR",
    "DONT_WAIT",
    "METADATA",
    "METADATA_BYTES",
    "NOWHERE",
    "RING",
    "SLOTS",
    "START",
    "XdpSocket",
    "chunk_header",
    "flush",
    "room",
    "sendto",
    "submit",
]

CHUNK, SLOTS = 2048, 256
"""Bytes of a chunk, and chunks that a sender uses in turn: powers of two."""
START = 128
"""Offset of the frame in its chunk."""

# linux/if_xdp.h
_AF_XDP, _SOL_XDP = 44, 283
_MMAP_OFFSETS, _TX_RING, _UMEM_REG, _FILL_RING, _COMPLETION_RING, _MAX_TX_BUDGET = 1, 3, 4, 5, 6, 9
_TX_PAGE, _COMPLETION_PAGE = 0x8000_0000, 0x1_8000_0000
_SHARED, _COPY, _METADATA_LENGTH = 1 << 0, 1 << 1, 1 << 2
CHECKSUM, METADATA = 1 << 1, 1 << 1
"""Flags of the metadata: a checksum is left to the device; and of a descriptor: its frame has metadata."""
DESCRIPTOR = 16  # bytes of a struct xdp_desc
METADATA_BYTES = 32
"""Bytes of the metadata before a frame: a struct xsk_tx_metadata."""
NOWHERE = -1
"""The address of no chunk: the kernel passes over a descriptor that has it."""
_QUEUE = 0

_libc = ctypes.CDLL(None, use_errno=True)
_int: Any = types.int32
_long: Any = types.int64
sendto: Any = types.ExternalFunction("sendto", _long(_int, _long, _long, _int, _long, _int))
DONT_WAIT = 0x40  # MSG_DONTWAIT, bits/socket.h

RING = np.dtype(
    [
        ("descriptor", "i8"),  # the socket; 0 if there is none
        ("producer", "i8"),  # addresses of the words by which user space and the kernel say how far they are:
        ("consumer", "i8"),  # descriptors written, and taken by the kernel,
        ("completed", "i8"),  # chunks that the kernel brought back,
        ("released", "i8"),  # and those of them that were seen
        ("descriptors", "i8"),  # address of the struct xdp_descs
        ("count", "i8"),  # frames submitted so far
    ]
)
"""The addresses and counts by which compiled code sends; used by one process alone."""


def chunk_header(checksum_start: int, checksum_offset: int) -> bytes:
    """The bytes of a chunk before the frame, which leave its checksum to the device."""
    return (
        struct.pack("<QHH", CHECKSUM, checksum_start, checksum_offset).ljust(METADATA_BYTES, b"\0").rjust(START, b"\0")
    )


class XdpSocket:
    """An AF_XDP socket that only sends; a context manager.

    Parameters
    ----------
    number : int
        The kernel's index of the interface.
    memory : numpy.ndarray
        The chunks, page-aligned.
    slots : int
        Places of the ring of descriptors, and of that of chunks that come back; a power of two.
    first : XdpSocket, optional
        A socket on the same interface, whose memory this one shares, and to whose ring the chunks come back. The kernel
        lets only one memory belong to a queue of an interface.

    Attributes
    ----------
    ring : numpy.ndarray
        One `RING`.

    Raises
    ------
    OSError
        If the kernel has no such sockets, or the interface or its queue refuses one.
    """

    def __init__(self, number: int, memory: np.ndarray, slots: int = SLOTS, first: "XdpSocket | None" = None) -> None:
        self.ring, self._slots = np.zeros(1, RING), slots
        self.socket = socket.socket(_AF_XDP, socket.SOCK_RAW, 0)
        try:
            self._open(number, memory, first)
        except OSError:
            self.socket.close()
            raise

    def _open(self, number: int, memory: np.ndarray, first: "XdpSocket | None") -> None:
        if first is None:
            umem = struct.pack("QQIIII", address(memory), memory.nbytes, CHUNK, 0, _METADATA_LENGTH, METADATA_BYTES)
            self._set(_UMEM_REG, umem)
            self._set(_FILL_RING, self._slots)
            self._set(_COMPLETION_RING, self._slots)
        self._set(_TX_RING, self._slots)
        with suppress(OSError):  # older kernels send 32 frames a call, also if there are more
            self._set(_MAX_TX_BUDGET, SLOTS)
        self._map(first)
        # struct sockaddr_xdp; Python's bind does not know it.
        flags, shared_with = (_COPY, 0) if first is None else (_SHARED, first.socket.fileno())
        place = struct.pack("=HHIII", _AF_XDP, flags, number, _QUEUE, shared_with)
        if _libc.bind(self.socket.fileno(), place, len(place)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _set(self, option: int, value: int | bytes) -> None:
        self.socket.setsockopt(_SOL_XDP, option, value)

    def _map(self, first: "XdpSocket | None") -> None:
        """Map the rings, and note where their words are."""
        # struct xdp_mmap_offsets: producer, consumer, descriptors and flags of the rings rx, tx, fill, completion.
        offsets = struct.unpack("16Q", self.socket.getsockopt(_SOL_XDP, _MMAP_OFFSETS, 128))
        producer, consumer, descriptors, _ = offsets[4:8]
        completed, released, chunks, _ = offsets[12:16]
        descriptor, ring = self.socket.fileno(), self.ring
        self._maps = [mmap.mmap(descriptor, descriptors + self._slots * DESCRIPTOR, offset=_TX_PAGE)]
        transmit = address(np.frombuffer(self._maps[0], np.uint8))
        ring["descriptor"], ring["descriptors"] = descriptor, transmit + descriptors
        ring["producer"], ring["consumer"] = transmit + producer, transmit + consumer
        if first is None:
            self._maps.append(mmap.mmap(descriptor, chunks + self._slots * 8, offset=_COMPLETION_PAGE))
            completion = address(np.frombuffer(self._maps[1], np.uint8))
            ring["completed"], ring["released"] = completion + completed, completion + released
        else:
            ring["completed"], ring["released"] = first.ring["completed"], first.ring["released"]

    @property
    def taken(self) -> int:
        """How many descriptors the kernel has taken, modulo 2 ** 32."""
        return self._word("consumer")

    def _word(self, name: str) -> int:
        return ctypes.c_uint32.from_address(int(self.ring[name][0])).value

    def cancel(self) -> None:
        """Have the kernel pass over frames that a process has submitted and, as it died, not sent."""
        first = self.taken
        for number in range(self._word("producer") - first & 0xFFFF_FFFF):
            place = int(self.ring["descriptors"][0]) + (first + number) % self._slots * DESCRIPTOR
            ctypes.c_int64.from_address(place).value = NOWHERE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()


@inline
def room(ring: Record) -> int:
    """How many more frames can be submitted; their chunks follow each other from `ring.count % SLOTS` on."""
    # Acquire, pairs with the kernel's release: chunks that came back are no longer read.
    completed = load32_acquire(ring.completed)
    store32_release(ring.released, completed)  # pairs with the kernel's acquire: it may use the places again
    return SLOTS - (ring.count - completed & 0xFFFF_FFFF)


@inline
def submit(ring: Record, size: int) -> None:
    """Add the frame in the next chunk to those that `flush` sends."""
    slot = ring.count % SLOTS
    place = ring.descriptors + slot * DESCRIPTOR
    store64(place, slot * CHUNK + START)
    store32(place + 8, size)
    store32(place + 12, METADATA)
    ring.count += 1


@inline
def flush(ring: Record) -> int:
    """Have the kernel send what was submitted; returns how many frames it took.

    The rest stays in the ring for the next call: the interface is down, or too many frames are still on their way.
    """
    store32_release(ring.producer, ring.count)  # pairs with the kernel's acquire: it sees the descriptors
    before = first = load32_acquire(ring.consumer)
    while first != ring.count & 0xFFFF_FFFF:
        sendto(ring.descriptor, 0, 0, DONT_WAIT, 0, 0)
        after = load32_acquire(ring.consumer)
        if after == first:
            break
        first = after
    return first - before & 0xFFFF_FFFF
