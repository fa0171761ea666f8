"""A tap: the frames that an interface receives, seen beside the router that works on them.

The kernel gives a copy of each frame that the filter passes to a socket of the tap's own. The router's ring and its
replicas do not know of it; frames for which the tap has no room are dropped for the tap alone.
"""

import select
import socket
import struct
import time
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from scout.io.channels.packet_socket import ETH_P_ALL, SOL_PACKET, VNET_HEADER_OPTION, bind, raw_socket
from scout.io.host.socket_filter import FrameFilter, attach
from scout.io.packet import SECOND
from scout.io.ports.contract import PortError

__all__ = ["Tap", "Tapped"]

_TIMESTAMPS = 35  # SO_TIMESTAMPNS and SCM_TIMESTAMPNS, asm-generic/socket.h
_LONGEST = 1 << 17  # bytes: more than a super-frame has
_VNET = struct.Struct("=BBHHHH")  # struct virtio_net_hdr (linux/virtio_net.h)
_VNET_FIELDS = ("flags", "gso_type", "header_bytes", "gso_size", "checksum_start", "checksum_offset")
_TIME = struct.Struct("qq")
_NAP = 0.1  # seconds between looks whether the caller still wants frames


class Tapped(NamedTuple):
    """A frame as received.

    Attributes
    ----------
    timestamp : int
        Nanoseconds since 1970.
    frame : bytes
    offload : dict of str to int
        The fields of its record (`scout.io.packet.PACKET`) that say what the sending kernel left to a device.
    """

    timestamp: int
    frame: bytes
    offload: dict[str, int]


class Tap:
    """A tap on an interface of this thread's namespace; a context manager.

    Parameters
    ----------
    interface : str
        Its name, for messages.
    number : int
        The kernel's index of it.
    wanted : FrameFilter
        The frames to see.

    Raises
    ------
    PortError
        If raw sockets are not allowed, or the interface is gone.
    """

    def __init__(self, interface: str, number: int, wanted: FrameFilter) -> None:
        self._socket = raw_socket(interface)
        try:
            # Before it is bound, so that no other frame gets in.
            attach(self._socket, wanted.program())
            self._socket.setsockopt(SOL_PACKET, VNET_HEADER_OPTION, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
            self._socket.setblocking(False)
            bind(self._socket, ETH_P_ALL, number)
        except OSError as error:
            self._socket.close()
            raise PortError(f"port {interface}: cannot be tapped: {error.strerror}; is it still there?") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, place: TracebackType | None) -> None:
        self._socket.close()

    def frames(self, seconds: float) -> Iterator[Tapped | None]:
        """The frames that come within so many seconds; None now and then when there is none."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._socket], [], [], min(left, _NAP))[0]:
                yield self._receive()
            else:
                yield None

    def _receive(self) -> Tapped | None:
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_LONGEST, socket.CMSG_SPACE(_TIME.size))
        except BlockingIOError:
            return None
        except OSError as error:
            raise PortError(f"the tapped interface: {error.strerror}; is it still there?") from error
        timestamp = time.time_ns()
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMPS):
                seconds, nanoseconds = _TIME.unpack(value)
                timestamp = seconds * SECOND + nanoseconds
        offload = dict(zip(_VNET_FIELDS, _VNET.unpack_from(data), strict=True))
        return Tapped(timestamp, data[_VNET.size :], offload)
