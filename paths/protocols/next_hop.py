"""Next hops: the rows that the routes of the FIB lead to."""

import numpy as np

from scout.paths.wire.address import ADDRESS

__all__ = [
    "BROADCAST",
    "CONNECTED",
    "GATEWAY",
    "KIND_NAMES",
    "LOCAL",
    "MARTIAN",
    "MULTICAST",
    "NEXT_HOP",
    "NEXT_HOP_6",
    "UNUSED",
]

GATEWAY, CONNECTED, LOCAL, MARTIAN, MULTICAST, BROADCAST, UNUSED = range(7)
KIND_NAMES = ("gateway", "connected", "local", "martian", "multicast", "broadcast", "unused")
"""The name of each kind, for people."""

NEXT_HOP = np.dtype(
    [
        ("kind", "i8"),  # packets are forwarded to GATEWAY and CONNECTED
        ("port", "i8"),  # index of the port
        ("address", "i8"),  # of the gateway; 0 if connected: the packet's own destination
        ("slot", "i8"),  # of the gateway in the table of adjacencies; -1 if it has no fixed one, or is connected
        ("source", "i8"),  # the router's address on that port
        ("spare", "i8", 3),
    ]
)
"""The next hop of a route. Addresses are numbers in host order."""

NEXT_HOP_6 = np.dtype(
    [
        ("kind", "i8"),
        ("port", "i8"),
        ("address", ADDRESS),
        ("slot", "i8"),
        ("source", ADDRESS),
        ("spare", "i8", 1),
    ]
)
"""The same of IPv6, in as many bytes."""
