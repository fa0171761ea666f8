"""Flows: which packets belong together, by addresses, protocol and L4 ports.

A flow of either family is five words in compiled code (`flow_words`) and a `Flow` in Python. A flow of IPv4 also fits
two words (`five_tuple`), which are the keys in the tables of services. A hash of 63 bits (`flow_hash`) is the same for
both directions.

All functions take `frame` at the IP header, as in the services "ipv4" and "adjacency", but `shard_of` at the Ethernet
header.
"""

from ipaddress import IPv4Address
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from scout.io.access import load8, load16, load32, load64, lowering, require
from scout.io.packet import EVERYONES
from scout.paths.wire import ethernet, ipv6
from scout.paths.wire.address import MAPPED, Address, address_of
from scout.paths.wire.ipv4 import (
    DCCP,
    DESTINATION,
    FRAGMENT,
    FRAGMENTED,
    HEADER,
    PROTOCOL,
    SCTP,
    SOURCE,
    TCP,
    UDP,
    UDP_LITE,
    header_length,
)
from scout.ring.jit import outline

__all__ = ["KNOWN", "Flow", "five_tuple", "flow_hash", "flow_words", "mix", "mix_two", "ports_at", "shard_of"]

KNOWN = 1 << 40
"""A bit that is set in the first word of every flow, so that the word is not 0; protocol and ports are below it."""

_GOLDEN = 0x9E3779B97F4A7C15  # 2 ** 64 over the golden ratio
_LOW_63, _LOW_64 = (1 << 63) - 1, (1 << 64) - 1
_I64, _I128 = ir.IntType(64), ir.IntType(128)


class Flow(NamedTuple):
    """A flow in one direction; L4 ports are 0 where packets show none.

    Examples
    --------
    >>> flow = Flow.from_five_tuple(KNOWN | 17 << 32 | 5353 << 16 | 53, 0x0A000002_0A000001)
    >>> str(flow.source), str(flow.destination), flow[2:]
    ('10.0.0.2', '10.0.0.1', (17, 5353, 53))
    """

    source: Address
    destination: Address
    protocol: int
    source_port: int
    destination_port: int

    @classmethod
    def from_words(cls, word: int, *addresses: int) -> "Flow":
        """The flow of the five words that `flow_words` gives."""
        source, destination = address_of(*addresses[:2]), address_of(*addresses[2:])
        return cls(source, destination, word >> 32 & 0xFF, word >> 16 & 0xFFFF, word & 0xFFFF)

    @classmethod
    def from_five_tuple(cls, key: int, more: int) -> "Flow":
        """The flow of the two words that `five_tuple` gives."""
        source, destination = IPv4Address(more >> 32 & 0xFFFFFFFF), IPv4Address(more & 0xFFFFFFFF)
        return cls(source, destination, key >> 32 & 0xFF, key >> 16 & 0xFFFF, key & 0xFFFF)


def mix(value: Any) -> int:
    """A number of 63 bits that depends on all bits of a word, or of a tuple of four (Fibonacci hashing, folded)."""
    if isinstance(value, tuple):
        return mix(value[0] ^ mix(value[1] ^ mix(value[2] ^ mix(value[3]))))
    product = (value ^ value >> 32) * _GOLDEN & _LOW_63
    return int(product ^ product >> 31)


@intrinsic
def _mix(typingctx, value):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        # numba marks its own multiplication as free of overflow, and LLVM relies on that.
        folded = builder.xor(args[0], builder.ashr(args[0], _I64(32)))
        product = builder.and_(builder.mul(folded, _I64(_GOLDEN)), _I64(_LOW_63))
        return builder.xor(product, builder.lshr(product, _I64(31)))

    return types.int64(types.int64), codegen


@lowering(mix)
def _native_mix(value):  # type: ignore[no-untyped-def]
    if isinstance(value, types.BaseTuple):
        return lambda value: _mix(value[0] ^ _mix(value[1] ^ _mix(value[2] ^ _mix(value[3]))))
    return lambda value: _mix(value)


mix.assigns = ()  # type: ignore[attr-defined]  # also where it is given what was made of a table


def mix_two(one: int, other: int) -> int:
    """A number of 24 bits that depends on all bits of two words: their product of 128 bits, folded, and mixed again.

    Without the last step, words that count up in two fields had up to 5 times as many numbers in common as random
    words have. If one of the words is 0, so is the number.
    """
    product = (one & _LOW_64) * (other & _LOW_64)
    return ((product ^ product >> 64) * _GOLDEN & _LOW_64) >> 40


@intrinsic
def _mix_two(typingctx, one, other):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        product = builder.mul(*(builder.zext(each, _I128) for each in args))
        folded = builder.xor(product, builder.lshr(product, _I128(64)))
        return builder.lshr(builder.mul(builder.trunc(folded, _I64), _I64(_GOLDEN)), _I64(40))

    return types.int64(types.int64, types.int64), codegen


