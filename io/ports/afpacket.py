"""Ports on AF_PACKET sockets: any NIC or veth (packet(7)).

Packets come by the kernel's receive ring (`scout.io.channels.kernel_ring`). They leave by `scout.io.transmit.queue`;
each replica has sockets of its own. A packet leaves with the virtio-net header that it came with, so that TCP passes
with the offloads that veths have by default. The checksum of a packet may be completed on the way.

A port may have no interface at first: `AfPacketPort()` is a place for one, which `AddPort` gives to a running router,
and `DeletePort` takes away again. Meanwhile nothing comes, and what is sent there is dropped as tx-down. The place has
its receive ring and its sockets from the start.

Drops
    ring-full: the kernel finds no free frame in the receive ring; the router is overloaded.
    tx-full: the kernel has no room for a packet to send.
    tx-too-big: a packet is longer than the interface's MTU allows.
    tx-down: the interface is down, or has no carrier; or the port has no interface.
    tx-refused: the kernel refuses a packet for another reason.

Example
    AfPacketPort("eth0")
"""

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from scout.io.channels.kernel_ring import KernelRing
from scout.io.channels.packet_socket import SOL_PACKET, VNET_HEADER_OPTION, bind, raw_socket
from scout.io.ports.bypass import UNKNOWN, Bypass
from scout.io.ports.contract import Port, PortError, PortOperations, mac_of_port
from scout.io.ports.interface import DOWN, NO_CARRIER, NO_INTERFACE, Interface
from scout.io.ports.reservation import reserve
from scout.io.system import VNET_HEADER
from scout.io.transmit.frames import CHUNK_BYTES, LONGEST_FRAME, PLACES
from scout.io.transmit.queue import TRANSMIT, enqueue, flush, new_line
from scout.io.transmit.xdp_socket import XdpSocket
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import address, shared

__all__ = ["AfPacketPort"]

SO_SNDBUFFORCE = 32  # asm-generic/socket.h
ETHERNET_HEADER = 14
FRAMES, LONGEST = 2048, 1 << 16
SEND_BUFFER = 1 << 24  # bytes
_LOOK = 1.0  # seconds between two looks whether frames may bypass the queueing discipline: one takes some 200 µs


