"""The layout of a frame in a TPACKET_V2 receive ring (linux/if_packet.h), and how a packet's record is filled from it.

docs/architecture.md tells why the ring is not one of blocks (TPACKET_V3). The ring itself, and its socket, is in
`scout.io.channels.kernel_ring`; the order of frames, and when they may be read and returned, in
`scout.io.channels.kernel_ring_protocol`; the operations of a domain's loop in
`scout.io.channels.kernel_ring_operations`.

A frame lies in a slot: `struct tpacket2_hdr`, `struct sockaddr_ll`, the virtio-net header, the Ethernet frame. The
virtio-net header tells what the sending kernel has left undone (checksum, segmentation). Its fields, and those of the
structures, are in this machine's byte order.

Replicas only read a frame. A replica that works on packets copies them to its own slots; of a packet that is too long
for a slot the first `REACH` bytes, and the rest leaves from where it is.
"""

from collections.abc import Callable
from typing import Any

from scout.io.batch import TAIL, place_frame
from scout.io.packet import CUT, NOT_HELD, OFFLOAD, REACH
from scout.io.system import VNET_HEADER
from scout.ring.atomics import copy, load32, load64, store32, store64
from scout.ring.jit import Record, inline

__all__ = [
    "APART",
    "LENGTH",
    "MAC",
    "PAGE",
    "STATUS",
    "STATUS_KERNEL",
    "STATUS_USER",
    "frame_end",
    "frame_of",
    "interface_of",
    "received_at",
    "take_frame",
]

STATUS_KERNEL, STATUS_USER, STATUS_VLAN_VALID, STATUS_VLAN_TPID_VALID = 0, 1, 1 << 4, 1 << 6
STATUS, LENGTH, MAC = 0, 4, 12
"""Offsets in struct tpacket2_hdr: who may write to the slot; the frame's length on the wire, never 0; and where in the
slot the frame begins, 16 bits."""
_SNAPLEN, _SECONDS, _NANOSECONDS, _TCI_AND_TPID = 8, 16, 20, 24
_INTERFACE = 32 + 4  # sll_ifindex of the struct sockaddr_ll behind the header
_ETH_P_8021Q, _VLAN_AT, _VLAN_TAG = 0x8100, 12, 4


PAGE, APART = 4096, 1024
"""Bytes of a page; and what the kernel leaves free before the frame in slots of whole pages, a number of cache lines.

There all frames would have one offset in their pages, near that of the kernel's own buffers: copies between such
addresses take longer (docs/performance.md).
"""


@inline
def frame_of(header: int) -> int:
    """Address of the frame's first byte."""
    return header + (load32(header + MAC) & 0xFFFF)


@inline
def frame_end(header: int) -> int:
    """Address behind the part of the frame that a stage sees."""
    return frame_of(header) + min(load32(header + _SNAPLEN), REACH)


@inline
def received_at(header: int) -> int:
    """When the kernel received the frame, nanoseconds since 1970."""
    return load32(header + _SECONDS) * 1_000_000_000 + load32(header + _NANOSECONDS)


@inline
def interface_of(header: int) -> int:
    """Index of the interface by which the frame came."""
    return load32(header + _INTERFACE)


@inline
def take_frame(
    packet: Record,
    record: int,
    header: int,
    port: int,
    in_place: bool,
    primary: int,
    look: Callable[..., bool],
    tables: Any,
) -> bool:
    """Fill a packet's record from a frame of the ring.

    Parameters
    ----------
    packet : Record
        The packet's record.
    record : int
        Its address.
    header : int
        Address of the frame's header in the ring.
    port : int
        Index of the port at which the frame arrived.
    in_place : bool
        True if the frame may be read where it lies: this replica changes nothing of it, so nothing is copied.
    primary : int
        The replica's role: 1 if it is the primary of the packet.
    look : callable
        `look(tables, packet, frame, size, primary)`, the demux before anything is copied: False if the packet goes no
        further.
    tables
        The first argument of `look`.

    Returns
    -------
    bool
        False if `look` leaves the packet out; its record is then to be used for the next one.
    """
    mac = frame_of(header)  # in the ring; `frame` moves to the packet's slot if the tag has to be put back
    frame = mac
    size, tag, note = load32(header + _SNAPLEN), 0, 0
    if load32(header + LENGTH) != size:
        size, note = 0, CUT  # longer than a slot: the ring has only its beginning, which no path is given
    if load32(header + STATUS) & STATUS_VLAN_VALID:
        frame, tag = packet.slot, _VLAN_TAG
        _restore_tag(frame, header, mac, min(size, REACH))
    packet.port = port
    packet.timestamp = received_at(header)
    if not look(tables, packet, frame, size + tag, primary):
        return False
    store64(record + OFFLOAD, load64(mac - VNET_HEADER))
    packet.checksum_offset = load32(mac - 4) >> 16  # csum_offset, the last 16 bits of the virtio-net header
    packet.at = 0
    packet.link_broadcast = note  # 0 or CUT, until the stage of the link notes more there
    packet.held_since = NOT_HELD
    packet.control = 0
    if tag:
        linear = min(size, REACH)
        packet.origin = packet.frame = frame
        packet.end = frame + linear + tag
        packet.tail = mac + linear
        packet.tail_bytes = size - linear
        packet.checksum_start += tag
        return True
    place_frame(packet, mac, size, in_place)
    if not in_place and 0 < packet.tail_bytes <= TAIL:
        # Behind the headers: the kernel takes longer for a second iovec than the copy takes.
        copy(packet.end, packet.tail, packet.tail_bytes)
        packet.tail = packet.end
    return True


@inline
def _restore_tag(target: int, header: int, mac: int, linear: int) -> None:
    """Copy the first `linear` bytes of a frame to `target`, with the VLAN tag, which the kernel took out."""
    tci = load32(header + _TCI_AND_TPID) & 0xFFFF
    tpid = _ETH_P_8021Q
    if load32(header + STATUS) & STATUS_VLAN_TPID_VALID:
        tpid = load32(header + _TCI_AND_TPID) >> 16
    tag = tpid << 16 | tci
    swapped = (tag & 0xFF) << 24 | (tag & 0xFF00) << 8 | (tag >> 8 & 0xFF00) | tag >> 24
    before = min(linear, _VLAN_AT)
    copy(target, mac, before)
    store32(target + _VLAN_AT, swapped)
    copy(target + _VLAN_AT + _VLAN_TAG, mac + before, linear - before)
