"""Segments: which packets can be made into one super-frame, so that cutting it restores each of them to the bit.

The kernel or a device cuts a super-frame (generic segmentation offload) into frames. The segments differ only in the
fields that cutting writes: the total length, the IP identification, which counts up by one (inet_gso_segment in
net/ipv4/af_inet.c), the sequence number of TCP (net/ipv4/tcp_offload.c), and the checksums:

- The IP header's checksum must be right in every packet. A packet with a wrong one leaves alone, as it is.
- The transport's checksum must have been left to the device by the sender, as segments of a super-frame leave it
  again. The field then has the pseudo-header's sum, which must differ between packets as their sizes do. A packet with
  a complete checksum, right, wrong or zero, leaves alone: cut at a veth it would arrive with a partial one.

All packets are IPv4 without options, and no fragments. All have the payload size of the first one except the last,
which may be shorter. TCP segments have no flag but ACK, and PSH on the last.

A packet is given by the address of its two iovecs: the virtio-net header and the frame's first bytes; the rest.
"""

from scout.io.system import VECTOR, VNET_HEADER
from scout.io.transmit.sums import is_right, updated
from scout.ring.atomics import load32, load64
from scout.ring.jit import inline

__all__ = [
    "FLAGS",
    "IP",
    "IP_CHECK",
    "NO_FLOW",
    "PARTIAL",
    "TCP",
    "TCP_CHECK",
    "TOTAL",
    "TRANSPORT",
    "UDP",
    "UDP_CHECK",
    "UDP_END",
    "UDP_LENGTH",
    "UNKNOWN_FLOW",
    "begins",
    "ends",
    "flow_of",
    "follows",
    "frame_bytes",
    "frame_of",
    "is_partial",
    "load16",
    "same_flow",
]

UDP, TCP = 1, 2
"""Bits: the protocols that a port coalesces."""

# Offsets in a frame.
IP, TOTAL, IP_CHECK, TRANSPORT, UDP_LENGTH, UDP_CHECK, UDP_END = 14, 16, 24, 34, 38, 40, 42
FLAGS, TCP_CHECK = 46, 50
_ETHERTYPE, _ID, _FRAGMENT, _PROTOCOL, _ADDRESSES, _PORTS = 12, 18, 20, 23, 26, 34
_SEQUENCE, _ACKNOWLEDGED, _URGENT, _OPTIONS = 38, 42, 52, 54

_IPV4, _TCP, _UDP = 0x0800, 6, 17
_ACK, _PSH = 0x10 << 8, 0x08 << 8  # in the word at FLAGS as loaded: data offset, flags, window

PARTIAL = 1 | TRANSPORT << 48
"""The first 8 bytes of the virtio-net header of a packet whose transport checksum was left to the device."""

NO_FLOW, UNKNOWN_FLOW = -1, -2
"""Values of `flow_of` for a packet of no UDP or TCP flow, and for one that may belong to any."""

_MIX_ADDRESSES, _MIX_PORTS = 0x9E3779B97F4A7C15 - (1 << 64), 0xC2B2AE3D27D4EB4F - (1 << 64)  # odd, of many bits


@inline
def load16(place: int) -> int:
    """16 bits in network order."""
    word = load32(place)
    return (word & 0xFF) << 8 | (word >> 8 & 0xFF)


@inline
def frame_of(vectors: int) -> int:
    """Address of a packet's frame."""
    return load64(vectors) + VNET_HEADER


@inline
def frame_bytes(vectors: int) -> int:
    """Length of a packet's frame."""
    return load64(vectors + 8) - VNET_HEADER + load64(vectors + VECTOR + 8)


@inline
def is_partial(vectors: int) -> bool:
    """True if the packet is a single frame whose transport checksum was left to the device."""
    return load64(load64(vectors)) == PARTIAL


@inline
def flow_of(vectors: int) -> int:
    """A hash of the packet's flow, not negative; NO_FLOW or UNKNOWN_FLOW."""
    frame = frame_of(vectors)
    if load16(frame + _ETHERTYPE) != _IPV4:
        return NO_FLOW
    if load32(frame + IP) & 0xFF != 0x45 or load16(frame + _FRAGMENT) & 0x3FFF:
        return UNKNOWN_FLOW  # the ports are not at their usual place, or only in the first fragment
    protocol = load32(frame + _PROTOCOL) & 0xFF
    if protocol != _UDP and protocol != _TCP:
        return NO_FLOW
    mixed = load64(frame + _ADDRESSES) * _MIX_ADDRESSES + load32(frame + _PORTS) * _MIX_PORTS
    return mixed >> 40 & 0x7FFFFF


