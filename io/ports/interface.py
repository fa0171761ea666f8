"""A network interface as the kernel describes it (netdevice(7)), known by its index: its name may change in use."""

import ctypes
import errno
import fcntl
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

from scout.io.host.interface_flags import IFF_RUNNING, IFF_UP, SIOCGIFFLAGS
from scout.io.ports.contract import PortError
from scout.io.transmit.segment_rules import TCP, UDP

__all__ = ["DOWN", "NO_CARRIER", "NO_INTERFACE", "Interface"]

DOWN, NO_CARRIER, NO_INTERFACE = "is down or gone", "has no carrier", "has no interface"

# linux/sockios.h
_SIOCGIFNAME, _SIOCGIFADDR, _SIOCGIFMTU, _SIOCGIFHWADDR, _SIOCGIFINDEX, _SIOCETHTOOL = (
    0x8910,
    0x8915,
    0x8921,
    0x8927,
    0x8933,
    0x8946,
)
_ETHTOOL_GLINK = 0xA  # linux/ethtool.h
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772  # linux/if_arp.h
_TRIES = 8  # requests that are tried again as the interface was renamed meanwhile, at most


class Interface:
    """An interface of the network namespace that a socket belongs to.

    Parameters
    ----------
    asker : socket.socket
        Any socket; it stays the caller's.
    name : str
        The interface's name.

    Attributes
    ----------
    number : int
        The kernel's index, which the interface keeps.
    name : str
        Its name when `refresh` asked last.
    mtu : int
        Bytes of the longest IP packet, when `refresh` asked last.
    mac : int
        48 bits.

    Raises
    ------
    PortError
        If there is no such interface, it is down, or its packets are not Ethernet frames.
    """

    def __init__(self, asker: socket.socket, name: str) -> None:
        self._asker, self.name, self.number = asker, name, 0
        try:
            self.number = struct.unpack_from("i", self._ask(_SIOCGIFINDEX))[0]
            hardware = self._ask(_SIOCGIFHWADDR)
            self.mtu = self._mtu()
        except OSError as error:
            names = ", ".join(other for _, other in socket.if_nameindex())
            raise PortError(f"no interface {name} here; there are {names}") from error
        if self.fault() == DOWN:
            raise PortError(f"interface {name} is down; ip link set {name} up")
        self.kind = struct.unpack_from("H", hardware)[0]
        if self.kind not in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK):
            raise PortError(f"interface {name} is no Ethernet interface (type {self.kind})")
        self.mac = int.from_bytes(hardware[2:8], "big")

    def _ask(self, request: int, value: bytes = bytes(16)) -> bytes:
        """Ask by the interface's name, again if it was renamed meanwhile: the name may be another one's then."""
        answer: bytes | OSError = b""
        for _ in range(_TRIES):
            asked = self.name
            try:
                answer = fcntl.ioctl(self._asker, request, struct.pack("16s16s8x", asked.encode(), value))[16:]
            except OSError as error:
                answer = error
            if self.number:
                self.name = self._present_name()
            if self.name == asked:
                break
        else:
            answer = OSError(
                errno.EBUSY, f"interface {self.number} was renamed {_TRIES} times while it was asked about"
            )
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _present_name(self) -> str:
        answer = fcntl.ioctl(self._asker, _SIOCGIFNAME, struct.pack("16xi20x", self.number))
        return answer[:16].partition(b"\0")[0].decode()

    def _mtu(self) -> int:
        return struct.unpack_from("i", self._ask(_SIOCGIFMTU))[0]

    def refresh(self) -> bool:
        """Ask for the name and the MTU again; False if the interface is gone. Another of its name is not this one."""
        try:
            self.mtu = self._mtu()
        except OSError:
            return False
        return True

    def fault(self) -> str:
        """The reason why the interface carries no packets: `DOWN` or `NO_CARRIER`; empty if it carries them."""
        try:
            flags = struct.unpack_from("H", self._ask(SIOCGIFFLAGS))[0]
        except OSError:
            flags = 0
        if not flags & IFF_UP:
            return DOWN
        return "" if flags & IFF_RUNNING or self._has_carrier() else NO_CARRIER

    def _has_carrier(self) -> bool:
        """True if the interface has a carrier now.

        The kernel sets the flag for it up to a second late, unless it is asked in this way (linkwatch_sync_dev).
        """
        answer = (ctypes.c_uint32 * 2)(_ETHTOOL_GLINK, 0)  # struct ethtool_value
        with suppress(OSError):  # it is gone, or its driver does not know
            self._ask(_SIOCETHTOOL, struct.pack("Q8x", ctypes.addressof(answer)))
        return bool(answer[1])

    def cut_by_kernel(self) -> int:
        """The protocols (`UDP`, `TCP`) whose super-frames the kernel cuts, as the device does not take them."""
        from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool  # here: it takes a tenth of a second

        ethtool = IoctlEthtool(self.name)
        try:
            takes = ethtool.get_features()
            features = ((UDP, "tx-udp-segmentation"), (TCP, "tx-tcp-segmentation"))
            return sum(protocol for protocol, name in features if name in takes and not takes[name])
        except (EthtoolError, OSError):
            return 0
        finally:
            ethtool.close()

    def kernel_duties(self) -> list[str]:
        """The ways in which this namespace's kernel also handles the interface's packets, and how to switch each off.

        The kernel gets a copy of every packet that comes to the interface's own MAC address.
        """
        if self.kind == _ARPHRD_LOOPBACK:
            return []
        found = []
        with suppress(OSError):  # it has no address
            address = IPv4Address(self._ask(_SIOCGIFADDR)[4:8])
            found.append(
                f"the kernel has address {address} on {self.name} and answers there too; "
                f"ip address flush dev {self.name}, or give the port a mac of its own"
            )
        with suppress(OSError):
            if Path(f"/proc/sys/net/ipv4/conf/{self.name}/forwarding").read_text().strip() == "1":
                found.append(
                    f"the kernel forwards packets that come to {self.name} too; "
                    f"sysctl -w net.ipv4.conf.{self.name}.forwarding=0, or give the port a mac of its own"
                )
        return found
