"""Ports on AF_PACKET sockets: any NIC or veth.

Packets come by the kernel's receive ring (`scout.io.channels.kernel_ring`). They leave by `scout.io.transmit.queue`,
each replica by a socket of its own, with the virtio-net header that they came with: so TCP passes with the offloads
that veths have by default.
"""

import fcntl
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from scout.io.channels.kernel_ring import SOL_PACKET, VNET_HEADER_OPTION, KernelRing, raw_socket
from scout.io.ports.contract import Port, PortError, PortOperations, mac_number
from scout.io.transmit.coalesce import TCP, UDP
from scout.io.transmit.queue import TRANSMIT, enqueue, flush, new_line
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import shared

__all__ = ["AfPacketPort"]

SIOCGIFFLAGS, SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFINDEX, IFF_UP = 0x8913, 0x8921, 0x8927, 0x8933, 1  # linux/sockios.h
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772  # linux/if_arp.h
SO_SNDBUFFORCE = 32
ETHERNET_HEADER = 14
FRAMES = 1024
SEND_BUFFER = 1 << 24


class AfPacketPort:
    """A port on a network interface of this process's namespace.

    Parameters
    ----------
    interface : str
        The interface's name.
    mac : str, optional
        A MAC address of the router's own, as 02:00:00:00:00:01; by default the interface's. With its own,
        what is sent to the router is never also handled by this namespace's kernel, which sees it as
        another host's: it answers nothing, forwards nothing, and spends less time.
    promiscuous : bool
        Also receive frames that are not for its MAC address (they reach veths in any case).
    frames : int
        Frames that the receive ring holds, of 68 KiB each, so that a super-frame fits; rounded up to a multiple of 15.
        Where a service keeps state, replicas save it every half ring: large tables want more frames. Of ports that
        share a channel the greatest number counts.
    coalesce : bool
        Hand packets of one flow that leave one behind the other to the kernel as one super-frame, if the kernel
        cuts it for this device (`ethtool -k` says that tx-udp-segmentation, tx-tcp-segmentation are off): it
        then sends the same frames in half the time. What a device would take whole is never made.

    Attributes
    ----------
    number, mac, mtu : int
        Of the interface, once open; the number is the kernel's index.
    transmits : numpy.ndarray
        For the compiled loops, shared: a `TRANSMIT` for each replica.
    """

    operations = PortOperations(TRANSMIT, enqueue, flush)

    def __init__(
        self,
        interface: str,
        mac: str | None = None,
        promiscuous: bool = False,
        frames: int = FRAMES,
        coalesce: bool = True,
    ) -> None:
        if not 0 < len(interface.encode()) < 16:
            raise PortError(f"interface {interface!r}: a name has 1 to 15 bytes")
        if not 64 <= frames <= 1 << 15:
            raise PortError(f"port {interface}: a ring of {frames} frames; give 64 to {1 << 15}")
        self.interface, self.promiscuous, self.frames, self.coalesce = interface, promiscuous, frames, coalesce
        self.own_mac = None if mac is None else mac_number(mac)
        self.number = self.mac = self.mtu = 0
        self._asker: socket.socket | None = None
        self._senders: list[socket.socket] = []

    def __repr__(self) -> str:
        return f"AfPacketPort({self.interface!r})"

    def open(self, index: int) -> None:
        """Look at the interface, for the port of number `index`; make room for the sending side.

        Raises
        ------
        PortError
            If there is no such interface, it is down, or raw sockets are not allowed.
        """
        self._asker = raw_socket(self.interface)
        self._read_interface()
        self.transmits = shared(MOST_REPLICAS, TRANSMIT)
        self._lines: list[np.ndarray] = []

    def channel(self, ports: Mapping[int, Any], replicas: int, keeps: bool) -> KernelRing:
        """The one channel by which packets come from all these ports, of this class and open.

        Raises
        ------
        PortError
            If the kernel makes no ring of this size.
        """
        return KernelRing(ports, replicas, keeps)

    def enlist(self, replica: int) -> None:
        """Make ready for one more replica: a sending socket of its own."""
        sender = self._sender()
        self._senders.append(sender)
        transmit = self.transmits[replica : replica + 1]
        self._lines.append(new_line(transmit))
        transmit["socket"], transmit["number"] = sender.fileno(), -1
        transmit["coalesce"] = self._cut_by_kernel() if self.coalesce else 0
        transmit["longest"] = self.mtu + ETHERNET_HEADER

    def _sender(self) -> socket.socket:
        sender = raw_socket(self.interface)  # of protocol 0: it receives nothing
        sender.setsockopt(SOL_PACKET, VNET_HEADER_OPTION, 1)
        # Not PACKET_QDISC_BYPASS: it refuses super-frames that the kernel has to cut for the device, hides
        # what is sent from tcpdump, and is no faster on a veth.
        with suppress(OSError):  # beyond the limit only with CAP_NET_ADMIN of the first user namespace
            sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
        sender.setblocking(False)
        try:
            sender.bind((self.interface, 0))
        except OSError as error:
            sender.close()
            raise PortError(f"port {self.interface}: cannot send: {error.strerror}; is it still there?") from error
        return sender

    def _ask(self, request: int) -> bytes:
        """What the kernel says of the interface (netdevice(7))."""
        assert self._asker
        return fcntl.ioctl(self._asker, request, struct.pack("16s24x", self.interface.encode()))[16:]

    def _read_interface(self) -> None:
        try:
            wanted = (SIOCGIFFLAGS, SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFINDEX)
            flags, mtu, hardware, number = (self._ask(request) for request in wanted)
        except OSError as error:
            names = ", ".join(name for _, name in socket.if_nameindex())
            raise PortError(f"port {self.interface}: there is no such interface here; there are {names}") from error
        if not struct.unpack_from("H", flags)[0] & IFF_UP:
            raise PortError(f"port {self.interface}: the interface is down; ip link set {self.interface} up")
        kind = struct.unpack_from("H", hardware)[0]
        if kind not in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
            raise PortError(f"port {self.interface}: not an Ethernet interface (type {kind})")
        self.number = struct.unpack_from("i", number)[0]
        self.mtu = struct.unpack_from("i", mtu)[0]
        self.mac = self.own_mac or int.from_bytes(hardware[2:8], "big")

    def _cut_by_kernel(self) -> int:
        """The protocols whose super-frames the kernel cuts, as the device does not take them."""
        from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool  # here: it takes a tenth of a second

        ethtool = IoctlEthtool(self.interface)
        try:
            takes = ethtool.get_features()
            features = ((UDP, "tx-udp-segmentation"), (TCP, "tx-tcp-segmentation"))
            return sum(protocol for protocol, name in features if name in takes and not takes[name])
        except (EthtoolError, OSError):
            return 0
        finally:
            ethtool.close()

    def is_up(self) -> bool:
        """False if the interface is down or gone; one made anew under its name is another."""
        try:
            same = struct.unpack_from("i", self._ask(SIOCGIFINDEX))[0] == self.number
            return same and bool(struct.unpack_from("H", self._ask(SIOCGIFFLAGS))[0] & IFF_UP)
        except OSError:
            return False

    def transmitted(self) -> dict[str, int]:
        """Frames that the kernel took from all replicas, those of them made here, those it refused by reason."""
        names = {
            "sent": "sent",
            "made": "made",
            "full": "tx-full",
            "too_big": "tx-too-big",
            "down": "tx-down",
            "refused": "tx-refused",
        }
        return {name: int(self.transmits[field].sum()) for field, name in names.items()}

    def resume(self, replica: int) -> None:
        """Forget what a dead `replica` had not sent."""
        self.transmits["count"][replica] = 0

    def close(self) -> None:
        """Close the sockets."""
        for each in (self._asker, *self._senders):
            if each:
                each.close()
        self._asker = None
        self._senders.clear()


if TYPE_CHECKING:
    _conforms: type[Port] = AfPacketPort
