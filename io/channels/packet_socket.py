"""AF_PACKET sockets (packet(7)), and their receive rings."""

import ctypes
import os
import socket
import struct
from typing import Any, NamedTuple

from scout.io.channels.kernel_ring_frame import APART, PAGE
from scout.io.ports.contract import PortError
from scout.ring.segment import LINE

__all__ = [
    "ETH_P_ALL",
    "NO_PROTOCOL",
    "SOL_PACKET",
    "STATISTICS",
    "VNET_HEADER_OPTION",
    "Slots",
    "bind",
    "raw_socket",
    "ring_socket",
    "set_memberships",
    "slots_for",
]

# linux/if_packet.h, linux/if_ether.h
SOL_PACKET, ETH_P_ALL = 263, 0x0003
_ADD_MEMBERSHIP, _DROP_MEMBERSHIP, _RX_RING, STATISTICS, _VERSION, _RESERVE = 1, 2, 5, 6, 10, 12
VNET_HEADER_OPTION, _IGNORE_OUTGOING = 15, 23
_TPACKET_V2, _MR_PROMISC, _MR_UNICAST = 1, 1, 3

NO_PROTOCOL = 0x88B6
"""IEEE 802 local experimental ethertype 2, of a socket that is to get no frames: it cannot be bound to no protocol."""

_FRAME_AT = 80  # bytes of a slot before the frame, at most: struct tpacket2_hdr, struct sockaddr_ll, virtio-net header
_BLOCK_PAGES = 256
_MOST_ODD = _BLOCK_PAGES * LINE  # bytes: of shorter slots PAGE // LINE together fill whole pages, and fit a block


_libc = ctypes.CDLL(None, use_errno=True)


class Slots(NamedTuple):
    """The geometry of a receive ring."""

    size: int
    """Bytes of a slot, a multiple of a cache line."""
    together: int
    """How many slots the kernel allocates together, as a block: they fill whole pages, so no gap is between blocks."""


def slots_for(longest: int) -> Slots:
    """The slots of a ring for frames of up to `longest` bytes.

    Slots of an odd number of lines use all sets of a cache: their frames lie at all offsets in their pages.
    """
    size = -(-(_FRAME_AT + longest) // LINE) * LINE
    if size < _MOST_ODD:
        return Slots(size | LINE, PAGE // LINE)
    pages = -(-(size + APART) // PAGE)
    return Slots(pages * PAGE, _BLOCK_PAGES // pages)  # for super-frames 15 of 17 pages: one of 256 is wasted


def raw_socket(interface: str) -> socket.socket:
    """An AF_PACKET socket for a port on `interface`, not bound yet.

    Raises
    ------
    PortError
        If raw sockets are not allowed.
    """
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise PortError(f"port {interface}: raw sockets are not allowed; run as root, or see scout doctor") from error


def bind(raw: socket.socket, protocol: int, number: int) -> None:
    """Bind an AF_PACKET socket to the interface of index `number`; to all if that is 0, and then it cannot send.

    Python's own bind takes a name, and by now that may be the name of another interface. An error that waits on the
    socket, as of an interface that it was bound to and that is gone, is forgotten.

    Raises
    ------
    OSError
        If the interface is gone.
    """
    place = struct.pack("=H2sI12x", socket.AF_PACKET, protocol.to_bytes(2, "big"), number)  # struct sockaddr_ll
    if _libc.bind(raw.fileno(), place, len(place)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def ring_socket(names: str, slots: Slots, blocks: int) -> socket.socket:
    """A socket with a receive ring of so many blocks of slots, not bound yet.

    Parameters
    ----------
    names : str
        The interfaces that it is for; for messages.
    slots : Slots
    blocks : int

    Raises
    ------
    PortError
        If raw sockets are not allowed, or the kernel makes no ring of this size.
    """
    made = raw_socket(names)
    try:
        apart = 0 if slots.size % PAGE else APART
        options = {
            _VERSION: _TPACKET_V2,
            VNET_HEADER_OPTION: 1,
            _IGNORE_OUTGOING: 1,
            _RESERVE: apart,
        }
        for option, value in options.items():
            made.setsockopt(SOL_PACKET, option, value)
        frames = slots.together * blocks
        size = struct.pack("4I", slots.together * slots.size, blocks, slots.size, frames)
        try:
            made.setsockopt(SOL_PACKET, _RX_RING, size)
        except OSError as error:
            raise PortError(
                f"port {names}: no receive ring of {frames} frames ({frames * slots.size >> 20} MiB): "
                f"{error.strerror}; give fewer frames"
            ) from error
    except BaseException:
        made.close()
        raise
    return made


def set_memberships(raw: socket.socket, port: Any, wanted: bool) -> None:
    """Have the interface of a port take frames to other MAC addresses than its own, as the port wants, or no more.

    Raises
    ------
    PortError
        If they are wanted, and the interface is gone.
    """
    memberships = [(_MR_PROMISC, b"")] if port.promiscuous else []
    if port.own_mac:
        memberships.append((_MR_UNICAST, port.own_mac.to_bytes(6, "big")))
    for kind, mac in memberships:
        entry = struct.pack("iHH8s", port.number, kind, len(mac), mac)
        try:
            raw.setsockopt(SOL_PACKET, _ADD_MEMBERSHIP if wanted else _DROP_MEMBERSHIP, entry)
        except OSError as error:
            if not wanted:  # the interface is gone, and with it its memberships
                return
            raise PortError(f"port {port.interface}: {error.strerror}; is it still there?") from error
