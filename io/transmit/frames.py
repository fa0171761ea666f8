"""Sending single frames by an AF_XDP socket: the kernel takes a third less time than for a message of AF_PACKET.

The frames are copied to chunks that the kernel reads (`scout.io.transmit.xdp_socket`), and leave with one system call.
In copy mode the kernel has copied a frame, or refused it, before the call returns: so a replica fills the same chunks
again for the next batch, and need not see which came back. All replicas of a port share the memory of the chunks, where
each has its own.

Such frames go past the interface's queueing discipline, its filters for outgoing frames, and captures there:
`scout.io.ports.bypass` says when they may. A super-frame does not fit a chunk, and leaves by AF_PACKET.
"""

import errno

from scout.io.batch import BATCH_SIZE
from scout.io.packet import NEEDS_CHECKSUM
from scout.io.system import VECTORS, VNET_HEADER, error_number
from scout.io.transmit.refused import count_refused
from scout.io.transmit.xdp_socket import (
    CHECKSUM,
    CHUNK,
    DESCRIPTOR,
    DONT_WAIT,
    METADATA,
    METADATA_BYTES,
    NOWHERE,
    START,
    sendto,
)
from scout.ring.atomics import copy, load32, load32_acquire, load64, store32, store32_release, store64
from scout.ring.jit import Record, inline

__all__ = ["CHUNK_BYTES", "FRAMES", "LONGEST_FRAME", "PLACES", "SHORTEST", "send_frames"]

PLACES = 2 * BATCH_SIZE
"""Places of a ring of descriptors: for a batch, and for one that could not be sent."""

CHUNK_BYTES = BATCH_SIZE * CHUNK
"""Bytes of the chunks of a replica."""

LONGEST_FRAME = CHUNK - START
"""Bytes of the longest frame that fits a chunk."""

SHORTEST = VNET_HEADER + 14
"""Bytes of the shortest packet that the kernel takes, an Ethernet header, behind a virtio-net header."""

FRAMES = ("xdp", "producer", "consumer", "completed", "released", "descriptors", "chunks", "memory", "longest_frame")
"""Fields of a transmit record: those of the socket's `RING`; the address of the replica's chunks, and their offset in
the memory that all share; and the bytes of the longest packet that may leave in this way, with a virtio-net header. The
supervisor writes the last one, and 0 if none may."""

_LOOP = BATCH_SIZE - 1


@inline
def send_frames(transmit: Record) -> bool:
    """Send the packets that were added, and count them; False if earlier ones that were not sent are in the way."""
    first = load32(transmit.producer)  # written by this replica alone
    if _room(transmit, first) < transmit.count:
        sendto(transmit.xdp, 0, 0, DONT_WAIT, 0, 0)  # the kernel passes over them
        if _room(transmit, first) < transmit.count:
            return False
    for index in range(transmit.count):
        _place(transmit, transmit.vectors + index * VECTORS, first + index)
    store32_release(transmit.producer, first + transmit.count)  # pairs with the kernel's acquire
    _push(transmit, first)
    return True


@inline
def _room(transmit: Record, first: int) -> int:
    # Acquire, pairs with the kernel's release: it has read the descriptors.
    return PLACES - (first - load32_acquire(transmit.consumer) & 0xFFFF_FFFF)


@inline
def _place(transmit: Record, vector: int, number: int) -> None:
    """Copy a packet to the chunk for descriptor `number`, and fill that."""
    header, linear, tail_bytes = load64(vector), load64(vector + 8) - VNET_HEADER, load64(vector + 24)
    offset = (number & _LOOP) * CHUNK + START
    frame, options = transmit.chunks + offset, 0
    copy(frame, header + VNET_HEADER, linear)
    if tail_bytes:
        copy(frame + linear, load64(vector + 16), tail_bytes)
    if load32(header) & NEEDS_CHECKSUM:
        options = METADATA
        store64(frame - METADATA_BYTES, CHECKSUM)
        store32(frame - METADATA_BYTES + 8, load32(header + 6))  # where it begins, and the field's offset from there
    descriptor = transmit.descriptors + (number & PLACES - 1) * DESCRIPTOR
    store64(descriptor, transmit.memory + offset)
    store32(descriptor + 8, linear + tail_bytes)
    store32(descriptor + 12, options)


@inline
def _push(transmit: Record, first: int) -> None:
    """Have the kernel send the frames from descriptor `first` on."""
    dropped, seen = 0, load32(transmit.consumer)
    while True:
        # Chunks that came back make room for others. Several replicas may do so at once: the next one raises a number
        # that is too low. Acquire and release pair with the kernel's.
        store32_release(transmit.released, load32_acquire(transmit.completed))
        if sendto(transmit.xdp, 0, 0, DONT_WAIT, 0, 0) >= 0:  # no descriptor is left
            transmit.sent += transmit.count - dropped
            return
        error, now = error_number(), load32_acquire(transmit.consumer)
        if error == errno.EBUSY and dropped < transmit.count:  # the device has dropped one
            dropped += 1
            transmit.full += 1
        elif error == errno.EAGAIN and now != seen:  # as many as the kernel sends with one call
            seen = now
        else:
            _give_up(transmit, first, now, dropped, error)
            return


@inline
def _give_up(transmit: Record, first: int, now: int, dropped: int, error: int) -> None:
    """Count the frames from descriptor `now` on as refused, and make the kernel pass over them."""
    done = now - first & 0xFFFF_FFFF
    if done > transmit.count:
        done = 0  # descriptors that were passed over are before them
    sent = max(0, done - dropped)
    transmit.sent += sent
    count_refused(transmit, transmit.count - sent - dropped, error)
    for number in range(first + done, first + transmit.count):
        store64(transmit.descriptors + (number & PLACES - 1) * DESCRIPTOR, NOWHERE)