@inline
def same_flow(frame: int, other: int) -> bool:
    """True if two frames have the same addresses and ports."""
    return load64(frame + _ADDRESSES) == load64(other + _ADDRESSES) and load32(frame + _PORTS) == load32(other + _PORTS)


@inline
def begins(vectors: int, protocols: int, longest: int) -> int:
    """Bytes of the headers of a partial packet of a flow if it may be the first of a super-frame, else 0.

    `protocols` are those that are coalesced, `longest` is the length of the longest frame that the device takes.
    """
    frame, size = frame_of(vectors), frame_bytes(vectors)
    linear = load64(vectors + 8) - VNET_HEADER
    if (
        linear < UDP_END
        or size > longest
        or load16(frame + TOTAL) != size - IP
        or not is_right(frame + IP, frame + IP_CHECK)
    ):
        return 0
    protocol, place = load32(frame + _PROTOCOL) & 0xFF, TRANSPORT + (load32(frame - 2) & 0xFFFF)
    if protocol == _UDP and place == UDP_CHECK and protocols & UDP:
        if load16(frame + UDP_LENGTH) == size - TRANSPORT and load16(frame + place) and size > UDP_END:
            return UDP_END
    elif protocol == _TCP and place == TCP_CHECK and protocols & TCP:
        word = load32(frame + FLAGS)
        end = TRANSPORT + (word >> 4 & 0xF) * 4
        if word & 0xFF00 == _ACK and _OPTIONS <= end <= linear and load16(frame + place) and size > end:
            return end
    return 0


@inline
def follows(vectors: int, first: int, headers: int, number: int, size: int) -> int:
    """Bytes of the packet's payload if it is segment `number` of the super-frame that begins with `first`, else 0.

    `headers` and `size` are the bytes of the first packet's headers and payload.
    """
    frame, piece = frame_of(vectors), frame_bytes(vectors) - headers
    if (
        piece < 1
        or piece > size
        or load64(vectors + 8) < VNET_HEADER + headers
        or load64(frame - VNET_HEADER) != PARTIAL
        or load32(frame - 2) != load32(first - 2)  # the checksum's offset, and the frame's first two bytes
        or load64(frame) != load64(first)
        or load64(frame + 8) != load64(first + 8)
        or load16(frame + TOTAL) != headers - IP + piece
        or load16(frame + _ID) != (load16(first + _ID) + number) & 0xFFFF
        or load32(frame + _FRAGMENT) != load32(first + _FRAGMENT)  # with time to live and protocol
        or not same_flow(first, frame)
        or not is_right(frame + IP, frame + IP_CHECK)
    ):
        return 0
    before, after = headers - TRANSPORT + size, headers - TRANSPORT + piece
    if headers == UDP_END:
        total = updated(load16(first + UDP_CHECK), before, after)
        return piece if load16(frame + UDP_LENGTH) == after and load16(frame + UDP_CHECK) == total else 0
    sequence = load16(first + _SEQUENCE) << 16 | load16(first + _SEQUENCE + 2)
    here = load16(frame + _SEQUENCE) << 16 | load16(frame + _SEQUENCE + 2)
    if (
        here != (sequence + number * size) & 0xFFFFFFFF
        or load32(frame + _ACKNOWLEDGED) != load32(first + _ACKNOWLEDGED)
        or (load32(frame + FLAGS) ^ load32(first + FLAGS)) & ~_PSH
        or load16(frame + TCP_CHECK) != updated(load16(first + TCP_CHECK), before, after)
        or load16(frame + _URGENT) != load16(first + _URGENT)
    ):
        return 0
    different = 0
    for option in range(_OPTIONS, headers, 4):
        different |= load32(frame + option) ^ load32(first + option)
    return piece if different == 0 else 0


@inline
def ends(vectors: int, headers: int, size: int) -> bool:
    """True if no segment may come after this one: it is shorter, or a TCP segment with PSH."""
    return frame_bytes(vectors) - headers < size or (
        headers > UDP_END and load32(frame_of(vectors) + FLAGS) & _PSH != 0
    )
