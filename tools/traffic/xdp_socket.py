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

__all__ = ["CHUNK", "RING", "SLOTS", "START", "XdpSocket", "chunk_header", "flush", "room", "submit"]

CHUNK, SLOTS = 2048, 256
"""Bytes of a chunk, and chunks of the memory: powers of two."""
START = 128
"""Offset of the frame in its chunk."""

# linux/if_xdp.h
_AF_XDP, _SOL_XDP = 44, 283
_MMAP_OFFSETS, _TX_RING, _UMEM_REG, _FILL_RING, _COMPLETION_RING, _MAX_TX_BUDGET = 1, 3, 4, 5, 6, 9
_TX_PAGE, _COMPLETION_PAGE = 0x8000_0000, 0x1_8000_0000
_COPY, _METADATA_LENGTH, _CHECKSUM, _METADATA = 1 << 1, 1 << 2, 1 << 1, 1 << 1
_DESCRIPTOR = 16  # bytes of a struct xdp_desc
_METADATA_BYTES = 32
_QUEUE = 0

_libc = ctypes.CDLL(None, use_errno=True)
_int: Any = types.int32
_long: Any = types.int64
_sendto: Any = types.ExternalFunction("sendto", _long(_int, _long, _long, _int, _long, _int))
_DONT_WAIT = 0x40  # MSG_DONTWAIT, bits/socket.h

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
        struct.pack("<QHH", _CHECKSUM, checksum_start, checksum_offset)
        .ljust(_METADATA_BYTES, b"\0")
        .rjust(START, b"\0")
    )


class XdpSocket:
    """An AF_XDP socket that only sends; a context manager.

    Parameters
    ----------
    interface : str
    memory : numpy.ndarray
        `SLOTS` chunks, page-aligned.

    Attributes
    ----------
    ring : numpy.ndarray
        One `RING`.

    Raises
    ------
    OSError
        If the kernel has no such sockets, or the interface or its queue refuses one.
    """

    def __init__(self, interface: str, memory: np.ndarray) -> None:
        self.ring = np.zeros(1, RING)
        self._socket = socket.socket(_AF_XDP, socket.SOCK_RAW, 0)
        try:
            self._open(interface, memory)
        except OSError:
            self._socket.close()
            raise

    def _open(self, interface: str, memory: np.ndarray) -> None:
        umem = struct.pack("QQIIII", address(memory), SLOTS * CHUNK, CHUNK, 0, _METADATA_LENGTH, _METADATA_BYTES)
        self._socket.setsockopt(_SOL_XDP, _UMEM_REG, umem)
        for option in (_FILL_RING, _COMPLETION_RING, _TX_RING):
            self._socket.setsockopt(_SOL_XDP, option, SLOTS)
        with suppress(OSError):  # older kernels send 32 frames a call, also if there are more
            self._socket.setsockopt(_SOL_XDP, _MAX_TX_BUDGET, SLOTS)
        # struct xdp_mmap_offsets: producer, consumer, descriptors and flags of the rings rx, tx, fill, completion.
        offsets = struct.unpack("16Q", self._socket.getsockopt(_SOL_XDP, _MMAP_OFFSETS, 128))
        producer, consumer, descriptors, _ = offsets[4:8]
        completed, released, chunks, _ = offsets[12:16]
        descriptor = self._socket.fileno()
        self._maps = [
            mmap.mmap(descriptor, descriptors + SLOTS * _DESCRIPTOR, offset=_TX_PAGE),
            mmap.mmap(descriptor, chunks + SLOTS * 8, offset=_COMPLETION_PAGE),
        ]
        transmit, completion = (address(np.frombuffer(each, np.uint8)) for each in self._maps)
        # struct sockaddr_xdp; Python's bind does not know it.
        place = struct.pack("=HHIII", _AF_XDP, _COPY, socket.if_nametoindex(interface), _QUEUE, 0)
        if _libc.bind(descriptor, place, len(place)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        values = {
            "descriptor": descriptor,
            "producer": transmit + producer,
            "consumer": transmit + consumer,
            "descriptors": transmit + descriptors,
            "completed": completion + completed,
            "released": completion + released,
        }
        for name, value in values.items():
            self.ring[name] = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()


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
    place = ring.descriptors + slot * _DESCRIPTOR
    store64(place, slot * CHUNK + START)
    store32(place + 8, size)
    store32(place + 12, _METADATA)
    ring.count += 1


@inline
def flush(ring: Record) -> int:
    """Have the kernel send what was submitted; returns how many frames it took.

    The rest stays in the ring for the next call: the interface is down, or too many frames are still on their way.
    """
    store32_release(ring.producer, ring.count)  # pairs with the kernel's acquire: it sees the descriptors
    before = first = load32_acquire(ring.consumer)
    while first != ring.count & 0xFFFF_FFFF:
        _sendto(ring.descriptor, 0, 0, _DONT_WAIT, 0, 0)
        after = load32_acquire(ring.consumer)
        if after == first:
            break
        first = after
    return first - before & 0xFFFF_FFFF
