"""Coalescing: consecutive packets of one flow are given to the kernel as one super-frame.

Sending costs the kernel more than a microsecond a frame, however short it is. A super-frame (generic segmentation
offload) with a virtio-net header passes the kernel once, and is cut into frames at the device.

The receiver gets the same bytes as without coalescing. The packets of a run differ only in the fields that cutting
writes: the total length, the IP identification, which counts up by one (inet_gso_segment in net/ipv4/af_inet.c), the
sequence number of TCP (net/ipv4/tcp_offload.c), and the checksums:

- The IP header's checksum must be right in every packet. A packet with a wrong one leaves alone, as it is.
- The transport's checksum must have been left to the device by the sender, as segments of a super-frame leave it
  again. The field then has the pseudo-header's sum, which must differ between packets as their sizes do. A packet with
  a complete checksum, right, wrong or zero, leaves alone: cut at a veth it would arrive with a partial one.

All packets are IPv4 without options, and no fragments. All have the payload size of the first one except the last,
which may be shorter. TCP segments have no flag but ACK, and PSH on the last. Order is kept: a run ends at the first
packet that does not fit.
"""

from scout.io.system import MESSAGE, MESSAGE_VECTOR, MESSAGE_VECTORS, VECTOR, VECTORS, VNET_HEADER
from scout.io.transmit.sums import is_right, updated
from scout.ring.atomics import copy, load32, load64, store32, store64
from scout.ring.jit import Record, inline

__all__ = ["HEADER_ROOM", "SEGMENTS", "TCP", "UDP", "gather"]

UDP, TCP = 1, 2
"""Bits: the protocols that a port coalesces."""

SEGMENTS = 64
"""Packets of a super-frame at most (UDP_MAX_SEGMENTS of older kernels)."""

HEADER_ROOM = 128
"""Bytes for a super-frame's headers: virtio-net's, Ethernet's, IPv4's and TCP's with 40 bytes of options."""

_GSO_TCPV4, _GSO_UDP_L4 = 1, 5  # linux/virtio_net.h
_LONGEST = 0xFFFF  # bytes of an IP packet
_IPV4, _TCP, _UDP = 0x0800, 6, 17

# Offsets in a frame.
_ETHERTYPE, _IP, _TOTAL, _ID, _FRAGMENT, _PROTOCOL, _IP_CHECK, _ADDRESSES, _PORTS = 12, 14, 16, 18, 20, 23, 24, 26, 34
_TRANSPORT, _UDP_LENGTH, _UDP_CHECK, _UDP_END = 34, 38, 40, 42
_SEQUENCE, _ACKNOWLEDGED, _FLAGS, _TCP_CHECK, _URGENT, _OPTIONS = 38, 42, 46, 50, 52, 54
_ACK, _PSH = 0x10 << 8, 0x08 << 8  # in the word at _FLAGS as loaded: data offset, flags, window

_PARTIAL = 1 | _TRANSPORT << 48
"""The first 8 bytes of the virtio-net header of a packet whose transport checksum was left to the device."""


@inline
def _load16(place: int) -> int:
    """16 bits in network order."""
    word = load32(place)
    return (word & 0xFF) << 8 | (word >> 8 & 0xFF)


@inline
def _swapped16(value: int) -> int:
    return (value & 0xFF) << 8 | value >> 8


@inline
def _frame(vectors: int) -> int:
    return load64(vectors) + VNET_HEADER


@inline
def _frame_bytes(vectors: int) -> int:
    return load64(vectors + 8) - VNET_HEADER + load64(vectors + VECTOR + 8)


@inline
def _same_flow(frame: int, other: int) -> bool:
    return load64(frame + _ADDRESSES) == load64(other + _ADDRESSES) and load32(frame + _PORTS) == load32(other + _PORTS)


