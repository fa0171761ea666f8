"""ICMP for IPv4: echo replies for the router's addresses, and errors (RFC 792, RFC 1812 section 4.3).

Usage: Icmp(name, errors_per_second, burst)
Requires: icmp, icmp-error.
Provides: icmp-transport (errors about packets of a transport, and packets to be answered with an error).

Echo requests are answered, and packets that cannot go on are answered with errors. Errors are limited to a rate for
each port where their causes come in, by all replicas together (RFC 1812 section 4.3.2.8). Where an error leads to
replicated work, the limit is a part of the replicated state, so that every replica decides alike.

Errors about packets of transports that stand on it, such as UDP, are given to these, also if it is this router that
cannot send the packet on.

Drops
    too-short: a message of less than 8 bytes.
    icmp-bad-checksum: a message whose checksum is wrong.
    icmp-unhandled: a message to the router that is no echo request, or came to a group address of the link.
    icmp-not-allowed: a packet that no error may answer; it is an error itself, a later fragment, or came to a group
        address.
    icmp-rate-limited: a packet that would be answered with an error if there were fewer of them.
Example
    Icmp("icmp", errors_per_second=100, burst=10)
"""

from typing import Any

import numpy as np

from scout.io.access import length, load8, load16, load32, require, store8, store16, store32, sum16, trim
from scout.io.packet import GSO_NONE, NEEDS_CHECKSUM, SECOND
from scout.io.ports.applications import ApplicationPort
from scout.paths.limit import within
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError, Router
from scout.paths.model.stage import Outcome, Stage, Via
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.protocols.delivery import transports_of
from scout.paths.wire import icmp, ipv4
from scout.paths.wire.icmp import is_error, quotes
from scout.paths.wire.ipv4 import header_length

__all__ = ["Icmp", "error", "receive"]

OUR_TTL = 64
LONGEST_ERROR = 576  # RFC 1812 section 4.3.2.3: an error quotes as much as fits this many bytes in all
INTERNETWORK_CONTROL, TOS_BITS = 0xC0, 0x1E  # in the byte at `ipv4.TOS`: precedence 6, and the type of service

TOO_SHORT, BAD_CHECKSUM, UNHANDLED = drop("too-short"), drop("icmp-bad-checksum"), drop("icmp-unhandled")
NOT_ALLOWED, RATE_LIMITED = drop("icmp-not-allowed"), drop("icmp-rate-limited")


def receive(frame: Any, end: Any, packet: Any) -> int:
    """Turn an echo request into its reply (RFC 1812 section 4.3.3.6)."""
    header = header_length(frame, 0)
    size = length(frame, end, packet) - header
    if size < icmp.HEADER or not require(frame, end, header + size):
        return TOO_SHORT
    # The sender may have left the checksum to a device that the packet has not passed.
    if packet.flags & NEEDS_CHECKSUM == 0 and sum16(frame, header, size) != 0xFFFF:
        return BAD_CHECKSUM
    if load8(frame, header + icmp.TYPE) != icmp.ECHO or load8(frame, header + icmp.CODE) != 0 or packet.link_broadcast:
        return UNHANDLED
    store8(frame, header + icmp.TYPE, icmp.ECHO_REPLY)
    # A whole new sum: an update (RFC 1624) cannot tell a message of zeros, whose checksum is 0xFFFF, from others.
    store16(frame, header + icmp.CHECKSUM, 0)
    store16(frame, header + icmp.CHECKSUM, ~sum16(frame, header, size))
    packet.flags = 0
    source = load32(frame, ipv4.SOURCE)
    store32(frame, ipv4.SOURCE, load32(frame, ipv4.DESTINATION))
    store32(frame, ipv4.DESTINATION, source)
    store8(frame, ipv4.TTL, OUR_TTL)
    return 0


def receive_or_tell(frame: Any, end: Any, packet: Any, first: int, second: int) -> int:
    """As `receive`; tell errors about packets of the first (1) and the second (2) of two transports."""
    verdict = receive(frame, end, packet)
    header = header_length(frame, 0)
    if verdict != UNHANDLED or packet.link_broadcast or not quotes(frame, end, header):
        return verdict
    if load8(frame, header + icmp.TYPE) not in (icmp.UNREACHABLE, icmp.TIME_EXCEEDED, icmp.PARAMETER_PROBLEM):
        return verdict
    protocol = load8(frame, header + icmp.HEADER + ipv4.PROTOCOL)
    if protocol == first:
        return 1
    return 2 if protocol == second else verdict


