"""Coalescing: the packets of one flow in a batch are given to the kernel as one super-frame.

Sending costs the kernel more than a microsecond a frame, however short it is. A super-frame with a virtio-net header
passes the kernel once, and is cut into frames at the device. The receiver gets the same bytes as without coalescing
(`scout.io.transmit.segment_rules`).

Packets of other flows may lie between those of a super-frame. Only the order within a flow is kept: a super-frame
leaves in the place of its first packet. A packet that does not continue its flow's super-frame begins another one, or
leaves alone, and nothing behind it joins the earlier one. A packet that may belong to any flow (a fragment, one with IP
options) ends all super-frames.
"""

from scout.io.batch import BATCH_SIZE
from scout.io.byte_order import swapped16
from scout.io.packet import GSO_TCPV4, GSO_UDP_L4, REACH
from scout.io.system import MESSAGE, MESSAGE_VECTOR, MESSAGE_VECTORS, VECTOR, VECTORS, VNET_HEADER
from scout.io.transmit.segment_rules import (
    FLAGS,
    IP,
    IP_CHECK,
    PARTIAL,
    TCP_CHECK,
    TOTAL,
    TRANSPORT,
    UDP_CHECK,
    UDP_END,
    UDP_LENGTH,
    UNKNOWN_FLOW,
    begins,
    ends,
    flow_of,
    follows,
    frame_bytes,
    frame_of,
    is_partial,
    load16,
    same_flow,
)
from scout.io.transmit.sums import updated
from scout.ring.atomics import copy, load32, load64, store32, store64
from scout.ring.jit import Record, inline

__all__ = ["GATHERED", "SEGMENTS", "gather", "next_of"]

SEGMENTS = 64
"""Packets of a super-frame at most (UDP_MAX_SEGMENTS of older kernels)."""

_LONGEST = 0xFFFF  # bytes of an IP packet

# A run, for each packet of the batch: the packets of the super-frame that begins with it. _COUNT is 0 for a packet that
# belongs to an earlier run; _NEXT is the index of the next packet of the run, _LAST that of the run's last.
_COUNT, _NEXT, _LAST, _HEADERS, _SIZE, _LENGTH, _RUN = 0, 8, 16, 24, 32, 40, 64

# The table of flows: generation << _INDEX_BITS | index of the packet that begins the flow's newest run.
_FLOWS, _INDEX_BITS = 256, 16

_HEADER_ROOM = 128
"""Bytes for a super-frame's headers: virtio-net's, Ethernet's, IPv4's and TCP's with 40 bytes of options."""

_COPIED = REACH
"""Packets up to this long are copied to one piece: the kernel takes longer for an iovec than the copy takes."""

GATHERED = {
    "gathered": BATCH_SIZE * MESSAGE,
    "gathered_vectors": BATCH_SIZE // 2 * VECTOR + BATCH_SIZE * VECTORS,
    "packets": BATCH_SIZE * 16,
    "runs": BATCH_SIZE * _RUN,
    "flows": _FLOWS * 8,
    "room": BATCH_SIZE // 2 * (_HEADER_ROOM + 64) + BATCH_SIZE * _COPIED,
}
"""Bytes of memory that `gather` works on, by the field of a transmit record that has the address."""


@inline
def next_of(transmit: Record, index: int) -> int:
    """Index of the packet after the one at `index` in its super-frame."""
    return load64(transmit.runs + index * _RUN + _NEXT)


