"""Ports on pcap files: packets come from one file and go to another."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from scout.io.feed import Feed, checked_mtu
from scout.io.memory import MemoryPort
from scout.io.port import PortError, mac_number
from scout.io.sink import RECORD_HEADER, Sink

__all__ = ["RECORD_HEADER", "PcapPort", "file_header", "open_for_append", "read_pcap"]

FILE_HEADER = 24
MICROSECONDS, NANOSECONDS, PCAPNG = 0xA1B2C3D4, 0xA1B23C4D, 0x0A0D0D0A
ETHERNET = 1  # LINKTYPE_ETHERNET
LONGEST = 1 << 18  # bytes of a record, by the format
BUFFER = 1 << 20


def file_header() -> bytes:
    """The header of a file of nanosecond records of Ethernet frames, in this machine's byte order."""
    return struct.pack("=IHHiIII", NANOSECONDS, 2, 4, 0, 0, LONGEST, ETHERNET)


def open_for_append(path: str) -> int:
    """Make or empty a pcap file; a descriptor by which several processes can append records.

    Raises
    ------
    PortError
        If the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    except OSError as error:
        raise PortError(f"{path}: {error.strerror}; name a file that can be written") from error
    os.write(descriptor, file_header())
    return descriptor


def read_pcap(path: str) -> Iterator[tuple[int, bytes]]:
    """Time stamps (nanoseconds) and frames of a pcap file, of either byte order and resolution.

    Raises
    ------
    PortError
        If the file cannot be read, is not pcap, or ends in the middle; names the offset.
    """
    try:
        data = memoryview(Path(path).read_bytes())
    except OSError as error:
        raise PortError(f"{path}: {error.strerror}; name a pcap file") from error
    magics = {
        struct.pack(f"{order}I", magic): (order, magic) for order in "<>" for magic in (MICROSECONDS, NANOSECONDS)
    }
    if bytes(data[:4]) == struct.pack("<I", PCAPNG):
        raise PortError(f"{path}: is pcapng; convert it with editcap -F nsecpcap")
    if bytes(data[:4]) not in magics or len(data) < FILE_HEADER:
        raise PortError(f"{path}: is no pcap file; capture one with tcpdump -w")
    order, magic = magics[bytes(data[:4])]
    link = struct.unpack_from(f"{order}I", data, 20)[0] & 0xFFFF
    if link != ETHERNET:
        raise PortError(f"{path}: link type {link}; only Ethernet (1) is supported")
    scale = 1 if magic == NANOSECONDS else 1000
    at = FILE_HEADER
    while at < len(data):
        if at + RECORD_HEADER > len(data):
            raise PortError(f"{path}: ends inside the record at offset {at}; capture it again")
        seconds, fraction, size, _ = struct.unpack_from(f"{order}4I", data, at)
        if size > LONGEST or at + RECORD_HEADER + size > len(data):
            raise PortError(f"{path}: the record at offset {at} has {size} bytes, more than follow; capture it again")
        yield seconds * 1_000_000_000 + fraction * scale, bytes(data[at + RECORD_HEADER : at + RECORD_HEADER + size])
        at += RECORD_HEADER + size


class PcapPort(MemoryPort):
    """A port that receives a pcap file's packets as fast as they are taken, and writes what it sends.

    Parameters
    ----------
    read, write : str, optional
        The files; without `read` nothing is received, without `write` what is sent is dropped as tx-full.
    mac : str
    mtu : int
    """

    def __init__(
        self, read: str | None = None, write: str | None = None, mac: str = "02:00:00:00:00:01", mtu: int = 1500
    ) -> None:
        self.interface = read or write or "nothing"
        self.mac, self.mtu = mac_number(mac), checked_mtu(mtu)
        self._read, self._write = read, write
        self._feed: Feed | None = None
        self._file = -1

    def __repr__(self) -> str:
        return f"PcapPort(read={self._read!r}, write={self._write!r})"

    def open(self, index: int, replicas: int, members: int) -> None:
        """Check the file to read from its beginning to its end, and make the one to write."""
        if self._read:
            for _ in read_pcap(self._read):
                pass
        self._file = open_for_append(self._write) if self._write else -1
        self._feed = Feed(index, replicas)
        self._sink = Sink(replicas, BUFFER if self._write else 0, self._file)
        self.ring, self.cursors, self.transmits = self._feed.ring, self._feed.cursors, self._sink.transmits

    def feed(self) -> None:
        """Begin to receive the file's packets."""
        self._opened.start(read_pcap(self._read) if self._read else ())

    def close(self) -> None:
        """End the input, close the output."""
        super().close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
