"""TCP (RFC 9293 section 3.1)::

0             2                  4          8                 12            13      14       16         18       20
| source port | destination port | sequence | acknowledgement | data offset | flags | window | checksum | urgent |
"""

from typing import Any

from scout.io.access import load8

__all__ = [
    "ACK",
    "ACKNOWLEDGEMENT",
    "CHECKSUM",
    "CWR",
    "DATA_OFFSET",
    "DESTINATION",
    "ECE",
    "FIN",
    "FLAGS",
    "HEADER",
    "PSH",
    "RST",
    "SEQUENCE",
    "SOURCE",
    "SYN",
    "URG",
    "URGENT",
    "WINDOW",
    "tcp_header_length",
]

SOURCE, DESTINATION, SEQUENCE, ACKNOWLEDGEMENT = 0, 2, 4, 8
DATA_OFFSET, FLAGS, WINDOW, CHECKSUM, URGENT = 12, 13, 14, 16, 18
HEADER = 20

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80
"""Bits of the byte at `FLAGS`."""


def tcp_header_length(frame: Any, at: int) -> int:
    """Bytes of the header at `at`, options included; may be less than `HEADER` in a bad header."""
    return (load8(frame, at + DATA_OFFSET) >> 4) * 4