def error(frame: Any, end: Any, packet: Any, limit: Any, interval: int, burst: int) -> int:
    """Write an error before the packet that caused it; `route` fills in its source and header checksum.

    No error answers an error, a broadcast, a multicast or a later fragment (RFC 1812 section 4.3.2.7). The TOS of an
    error is that of its cause, with precedence 6, internetwork control (section 4.3.2.5). `limit` has a word for each
    port where packets come in.
    """
    cause = ipv4.HEADER + icmp.HEADER  # offset of the packet that is answered
    if load16(frame, cause + ipv4.FRAGMENT) & ipv4.OFFSET or packet.link_broadcast:
        return NOT_ALLOWED
    if load8(frame, cause + ipv4.PROTOCOL) == ipv4.ICMP:
        header = header_length(frame, cause)
        if not require(frame, end, cause + header + 1):
            return NOT_ALLOWED
        if is_error(load8(frame, cause + header + icmp.TYPE)):
            return NOT_ALLOWED
    if not within(limit, packet.port, packet.timestamp, interval, burst):
        return RATE_LIMITED
    total = min(length(frame, end, packet), LONGEST_ERROR)
    trim(frame, end, packet, total)
    tos = INTERNETWORK_CONTROL | load8(frame, cause + ipv4.TOS) & TOS_BITS
    store32(frame, ipv4.VERSION_IHL, 0x45 << 24 | tos << 16 | total)
    # Identification 0 and don't fragment: an atomic datagram (RFC 6864).
    store32(frame, ipv4.IDENTIFICATION, ipv4.DONT_FRAGMENT)
    store32(frame, ipv4.TTL, OUR_TTL << 24 | ipv4.ICMP << 16)
    store32(frame, ipv4.SOURCE, 0)
    store32(frame, ipv4.DESTINATION, load32(frame, cause + ipv4.SOURCE))
    message = ipv4.HEADER
    store32(frame, message + icmp.TYPE, packet.error >> 16 << 16)  # type and code, and a checksum of 0
    store32(frame, message + icmp.REST, packet.error & 0xFFFF)  # the MTU
    store16(frame, message + icmp.CHECKSUM, ~sum16(frame, message, total - message))
    packet.flags = 0
    packet.gso_type = GSO_NONE
    return 0


def own_error(frame: Any, end: Any, packet: Any, limit: Any, interval: int, burst: int, first: int, second: int) -> int:
    """Write an error about a packet of the router's own, as `error`; tell those of two transports."""
    verdict = error(frame, end, packet, limit, interval, burst)
    if verdict != 0:
        return verdict
    protocol = load8(frame, ipv4.HEADER + icmp.HEADER + ipv4.PROTOCOL)
    if protocol == first:
        return 0
    return 1 if protocol == second else UNHANDLED


class Icmp(Router):
    """ICMP for the router's own addresses.

    Parameters
    ----------
    name : str
    errors_per_second : float
        The rate of errors, for each port.
    burst : int
        How many errors may go out at once.

    Examples
    --------
    >>> icmp = Icmp("icmp", errors_per_second=100, burst=10)
    """

    requires = {"messages": "icmp", "errors": "icmp-error"}
    provides = {"transports": "icmp-transport"}

    def __init__(self, name: str, errors_per_second: float = 1000.0, burst: int = 50) -> None:
        super().__init__(name)
        if not 0 < errors_per_second <= SECOND or burst < 1:
            raise GraphError(f"{name}: {errors_per_second} errors a second, burst {burst}; give more than 0 of both")
        self.interval = int(SECOND / errors_per_second)
        self.burst = self.interval * (burst - 1)

    def configure(self, graph: RouterGraph) -> None:
        # Where an error leads to replicated work, every replica runs this stage, and they have to decide alike.
        self.limit = Table(np.zeros(len(graph.ports), np.int64), "shared", may_replicate=True)

    def arrive(self, service: str, below: bool) -> str:
        return "in" if service == "messages" else "error"

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        if key == "in":
            return self._receiver(transports_of(graph, self.name))
        bindings: dict[str, Any] = {"limit": self.limit, "interval": self.interval, "burst": self.burst}
        push = ipv4.HEADER + icmp.HEADER
        transports = transports_of(graph, self.name)
        if transports and isinstance(graph.router(attributes.ingress).port, ApplicationPort):
            told, protocols = self._told(transports)
            return Stage(own_error, told, bindings | protocols, push=push)
        return Stage(error, (Outcome("error", Via("messages")),), bindings, push=push)

    def _receiver(self, transports: list[Any]) -> Stage:
        reply = Outcome("reply", Via("messages"))
        if not transports:
            return Stage(receive, (reply,), payload=True)
        told, protocols = self._told(transports)
        return Stage(receive_or_tell, (reply, *told), protocols, payload=True)

    def _told(self, transports: list[Any]) -> tuple[tuple[Outcome, ...], dict[str, int]]:
        """The outcomes for errors about packets of transports, and the numbers of their protocols."""
        told = tuple(Outcome(f"about {each.name}", Via("transports", each.name)) for each in transports)
        first, second = [*(each.protocol for each in transports), -1][:2]
        return told, {"first": first, "second": second}
