"""Filters that the kernel runs on the frames of a socket, as programs of classic BPF (linux/filter.h).

Frames that a filter refuses cost the socket's process nothing.
"""

import ctypes
import socket
import struct
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from scout.ring.errors import ScoutError

__all__ = ["NO_FRAMES", "PROTOCOLS", "FrameFilter", "attach", "detach", "of_interfaces"]

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
_WORD, _HALF, _BYTE = 0x20, 0x28, 0x30  # BPF_LD | BPF_ABS, of 4, 2 and 1 bytes
_HALF_BEHIND = 0x48  # BPF_LD | BPF_H | BPF_IND: at an offset from X
_HEADER_LENGTH = 0xB1  # BPF_LDX | BPF_B | BPF_MSH: X = 4 * (byte & 15)
_EQUAL, _BITS, _RETURN = 0x15, 0x45, 0x06  # BPF_JMP | BPF_JEQ, BPF_JMP | BPF_JSET, BPF_RET
_PACKET_TYPE, _INTERFACE = 0xFFFFF000 + 4, 0xFFFFF000 + 8  # SKF_AD_OFF + SKF_AD_PKTTYPE, + SKF_AD_IFINDEX
_OUTGOING, _WHOLE = 4, 0xFFFF_FFFF  # PACKET_OUTGOING; all of the frame

_IPV4, _ARP = 0x0800, 0x0806
_ETHERTYPE, _PROTOCOL, _FRAGMENT, _HEADER = 12, 23, 20, 14  # offsets in an Ethernet frame with IPv4
_ADDRESSES = {_IPV4: (26, 30), _ARP: (28, 38)}  # source and destination; sender and target
_OFFSET = 0x1FFF

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "arp": 0}
"""The protocols that can be asked for; ARP has no protocol number of IPv4."""

_Step = tuple[int, int, int, int]
"""An instruction: its code, how many steps to skip if a comparison holds and if not, and its operand."""

_REFUSE, _PASS = (_RETURN, 0, 0, 0), (_RETURN, 0, 0, _WHOLE)

NO_FRAMES = [_REFUSE]
"""The program that passes no frame."""


def attach(sock: socket.socket, program: list[_Step]) -> None:
    """Have the kernel run a program on each frame before the socket gets it.

    Raises
    ------
    OSError
        If the kernel refuses the program.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    attached = struct.pack("HL", len(program), ctypes.addressof(code))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)


def detach(sock: socket.socket) -> None:
    """Have the kernel give the socket all frames."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def of_interfaces(indices: list[int]) -> list[_Step]:
    """The program that passes the frames of the interfaces with these indices."""
    program = [(_WORD, 0, 0, _INTERFACE)]
    program += [(_EQUAL, len(indices) - number, 0, index) for number, index in enumerate(indices)]
    return [*program, _REFUSE, _PASS]


@dataclass(frozen=True)
class FrameFilter:
    """Received frames with all of these; None stands for any.

    Parameters
    ----------
    host : str, optional
        An IPv4 address: source or destination of a packet, sender or target of an ARP message.
    port : int, optional
        An L4 port, source or destination of a packet that is no later fragment.
    protocol : str, optional
        "icmp", "tcp", "udp" or "arp".

    Raises
    ------
    ScoutError
        If one of them cannot be.
    """

    host: str | None = None
    port: int | None = None
    protocol: str | None = None

    def __post_init__(self) -> None:
        try:
            IPv4Address(self.host or 0)
        except AddressValueError as error:
            raise ScoutError(f"host {self.host!r} is not an IPv4 address; write it as 10.0.0.2") from error
        if self.port is not None and not 0 <= self.port < 1 << 16:
            raise ScoutError(f"L4 port {self.port}: give 0 to 65535")
        if self.protocol is not None and self.protocol not in PROTOCOLS:
            raise ScoutError(f"protocol {self.protocol!r}: use {', '.join(PROTOCOLS)}")
        if self.port is not None and self.protocol in ("icmp", "arp"):
            raise ScoutError(f"protocol {self.protocol} has no L4 ports; leave port {self.port} out")

    def program(self) -> list[_Step]:
        """The program that passes these frames, and none that this machine sends."""
        received = [(_WORD, 0, 0, _PACKET_TYPE), (_EQUAL, 0, 1, _OUTGOING), _REFUSE]
        if self.host is self.port is self.protocol is None:
            return [*received, _PASS]
        ways = [] if self.protocol == "arp" else [self._ipv4()]
        if self.port is None and self.protocol in (None, "arp"):
            ways.append(self._of_kind(_ARP, self._host(_ARP)))
        return [*received, *(step for way in ways for step in way), _REFUSE]

    def _ipv4(self) -> list[_Step]:
        tests: list[_Step] = []
        if self.protocol is not None:
            tests += _require((_BYTE, 0, 0, _PROTOCOL), PROTOCOLS[self.protocol])
        elif self.port is not None:
            # Other protocols have no L4 ports where TCP and UDP have them.
            tests += _require((_BYTE, 0, 0, _PROTOCOL), PROTOCOLS["tcp"], PROTOCOLS["udp"])
        tests += self._host(_IPV4)
        if self.port is not None:
            tests += [(_HALF, 0, 0, _FRAGMENT), (_BITS, 0, 1, _OFFSET), _REFUSE, (_HEADER_LENGTH, 0, 0, _HEADER)]
            tests += _either((_HALF_BEHIND, 0, 0, _HEADER), (_HALF_BEHIND, 0, 0, _HEADER + 2), self.port)
        return self._of_kind(_IPV4, tests)

    def _host(self, kind: int) -> list[_Step]:
        if self.host is None:
            return []
        source, destination = _ADDRESSES[kind]
        return _either((_WORD, 0, 0, source), (_WORD, 0, 0, destination), int(IPv4Address(self.host)))

    def _of_kind(self, ethertype: int, tests: list[_Step]) -> list[_Step]:
        """Pass frames of an ethertype if they pass the tests; go on behind these steps with others."""
        return [(_HALF, 0, 0, _ETHERTYPE), (_EQUAL, 0, len(tests) + 1, ethertype), *tests, _PASS]


def _require(load: _Step, *values: int) -> list[_Step]:
    """Refuse the frame unless what is loaded is one of the values."""
    return [load, *((_EQUAL, len(values) - number, 0, value) for number, value in enumerate(values)), _REFUSE]


def _either(one: _Step, other: _Step, value: int) -> list[_Step]:
    """Refuse the frame unless one of two loads gives the value."""
    return [one, (_EQUAL, 3, 0, value), other, (_EQUAL, 1, 0, value), _REFUSE]
