"""Translation of addresses and L4 ports: every checksum that covers them is updated with them (RFC 1624).

Offsets count from `frame`; an IPv4 header may be a packet's own, or one that an ICMP error quotes. Each function that
changes something returns the delta of the 16-bit words it changed, checksums included (`scout.paths.wire.checksum`), so
that a checksum around them can be updated too.
"""

from typing import Any

from scout.io.access import add16, load8, load16, load32, require, store16, store32, sum16
from scout.io.packet import NEEDS_CHECKSUM
from scout.paths.wire import icmp, tcp, udp
from scout.paths.wire.checksum import adjust, adjust_nonzero, delta
from scout.paths.wire.ipv4 import (
    CHECKSUM,
    HEADER,
    ICMP,
    PROTOCOL,
    SOURCE,
    TCP,
    TOTAL_LENGTH,
    UDP,
    header_length,
)

__all__ = [
    "ERROR",
    "OTHER",
    "QUERY",
    "REPLY",
    "is_message_intact",
    "kind_of",
    "port_of",
    "rewrite",
    "rewrite_address",
    "update_message_checksum",
]

OTHER, QUERY, REPLY, ERROR = 0, 256, 257, 258
"""Kinds of packets that are neither TCP nor UDP: numbers above all protocol numbers."""


def kind_of(frame: Any, end: Any, ip: int) -> tuple[int, int]:
    """The kind of the packet whose IPv4 header is at `ip`, and the offset of what follows that header.

    TCP or UDP by their numbers; `QUERY` and `REPLY` for ICMP messages with an identifier; `ERROR` for an ICMP message
    that quotes a packet; `OTHER` for all else, and where fewer than 8 bytes follow the header. The caller knows whether
    it is a later fragment.
    """
    header = header_length(frame, ip)
    at = ip + header
    if header < HEADER or not require(frame, end, at + icmp.HEADER):
        return OTHER, at
    protocol = load8(frame, ip + PROTOCOL)
    if protocol in (TCP, UDP):
        return protocol, at
    if protocol != ICMP:
        return OTHER, at
    message = load8(frame, at + icmp.TYPE)
    if message == icmp.ECHO or message == icmp.TIMESTAMP:
        return QUERY, at
    if message == icmp.ECHO_REPLY or message == icmp.TIMESTAMP_REPLY:
        return REPLY, at
    # The errors of RFC 1812 section 4.3.3, without source quench and redirects.
    is_error = message == icmp.UNREACHABLE or message == icmp.TIME_EXCEEDED or message == icmp.PARAMETER_PROBLEM
    return ERROR if is_error else OTHER, at


def port_of(kind: int, at: int, which: int) -> int:
    """Offset of the L4 port of the source or the destination (`which`), or of the identifier that stands for both."""
    if kind in (QUERY, REPLY):
        return at + icmp.IDENTIFIER
    return at + (udp.SOURCE if which == SOURCE else udp.DESTINATION)  # TCP has its ports at the same offsets


def rewrite_address(frame: Any, ip: int, which: int, address: int) -> tuple[int, int]:
    """Write an address into the IPv4 header at `ip`, and update its checksum.

    Returns
    -------
    tuple of int
        The delta of the address alone, which a pseudo-header has too, and that of the whole header.
    """
    grown = delta(load32(frame, ip + which), address)
    store32(frame, ip + which, address)
    before = load16(frame, ip + CHECKSUM)
    after = adjust(before, grown)
    store16(frame, ip + CHECKSUM, after)
    return grown, add16(grown, delta(before, after))


def rewrite(frame: Any, end: Any, ip: int, kind: int, at: int, which: int, address: int, port: int, flags: int) -> int:
    """Write an address and an L4 port, and update the checksums that cover them.

    Parameters
    ----------
    frame, end
    ip, kind, at : int
        Offset of the IPv4 header, and what `kind_of` gives for it.
    which : int
        `ipv4.SOURCE` or `ipv4.DESTINATION`.
    address, port : int
        The new values; of an ICMP query or reply, `port` is the identifier.
    flags : int
        `packet.flags`. With `NEEDS_CHECKSUM` the device completes the checksum: its field holds the sum of the
        pseudo-header, which covers addresses and no ports. 0 for a quoted packet.

    Returns
    -------
    int
        The delta of all that was written.
    """
    addresses, total = rewrite_address(frame, ip, which, address)
    port_at = port_of(kind, at, which)
    ports = delta(load16(frame, port_at), port)
    store16(frame, port_at, port)
    total = add16(total, ports)
    checksum_at = at + icmp.CHECKSUM
    if kind == TCP:
        checksum_at = at + tcp.CHECKSUM
    elif kind == UDP:
        checksum_at = at + udp.CHECKSUM
    if not require(frame, end, checksum_at + 2):
        return total  # a quote of 8 bytes ends before the checksum of TCP
    before = load16(frame, checksum_at)
    after = before
    if kind != TCP and kind != UDP:
        after = adjust_nonzero(before, ports)  # ICMP has no pseudo-header
    elif flags & NEEDS_CHECKSUM:
        after = add16(before, addresses)
    elif kind == TCP:
        after = adjust(before, add16(addresses, ports))
    elif before != 0:  # 0 in UDP: there is no checksum
        after = adjust_nonzero(before, add16(addresses, ports))
    store16(frame, checksum_at, after)
    return add16(total, delta(before, after))


def update_message_checksum(frame: Any, at: int, grown: int) -> None:
    """Update the checksum of the ICMP error at `at`, after the sum of what it quotes has grown by `grown`."""
    store16(frame, at + icmp.CHECKSUM, adjust(load16(frame, at + icmp.CHECKSUM), grown))


def is_message_intact(frame: Any, end: Any, at: int) -> bool:
    """True if the ICMP message at `at`, behind the IPv4 header at 0, has a right checksum, or is not seen whole."""
    total = load16(frame, TOTAL_LENGTH)
    if total < at + icmp.HEADER:
        return False
    return not require(frame, end, total) or sum16(frame, at, total - at) == 0xFFFF
