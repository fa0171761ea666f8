"""Ports on pcap files: packets come from one file, with their times, and go to another.

Read are classic pcap files of either byte order, in micro- or nanoseconds; written are nanoseconds in the byte
order of this machine (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html). The links are Ethernet.
Not read: pcapng, compressed files, pipes.
"""

import os
import struct
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numba
import numpy as np

from scout.io.channels.software import Records, number
from scout.io.ports.contract import Port, PortError
from scout.io.ports.fed import BATCH, ENTRIES, FedPort
from scout.io.transmit.sink import RECORD_HEADER, SECOND, Sink
from scout.ring.jit import entry
from scout.ring.segment import address

__all__ = ["RECORD_HEADER", "PcapPort", "file_header", "open_for_append", "read_pcap"]

MICROSECONDS, NANOSECONDS, PCAPNG = 0xA1B2C3D4, 0xA1B23C4D, 0x0A0D0D0A  # magic numbers
FILE_HEADER, LINK_TYPE = 24, 20  # bytes of the file's header; offset of the kind of link in it
ETHERNET = 1
LONGEST_RECORD = 1 << 18  # bytes of a packet, as libpcap has it: more means that the file is damaged
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
    """Packets of a pcap file and when they were captured, nanoseconds since 1970.

    Raises
    ------
    PortError
        If the file cannot be read, is of another format, or is damaged; before the first packet.
    """
    data, at, swapped, scale = _open(path)
    record = struct.Struct(f"{_SWAPPED if swapped else '='}IIII")
    while at < len(data):
        seconds, fraction, size, _ = record.unpack_from(data.data, at)
        at += RECORD_HEADER
        yield seconds * SECOND + fraction * scale, data[at : at + size].tobytes()
        at += size


def _open(path: str | os.PathLike[str]) -> Records:
    """The records of a file, looked at from the first to the last."""
    try:
        data = np.memmap(path, np.uint8, "r") if os.path.getsize(path) else np.zeros(0, np.uint8)
    except OSError as error:
        raise PortError(f"{path}: {error.strerror}; name a pcap file") from error
    head = data[:FILE_HEADER].tobytes().ljust(FILE_HEADER, b"\0")
    swapped = struct.unpack_from("=I", head)[0] not in (MICROSECONDS, NANOSECONDS)
    magic, *_, link = struct.unpack(f"{_SWAPPED if swapped else '='}IHHiIII", head)
    if magic == PCAPNG:
        raise PortError(f"{path}: is pcapng, which is not read; convert it: editcap -F nsecpcap {path} NEW")
    if magic not in (MICROSECONDS, NANOSECONDS):
        raise PortError(f"{path}: is no pcap file, by its first 4 bytes; name one, as tcpdump -w writes")
    if len(data) < FILE_HEADER:
        raise PortError(f"{path}: ends at offset {len(data)}, within the file's header; capture it again")
    if link & 0xFFFF != ETHERNET:  # above are flags
        raise PortError(f"{path}: has packets of link type {link & 0xFFFF}; capture on Ethernet, link type 1")
    end = _end(address(data), FILE_HEADER, len(data), swapped)
    if end != len(data):
        raise PortError(
            f"{path}: the record at offset {end} is cut short or damaged; keep those before it: "
            f"head -c {end} {path} > NEW"
        )
    return Records(data, FILE_HEADER, swapped, 1 if magic == NANOSECONDS else 1000)


@entry(numba.int64(numba.int64, numba.int64, numba.int64, numba.boolean))
def _end(records: int, at: int, end: int, swapped: bool) -> int:
    """Offset of the first of the `records` at [at, end) that cannot be; `end` if there is none."""
    while at < end:
        if at + RECORD_HEADER > end:
            return at
        size = number(records + at + 8, swapped)
        if size > LONGEST_RECORD or at + RECORD_HEADER + size > end:
            return at
        at += RECORD_HEADER + size
    return at


class PcapPort(FedPort):
    """A port that receives the packets of a pcap file and writes what it sends to another.

    Packets come as fast as they are taken, with the times at which they were captured. The run is at its end when
    all have been dealt with.

    Parameters
    ----------
    read : str or os.PathLike, optional
        The file to receive; nothing by default.
    write : str or os.PathLike, optional
        The file to write, made or emptied when the run starts; by default what is sent is thrown away.
    mac : str
        The port's MAC address, as 02:00:00:00:00:01.
    mtu : int
        Bytes of the longest IP packet; frames that are longer by more than a VLAN tag are left out.
    entries : int
        Packets that its channel holds; a power of two. A quarter of them come between snapshots of the state.
    batch : int
        Packets that are dequeued together at most; a power of two. All have one primary.

    Raises
    ------
    PortError
        When the run starts, if a file cannot be opened or is damaged.
    """

    def __init__(
        self,
        read: str | os.PathLike[str] | None = None,
        write: str | os.PathLike[str] | None = None,
        mac: str = "02:00:00:00:00:01",
        mtu: int = 1500,
        entries: int = ENTRIES,
        batch: int = BATCH,
    ) -> None:
        super().__init__(str(read or write or "on no file"), mac, mtu, entries, batch)
        self._read, self._write = read, write
        self._records: Records | None = None
        self._descriptor = -1

    def __repr__(self) -> str:
        files = {"read": self._read, "write": self._write}
        return f"PcapPort({', '.join(f'{name}={str(file)!r}' for name, file in files.items() if file)})"

    def open(self, index: int) -> None:
        """Look at the whole file to read, make the one to write, for the port of number `index`."""
        self._records = _open(self._read) if self._read else None
        if self._read and self._write and os.path.exists(self._write) and os.path.samefile(self._read, self._write):
            raise PortError(f"port {self._read}: writing would empty the file it reads; name another file to write")
        self._descriptor = open_for_append(self._write) if self._write else os.open(os.devnull, os.O_WRONLY)
        self._open(index, Sink(self._descriptor))

    def records(self) -> Records | None:
        """The packets of the file to read."""
        return self._records

    def close(self) -> None:
        """Close the files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._records = -1, None


if TYPE_CHECKING:
    _conforms: type[Port] = PcapPort
