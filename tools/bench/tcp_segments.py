"""The segments of a replay of TCP: frames of one form, with numbers of their own."""

import struct

import numpy as np

from scout.paths.wire.checksum import checksum

__all__ = ["CHECKSUM", "HEADERS", "IP_CHECKSUM", "LENGTH", "PREFIX", "SEQUENCE", "STAMPS", "WINDOW", "Segment"]

LINK = bytes.fromhex("020000000001 020000000002 0800")
PREFIX = len(LINK)
HEADERS = PREFIX + 20 + 32
"""Bytes in front of the data of a segment with timestamps."""

# Offsets in a frame; the acknowledgement follows the sequence number.
LENGTH, IP_CHECKSUM = PREFIX + 2, PREFIX + 10
SEQUENCE, WINDOW, CHECKSUM, STAMPS = PREFIX + 24, PREFIX + 34, PREFIX + 36, PREFIX + 44


class Segment:
    """The form of the segments of a replay: the peer's headers and `size` bytes of data.

    Parameters
    ----------
    addresses, ports : tuple of int
        The peer's, and the router's.
    flags, window, size : int
    options : bytes
    """

    def __init__(
        self, addresses: tuple[int, int], ports: tuple[int, int], flags: int, window: int, options: bytes, size: int
    ) -> None:
        length = 20 + len(options)
        ip = bytearray(struct.pack("!BBHHHBBHII", 0x45, 0, 20 + length + size, 0, 0x4000, 64, 6, 0, *addresses))
        ip[10:12] = checksum(bytes(ip)).to_bytes(2)
        tcp = struct.pack("!HHIIBBHHH", *ports, 0, 0, length // 4 << 4, flags, window, 0, 0)
        data = bytes(range(256)) * (size // 256 + 1)
        self._segment = tcp + options + data[:size]
        self._pseudo = struct.pack("!IIHH", *addresses, 6, length + size)
        self.frame = LINK + bytes(ip) + self._segment
        self.window = window
        self.stamps = options[4:]
        """Those of the timestamp option, which comes behind two bytes of padding."""

    def checksums(
        self,
        sequences: np.ndarray,
        acknowledgements: np.ndarray,
        data: np.ndarray | None = None,
        windows: np.ndarray | None = None,
    ) -> np.ndarray:
        """The checksums of segments with these numbers, and with data and windows of their own, if some are given."""
        if data is None:
            total = np.full(len(sequences), ~checksum(self._pseudo + self._segment) & 0xFFFF)
        else:  # an even number of bytes each
            headers = self._segment[: len(self._segment) - data.shape[1]]
            total = (~checksum(self._pseudo + headers) & 0xFFFF) + data.view(">u2").sum(1, np.int64)
        for numbers in (sequences, acknowledgements):
            total = total + (numbers >> 16) + (numbers & 0xFFFF)
        if windows is not None:
            total = total + (~self.window & 0xFFFF) + windows
        for _ in range(2):
            total = (total & 0xFFFF) + (total >> 16)
        return ~total & 0xFFFF

    def numbered(self, sequence: int, acknowledgement: int) -> bytes:
        """The frame of one segment."""
        frame = bytearray(self.frame)
        frame[SEQUENCE : SEQUENCE + 8] = struct.pack("!II", sequence, acknowledgement)
        (check,) = self.checksums(np.array([sequence]), np.array([acknowledgement]))
        frame[CHECKSUM : CHECKSUM + 2] = int(check).to_bytes(2)
        return bytes(frame)
