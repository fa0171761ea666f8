"""Rewriting addresses and ports: every checksum that covers them is mended as they change (RFC 1624).

Offsets count from the frame's begin; a header may be a packet's own, or one that an ICMP error quotes. Each
function that changes something returns its gain: what the ones' complement sum of the frame's 16-bit words has grown
by, so that a checksum around it can be mended too.
"""

from typing import Any

from scout.io.access import add16, load8, load16, load32, require, store16, store32, sum16
from scout.io.packet import NEEDS_CHECKSUM
from scout.paths.wire.flow import FRAGMENT, HEADER, PROTOCOL, TCP, UDP

__all__ = [
    "ERROR",
    "OTHER",
    "QUERY",
    "REPLY",
    "kind_of",
    "mend_message",
    "port_of",
    "quotes",
    "rewrite",
    "rewrite_address",
    "well_formed",
]

TOTAL_LENGTH, IP_SUM, SOURCE, DESTINATION = 2, 10, 12, 16
LATER_FRAGMENT = 0x1FFF
TCP_SUM, UDP_SUM = 16, 6

ICMP = 1
ICMP_SUM, IDENTIFIER, MESSAGE = 2, 4, 8  # RFC 792

OTHER, QUERY, REPLY, ERROR = 0, 256, 257, 258  # what is neither TCP nor UDP: above all protocols


def kind_of(frame: Any, end: Any, ip: int) -> tuple[int, int]:
    """What has ports or the like behind the IPv4 header at `ip`, and where it begins.

    TCP or UDP by their numbers; `QUERY` and `REPLY`, ICMP messages with an identifier; `ERROR`, an ICMP message that
    quotes a packet; else `OTHER`, also if less than 8 bytes are there. Later fragments are for the caller to know.
    """
    header = (load8(frame, ip) & 15) * 4
    at = ip + header
    if header < HEADER or not require(frame, end, at + MESSAGE):
        return OTHER, at
    protocol = load8(frame, ip + PROTOCOL)
    if protocol in (TCP, UDP):
        return protocol, at
    if protocol != ICMP:
        return OTHER, at
    message = load8(frame, at)
    if message == 8 or message == 13:  # echo, timestamp
        return QUERY, at
    if message == 0 or message == 14:
        return REPLY, at
    # Unreachable, time exceeded, parameter problem: RFC 1812 section 4.3.3, less source quench and redirects.
    return ERROR if message == 3 or message == 11 or message == 12 else OTHER, at


def port_of(kind: int, at: int, which: int) -> int:
    """Where the source's or destination's (`which`) port is, or the identifier that stands for both."""
    if kind in (QUERY, REPLY):
        return at + IDENTIFIER
    return at if which == SOURCE else at + 2


def gain(before: int, after: int) -> int:
    """What a sum gains when a word of 16 or 32 bits changes: ~m + m' of RFC 1624, folded."""
    total = (~before >> 16 & 0xFFFF) + (~before & 0xFFFF) + (after >> 16) + (after & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def mended(sum_: int, more: int) -> int:
    """A checksum after what it covers has gained `more`: HC' = ~(~HC + ~m + m'), RFC 1624 equation 3."""
    return add16(sum_ ^ 0xFFFF, more) ^ 0xFFFF


def rewrite_address(frame: Any, ip: int, which: int, address: int) -> tuple[int, int]:
    """Write an address into the IPv4 header at `ip`, which has its checksum mended; its gain, and the header's."""
    more = gain(load32(frame, ip + which), address)
    store32(frame, ip + which, address)
    before = load16(frame, ip + IP_SUM)
    after = mended(before, more)
    store16(frame, ip + IP_SUM, after)
    return more, add16(more, gain(before, after))


def rewrite(frame: Any, end: Any, ip: int, kind: int, at: int, which: int, address: int, port: int, flags: int) -> int:
    """Write an address and a port, and mend the checksums that cover them; the gain.

    Parameters
    ----------
    frame, end
    ip, kind, at : int
        Where the IPv4 header is, and what `kind_of` says of it.
    which : int
        `SOURCE` or `DESTINATION`.
    address, port : int
        Of an ICMP query, `port` is its identifier.
    flags : int
        `packet.flags`, for what the device is to sum up: the checksum's field then holds the pseudo-header's sum,
        which covers addresses and no ports. 0 in a quote.
    """
    addresses, total = rewrite_address(frame, ip, which, address)
    place = port_of(kind, at, which)
    ports = gain(load16(frame, place), port)
    store16(frame, place, port)
    total = add16(total, ports)
    sum_at = at + ICMP_SUM
    if kind == TCP:
        sum_at = at + TCP_SUM
    elif kind == UDP:
        sum_at = at + UDP_SUM
    if not require(frame, end, sum_at + 2):
        return total  # a quote of 8 bytes: it ends before TCP's checksum
    before = load16(frame, sum_at)
    after = before
    if kind != TCP and kind != UDP:
        after = mended(before, ports)  # of ICMP, which has no pseudo-header
    elif flags & NEEDS_CHECKSUM:
        after = add16(before, addresses)
    elif kind == TCP:
        after = mended(before, add16(addresses, ports))
    elif before != 0:  # RFC 768: 0 says that there is none, and a sum of 0 is sent as ones
        after = mended(before, add16(addresses, ports))
        after = 0xFFFF if after == 0 else after
    store16(frame, sum_at, after)
    return add16(total, gain(before, after))


def mend_message(frame: Any, at: int, more: int) -> None:
    """Mend the checksum of the ICMP message at `at`, of which a part has gained `more`."""
    store16(frame, at + ICMP_SUM, mended(load16(frame, at + ICMP_SUM), more))


def quotes(frame: Any, end: Any, at: int) -> bool:
    """True if the ICMP error at `at` quotes an IPv4 header that is not of a later fragment."""
    quote = at + MESSAGE
    if not require(frame, end, quote + HEADER) or load8(frame, quote) >> 4 != 4:
        return False
    return load16(frame, quote + FRAGMENT) & LATER_FRAGMENT == 0


def well_formed(frame: Any, end: Any, at: int) -> bool:
    """True if the ICMP message at `at`, behind the IPv4 header at 0, has a good checksum, or is not seen whole."""
    total = load16(frame, TOTAL_LENGTH)
    if total < at + MESSAGE:
        return False
    return not require(frame, end, total) or sum16(frame, at, total - at) == 0xFFFF
