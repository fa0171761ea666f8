"""Reading pcapng files (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html), as Wireshark writes them.

A file is a sequence of blocks: `type (4 bytes) | total length (4) | body | total length (4)`. A section header block
says the byte order of what follows; an interface description block says the link type and the unit of time of the
packets of one interface; the packets themselves are in enhanced or simple packet blocks. Other blocks are skipped.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from scout.io.packet import SECOND
from scout.io.ports.contract import PortError
from scout.io.ports.records import LATEST

__all__ = ["MAGIC", "pcapng_packets"]

MAGIC = 0x0A0D0D0A
"""The type of a section header block, a palindrome: the first four bytes of a file in either byte order."""

_INTERFACE, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 3, 6
_BYTE_ORDER = 0x1A2B3C4D
_BLOCK_HEADER, _BLOCK_LEAST = 8, 12
_END_OF_OPTIONS, _RESOLUTION, _OFFSET = 0, 9, 14
_ETHERNET = 1


class _Interface(NamedTuple):
    units: int  # of a timestamp in a second
    offset: int  # seconds to add
    longest: int  # bytes of a packet that are captured; 0 for all

    def nanoseconds(self, timestamp: int) -> int:
        return timestamp * SECOND // self.units + self.offset * SECOND


def pcapng_packets(path: str, data: bytes) -> Iterator[tuple[int, bytes]]:
    """The packets of a file's bytes and when they were captured, nanoseconds since 1970.

    Simple packet blocks have no time: theirs is that of the packet before, or 0.

    Raises
    ------
    PortError
        If the file is damaged, or has packets of another link than Ethernet.
    """
    at, order, last = 0, "=", 0
    interfaces: list[_Interface] = []
    while at < len(data):
        try:
            kind = struct.unpack_from("<I", data, at)[0]
            if kind == MAGIC:
                little = struct.unpack_from("<I", data, at + _BLOCK_HEADER)[0] == _BYTE_ORDER
                order, interfaces = "<" if little else ">", []
            kind, size = struct.unpack_from(f"{order}2I", data, at)
            if size < _BLOCK_LEAST or size % 4 or at + size > len(data):
                raise struct.error
            body = data[at + _BLOCK_HEADER : at + size - 4]
            if kind == _INTERFACE:
                interfaces.append(_described(path, order, body))
            elif kind == _ENHANCED_PACKET:
                index, high, low, captured = struct.unpack_from(f"{order}4I", body)
                last = interfaces[index].nanoseconds(high << 32 | low)
                yield _checked(path, at, last), _cut(body, 20, captured)
            elif kind == _SIMPLE_PACKET:
                original = struct.unpack_from(f"{order}I", body)[0]
                longest = interfaces[0].longest
                yield last, _cut(body, 4, min(original, longest) if longest else original)
        except (struct.error, IndexError) as error:
            raise PortError(f"{path}: the block at offset {at} is cut short or damaged; capture it again") from error
        at += size


def _described(path: str, order: str, body: bytes) -> _Interface:
    """An interface description block."""
    link, _, longest = struct.unpack_from(f"{order}HHI", body)
    if link != _ETHERNET:
        raise PortError(f"{path}: has packets of link type {link}; capture on Ethernet, link type 1")
    units, offset, at = 1_000_000, 0, 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(f"{order}HH", body, at)
        value = body[at + 4 : at + 4 + size]
        if code == _END_OF_OPTIONS:
            break
        if code == _RESOLUTION and size == 1:
            units = 1 << (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == _OFFSET and size == 8:
            offset = struct.unpack(f"{order}q", value)[0]
        at += 4 + size + -size % 4
    return _Interface(units, offset, longest)


def _checked(path: str, at: int, timestamp: int) -> int:
    if not 0 <= timestamp < LATEST:
        raise PortError(f"{path}: the packet at offset {at} is not of the years 1970 to 2105; correct its time")
    return timestamp


def _cut(body: bytes, start: int, size: int) -> bytes:
    if start + size > len(body):
        raise struct.error
    return body[start : start + size]
