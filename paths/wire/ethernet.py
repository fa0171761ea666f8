"""Ethernet II (RFC 894)::

0                   6                   12          14
| destination       | source            | ethertype | payload
"""

__all__ = ["ARP", "BROADCAST", "DESTINATION", "ETHERTYPE", "GROUP", "HEADER", "IPV4", "IPV6", "MAC", "SOURCE"]

DESTINATION, SOURCE, ETHERTYPE = 0, 6, 12
HEADER = 14

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
"""Ethertypes."""

MAC = (1 << 48) - 1
"""The bits of a MAC address as a number."""

GROUP = 1 << 40
"""The bit that tells a group address from that of one station: the lowest of its first byte."""

BROADCAST = MAC
"""The address of all stations."""
