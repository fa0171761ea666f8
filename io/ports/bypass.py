"""Whether frames may leave an interface past its queueing discipline (`scout.io.transmit.frames`).

They may on a veth pair, if its discipline queues nothing, as is the default, and if nothing captures frames there.
"""

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

__all__ = ["Bypass"]

# linux/rtnetlink.h, linux/if_link.h
_GET_LINK, _NEW_LINK, _REQUEST, _QDISC, _LINK_INFO, _INFO_KIND = 18, 16, 1, 6, 18, 1
_ALL = "0003"  # ETH_P_ALL, as /proc/net/packet has it
_ANSWER = 1 << 15  # bytes that are enough for the description of one interface


class Bypass:
    """Asks the kernel about an interface of the network namespace that the calling thread is in.

    Parameters
    ----------
    number : int
        The kernel's index of the interface.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._own: set[int] = set()  # inodes of this process's sockets that were looked for
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        # The file stays that of this namespace, whatever thread reads it later.
        self._packet_sockets = Path("/proc/thread-self/net/packet").open()  # noqa: SIM115 - `close` closes it

    def allowed(self) -> bool:
        """True if the interface is a veth without a queue, and no other program captures its frames."""
        try:
            kind, discipline = self._link()
            return kind == "veth" and discipline == "noqueue" and not self._captured()
        except (OSError, ValueError, struct.error):  # also if the kernel describes it in a way that is not understood
            return False

    def _link(self) -> tuple[str, str]:
        """The interface's kind and its queueing discipline."""
        about = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, self._number, 0, 0)  # struct ifinfomsg
        self._netlink.send(struct.pack("=IHHII", 16 + len(about), _GET_LINK, _REQUEST, 0, 0) + about)
        answer = self._netlink.recv(_ANSWER)
        size, message = struct.unpack_from("=IH", answer)
        if message != _NEW_LINK:
            raise ValueError("no description of the interface")
        attributes = _attributes(answer[32:size])
        kind = _attributes(attributes.get(_LINK_INFO, b"")).get(_INFO_KIND, b"")
        return kind.rstrip(b"\0").decode(), attributes.get(_QDISC, b"").rstrip(b"\0").decode()

    def _captured(self) -> bool:
        """True if another process has a packet socket that sees all frames of the interface, as tcpdump has."""
        self._packet_sockets.seek(0)
        found = set()
        for line in self._packet_sockets.readlines()[1:]:
            fields = line.split()  # sk, references, type, protocol, interface, running, memory, user, inode
            if fields[3] == _ALL and int(fields[4]) in (0, self._number):
                found.add(int(fields[8]))
        if found - self._own:
            self._own = found & _own_sockets()
        return bool(found - self._own)

    def close(self) -> None:
        """Close the socket and the file."""
        self._netlink.close()
        self._packet_sockets.close()


def _attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of a netlink message by type."""
    found, at = {}, 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + size]
        at += size + 3 & ~3
    return found


def _own_sockets() -> set[int]:
    """Inodes of the sockets of this process."""
    inodes = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes
