"""Ports on capture files: packets come from one file, with their times, and go to another.

Drops
    too-long: a received frame is longer than the MTU allows.
    tx-full: the file to write takes no more.
Example
    PcapPort(read="in.pcap", write="out.pcap", mac="02:00:00:00:00:01")
"""

import os
from typing import TYPE_CHECKING

from scout.io.ports.contract import Port, PortError
from scout.io.ports.fed import BATCH, ENTRIES, FedPort
from scout.io.ports.pcap_file import open_for_append, open_records
from scout.io.ports.records import Records
from scout.io.transmit.sink import Sink

__all__ = ["PcapPort"]


class PcapPort(FedPort):
    """A port that receives the packets of a capture file and writes the packets that it sends to another.

    Packets come as fast as replicas take them, with the times at which they were captured: time in the run is theirs.
    The run is at its end when all have been dealt with.

    Parameters
    ----------
    read : str or os.PathLike, optional
        The file to receive: pcap or pcapng, also compressed by gzip. Nothing by default.
    write : str or os.PathLike, optional
        The pcap file to write, made or emptied when the run starts; by default packets that are sent are discarded.
    mac : str
        The port's MAC address, as 02:00:00:00:00:01. Packets in the capture that are for another address, and not
        for a group, are not for the router.
    mtu : int
        Bytes of the longest IP packet. Frames that are longer by more than an Ethernet header with one VLAN tag are not
        received, and are counted as too-long.
    entries : int
        Packets that its channel holds, a power of two. A replica saves its state after every quarter of them.
    batch : int
        Packets that are dequeued together at most, a power of two; all have one primary.

    Raises
    ------
    PortError
        If no file is given; and when the run starts, if a file cannot be opened or is damaged.
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
        if not read and not write:
            raise PortError("PcapPort without a file: give read=, write= or both, or use MemoryPort(mac, frames=[])")
        super().__init__(str(read or write), mac, mtu, entries, batch)
        self._read, self._write = read, write
        self.options |= {"mac": self.mac}
        self._records: Records | None = None
        self._descriptor = -1

    def __repr__(self) -> str:
        files = {"read": self._read, "write": self._write}
        return f"PcapPort({', '.join(f'{name}={str(file)!r}' for name, file in files.items() if file)})"

    def open(self, index: int) -> None:
        """Check the whole file to read, make the one to write, for the port of index `index`."""
        self._records = open_records(self._read) if self._read else None
        if self._read and self._write and os.path.exists(self._write) and os.path.samefile(self._read, self._write):
            raise PortError(f"port {self._read}: writing would empty the file it reads; name another file to write")
        self._descriptor = open_for_append(self._write) if self._write else os.open(os.devnull, os.O_WRONLY)
        self._open(index, Sink(self._descriptor))

    def records(self) -> Records | None:
        """The packets of the file to read."""
        return self._records

    def close(self) -> None:
        """Close the files."""
        super().close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._records = -1, None


if TYPE_CHECKING:
    _conforms: type[Port] = PcapPort
