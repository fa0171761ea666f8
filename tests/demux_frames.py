"""Frames of all kinds for demux, and a slow classifier of them that is obviously right."""

import struct
from ipaddress import IPv4Address
from typing import Any

from scout.paths.model.attributes import Attributes
from scout.paths.wire.checksum import checksum
from scout.paths.wire.ipv4 import DCCP, SCTP, TCP, UDP, UDP_LITE

ADDRESSES = [f"10.{second}.{third}.{fourth}" for second in (0, 1) for third in (0, 9) for fourth in (1, 2, 129)]
PORTS = [0, 1, 53, 5060, 5061, 5063, 65535]
PROTOCOLS = [1, 2, TCP, UDP, DCCP, SCTP, UDP_LITE]


def frame(
    source: str = ADDRESSES[0],
    destination: str = ADDRESSES[1],
    protocol: int = UDP,
    ports: tuple[int, int] = (1, 2),
    dscp: int = 0,
    fragment: int = 0,
    options: int = 0,
    version: int = 4,
    ethertype: int = 0x0800,
    payload: bytes = b"",
) -> bytes:
    """A frame with L4 ports, or what stands there, behind its IPv4 header, which has so many words of options."""
    ethernet = bytes.fromhex("020000000001 02000000000b") + struct.pack("!H", ethertype)
    size = 24 + 4 * options + len(payload)
    first = struct.pack("!BBHHHBB", version << 4 | 5 + options, dscp << 2 | 1, size, 0, fragment, 64, protocol)
    rest = IPv4Address(source).packed + IPv4Address(destination).packed + bytes([1] * 4 * options)
    total = checksum(first + bytes(2) + rest)
    return ethernet + first + struct.pack("!H", total) + rest + struct.pack("!HH", *ports) + payload


def fields_in(data: bytes) -> dict[str, Any] | None:
    """The fields of a frame by attribute, without those that it does not show; None if it is no good IPv4 packet."""
    if len(data) < 34 or data[12:14] != b"\x08\x00" or data[14] >> 4 != 4:
        return None
    size = (data[14] & 15) * 4
    if size < 20 or len(data) < 14 + size:
        return None
    found = {
        "source": IPv4Address(data[26:30]),
        "destination": IPv4Address(data[30:34]),
        "protocol": data[23],
        "dscp": data[15] >> 2,
    }
    is_fragment = int.from_bytes(data[20:22], "big") & 0x3FFF != 0
    if not is_fragment and data[23] in (TCP, UDP, DCCP, SCTP, UDP_LITE) and len(data) >= 18 + size:
        found["source_port"], found["destination_port"] = struct.unpack_from("!HH", data, 14 + size)
    return found


def takes(attributes: Attributes, data: bytes) -> bool:
    """True if a frame is part of the traffic that attributes describe."""
    found = fields_in(data)
    return found is not None and all(
        name in found and (found[name] == value if isinstance(value, int) else found[name] in value)
        for name, value in attributes.traffic.items()
    )
