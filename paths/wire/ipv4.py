"""The IPv4 header (RFC 791 section 3.1)::

0             1     2              4                6          8     9          10         12       16
| version,IHL | TOS | total length | identification | fragment | TTL | protocol | checksum | source | destination |
"""

from typing import Any

from scout.io.access import load8, native32, require

__all__ = [
    "CHECKSUM",
    "DCCP",
    "DESTINATION",
    "DONT_FRAGMENT",
    "FRAGMENT",
    "FRAGMENTED",
    "HEADER",
    "ICMP",
    "IDENTIFICATION",
    "LONGEST",
    "MORE_FRAGMENTS",
    "OFFSET",
    "PROTOCOL",
    "SCTP",
    "SOURCE",
    "TCP",
    "TOS",
    "TOTAL_LENGTH",
    "TTL",
    "UDP",
    "UDP_LITE",
    "VERSION_IHL",
    "has_good_checksum",
    "header_length",
    "is_source_routed",
]

VERSION_IHL, TOS, TOTAL_LENGTH, IDENTIFICATION, FRAGMENT, TTL, PROTOCOL, CHECKSUM = 0, 1, 2, 4, 6, 8, 9, 10
SOURCE, DESTINATION = 12, 16
HEADER = 20

LONGEST = 0xFFFF
"""Bytes of the longest packet."""

DONT_FRAGMENT, MORE_FRAGMENTS, OFFSET = 0x4000, 0x2000, 0x1FFF
"""In the word at `FRAGMENT`: two flags, and the bits of the fragment's offset in units of 8 bytes."""

FRAGMENTED = MORE_FRAGMENTS | OFFSET
"""In the word at `FRAGMENT`: not 0 if the packet is a fragment. A later fragment has a bit of `OFFSET`."""

ICMP, TCP, UDP, DCCP, SCTP, UDP_LITE = 1, 6, 17, 33, 132, 136
"""Protocol numbers (IANA), which IPv6 shares."""

END_OF_OPTIONS, NO_OPERATION, LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE = 0, 1, 131, 137


def header_length(frame: Any, at: int) -> int:
    """Bytes of the header at `at`, options included; may be less than `HEADER` in a bad header."""
    return (load8(frame, at) & 15) * 4


def has_good_checksum(frame: Any, at: int) -> bool:
    """True if the checksum of the header at `at` is right; for a header without options."""
    # The sum of a good header is a multiple of 0xFFFF, in whichever byte order (RFC 1071 section 2). It is not 0: the
    # version is not.
    total = native32(frame, at) + native32(frame, at + 4) + native32(frame, at + 8)
    total += native32(frame, at + 12) + native32(frame, at + 16)
    return total % 0xFFFF == 0


def is_source_routed(frame: Any, end: Any) -> bool:
    """True if the header at 0 has a source route that still names a router to go to (RFC 791 section 3.1)."""
    size, at = header_length(frame, 0), HEADER
    if not require(frame, end, size):
        return False
    while at + 1 < size:
        option = load8(frame, at)
        if option == END_OF_OPTIONS:
            return False
        if option == NO_OPERATION:
            at += 1
            continue
        length = load8(frame, at + 1)
        if length < 2 or at + length > size:
            return False  # a malformed option; where the next one begins is not known
        if option in (LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE):
            return length > 2 and load8(frame, at + 2) <= length  # the pointer counts from 1
        at += length
    return False