@inline
def _begins(vectors: int, waiting: int, protocols: int, longest: int) -> int:
    """Bytes of the headers of the packet at `vectors` if it may begin a run of the `waiting` packets, else 0."""
    frame = _frame(vectors)
    if load64(frame - VNET_HEADER) != _PARTIAL or waiting < 2:
        return 0
    after = vectors + VECTORS
    if min(load64(vectors + 8), load64(after + 8)) < VNET_HEADER + _UDP_END or not _same_flow(frame, _frame(after)):
        return 0
    size = _frame_bytes(vectors)
    if _load16(frame + _ETHERTYPE) != _IPV4 or load32(frame + _IP) & 0xFF != 0x45 or size > longest:
        return 0
    if (
        _load16(frame + _TOTAL) != size - _IP
        or _load16(frame + _FRAGMENT) & 0x3FFF
        or not is_right(frame + _IP, frame + _IP_CHECK)
    ):
        return 0
    protocol, place = load32(frame + _PROTOCOL) & 0xFF, _TRANSPORT + (load32(frame - 2) & 0xFFFF)
    if protocol == _UDP and place == _UDP_CHECK and protocols & UDP:
        if _load16(frame + _UDP_LENGTH) == size - _TRANSPORT and _load16(frame + place) and size > _UDP_END:
            return _UDP_END
    elif protocol == _TCP and place == _TCP_CHECK and protocols & TCP:
        word = load32(frame + _FLAGS)
        end = _TRANSPORT + (word >> 4 & 0xF) * 4
        linear = load64(vectors + 8) - VNET_HEADER
        if word & 0xFF00 == _ACK and _OPTIONS <= end <= linear and _load16(frame + place) and size > end:
            return end
    return 0


@inline
def _follows(first: int, frame: int, headers: int, number: int, size: int, piece: int) -> bool:
    """True if this frame has the headers that cutting writes for segment `number` with `piece` bytes of payload."""
    if (
        load64(frame - VNET_HEADER) != _PARTIAL
        or load32(frame - 2) != load32(first - 2)  # the checksum's offset, and the frame's first two bytes
        or load64(frame) != load64(first)
        or load64(frame + 8) != load64(first + 8)
        or _load16(frame + _TOTAL) != headers - _IP + piece
        or _load16(frame + _ID) != (_load16(first + _ID) + number) & 0xFFFF
        or load32(frame + _FRAGMENT) != load32(first + _FRAGMENT)  # with time to live and protocol
        or not _same_flow(first, frame)
        or not is_right(frame + _IP, frame + _IP_CHECK)
    ):
        return False
    before, after = headers - _TRANSPORT + size, headers - _TRANSPORT + piece
    if headers == _UDP_END:
        total = updated(_load16(first + _UDP_CHECK), before, after)
        return _load16(frame + _UDP_LENGTH) == after and _load16(frame + _UDP_CHECK) == total
    sequence = _load16(first + _SEQUENCE) << 16 | _load16(first + _SEQUENCE + 2)
    here = _load16(frame + _SEQUENCE) << 16 | _load16(frame + _SEQUENCE + 2)
    if (
        here != (sequence + number * size) & 0xFFFFFFFF
        or load32(frame + _ACKNOWLEDGED) != load32(first + _ACKNOWLEDGED)
        or (load32(frame + _FLAGS) ^ load32(first + _FLAGS)) & ~_PSH
        or _load16(frame + _TCP_CHECK) != updated(_load16(first + _TCP_CHECK), before, after)
        or _load16(frame + _URGENT) != _load16(first + _URGENT)
    ):
        return False
    different = 0
    for option in range(_OPTIONS, headers, 4):
        different |= load32(frame + option) ^ load32(first + option)
    return different == 0


