"""ICMP for IPv4 (RFC 792)::

0      1      2          4            6          8
| type | code | checksum | identifier | sequence | data      queries
| type | code | checksum | unused     | MTU      | quote     errors; the MTU only with code 4 (RFC 1191)
"""

from typing import Any

from scout.io.access import load8, load16, require
from scout.paths.wire import ipv4
from scout.paths.wire.ipv4 import header_length

__all__ = [
    "CHECKSUM",
    "CODE",
    "ECHO",
    "ECHO_REPLY",
    "FRAGMENTATION_NEEDED",
    "HEADER",
    "HOST_UNREACHABLE",
    "IDENTIFIER",
    "NET_UNREACHABLE",
    "PARAMETER_PROBLEM",
    "PORT_UNREACHABLE",
    "PROTOCOL_UNREACHABLE",
    "REST",
    "TIMESTAMP",
    "TIMESTAMP_REPLY",
    "TIME_EXCEEDED",
    "TTL_EXPIRED",
    "TYPE",
    "UNREACHABLE",
    "error_text",
    "is_error",
    "quoted",
    "quotes",
]

TYPE, CODE, CHECKSUM, IDENTIFIER = 0, 1, 2, 4
REST = 4  # the second word: what it means depends on the type
HEADER = 8

ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED, PARAMETER_PROBLEM, TIMESTAMP, TIMESTAMP_REPLY = 0, 3, 8, 11, 12, 13, 14
"""Types."""

NET_UNREACHABLE, HOST_UNREACHABLE = UNREACHABLE << 24, UNREACHABLE << 24 | 1 << 16
PROTOCOL_UNREACHABLE, PORT_UNREACHABLE = UNREACHABLE << 24 | 2 << 16, UNREACHABLE << 24 | 3 << 16
FRAGMENTATION_NEEDED, TTL_EXPIRED = UNREACHABLE << 24 | 4 << 16, TIME_EXCEEDED << 24
"""Errors as a stage writes them into `packet.error`: type << 24 | code << 16, and the MTU in the low 16 bits."""

_ERRORS = {
    NET_UNREACHABLE: "net unreachable",
    HOST_UNREACHABLE: "host unreachable",
    PROTOCOL_UNREACHABLE: "protocol unreachable",
    PORT_UNREACHABLE: "port unreachable",
    FRAGMENTATION_NEEDED: "fragmentation needed",
    TTL_EXPIRED: "TTL expired",
}

_FIRST_QUERY, _LAST_QUERY = 13, 18  # timestamp, information, address mask: requests and replies


def error_text(error: int) -> str:
    """What an error says, in words; `error` is as a stage writes it into `packet.error`.

    Examples
    --------
    >>> error_text(FRAGMENTATION_NEEDED | 1400)
    'fragmentation needed with MTU 1400'
    """
    kind, mtu = error >> 16 << 16, error & 0xFFFF
    name = _ERRORS.get(kind, f"ICMP type {kind >> 24} code {kind >> 16 & 0xFF}")
    return f"{name} with MTU {mtu}" if mtu else name


def is_error(kind: int) -> bool:
    """True if messages of a type are errors, or not known to be queries: no error may answer them.

    RFC 1122 section 3.2.2.
    """
    return kind != ECHO_REPLY and kind != ECHO and not _FIRST_QUERY <= kind <= _LAST_QUERY


def quotes(frame: Any, end: Any, at: int) -> bool:
    """True if the error at `at` quotes an IPv4 header that is not of a later fragment."""
    quote = at + HEADER
    if not require(frame, end, quote + ipv4.HEADER) or load8(frame, quote) >> 4 != 4:
        return False
    return load16(frame, quote + ipv4.FRAGMENT) & ipv4.OFFSET == 0


def quoted(frame: Any, end: Any, at: int, size: int) -> tuple[int, int]:
    """Where the error at `at`, for which `quotes` is True, has the IPv4 header that it quotes, and the one behind it.

    The latter offset is -1 if the error does not quote the first `size` bytes of that header.
    """
    quote = at + HEADER
    length = header_length(frame, quote)
    behind = quote + length
    if length < ipv4.HEADER or not require(frame, end, behind + size):
        behind = -1
    return quote, behind
