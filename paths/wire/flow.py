"""Flows: which packets belong together.

All functions take `frame` at the IPv4 header, as it is in service "ipv4" and "adjacency".
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from scout.io.access import load8, load16, load32, load64, lowering, require

__all__ = ["EVERYONES", "five_tuple", "flow_hash", "mix", "ports_at", "shard_of"]

EVERYONES = -1
"""Whose a frame is that belongs to no flow."""

# Offsets in the IPv4 header (RFC 791).
LENGTHS, FRAGMENT, PROTOCOL, ADDRESSES, SOURCE, DESTINATION, HEADER = 0, 6, 9, 12, 12, 16, 20
FRAGMENTED = 0x3FFF  # more fragments, and the offset
TCP, UDP, DCCP, SCTP, UDP_LITE = 6, 17, 33, 132, 136  # protocols whose headers begin with two ports

ETHERTYPE, ETHERNET, IPV4 = 12, 14, 0x0800

_I64 = ir.IntType(64)

GOLDEN = 0x9E3779B97F4A7C15  # 2 ** 64 over the golden ratio
LOW_63 = (1 << 63) - 1
KNOWN = 1 << 40  # in a key, so that it is not 0: no protocol and port reach it


def mix(value: int) -> int:
    """A number of 63 bits that depends on all bits of `value` (Fibonacci hashing, folded)."""
    product = (value ^ value >> 32) * GOLDEN & LOW_63
    return product ^ product >> 31


@intrinsic
def _mix(typingctx, value):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        # By hand: numba's own multiplication tells LLVM that it does not overflow, and LLVM relies on it.
        folded = builder.xor(args[0], builder.ashr(args[0], _I64(32)))
        product = builder.and_(builder.mul(folded, _I64(GOLDEN)), _I64(LOW_63))
        return builder.xor(product, builder.lshr(product, _I64(31)))

    return types.int64(types.int64), codegen


@lowering(mix)
def _native_mix(value):  # type: ignore[no-untyped-def]
    return lambda value: _mix(value)


def ports_at(frame: Any, end: Any) -> int:
    """Offset of the source port, before the destination port; 0 if the packet has or shows none.

    A fragment shows none, also the first: so all fragments of a packet are alike.
    """
    protocol = load8(frame, PROTOCOL)
    if load16(frame, FRAGMENT) & FRAGMENTED:
        return 0
    if protocol != TCP and protocol != UDP and protocol != UDP_LITE and protocol != SCTP and protocol != DCCP:
        return 0
    header = (load8(frame, LENGTHS) & 15) * 4
    return header if header >= HEADER and require(frame, end, header + 4) else 0


def flow_hash(frame: Any, end: Any) -> int:
    """A number of 63 bits, the same for all packets of a flow in both directions (addresses, protocol, ports)."""
    if not require(frame, end, HEADER):
        return 0
    at = ports_at(frame, end)
    source, destination = load32(frame, SOURCE) << 16, load32(frame, DESTINATION) << 16
    if at:
        source |= load16(frame, at)
        destination |= load16(frame, at + 2)
    return mix(mix(source) ^ mix(destination) ^ load8(frame, PROTOCOL))


def five_tuple(frame: Any, end: Any) -> tuple[int, int]:
    """The flow in one direction as two words: protocol and ports (never 0), and both addresses.

    (0, 0) if it is no IPv4 header, or both addresses are 0.
    """
    if not require(frame, end, HEADER):
        return 0, 0
    addresses = load64(frame, ADDRESSES)
    if addresses == 0:
        return 0, 0
    at = ports_at(frame, end)
    ports = load32(frame, at) if at else 0
    return KNOWN | load8(frame, PROTOCOL) << 32 | ports, addresses


def shard_of(frame: Any, end: Any, shards: int) -> int:
    """Whose flow a frame belongs to, of so many replicas; `frame` is at the Ethernet header. For compiled code.

    `EVERYONES` if it is no IPv4: ARP's messages change what all replicas know.
    """
    if not require(frame, end, ETHERNET + HEADER) or load16(frame, ETHERTYPE) != IPV4:
        return EVERYONES
    return flow_hash(frame + ETHERNET, end) % shards
