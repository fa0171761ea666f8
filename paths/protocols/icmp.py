"""ICMP: echo replies for the router's addresses, and errors (RFC 792, RFC 1812 section 4.3).

Usage: Icmp(name, errors_per_second, burst)
Requires: icmp, icmp-error.
Drops: too-short, icmp-bad-checksum, icmp-unhandled, icmp-not-allowed, icmp-rate-limited.
"""

from typing import Any

import numpy as np

from scout.io.access import (
    length,
    load8,
    load16,
    load32,
    require,
    store8,
    store16,
    store32,
    sum16,
    trim,
    within,
)
from scout.io.packet import GSO_NONE
from scout.paths.model.graph import GraphError, Router, RouterGraph
from scout.paths.model.stage import Outcome, Stage, Table, Via, drop
from scout.paths.wire import icmp, ipv4
from scout.paths.wire.icmp import is_error
from scout.paths.wire.ipv4 import header_length

__all__ = ["Icmp", "error", "receive"]

OUR_TTL = 64
LONGEST_ERROR = 576  # RFC 1812 section 4.3.2.3: quote as much as keeps the error within this
CONTROL = 0xC0  # precedence "internetwork control", RFC 1812 section 4.3.2.5
SECOND = 1_000_000_000

TOO_SHORT, BAD_SUM, UNHANDLED = drop("too-short"), drop("icmp-bad-checksum"), drop("icmp-unhandled")
NOT_ALLOWED, RATE_LIMITED = drop("icmp-not-allowed"), drop("icmp-rate-limited")


def receive(frame: Any, end: Any, packet: Any) -> int:
    """Turn an echo request into its reply (RFC 1812 section 4.3.3.6)."""
    header = header_length(frame, 0)
    size = length(frame, end, packet) - header
    if size < icmp.HEADER or not require(frame, end, header + size):
        return TOO_SHORT
    if sum16(frame, header, size) != 0xFFFF:
        return BAD_SUM
    if load8(frame, header + icmp.TYPE) != icmp.ECHO or load8(frame, header + icmp.CODE) != 0 or packet.link_broadcast:
        return UNHANDLED
    store8(frame, header + icmp.TYPE, icmp.ECHO_REPLY)
    # Anew: an update of the sum (RFC 1624) would give 0 for a message of zeros, and only 0xFFFF is right.
    store16(frame, header + icmp.CHECKSUM, 0)
    store16(frame, header + icmp.CHECKSUM, ~sum16(frame, header, size))
    source = load32(frame, ipv4.SOURCE)
    store32(frame, ipv4.SOURCE, load32(frame, ipv4.DESTINATION))
    store32(frame, ipv4.DESTINATION, source)
    store8(frame, ipv4.TTL, OUR_TTL)
    return 0


def error(frame: Any, end: Any, packet: Any, limit: Any, interval: int, burst: int) -> int:
    """Write an error before the packet that caused it; `route` fills in source and checksum.

    None is sent about an error, a broadcast, a multicast or a later fragment (RFC 1812 section 4.3.2.7).
    """
    cause = ipv4.HEADER + icmp.HEADER  # where the packet begins
    if load16(frame, cause + ipv4.FRAGMENT) & ipv4.OFFSET or packet.link_broadcast:
        return NOT_ALLOWED
    if load8(frame, cause + ipv4.PROTOCOL) == ipv4.ICMP:
        header = header_length(frame, cause)
        if not require(frame, end, cause + header + 1):
            return NOT_ALLOWED
        if is_error(load8(frame, cause + header + icmp.TYPE)):
            return NOT_ALLOWED
    if not within(limit, 0, packet.timestamp, interval, burst):
        return RATE_LIMITED
    total = min(length(frame, end, packet), LONGEST_ERROR)
    trim(frame, end, packet, total)
    store32(frame, 0, 0x45 << 24 | CONTROL << 16 | total)
    store32(frame, 4, ipv4.DONT_FRAGMENT)  # identification 0, don't fragment: an atomic datagram (RFC 6864)
    store32(frame, ipv4.TTL, OUR_TTL << 24 | ipv4.ICMP << 16)
    store32(frame, ipv4.SOURCE, 0)
    store32(frame, ipv4.DESTINATION, load32(frame, cause + ipv4.SOURCE))
    store32(frame, ipv4.HEADER + icmp.TYPE, packet.error >> 16 << 16)
    store32(frame, ipv4.HEADER + icmp.REST, packet.error & 0xFFFF)
    store16(frame, ipv4.HEADER + icmp.CHECKSUM, ~sum16(frame, ipv4.HEADER, total - ipv4.HEADER))
    packet.flags = 0
    packet.gso_type = GSO_NONE
    return 0


class Icmp(Router):
    """ICMP for the router's own addresses.

    Parameters
    ----------
    name : str
    errors_per_second : float
        Errors sent at most, by all replicas together (RFC 1812 section 4.3.2.8).
    burst : int
        How many may go out at once.
    """

    requires = {"messages": "icmp", "errors": "icmp-error"}

    def __init__(self, name: str, errors_per_second: float = 1000.0, burst: int = 50) -> None:
        super().__init__(name)
        if not 0 < errors_per_second <= SECOND or burst < 1:
            raise GraphError(f"{name}: {errors_per_second} errors a second, burst {burst}; give more than 0 of both")
        self.interval = int(SECOND / errors_per_second)
        self.burst = self.interval * (burst - 1)
        # All replicas run this stage where an error leads to replicated work, and then they have to decide alike.
        self.limit = Table(np.zeros(1, np.int64), "shared", may_replicate=True)

    def arrive(self, service: str, below: bool) -> str:
        return "in" if service == "messages" else "error"

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
        if key == "in":
            return Stage(receive, (Outcome("reply", Via("messages")),), payload=True)
        bindings: dict[str, Any] = {"limit": self.limit, "interval": self.interval, "burst": self.burst}
        outcomes = (Outcome("error", Via("messages")),)
        return Stage(error, outcomes, bindings, push=ipv4.HEADER + icmp.HEADER, resizes=True)