@lowering(mix_two)
def _native_mix_two(one, other):  # type: ignore[no-untyped-def]
    return lambda one, other: _mix_two(one, other)


def has_ports(protocol: int) -> bool:
    """True if the headers of a protocol begin with two L4 ports."""
    if protocol == TCP or protocol == UDP:  # noqa: SIM109 - on the hot path, where numba would loop over a tuple
        return True
    return protocol in (UDP_LITE, SCTP, DCCP)


def ports_at(frame: Any, end: Any) -> int:
    """Offset of the source port, before the destination port, in an IPv4 packet; 0 if it shows none.

    A fragment shows none, not even the first one, so that all fragments of a packet are alike.
    """
    if load16(frame, FRAGMENT) & FRAGMENTED:
        return 0
    if not has_ports(load8(frame, PROTOCOL)):
        return 0
    header = header_length(frame, 0)
    return header if header >= HEADER and require(frame, end, header + 4) else 0


def flow_hash(frame: Any, end: Any) -> int:
    """A number of 63 bits, the same for all packets of a flow in both directions; 0 if there is no IP header.

    It covers addresses, protocol and L4 ports, of IPv4 and IPv6.
    """
    if not require(frame, end, HEADER):
        return 0
    if load8(frame, 0) >> 4 == 6:
        return ipv6_flow_hash(frame, end)
    at = ports_at(frame, end)
    source, destination = load32(frame, SOURCE) << 16, load32(frame, DESTINATION) << 16
    if at:
        source |= load16(frame, at)
        destination |= load16(frame, at + 2)
    return mix(mix(source) ^ mix(destination) ^ load8(frame, PROTOCOL))


@outline
def ipv6_flow_hash(frame: Any, end: Any) -> int:
    """`flow_hash` of an IPv6 packet."""
    word, source_high, source_low, destination_high, destination_low = flow_words(frame, end)
    source = mix(source_high) ^ source_low ^ (word >> 16 & 0xFFFF) << 40
    destination = mix(destination_high) ^ destination_low ^ (word & 0xFFFF) << 40
    return mix(mix(source) ^ mix(destination) ^ word >> 32)


def five_tuple(frame: Any, end: Any) -> tuple[int, int]:
    """The flow of an IPv4 packet in one direction as two words: protocol and ports (never 0), and both addresses.

    (0, 0) if there is no IPv4 header, or if both addresses are 0.
    """
    if not require(frame, end, HEADER):
        return 0, 0
    addresses = load64(frame, SOURCE)
    if addresses == 0:
        return 0, 0
    at = ports_at(frame, end)
    ports = load32(frame, at) if at else 0
    return KNOWN | load8(frame, PROTOCOL) << 32 | ports, addresses


def flow_words(frame: Any, end: Any) -> tuple[int, int, int, int, int]:
    """The flow of an IPv4 or IPv6 packet in one direction, as five words.

    Returns
    -------
    tuple of int
        Protocol and ports as in `five_tuple`, the two words of the source address, and those of the destination
        (`scout.paths.wire.address`). All 0 if there is no IP header. An IPv6 packet shows ports only if no extension
        header stands before them.
    """
    if require(frame, end, ipv6.HEADER) and load8(frame, 0) >> 4 == 6:
        protocol, ports = load8(frame, ipv6.NEXT_HEADER), 0
        if has_ports(protocol) and require(frame, end, ipv6.HEADER + 4):
            ports = load32(frame, ipv6.HEADER)
        source_high, source_low = load64(frame, ipv6.SOURCE), load64(frame, ipv6.SOURCE + 8)
        destination_high, destination_low = load64(frame, ipv6.DESTINATION), load64(frame, ipv6.DESTINATION + 8)
        return KNOWN | protocol << 32 | ports, source_high, source_low, destination_high, destination_low
    word, addresses = five_tuple(frame, end)
    if word == 0 or load8(frame, 0) >> 4 != 4:
        return 0, 0, 0, 0, 0
    return word, 0, MAPPED | addresses >> 32 & 0xFFFFFFFF, 0, MAPPED | addresses & 0xFFFFFFFF


def shard_of(frame: Any, end: Any, shards: int) -> int:
    """The shard, 0 to `shards` - 1, that the flow of an Ethernet frame belongs to. For compiled code.

    `EVERYONES` if the frame is not IP: an ARP message changes the state of every replica.
    """
    if not require(frame, end, ethernet.HEADER + HEADER):
        return EVERYONES
    kind = load16(frame, ethernet.ETHERTYPE)
    if kind != ethernet.IPV4 and kind != ethernet.IPV6:
        return EVERYONES
    return flow_hash(frame + ethernet.HEADER, end) % shards
