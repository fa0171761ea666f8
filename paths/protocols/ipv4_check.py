"""The check of received IPv4 packets: headers that are right, sources that can be (RFC 1812 sections 5.2.2, 5.3.7).

Ethernet runs it before any filter or service sees a packet.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import numpy as np

from scout.io.access import length, load8, load16, load32, require, sum16, trim
from scout.paths.model.verdict import drop
from scout.paths.protocols.fib import lookup as find
from scout.paths.protocols.next_hop import BROADCAST, CONNECTED, LOCAL
from scout.paths.wire import ipv4
from scout.paths.wire.ipv4 import has_good_checksum, header_length
from scout.ring.jit import outline

__all__ = [
    "NEVER_SOURCES",
    "SUSPECTS",
    "broadcasts",
    "check",
    "check_header",
    "suspect_hash",
    "suspect_places",
]

LINK_LOCAL = 0xA9FE  # the first 16 bits of 169.254.0.0/16 (RFC 3927)

SUSPECT_BITS, MULTIPLIER = 12, 0x5E3779B1  # the product with an address fits an int64

TOO_SHORT, BAD_VERSION, BAD_HEADER_LENGTH = drop("too-short"), drop("bad-version"), drop("bad-header-length")
BAD_CHECKSUM, BAD_TOTAL_LENGTH, TRUNCATED = drop("bad-checksum"), drop("bad-total-length"), drop("truncated")
MARTIAN_SOURCE, OWN_SOURCE, LINK_LOCAL_SOURCE = drop("martian-source"), drop("own-source"), drop("link-local-source")


def check_header(frame: Any, end: Any, packet: Any) -> int:
    """Refuse bad headers (RFC 1812 section 5.2.2), and cut off what the link added behind the packet."""
    if not require(frame, end, ipv4.HEADER):
        return TOO_SHORT
    total = load16(frame, ipv4.TOTAL_LENGTH)
    if load8(frame, ipv4.VERSION_IHL) == 0x45:  # version 4, and no options
        if not has_good_checksum(frame, 0):
            return BAD_CHECKSUM
        if total < ipv4.HEADER:
            return BAD_TOTAL_LENGTH
    else:
        verdict = check_options(frame, end, total)
        if verdict != 0:
            return verdict
    received = length(frame, end, packet)
    if total != received:
        if total > received:
            return TRUNCATED
        trim(frame, end, packet, total)
    return 0


@outline
def check_options(frame: Any, end: Any, total: int) -> int:
    """Refuse a bad header that has options, or is not of version 4."""
    if load8(frame, ipv4.VERSION_IHL) >> 4 != 4:
        return BAD_VERSION
    header = header_length(frame, 0)
    if header < ipv4.HEADER:
        return BAD_HEADER_LENGTH
    if not require(frame, end, header):
        return TOO_SHORT
    if sum16(frame, 0, header) != 0xFFFF:
        return BAD_CHECKSUM
    return BAD_TOTAL_LENGTH if total < header else 0


def check(
    frame: Any, end: Any, packet: Any, entries: Any, vectors: Any, leaves: Any, root: Any, next_hops: Any, suspects: Any
) -> int:
    """Refuse bad headers, and sources that no packet may have (RFC 1812 section 5.3.7)."""
    verdict = check_header(frame, end, packet)
    if verdict != 0:
        return verdict
    source = load32(frame, ipv4.SOURCE)
    if suspects[np.uint32(source >> 24)] | suspects[np.uint32(256 + suspect_hash(source))]:
        return check_suspect(source, load32(frame, ipv4.DESTINATION), entries, vectors, leaves, root, next_hops)
    return 0


def suspect_hash(address: int) -> int:
    """A hash of `SUSPECT_BITS` bits."""
    return (address * MULTIPLIER & 0xFFFFFFFF) >> 32 - SUSPECT_BITS


@outline
def check_suspect(
    source: int, destination: int, entries: Any, vectors: Any, leaves: Any, root: Any, next_hops: Any
) -> int:
    """Tell whether a source that may be wrong, by its first byte or its hash, is wrong."""
    first = source >> 24
    if first == 0 or first == 127 or first >= 224:
        return MARTIAN_SOURCE
    if source >> 16 == LINK_LOCAL:
        hop = find(entries, vectors, leaves, root, destination)
        return 0 if hop >= 0 and next_hops[hop].kind == LOCAL else LINK_LOCAL_SOURCE
    hop = find(entries, vectors, leaves, root, source)
    kind = next_hops[hop].kind if hop >= 0 else CONNECTED
    if kind == LOCAL:
        return OWN_SOURCE
    return MARTIAN_SOURCE if kind == BROADCAST else 0


def broadcasts(network: IPv4Network) -> list[IPv4Address]:
    """The broadcast addresses of a network: all ones, and all zeros (RFC 1122 section 3.3.6)."""
    return [network.broadcast_address, network.network_address] if network.prefixlen < 31 else []  # RFC 3021


SUSPECTS = 256 + (1 << SUSPECT_BITS)
"""Places of the table of suspects, which are not 0 where `check` looks at a source more closely: first by the first
byte of an address, then by the hash of the whole."""

NEVER_SOURCES = [0, 127, LINK_LOCAL >> 8, *range(224, 256)]
"""The places by first bytes: of prefixes that no router's addresses change."""


def suspect_places(interface: IPv4Interface) -> list[int]:
    """The places by hash for an address of the router, and for the broadcast addresses of its network."""
    return [256 + suspect_hash(int(address)) for address in (interface.ip, *broadcasts(interface.network))]
