"""Writing pcapng files with one interface for each place where packets were seen.

The blocks are those of https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html, sections 4.1 to 4.3.
"""

import struct
from collections.abc import Iterable

__all__ = ["LINKS", "UNKNOWN", "capture"]

LINKS, UNKNOWN = {"ethernet": 1, "ipv4": 101, "ipv6": 101}, 147
"""Link types by the header that packets begin with; LINKTYPE_USER0 for others."""

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER, _VERSION, _UNKNOWN = 0x1A2B3C4D, (1, 0), -1
_NAME, _RESOLUTION, _NANOSECONDS = 2, 9, 9  # options of an interface; its times are in units of 10 ** -9 seconds


def capture(packets: Iterable[tuple[str, int, int, bytes]]) -> bytes:
    """The contents of a pcapng file.

    Parameters
    ----------
    packets : iterable of tuple
        The place where each packet was seen, its link type, its time in nanoseconds since 1970, its bytes.
    """
    found = list(packets)
    places = list(dict.fromkeys((place, link) for place, link, _, _ in found))
    blocks = [_block(_SECTION, struct.pack("=I2Hq", _BYTE_ORDER, *_VERSION, _UNKNOWN))]
    for place, link in places:
        options = _option(_NAME, place.encode()) + _option(_RESOLUTION, bytes([_NANOSECONDS])) + _option(0, b"")
        blocks.append(_block(_INTERFACE, struct.pack("=2HI", link, 0, 0) + options))
    for place, link, timestamp, data in found:
        high, low = divmod(timestamp, 1 << 32)
        header = struct.pack("=5I", places.index((place, link)), high, low, len(data), len(data))
        blocks.append(_block(_PACKET, header + _padded(data)))
    return b"".join(blocks)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=2H", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // 4) * 4, b"\0")
