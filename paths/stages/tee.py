"""Tee: writes a copy of each packet to a pcap file, which Wireshark and Scapy read.

Usage: Tee(name, file, connects, only)
Requires and provides: one service, of the type `connects`.
Drops: nothing.

Each packet is one `writev` to a descriptor opened for appending: the kernel puts the whole record behind the last one,
so all replicas write to one file. That costs a system call for each packet.

Example
    Tee("tee", "left.pcap")
"""

import os
import struct
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scout.io.access import lowering
from scout.io.ports.contract import PortError
from scout.io.ports.pcap_file import open_for_append
from scout.io.ports.records import RECORD_HEADER, record_header, write_header
from scout.io.system import writev
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.stages.filter import Filter
from scout.paths.wire.ethernet import ETHERTYPE, HEADER, IPV4
from scout.ring.atomics import store64

__all__ = ["Tee", "append", "copy_to_file"]


NO_ADDRESSES = bytes(ETHERTYPE) + struct.pack("!H", IPV4)
"""The Ethernet header that is written for a packet without one: an ICMP error, which was never received."""

VECTORS, ROOM = 32, 80
"""The room for the arguments of `writev`: both headers at 0, then three of struct iovec, of 16 bytes each."""


def append(frame: Any, end: Any, packet: Any, file: int, room: Any) -> bool:
    """Write the whole frame, as it is now, to descriptor `file` as one record; False if that failed."""
    link = NO_ADDRESSES if frame.start - frame.origin < HEADER else b""
    data = link + bytes(frame.data[frame.start if link else frame.origin :])
    record = record_header(packet.timestamp, len(data))
    return file < 0 or os.write(file, record + data) == len(record) + len(data)


@lowering(append)
def _native_append(frame, end, packet, file, room):  # type: ignore[no-untyped-def]
    def native(frame, end, packet, file, room):  # type: ignore[no-untyped-def]
        start, link = packet.origin, 0
        if frame - start < HEADER:
            start, link = frame, HEADER
        size = link + end - start + packet.tail_bytes
        record = room.ctypes.data
        write_header(record, packet.timestamp, size)
        vectors = record + VECTORS
        store64(vectors, record)
        store64(vectors + 8, RECORD_HEADER + link)
        store64(vectors + 16, start)
        store64(vectors + 24, end - start)
        store64(vectors + 32, packet.tail)
        store64(vectors + 40, packet.tail_bytes)
        return file < 0 or writev(file, vectors, 3) == RECORD_HEADER + size

    return native


def copy_to_file(frame: Any, end: Any, packet: Any, file: int, room: Any, missing: Any, primary: bool) -> int:
    """Write the packet to the file, once: in the replica that is its primary."""
    if primary and not append(frame, end, packet, file, room):
        missing[0] += 1
    return 0


class Tee(Filter):
    """Copies packets to a pcap file.

    The whole frame is written with the time when it was received, and with the changes that stages before this one have
    made: bytes that the link added behind an IPv4 packet are gone. On the way down it still has the Ethernet header
    that it came with, and an ICMP error has one without addresses.

    Parameters
    ----------
    name : str
    file : str or os.PathLike
        Created, or emptied, when the run starts; a plain run of a path that was not started writes nothing.
    connects : str
        Type of the services that it connects, as for `Filter`.
    only : mapping, optional
        Attributes of the packets that are copied, as for `Filter`; by default all are.

    Raises
    ------
    GraphError
        When the run starts, if the file cannot be written.

    Attributes
    ----------
    missing : Table
        How many packets a replica could not write (a full disk): int64[1].

    Examples
    --------
    >>> tee = Tee("tee", "/tmp/left.pcap")

    Then `graph.add(tee)` and `graph.connect("ip", "tee", "left")`.
    """

    def __init__(
        self,
        name: str,
        file: str | os.PathLike[str],
        connects: str = "ipv4",
        only: Mapping[str, Any] | None = None,
    ) -> None:
        room = np.zeros(ROOM, np.uint8)
        room[RECORD_HEADER : RECORD_HEADER + HEADER] = list(NO_ADDRESSES)  # never changes
        self.room = Table(room, "private")
        self.missing = Table(np.zeros(1, np.int64), "private")
        self.file = Path(file)
        self._descriptor = -1
        self._close: weakref.finalize | None = None
        super().__init__(
            name,
            copy_to_file,
            copy_to_file,
            connects,
            only=only,
            file=lambda: self._descriptor,
            room=self.room,
            missing=self.missing,
        )

    def start(self, graph: RouterGraph) -> None:
        try:
            descriptor = open_for_append(str(self.file))
        except PortError as error:
            raise GraphError(f"{self.name}: {error}") from error
        if self._close:
            self._close()  # of the run before
        self._descriptor, self._close = descriptor, weakref.finalize(self, os.close, descriptor)

    def descriptors(self) -> list[int]:
        return [self._descriptor] if self._descriptor >= 0 else []
