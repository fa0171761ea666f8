"""Capture files: reading pcap and pcapng, plain or compressed by gzip, and writing pcap. The links are Ethernet.

Classic pcap is read in either byte order, in micro- or nanoseconds; written in nanoseconds, in the byte order of this
machine (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html). A plain pcap file is mapped and read in place;
the others are converted to its records in memory.
"""

import gzip
import os
import struct
import sys
import zlib
from collections.abc import Iterator

import numba
import numpy as np

from scout.io.packet import SECOND
from scout.io.ports.contract import PortError
from scout.io.ports.pcapng import MAGIC as PCAPNG
from scout.io.ports.pcapng import pcapng_packets
from scout.io.ports.records import RECORD_HEADER, Records, number, pack_records
from scout.ring.jit import entry
from scout.ring.segment import address

__all__ = ["file_header", "open_for_append", "open_records", "read_pcap"]

MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D  # magic numbers
GZIP = b"\x1f\x8b"
FILE_HEADER, LINK_TYPE = 24, 20  # bytes of the file's header; offset of the link type in it
ETHERNET = 1
LONGEST_RECORD = 1 << 18  # bytes of a packet, as in libpcap: more means that the file is damaged
_SWAPPED = {"little": ">", "big": "<"}[sys.byteorder]


def file_header() -> bytes:
    """The first 24 bytes of a file of Ethernet packets with nanoseconds, in this machine's byte order."""
    return struct.pack("=IHHiIII", NANOSECONDS, 2, 4, 0, 0, LONGEST_RECORD, ETHERNET)


def open_for_append(path: str | os.PathLike[str]) -> int:
    """Make a pcap file, or empty it; a descriptor by which several processes can append records.

    Raises
    ------
    PortError
        If the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        os.write(descriptor, file_header())
    except OSError as error:
        raise PortError(f"{path}: {error.strerror}; name a file that can be written") from error
    return descriptor


def read_pcap(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """Packets of a capture file and when they were captured, nanoseconds since 1970.

    Raises
    ------
    PortError
        If the file cannot be read, is of another format, or is damaged; before the first packet.
    """
    data, at, swapped, scale = open_records(path)
    record = struct.Struct(f"{_SWAPPED if swapped else '='}IIII")
    while at < len(data):
        seconds, fraction, size, _ = record.unpack_from(data.data, at)
        at += RECORD_HEADER
        yield seconds * SECOND + fraction * scale, data[at : at + size].tobytes()
        at += size


def open_records(path: str | os.PathLike[str]) -> Records:
    """The packets of a capture file, checked from the first to the last.

    Raises
    ------
    PortError
        If the file cannot be read, is of another format, or is damaged; names the offset.
    """
    data = _contents(path)
    head = data[:FILE_HEADER].tobytes().ljust(FILE_HEADER, b"\0")
    if int.from_bytes(head[:4], sys.byteorder) == PCAPNG:  # the same in both byte orders
        return pack_records(pcapng_packets(str(path), data.tobytes()))
    swapped = struct.unpack_from("=I", head)[0] not in (MICROSECONDS, NANOSECONDS)
    magic, *_, link = struct.unpack(f"{_SWAPPED if swapped else '='}IHHiIII", head)
    if magic not in (MICROSECONDS, NANOSECONDS):
        raise PortError(f"{path}: is no pcap or pcapng file, by its first 4 bytes; name one, as tcpdump -w writes")
    if len(data) < FILE_HEADER:
        raise PortError(f"{path}: ends at offset {len(data)}, within the file's header; capture it again")
    if link & 0xFFFF != ETHERNET:  # above are flags
        raise PortError(f"{path}: has packets of link type {link & 0xFFFF}; capture on Ethernet, link type 1")
    end = _end(address(data), FILE_HEADER, len(data), swapped)
    if end != len(data):
        raise PortError(
            f"{path}: the record at offset {end} is cut short or damaged; keep the records before it: "
            f"head -c {end} {path} > NEW"
        )
    return Records(data, FILE_HEADER, swapped, 1 if magic == NANOSECONDS else 1000)


def _contents(path: str | os.PathLike[str]) -> np.ndarray:
    """The bytes of a file, mapped; of a compressed one, unpacked."""
    try:
        with open(path, "rb") as file:
            compressed = file.read(2) == GZIP
        if compressed:
            with gzip.open(path) as file:
                return np.frombuffer(file.read(), np.uint8)
        return np.memmap(path, np.uint8, "r") if os.path.getsize(path) else np.zeros(0, np.uint8)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PortError(f"{path}: the compressed data is cut short or damaged; compress the capture again") from error
    except OSError as error:
        raise PortError(f"{path}: {error.strerror}; name a capture file") from error


@entry(numba.int64(numba.int64, numba.int64, numba.int64, numba.boolean))
def _end(records: int, at: int, end: int, swapped: bool) -> int:
    """Offset of the first of the `records` at [at, end) that is damaged; `end` if there is none."""
    while at < end:
        if at + RECORD_HEADER > end:
            return at
        size = number(records + at + 8, swapped)
        if size > LONGEST_RECORD or at + RECORD_HEADER + size > end:
            return at
        at += RECORD_HEADER + size
    return at
