"""One process at a time for an interface and MAC address: two routers there would both answer every packet.

The reservation is a listening Unix socket with an abstract name (unix(7)): such names belong to a network namespace, as
the interface does, and are free again when the last process that has the socket open has ended, however it ended.
"""

import errno
import socket
import struct

from scout.io.ports.contract import PortError

__all__ = ["reserve"]


def reserve(interface: str, number: int, mac: int) -> socket.socket:
    """Reserve the interface of index `number` for this process and this MAC address, until the socket is closed.

    Raises
    ------
    PortError
        If another process has reserved it; names the process.
    """
    name = f"\0scout-port-{number}-{mac:012x}"
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(name)
        holder.listen()
    except OSError as error:
        holder.close()
        if error.errno != errno.EADDRINUSE:
            raise PortError(f"port {interface}: cannot be reserved: {error.strerror}") from error
        raise PortError(f"port {interface}: {_holder_of(name)} runs a router there already; stop that first") from error
    return holder


def _holder_of(name: str) -> str:
    """The process that has the reservation."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(1.0)
        try:
            asker.connect(name)
            pid = struct.unpack("3i", asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        except OSError:
            return "another process"
        return f"process {pid}"
