"""The flags of an interface (netdevice(7)). The sandbox imports this, before anything that starts threads."""

import fcntl
import socket
import struct

__all__ = ["IFF_RUNNING", "IFF_UP", "SIOCGIFFLAGS", "bring_up"]

SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914  # linux/sockios.h

IFF_UP, IFF_RUNNING = 0x1, 0x40
"""The interface is up; it is up and has a carrier (linux/if.h)."""

_IFREQ = "16sH22x"  # struct ifreq with ifr_flags


def bring_up(asker: socket.socket, name: str) -> None:
    """Bring an interface up, of the network namespace that the socket `asker` belongs to.

    Raises
    ------
    OSError
        If there is no such interface, or the process may not.
    """
    found = fcntl.ioctl(asker, SIOCGIFFLAGS, struct.pack(_IFREQ, name.encode(), 0))
    _, flags = struct.unpack(_IFREQ, found)
    fcntl.ioctl(asker, _SIOCSIFFLAGS, struct.pack(_IFREQ, name.encode(), flags | IFF_UP))