@inline
def gather(transmit: Record) -> int:
    """Write messages for the packets of `transmit` to `gathered`; how many.

    For each message `packets` gets two int64: how many packets it has, and the index of the first; `next_of` tells the
    others. The packets themselves are not changed: they can still be sent one by one.
    """
    _find_runs(transmit)
    room, target, number = transmit.room, transmit.gathered_vectors, 0
    for index in range(transmit.count):
        count = load64(transmit.runs + index * _RUN + _COUNT)
        if count == 0:
            continue
        message = transmit.gathered + number * MESSAGE
        if count > 1:
            room, end = _join(transmit, index, count, room, target)
            store64(message + MESSAGE_VECTOR, target)
            store64(message + MESSAGE_VECTORS, (end - target) // VECTOR)
            target = end
        else:
            store64(message + MESSAGE_VECTOR, transmit.vectors + index * VECTORS)
            store64(message + MESSAGE_VECTORS, load64(transmit.messages + index * MESSAGE + MESSAGE_VECTORS))
        store64(transmit.packets + number * 16, count)
        store64(transmit.packets + number * 16 + 8, index)
        number += 1
    return number


@inline
def _find_runs(transmit: Record) -> None:
    """Chain the packets of each flow that can leave as one super-frame."""
    transmit.generation += 1  # of the flows' table: no entry of an earlier batch holds
    for index in range(transmit.count):
        vectors = transmit.vectors + index * VECTORS
        store64(transmit.runs + index * _RUN + _COUNT, 1)
        flow = flow_of(vectors)
        if flow < 0:
            transmit.generation += flow == UNKNOWN_FLOW
            continue
        place, partial = transmit.flows + (flow & (_FLOWS - 1)) * 8, is_partial(vectors)
        newest = load64(place)
        known = newest >> _INDEX_BITS == transmit.generation
        if not (known and partial and _append(transmit, newest & ((1 << _INDEX_BITS) - 1), index)):
            store64(place, (transmit.generation << _INDEX_BITS | index) if partial else 0)


@inline
def _append(transmit: Record, first: int, index: int) -> bool:
    """Append the packet at `index` to the run that begins with packet `first`; False if it does not fit."""
    run, vectors = transmit.runs + first * _RUN, transmit.vectors + index * VECTORS
    begin = transmit.vectors + first * VECTORS
    frame, count = frame_of(begin), load64(run + _COUNT)
    if not same_flow(frame, frame_of(vectors)) or count == SEGMENTS:
        return False
    if count == 1:
        headers = begins(begin, transmit.coalesce, transmit.longest)
        if headers == 0:
            return False
        size = frame_bytes(begin) - headers
        store64(run + _HEADERS, headers)
        store64(run + _SIZE, size)
        store64(run + _LENGTH, headers - IP + size)
        store64(run + _LAST, first)
    headers, size = load64(run + _HEADERS), load64(run + _SIZE)
    piece = follows(vectors, frame, headers, count, size)
    length = load64(run + _LENGTH) + piece
    if piece == 0 or length > _LONGEST:
        return False
    store64(transmit.runs + load64(run + _LAST) * _RUN + _NEXT, index)
    store64(run + _LAST, index)
    store64(run + _COUNT, count + 1)
    store64(run + _LENGTH, _LONGEST if ends(vectors, headers, size) else length)  # so that nothing more fits
    store64(transmit.runs + index * _RUN + _COUNT, 0)
    return True


@inline
def _join(transmit: Record, first: int, count: int, room: int, target: int) -> tuple[int, int]:
    """Write the super-frame of the `count` packets from `first` on: its headers to `room`, its iovecs to `target`.

    The payloads of short packets follow the headers. Returns the addresses behind both.
    """
    run = transmit.runs + first * _RUN
    headers, size, last = load64(run + _HEADERS), load64(run + _SIZE), load64(run + _LAST)
    copies = headers + size <= _COPIED
    end = room + VNET_HEADER + headers
    vector = target + VECTOR
    total, index = headers - IP, first
    for _ in range(count):
        vectors = transmit.vectors + index * VECTORS
        payload, linear = frame_of(vectors) + headers, load64(vectors + 8) - VNET_HEADER - headers
        tail, tail_bytes = load64(vectors + VECTOR), load64(vectors + VECTOR + 8)
        total += linear + tail_bytes
        if copies:
            copy(end, payload, linear)
            copy(end + linear, tail, tail_bytes)
            end += linear + tail_bytes
        else:
            vector = _add_vector(_add_vector(vector, payload, linear), tail, tail_bytes)
        index = load64(transmit.runs + index * _RUN + _NEXT)
    store64(target, room)
    store64(target + 8, end - room)
    _write_headers(transmit, first, last, headers, size, total, room)
    return end + 63 & ~63, vector


@inline
def _add_vector(vector: int, start: int, size: int) -> int:
    """Write an iovec, unless it would be empty; the address behind."""
    if size == 0:
        return vector
    store64(vector, start)
    store64(vector + 8, size)
    return vector + VECTOR


@inline
def _write_headers(transmit: Record, first: int, last: int, headers: int, size: int, total: int, room: int) -> None:
    """Write the headers of a super-frame, which is an IP packet of `total` bytes, to `room`."""
    frame = frame_of(transmit.vectors + first * VECTORS)
    copy(room, frame - VNET_HEADER, VNET_HEADER + headers)
    kind = GSO_UDP_L4 if headers == UDP_END else GSO_TCPV4
    store64(room, PARTIAL | kind << 8 | headers << 16 | size << 32)
    made = room + VNET_HEADER
    before = headers - IP + size
    store32(made + TOTAL, swapped16(total) | (load32(frame + TOTAL) & ~0xFFFF))
    checksum = updated(load16(frame + IP_CHECK) ^ 0xFFFF, before, total) ^ 0xFFFF
    store32(made + IP_CHECK, swapped16(checksum) | (load32(frame + IP_CHECK) & ~0xFFFF))
    before, total = before + IP - TRANSPORT, total + IP - TRANSPORT
    if headers == UDP_END:
        checksum = updated(load16(frame + UDP_CHECK), before, total)
        store32(made + UDP_LENGTH, swapped16(total) | swapped16(checksum) << 16)
    else:
        checksum = updated(load16(frame + TCP_CHECK), before, total)
        store32(made + TCP_CHECK, swapped16(checksum) | (load32(frame + TCP_CHECK) & ~0xFFFF))
        # Cutting clears PSH in all segments but the last.
        store32(made + FLAGS, load32(frame_of(transmit.vectors + last * VECTORS) + FLAGS))