class AfPacketPort:
    """A port on a network interface of this process's namespace.

    Parameters
    ----------
    interface : str, optional
        The interface's name; by default the port has none yet.
    mac : str, optional
        A MAC address of the router's own, as 02:00:00:00:00:01; by default the interface's. This namespace's kernel
        takes frames to a MAC address of the router's own for frames to another host: it neither answers nor forwards
        them, which also saves time.
    promiscuous : bool
        True to receive frames to other MAC addresses too (a veth receives them in any case).
    frames : int
        Frames that the receive ring holds; rounded up to fill whole blocks of memory. Where a service keeps state,
        replicas save it every half ring: large tables want more frames. Of ports that share a channel the greatest
        number counts.
    coalesce : bool
        True to give consecutive packets of one flow to the kernel as one super-frame, if the kernel cuts it for this
        device (`ethtool -k` shows tx-udp-segmentation or tx-tcp-segmentation off): it then sends the same frames in
        half the time. A device that cuts super-frames itself is never given one.
    bypass : bool or None
        By default (None) single frames leave by an AF_XDP socket, for which the kernel takes less time, while nothing
        is passed by: the interface is a veth without a queueing discipline, nothing captures its frames, and it has no
        hooks for outgoing frames (filters of tc, BPF programs, chains of nft). The port looks once a second, so a
        filter or tcpdump may miss the frames of the first second. Where it cannot find out (as root of a user namespace
        may not ask for BPF programs) frames leave by AF_PACKET, as always with False. True sends them past hooks too.
        An interface that comes while packets flow has no such socket. No other program can use AF_XDP on the
        interface's first queue meanwhile.
    longest : int
        Bytes that a slot of the receive ring has for a frame, with its Ethernet header: by default 64 KiB, as a
        super-frame may come. Where none comes (no GRO at the interface, no segmentation offload at a veth's far end),
        1514 makes the ring a fortieth as large, and the router faster. A longer frame that comes nevertheless has no
        bytes for the path, which drops it as too-long-for-slot. Of ports that share a channel the greatest number
        counts.

    Attributes
    ----------
    interface : str
        The interface's present name; empty if there is none.
    number : int
        The kernel's index of the interface, which it keeps when it is renamed; valid once open.
    mac : int
        The router's MAC address here, 48 bits; valid once open.
    mtu : int
        Bytes of the longest IP packet that the interface takes at present; valid once open.
    came_later : bool
        True if the interface came when the port was open.
    transmits : numpy.ndarray
        A `TRANSMIT` for each possible replica, shared with the compiled loops.
    """

    operations = PortOperations(TRANSMIT, enqueue, flush)

    def __init__(
        self,
        interface: str | None = None,
        mac: str | None = None,
        promiscuous: bool = False,
        frames: int = FRAMES,
        coalesce: bool = True,
        bypass: bool | None = None,
        longest: int = LONGEST,
    ) -> None:
        if interface is None and mac is not None:
            raise PortError(f"a port without an interface, and MAC address {mac}; give that with the interface")
        if interface is not None:
            _check_name(interface)
        if not 64 <= frames <= 1 << 15:
            raise PortError(f"port {interface or ''}: a ring of {frames} frames; give 64 to {1 << 15}")
        if not 64 <= longest <= LONGEST:
            raise PortError(f"port {interface or ''}: frames of up to {longest} bytes; give 64 to {LONGEST}")
        self.interface, self.promiscuous, self.frames, self.coalesce = interface or "", promiscuous, frames, coalesce
        self.bypass, self.longest, self.came_later = bypass, longest, False
        self.own_mac = None if mac is None else mac_of_port(self.interface, mac)
        self.number = self.mtu = 0
        self.mac = self.own_mac or 0
        self._asker: socket.socket | None = None
        self._interface: Interface | None = None
        self._reservation: socket.socket | None = None
        self._senders: list[socket.socket] = []
        self._bypass: Bypass | None = None
        self._hindrance, self._no_socket, self._next_look = "", "", 0.0
        self._express: dict[int, XdpSocket] = {}
        self._lock = threading.RLock()  # the supervisor's watcher looks at the interface that comes or goes

    def __repr__(self) -> str:
        return f"AfPacketPort({self.interface!r})" if self.interface else "AfPacketPort()"

    @property
    def options(self) -> dict[str, Any]:
        """The parameters of the class but the interface, as they are now."""
        names = ("promiscuous", "frames", "coalesce", "bypass", "longest")
        return {"mac": self.own_mac, **{name: getattr(self, name) for name in names}}

    def open(self, index: int) -> None:
        """Reserve the interface, for the port of index `index`, and make the memory of the sending side.

        Raises
        ------
        PortError
            If there is no such interface, it is down, raw sockets are not allowed, or another process runs a router
            there.
        """
        self.transmits = shared(MOST_REPLICAS, TRANSMIT)
        self.transmits["no_carrier"] = not self.interface
        self._lines: list[np.ndarray] = []
        if self.interface:
            self._reserve()
        if self.interface and self.bypass is not False:
            try:
                self._bypass = Bypass(self.number, past_hooks=self.bypass is True)
            except OSError:  # a system whose kernel cannot be asked
                self._no_socket = UNKNOWN
            self._chunks = shared((min(len(os.sched_getaffinity(0)), MOST_REPLICAS), CHUNK_BYTES), np.uint8)

    def _reserve(self) -> None:
        """Find the interface, and reserve it."""
        self._asker = raw_socket(self.interface)
        self._interface = interface = Interface(self._asker, self.interface)
        self.number, self.mtu, self.mac = interface.number, interface.mtu, self.own_mac or interface.mac
        self._reservation = reserve(self.interface, self.number, self.mac)

    def plug(self, interface: str, mac: str | None = None, promiscuous: bool = False, coalesce: bool = True) -> None:
        """Give the open port, which has none, an interface; the parameters are those of the class.

        Raises
        ------
        PortError
            As of `open`; then the port has none.
        """
        _check_name(interface)
        with self._lock:
            try:
                self.own_mac = None if mac is None else mac_of_port(interface, mac)
                self.interface, self.promiscuous, self.coalesce = interface, promiscuous, coalesce
                self.came_later, self.bypass = True, False  # its memory is made when it is opened with an interface
                self._reserve()
                self._attach(self._senders)
                self.refresh()
            except BaseException:
                self.unplug()
                raise

    def unplug(self) -> None:
        """Take the interface from the open port: what replicas send there from now on is counted as tx-down."""
        with self._lock:
            self.transmits["no_carrier"] = True
            for sender in self._senders:
                bind(sender, 0, 0)
            self._let_go()
            self.interface, self.own_mac = "", None
            self.number = self.mtu = self.mac = 0

    def channel(self, ports: Mapping[int, Any], replicas: int, keeps: bool) -> KernelRing:
        """Make the one channel by which packets come from all these ports.

        Raises
        ------
        PortError
            If the kernel refuses a ring of this size.
        """
        return KernelRing(ports, replicas, keeps)

    def enlist(self, replica: int) -> None:
        """Prepare the sending side of one more replica: sockets of its own, and room for its messages."""
        with self._lock:
            self.refresh()
            transmit = self.transmits[replica : replica + 1]
            self._lines.append(new_line(transmit))
            transmit["number"] = -1
            self._equip(replica)
            if self.interface:
                self._attach(self._senders[-2:])
            if self._bypass and replica < len(self._chunks) and self._bypass.possible():
                try:
                    self._equip_express(replica)
                except OSError as error:  # there are no such sockets, or another one has the interface's queue
                    self._no_socket = f"no AF_XDP socket: {error.strerror}"
                self._next_look = 0.0
                self.refresh()

    def _equip_express(self, replica: int) -> None:
        """Give a replica that is not forked yet an AF_XDP socket: of more replicas than cores the last have none."""
        first = next(iter(self._express.values()), None)
        express = XdpSocket(self.number, self._chunks, PLACES, first)
        with suppress(OSError):
            express.socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
        self._express[replica] = express
        transmit = self.transmits[replica : replica + 1]
        transmit["xdp"] = express.ring["descriptor"]
        for name in ("producer", "consumer", "completed", "released", "descriptors"):
            transmit[name] = express.ring[name]
        transmit["chunks"], transmit["memory"] = address(self._chunks[replica]), replica * CHUNK_BYTES

    def _equip(self, replica: int) -> None:
        """Make the sockets of a replica, which send by no interface yet."""
        sender, plain = self._sender(virtio_net=True), self._sender(virtio_net=False)
        transmit = self.transmits[replica : replica + 1]
        transmit["socket"], transmit["plain_socket"] = sender.fileno(), plain.fileno()

    def _attach(self, senders: Sequence[socket.socket]) -> None:
        """Have these sockets send by the interface, and tell replicas what it takes."""
        assert self._interface
        for sender in senders:
            try:
                bind(sender, 0, self.number)
            except OSError as error:
                raise PortError(f"port {self.interface}: cannot send: {error.strerror}; is it still there?") from error
        self.transmits["coalesce"] = self._interface.cut_by_kernel() if self.coalesce else 0
        self.transmits["longest"] = self.mtu + ETHERNET_HEADER

    def _sender(self, virtio_net: bool) -> socket.socket:
        sender = raw_socket(self.interface)  # of protocol 0: it receives nothing
        self._senders.append(sender)
        sender.setsockopt(SOL_PACKET, VNET_HEADER_OPTION, int(virtio_net))
        # Not PACKET_QDISC_BYPASS: it refuses super-frames that the kernel has to cut for the device, hides sent frames
        # from tcpdump, and is no faster on a veth.
        with suppress(OSError):  # a buffer beyond the limit needs CAP_NET_ADMIN in the first user namespace
            sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
        sender.setblocking(False)
        return sender

    def descriptors(self) -> list[int]:
        """The sockets that replicas send by."""
        return [each.fileno() for each in (*self._senders, *(express.socket for express in self._express.values()))]

    @property
    def way(self) -> str:
        """The kind of socket by which single frames leave at present: AF_XDP or AF_PACKET."""
        return "AF_XDP" if any(self.transmits["longest_frame"]) else "AF_PACKET"

    @property
    def hindrance(self) -> str:
        """Why single frames do not leave by AF_XDP at present; empty if they do."""
        if not self.interface:
            return NO_INTERFACE
        if self.bypass is False:
            return "the interface came later" if self.came_later else "bypass=False"
        return self._hindrance or ("" if self._express else self._no_socket)

    @property
    def bypassed(self) -> int:
        """How many frames left past the queueing discipline."""
        return sum(express.taken for express in self._express.values())

    def fault(self) -> str:
        """The reason why the interface carries no packets; an interface made again under its name is another one."""
        with self._lock:
            if self._interface:
                return self._interface.fault()
            return DOWN if self.interface else NO_INTERFACE

    def refresh(self) -> None:
        """Learn the interface's present name and MTU, and whether it has a carrier."""
        with self._lock:
            if self._interface and self._interface.refresh():
                self.interface, self.mtu = self._interface.name, self._interface.mtu
                # Only this process writes these. Plain stores: a replica that reads an old one is refused by the
                # kernel, or sends or drops one more batch.
                self.transmits["longest"] = self.mtu + ETHERNET_HEADER
                self.transmits["no_carrier"] = self.fault() == NO_CARRIER
                if self._bypass and time.monotonic() >= self._next_look:
                    self._next_look = time.monotonic() + _LOOK
                    self._hindrance = self._bypass.hindrance()
                if self._express:
                    longest = 0 if self._hindrance else VNET_HEADER + min(LONGEST_FRAME, self.mtu + ETHERNET_HEADER)
                    self.transmits["longest_frame"][list(self._express)] = longest

    def warnings(self) -> list[str]:
        """The ways in which the kernel also handles the packets, if the port uses the interface's MAC address."""
        return [] if self.own_mac or not self._interface else self._interface.kernel_duties()

    def transmitted(self) -> dict[str, int]:
        """Frames that the kernel took, those of them that the router made itself, and those refused, by reason."""
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
        """Prepare the sending side for the successor of a dead replica: what that one had added is not sent."""
        self.transmits["count"][replica] = self.transmits["offloads"][replica] = 0
        if replica in self._express:
            self._express[replica].cancel()

    def close(self) -> None:
        """Close the sockets."""
        with self._lock:
            self._let_go()
            for sender in self._senders:
                sender.close()
            self._senders.clear()

    def _let_go(self) -> None:
        """Close what belongs to the interface."""
        if self._express:
            self.transmits["longest_frame"] = 0
        for each in (self._asker, self._reservation, self._bypass, *(each.socket for each in self._express.values())):
            if each:
                each.close()
        self._asker = self._interface = self._reservation = self._bypass = None
        self._express.clear()


def _check_name(interface: str) -> None:
    if not isinstance(interface, str) or not 0 < len(interface.encode()) < 16:
        raise PortError(f"interface {interface!r}: a name has 1 to 15 bytes")


if TYPE_CHECKING:
    _conforms: type[Port] = AfPacketPort
