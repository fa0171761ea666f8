"""Questions to the kernel by netlink(7), put so often or so early that pyroute2 would take too long."""

import os
import socket
import struct

__all__ = ["Netlink", "attributes"]

# linux/netlink.h
_REQUEST, _MULTI, _INTERRUPTED, _DUMP = 0x1, 0x2, 0x10, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, number, port
_ANSWER = 1 << 16  # bytes that the kernel sends at once, at most
_PATIENCE = 1.0  # seconds: the kernel answers before `send` returns, so an answer that is not there then will not come


class Netlink:
    """A socket to the kernel, in the network namespace of the thread that makes it.

    Parameters
    ----------
    family : int
        The part of the kernel that is asked, such as `socket.NETLINK_ROUTE`.

    Raises
    ------
    OSError
        If the kernel has no such part.
    """

    def __init__(self, family: int) -> None:
        self._socket, self._number = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family), 0
        self._socket.settimeout(_PATIENCE)

    def ask(self, kind: int, body: bytes, dump: bool = False) -> list[tuple[int, bytes]]:
        """Send a message of type `kind`, and return the types and the bodies of those that answer it.

        Parameters
        ----------
        kind : int
        body : bytes
            The bytes behind the message's header.
        dump : bool
            True to ask for all objects of a kind.

        Raises
        ------
        OSError
            If the kernel answers so or not at all, or the objects changed while it listed them.
        """
        self._number += 1
        flags = _REQUEST | (_DUMP if dump else 0)
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._number, 0) + body)
        found: list[tuple[int, bytes]] = []
        while True:
            answer, at = self._socket.recv(_ANSWER), 0
            while at < len(answer):
                size, kind, flags, number, _ = _HEADER.unpack_from(answer, at)
                content = answer[at + _HEADER.size : at + size]
                at += max(size, _HEADER.size) + 3 & ~3
                if number != self._number:  # of a question whose answer was not understood
                    continue
                if kind in (_ERROR, _DONE):
                    code = -struct.unpack_from("=i", content)[0]
                    if code or flags & _INTERRUPTED:
                        raise OSError(code, os.strerror(code) if code else "changed meanwhile")
                    return found
                found.append((kind, content))
                if not flags & _MULTI:
                    return found

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of a netlink message by type."""
    found, at = {}, 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + size]
        at += size + 3 & ~3
    return found