@inline
def _run(vectors: int, waiting: int, headers: int) -> int:
    """How many of the `waiting` packets from the one at `vectors` on are segments of one super-frame."""
    first = _frame(vectors)
    size = _frame_bytes(vectors) - headers
    length = headers - _IP + size
    count = 1
    while count < waiting:
        here = vectors + count * VECTORS
        frame = _frame(here)
        piece = _frame_bytes(here) - headers
        length += piece
        if piece < 1 or piece > size or length > _LONGEST or load64(here + 8) < VNET_HEADER + headers:
            break
        if not _follows(first, frame, headers, count, size, piece):
            break
        count += 1
        if piece < size or (headers > _UDP_END and load32(frame + _FLAGS) & _PSH):
            break
    return count


@inline
def _join(vectors: int, count: int, headers: int, room: int, target: int) -> int:
    """Write a super-frame's headers to `room` and its iovecs to `target`; return the address behind the iovecs."""
    frame = _frame(vectors)
    size = _frame_bytes(vectors) - headers
    total = headers - _IP
    store64(target, room)
    store64(target + 8, VNET_HEADER + headers)
    target += VECTOR
    for index in range(count):
        here = vectors + index * VECTORS
        linear, tail = load64(here + 8) - VNET_HEADER - headers, load64(here + VECTOR + 8)
        total += linear + tail
        if linear:
            store64(target, _frame(here) + headers)
            store64(target + 8, linear)
            target += VECTOR
        if tail:
            store64(target, load64(here + VECTOR))
            store64(target + 8, tail)
            target += VECTOR
    copy(room, frame - VNET_HEADER, VNET_HEADER + headers)
    kind = _GSO_UDP_L4 if headers == _UDP_END else _GSO_TCPV4
    store64(room, _PARTIAL | kind << 8 | headers << 16 | size << 32)
    made = room + VNET_HEADER
    before = headers - _IP + size
    store32(made + _TOTAL, _swapped16(total) | (load32(frame + _TOTAL) & ~0xFFFF))
    checksum = updated(_load16(frame + _IP_CHECK) ^ 0xFFFF, before, total) ^ 0xFFFF
    store32(made + _IP_CHECK, _swapped16(checksum) | (load32(frame + _IP_CHECK) & ~0xFFFF))
    before, total = before + _IP - _TRANSPORT, total + _IP - _TRANSPORT
    if headers == _UDP_END:
        checksum = updated(_load16(frame + _UDP_CHECK), before, total)
        store32(made + _UDP_LENGTH, _swapped16(total) | _swapped16(checksum) << 16)
    else:
        checksum = updated(_load16(frame + _TCP_CHECK), before, total)
        store32(made + _TCP_CHECK, _swapped16(checksum) | (load32(frame + _TCP_CHECK) & ~0xFFFF))
        # Cutting clears PSH in all segments but the last.
        store32(made + _FLAGS, load32(_frame(vectors + (count - 1) * VECTORS) + _FLAGS))
    return target


@inline
def gather(transmit: Record) -> int:
    """Write messages for the packets of `transmit` to `gathered`, and the packets of each to `packets`.

    The packets themselves are not changed: they can still be sent one by one.

    Returns
    -------
    int
        How many messages there are.
    """
    room, target = transmit.headers, transmit.gathered_vectors
    number = index = 0
    while index < transmit.count:
        vectors = transmit.vectors + index * VECTORS
        message = transmit.gathered + number * MESSAGE
        waiting = min(transmit.count - index, SEGMENTS)
        headers = _begins(vectors, waiting, transmit.coalesce, transmit.longest)
        count = _run(vectors, waiting, headers) if headers else 1
        if count > 1:
            end = _join(vectors, count, headers, room, target)
            store64(message + MESSAGE_VECTOR, target)
            store64(message + MESSAGE_VECTORS, (end - target) // VECTOR)
            room += HEADER_ROOM
            target = end
        else:
            store64(message + MESSAGE_VECTOR, vectors)
            store64(message + MESSAGE_VECTORS, load64(transmit.messages + index * MESSAGE + MESSAGE_VECTORS))
        store64(transmit.packets + number * 8, count)
        number += 1
        index += count
    return number
