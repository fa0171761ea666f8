"""Ports on TAP devices: an interface of this machine's own kernel whose other side is the router.

Frames that programs of this machine send through the interface come in at the port, and frames that leave by the port
reach these programs: they talk to the router without a second namespace. Frames pass with their virtio-net headers, so
that checksums and segmentation stay undone where nobody needs them.

Drops
    tx-full: the kernel has no room for a packet.
    tx-down: the interface is down.
    tx-refused: the kernel refuses a packet for another reason.
Example
    TapPort("scout0")
"""

import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scout.io.batch import LONGEST
from scout.io.channels.packet_socket import raw_socket
from scout.io.channels.tap_device import TapFeed
from scout.io.host.interface_flags import bring_up
from scout.io.ports.collected import BATCH, ENTRIES, CollectedPort
from scout.io.ports.contract import Port, PortError, PortOperations, mac_of_port
from scout.io.ports.interface import DOWN, Interface
from scout.io.transmit.tap_device import TRANSMIT, enqueue, flush
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import address, shared

__all__ = ["TapPort"]

# linux/if_tun.h
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_CHECKSUMS, _TCP4 = 0x1, 0x2  # TUN_F_CSUM, TUN_F_TSO4

_MAC = "02:00:00:00:00:01"


class TapPort(CollectedPort):
    """A port on a TAP device, which it makes and which goes with it.

    Parameters
    ----------
    interface : str
        The name that the interface gets in this process's namespace. It comes up without an address; `ip address add`
        gives it one.
    mac : str
        The router's MAC address; the interface has another one.
    entries, batch : int
        Frames that the channel holds, and that are dequeued together at most; powers of two.

    Attributes
    ----------
    mac : int
        The router's MAC address, 48 bits.
    mtu : int
        Bytes of the longest IP packet that the interface takes at present; valid once open.
    file : int
        Descriptor of the device; valid once open.
    transmits : numpy.ndarray
        A `TRANSMIT` for each possible replica, shared with the compiled loops.
    """

    operations = PortOperations(TRANSMIT, enqueue, flush)
    frame_bytes = LONGEST

    def __init__(self, interface: str, mac: str = _MAC, entries: int = ENTRIES, batch: int = BATCH) -> None:
        super().__init__(interface, entries, batch)
        if not 0 < len(interface.encode()) < 16:
            raise PortError(f"interface {interface!r}: a name has 1 to 15 bytes")
        self.mac, self.mtu, self.file = mac_of_port(interface, mac), 0, -1
        self.options |= {"mac": self.mac}
        self._asker: socket.socket | None = None
        self._interface: Interface | None = None

    def __repr__(self) -> str:
        return f"TapPort({self.interface!r})"

    def open(self, index: int) -> None:
        """Make the device, for the port of index `index`, and the memory of the sending side.

        Raises
        ------
        PortError
            If the device cannot be made.
        """
        try:
            self.file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
            fcntl.ioctl(self.file, _TUNSETIFF, struct.pack("16sH22x", self.interface.encode(), flags))
            fcntl.ioctl(self.file, _TUNSETOFFLOAD, _CHECKSUMS | _TCP4)
            self._asker = raw_socket(self.interface)
            bring_up(self._asker, self.interface)
        except OSError as error:
            self.close()
            raise PortError(
                f"port {self.interface}: no TAP device can be made: {error.strerror}; is the name in use, and may this "
                "process use /dev/net/tun?"
            ) from error
        self._interface = Interface(self._asker, self.interface)
        self.mtu = self._interface.mtu
        self.transmits, self._vectors = shared(MOST_REPLICAS, TRANSMIT), shared((MOST_REPLICAS, 4), np.int64)
        self.transmits["file"], self.transmits["number"] = self.file, -1
        self.transmits["vectors"] = address(self._vectors) + np.arange(MOST_REPLICAS) * self._vectors.strides[0]

    def channel(self, ports: Mapping[int, Any], replicas: int, keeps: bool) -> TapFeed:
        """Make the channel by which frames come.

        Raises
        ------
        PortError
            If another port is to share it.
        """
        if len(ports) != 1:
            raise PortError(f"port {self.interface}: it shares no channel with other ports")
        return TapFeed(ports, replicas, keeps)

    def enlist(self, replica: int) -> None:
        """Do nothing: the sending side of every replica is there."""

    def descriptors(self) -> list[int]:
        """The device."""
        return [self.file]

    def resume(self, replica: int) -> None:
        """Do nothing: what a dead replica had added was sent."""

    def transmitted(self) -> dict[str, int]:
        """Frames that the kernel took, those of them that the router made itself, and those refused, by reason."""
        names = {"sent": "sent", "made": "made", "full": "tx-full", "down": "tx-down", "refused": "tx-refused"}
        return {name: int(self.transmits[field].sum()) for field, name in names.items()}

    def fault(self) -> str:
        """The reason why the interface carries no packets."""
        return self._interface.fault() if self._interface else DOWN

    def refresh(self) -> None:
        """Learn the interface's present name and MTU."""
        if self._interface and self._interface.refresh():
            self.interface, self.mtu = self._interface.name, self._interface.mtu

    def warnings(self) -> list[str]:
        """None: the kernel is meant to have addresses there."""
        return []

    def close(self) -> None:
        """Close the device, which removes the interface when no replica runs any more."""
        if self._asker:
            self._asker.close()
        if self.file >= 0:
            os.close(self.file)
        self._asker, self._interface, self.file = None, None, -1


if TYPE_CHECKING:
    _conforms: type[Port] = TapPort
