"""A router as one would write it with Python's raw sockets: the same work as Scout's path, a packet at a time."""

import os
import socket
import struct
from ipaddress import IPv4Address, IPv4Network

__all__ = ["serve"]

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23


def serve(core: int, incoming: str, outgoing: str, own: bytes, routes: dict[str, bytes]) -> None:
    """Forward what comes for MAC address `own` from one interface to another until killed.

    `routes` has the next hop's MAC address for each prefix.
    """
    os.sched_setaffinity(0, [core])
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    receiver.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    receiver.bind((incoming, ETH_P_ALL))
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.bind((outgoing, 0))
    source = sender.getsockname()[4]
    networks = sorted(((IPv4Network(prefix), mac) for prefix, mac in routes.items()), key=lambda r: -r[0].prefixlen)
    known: dict[bytes, bytes | None] = {}
    header = struct.Struct("!10H")
    while True:
        frame = receiver.recv(65536)
        if frame[:6] != own or frame[12:14] != b"\x08\x00" or frame[14] != 0x45 or len(frame) < 34:
            continue
        words = header.unpack_from(frame, 14)
        total = sum(words)
        if (total & 0xFFFF) + (total >> 16) != 0xFFFF or words[1] > len(frame) - 14:
            continue
        destination = frame[30:34]
        if destination not in known:
            address = IPv4Address(destination)
            known[destination] = next((mac for network, mac in networks if address in network), None)
        mac = known[destination]
        ttl = frame[22]
        if mac is None or ttl <= 1:
            continue
        checksum = (words[5] ^ 0xFFFF) + 0xFEFF
        checksum = ~((checksum & 0xFFFF) + (checksum >> 16)) & 0xFFFF
        changed = bytes((ttl - 1, frame[23], checksum >> 8, checksum & 255))
        sender.send(b"".join((mac, source, frame[12:22], changed, frame[26:])))
