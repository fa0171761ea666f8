"""Whether frames may leave an interface past its queueing discipline (`scout.io.transmit.frames`).

They may on a veth pair, if its discipline queues nothing, as is the default, and if nothing captures frames there.
Unless the user asks for it, they also may only where no hook for outgoing frames is passed by.
"""

import os
import socket
import struct
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from scout.io.host.netlink import Netlink, attributes
from scout.io.ports.egress_hooks import EgressHooks

__all__ = ["UNKNOWN", "Bypass"]

UNKNOWN = "the kernel does not tell"

# linux/rtnetlink.h, linux/if_link.h
_GET_LINK, _NEW_LINK, _QDISC, _LINK_INFO, _INFO_KIND = 18, 16, 6, 18, 1
_ALL = "0003"  # ETH_P_ALL, as /proc/net/packet has it


class Bypass:
    """Asks the kernel about an interface of the network namespace that the calling thread is in.

    Parameters
    ----------
    number : int
        The kernel's index of the interface.
    past_hooks : bool
        True if frames may also pass by hooks for outgoing ones.

    Raises
    ------
    OSError
        If the kernel cannot be asked.
    """

    def __init__(self, number: int, past_hooks: bool) -> None:
        self._number = number
        self._own: set[int] = set()  # inodes of this process's sockets that were looked for
        with ExitStack() as stack:
            # The file stays that of this namespace, whatever thread reads it later.
            self._packet_sockets = stack.enter_context(Path("/proc/thread-self/net/packet").open())
            self._netlink = stack.enter_context(closing(Netlink(socket.NETLINK_ROUTE)))
            self._hooks = None if past_hooks else stack.enter_context(closing(EgressHooks(number)))
            self._opened = stack.pop_all()

    def hindrance(self) -> str:
        """Why frames may not: no veth, a queue, or another that is to see them on their way out; empty if they may."""
        try:
            kind, discipline = self._link()
            if kind != "veth":
                return "the interface is no veth"
            if discipline != "noqueue":
                return f"the queueing discipline {discipline}"
            if self._captured():
                return "another program captures"
            return self._hooks.found() if self._hooks else ""
        except (OSError, ValueError, LookupError, struct.error):  # also if an answer is not understood
            return UNKNOWN

    def possible(self) -> bool:
        """True if frames may be allowed to at some time: on a veth whose hooks the kernel tells about."""
        try:
            if self._link()[0] != "veth":
                return False
            if self._hooks:
                self._hooks.found()
        except (PermissionError, ValueError, LookupError, struct.error):
            return False
        except OSError:  # for the moment
            pass
        return True

    def _link(self) -> tuple[str, str]:
        """The interface's kind and its queueing discipline."""
        about = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, self._number, 0, 0)  # struct ifinfomsg
        ((message, answer),) = self._netlink.ask(_GET_LINK, about)
        if message != _NEW_LINK:
            raise ValueError("no description of the interface")
        found = attributes(answer[16:])
        kind = attributes(found.get(_LINK_INFO, b"")).get(_INFO_KIND, b"")
        return kind.rstrip(b"\0").decode(), found.get(_QDISC, b"").rstrip(b"\0").decode()

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
        """Close the sockets and the file."""
        self._netlink.close()
        self._packet_sockets.close()
        if self._hooks:
            self._hooks.close()


def _own_sockets() -> set[int]:
    """Inodes of the sockets of this process."""
    inodes = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes
