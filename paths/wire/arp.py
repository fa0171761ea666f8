"""ARP for IPv4 over Ethernet (RFC 826)::

0          2          4      5      6           8             14            18            24
| hardware | protocol | size | size | operation | sender MAC  | sender IPv4 | target MAC  | target IPv4 |
"""

from typing import Any

from scout.io.access import load64, store16, store32, store48

__all__ = [
    "HARDWARE",
    "HEADER",
    "OPERATION",
    "REPLY",
    "REQUEST",
    "SENDER",
    "SENDER_MAC",
    "TARGET",
    "TARGET_MAC",
    "is_ethernet_ipv4",
    "write_arp",
]

HARDWARE, OPERATION, SENDER_MAC, SENDER, TARGET_MAC, TARGET = 0, 6, 8, 14, 18, 24
HEADER = 28

REQUEST, REPLY = 1, 2
"""Operations."""

ETHERNET_IPV4 = 0x0001_0800_0604  # the first 6 bytes: hardware Ethernet, protocol IPv4, addresses of 6 and 4 bytes


def is_ethernet_ipv4(frame: Any) -> bool:
    """True if the message is about IPv4 addresses on Ethernet; the caller has checked that it has `HEADER` bytes."""
    return load64(frame, HARDWARE) >> 16 & 0xFFFF_FFFF_FFFF == ETHERNET_IPV4


def write_arp(frame: Any, at: int, operation: int, mac: int, address: int, target_mac: int, target: int) -> None:
    """Write a whole message at `at`: `mac` and `address` are the sender's, numbers in host order."""
    store48(frame, at + HARDWARE, ETHERNET_IPV4)
    store16(frame, at + OPERATION, operation)
    store48(frame, at + SENDER_MAC, mac)
    store32(frame, at + SENDER, address)
    store48(frame, at + TARGET_MAC, target_mac)
    store32(frame, at + TARGET, target)
