"""The IP header of either family, for code that serves both, as that of transports.

Every function takes the family, `IPV4` or `IPV6`, of the header at `at`. A family is a constant of a path
(`scout.paths.protocols.family`), so that compiled code has the instructions for one of them alone. Addresses are two
words (`scout.paths.wire.address`).

The router below has dropped packets that are shorter than their header says. The transport's header has to follow: an
IPv6 packet with extension headers is the business of the router below too.
"""

from typing import Any

from scout.io.access import add16, load8, load16, load32, load64, store8, store32, store64, sum16
from scout.io.packet import GSO_TCPV4, GSO_TCPV6
from scout.paths.wire import ipv4, ipv6, tcp
from scout.paths.wire.address import IPV6, Words
from scout.paths.wire.checksum import delta, pseudo_header_sum
from scout.paths.wire.ipv4 import header_length

__all__ = [
    "LONGEST",
    "destination_of",
    "first_fields",
    "gso_tcp",
    "has_options",
    "header_of",
    "hop_limit_of",
    "largest_segment",
    "least_header",
    "payload_of",
    "pseudo_sum",
    "put_hop_limit",
    "put_traffic",
    "rewrite_addresses",
    "source_of",
    "traffic_of",
    "write_header",
]

LONGEST = ipv4.LONGEST
"""Bytes of the longest packet that Scout makes; one of IPv6 could be longer by its header."""


def least_header(family: int) -> int:
    """Bytes of a header without options."""
    return ipv6.HEADER if family == IPV6 else ipv4.HEADER


def largest_segment(mtu: int, family: int) -> int:
    """Bytes of data and options that a TCP segment has room for."""
    return mtu - tcp.HEADER - least_header(family)


def header_of(frame: Any, at: int, family: int) -> int:
    """Bytes of the header at `at`, with the options of IPv4."""
    return ipv6.HEADER if family == IPV6 else header_length(frame, at)


def payload_of(frame: Any, at: int, header: int, family: int) -> int:
    """Bytes behind a header of `header` bytes, as it says itself."""
    if family == IPV6:
        return load16(frame, at + ipv6.PAYLOAD_LENGTH)
    return load16(frame, at + ipv4.TOTAL_LENGTH) - header


def source_of(frame: Any, at: int, family: int) -> Words:
    """The source address."""
    if family == IPV6:
        return load64(frame, at + ipv6.SOURCE), load64(frame, at + ipv6.SOURCE + 8)
    return 0, load32(frame, at + ipv4.SOURCE)


def destination_of(frame: Any, at: int, family: int) -> Words:
    """The destination address."""
    if family == IPV6:
        return load64(frame, at + ipv6.DESTINATION), load64(frame, at + ipv6.DESTINATION + 8)
    return 0, load32(frame, at + ipv4.DESTINATION)


def traffic_of(frame: Any, at: int, family: int) -> int:
    """The traffic class, as IPv4's type of service: DSCP and ECN."""
    if family == IPV6:
        return load32(frame, at) >> ipv6.CLASS_SHIFT & 0xFF
    return load8(frame, at + ipv4.TOS)


def put_traffic(frame: Any, at: int, traffic: int, family: int) -> None:
    """Write the traffic class."""
    if family == IPV6:
        store32(frame, at, load32(frame, at) & ~(0xFF << ipv6.CLASS_SHIFT) | traffic << ipv6.CLASS_SHIFT)
    else:
        store8(frame, at + ipv4.TOS, traffic)


def hop_limit_of(frame: Any, at: int, family: int) -> int:
    """The hop limit, as IPv4's TTL."""
    return load8(frame, at + (ipv6.HOP_LIMIT if family == IPV6 else ipv4.TTL))


def put_hop_limit(frame: Any, at: int, limit: int, family: int) -> None:
    """Write the hop limit."""
    store8(frame, at + (ipv6.HOP_LIMIT if family == IPV6 else ipv4.TTL), limit)


def first_fields(frame: Any, at: int, family: int) -> int:
    """The version and the traffic class; of IPv4 the header's length too."""
    return load32(frame, at) >> (ipv6.CLASS_SHIFT if family == IPV6 else 16)


def has_options(fields: int, family: int) -> bool:
    """True if a header of these `first_fields` has IPv4 options."""
    return family != IPV6 and fields >> 8 != 0x45


def pseudo_sum(frame: Any, at: int, protocol: int, size: int, family: int) -> int:
    """Ones' complement sum of the pseudo-header of a transport's `size` bytes (RFC 9293 section 3.1, RFC 8200 8.1)."""
    if family != IPV6:
        return pseudo_header_sum(frame, at, protocol, size)
    return add16(sum16(frame, at + ipv6.SOURCE, 32), add16(protocol + (size >> 16), size & 0xFFFF))


def write_header(
    frame: Any,
    at: int,
    protocol: int,
    size: int,
    local: Words,
    remote: Words,
    traffic: int,
    limit: int,
    fragment: int,
    family: int,
) -> None:
    """Write a header; the checksum of IPv4 is left to the router below.

    Parameters
    ----------
    frame
    at : int
    protocol, size : int
        The protocol's number, and the bytes of its header and data.
    local, remote : tuple of int
        The source and the destination.
    traffic, limit : int
        Traffic class and hop limit.
    fragment : int
        The word with identification, flags and offset; IPv6 has none.
    family : int
    """
    if family == IPV6:
        store32(frame, at, 6 << 28 | traffic << ipv6.CLASS_SHIFT)
        store32(frame, at + ipv6.PAYLOAD_LENGTH, size << 16 | protocol << 8 | limit)
        store64(frame, at + ipv6.SOURCE, local[0])
        store64(frame, at + ipv6.SOURCE + 8, local[1])
        store64(frame, at + ipv6.DESTINATION, remote[0])
        store64(frame, at + ipv6.DESTINATION + 8, remote[1])
    else:
        store32(frame, at + ipv4.VERSION_IHL, 0x45 << 24 | traffic << 16 | ipv4.HEADER + size)
        store32(frame, at + ipv4.IDENTIFICATION, fragment)
        store32(frame, at + ipv4.TTL, limit << 24 | protocol << 16)
        store32(frame, at + ipv4.SOURCE, local[1])
        store32(frame, at + ipv4.DESTINATION, remote[1])


def rewrite_addresses(frame: Any, at: int, local: Words, remote: Words, family: int) -> int:
    """Write both addresses; the amount by which the sum of a pseudo-header grows (RFC 1624)."""
    if family == IPV6:
        before = sum16(frame, at + ipv6.SOURCE, 32)
        store64(frame, at + ipv6.SOURCE, local[0])
        store64(frame, at + ipv6.SOURCE + 8, local[1])
        store64(frame, at + ipv6.DESTINATION, remote[0])
        store64(frame, at + ipv6.DESTINATION + 8, remote[1])
        return add16(sum16(frame, at + ipv6.SOURCE, 32), before ^ 0xFFFF)
    grown = delta(load32(frame, at + ipv4.SOURCE), local[1])
    grown = add16(grown, delta(load32(frame, at + ipv4.DESTINATION), remote[1]))
    store32(frame, at + ipv4.SOURCE, local[1])
    store32(frame, at + ipv4.DESTINATION, remote[1])
    return grown


def gso_tcp(family: int) -> int:
    """The kind of segmentation offload of TCP (`gso_type`)."""
    return GSO_TCPV6 if family == IPV6 else GSO_TCPV4
