"""IPv4: the router's part of RFC 1812, without fragmentation.

Usage: Ip(name, addresses, routes)
Requires: ipv4 (one or more interfaces), adjacency (who finds the next hop's MAC address).
Provides: icmp (messages to the router's own addresses, and from it), icmp-error (packets to be answered).
Drops: too-short, bad-version, bad-header-length, bad-checksum, bad-total-length, truncated, martian-source,
martian-destination, multicast, broadcast, link-broadcast, fragmentation-needed, fragment-for-us, no-route-back.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import numpy as np

from scout.io.access import (
    add16,
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
)
from scout.io.packet import GSO_NONE
from scout.paths.model.graph import GraphError, Router, RouterGraph
from scout.paths.model.stage import Outcome, Stage, Table, To, Via, drop
from scout.paths.protocols.fib import Fib
from scout.paths.protocols.fib import lookup as find
from scout.paths.wire import ipv4, tcp, udp
from scout.paths.wire.icmp import (
    FRAGMENTATION_NEEDED,
    NET_UNREACHABLE,
    PORT_UNREACHABLE,
    PROTOCOL_UNREACHABLE,
    TTL_EXPIRED,
)
from scout.paths.wire.ipv4 import header_length, header_sum
from scout.paths.wire.tcp import tcp_header_length
from scout.ring.segment import shared

__all__ = ["NEXT_HOP", "Ip", "check", "forward", "local", "lookup", "route"]

GATEWAY, CONNECTED, LOCAL, MARTIAN, MULTICAST, BROADCAST = range(6)
NEXT_HOP = np.dtype(
    [
        ("kind", "i8"),  # GATEWAY and CONNECTED are forwarded to
        ("port", "i8"),  # index of the port
        ("address", "i8"),  # of the gateway; 0 if connected: the packet's own destination
        ("slot", "i8"),  # of the gateway in the adjacency table, -1 if connected
        ("mtu", "i8"),  # of the port, bytes
        ("source", "i8"),  # the router's address on that port
        ("spare", "i8", 2),
    ]
)
"""What a route leads to. Addresses are in host order."""

_SPECIAL = {"0.0.0.0/8": MARTIAN, "127.0.0.0/8": MARTIAN, "240.0.0.0/4": MARTIAN, "224.0.0.0/4": MULTICAST}
_SPECIAL["255.255.255.255/32"] = BROADCAST

TOO_SHORT, BAD_VERSION, BAD_HEADER_LENGTH = drop("too-short"), drop("bad-version"), drop("bad-header-length")
BAD_CHECKSUM, BAD_TOTAL_LENGTH, TRUNCATED = drop("bad-checksum"), drop("bad-total-length"), drop("truncated")
MARTIAN_SOURCE, MARTIAN_DESTINATION = drop("martian-source"), drop("martian-destination")
NO_MULTICAST, NO_BROADCAST, LINK_BROADCAST = drop("multicast"), drop("broadcast"), drop("link-broadcast")
NO_FRAGMENTATION, FRAGMENT_FOR_US = drop("fragmentation-needed"), drop("fragment-for-us")
NO_ROUTE_BACK = drop("no-route-back")


def check(frame: Any, end: Any, packet: Any) -> int:
    """Refuse bad headers (RFC 1812 section 5.2.2), and cut off what the link padded."""
    if not require(frame, end, ipv4.HEADER):
        return TOO_SHORT
    header = ipv4.HEADER
    if load8(frame, ipv4.VERSION_IHL) != 0x45:  # a header without options needs none of these
        if load8(frame, ipv4.VERSION_IHL) >> 4 != 4:
            return BAD_VERSION
        header = header_length(frame, 0)
        if header < ipv4.HEADER:
            return BAD_HEADER_LENGTH
        if not require(frame, end, header):
            return TOO_SHORT
    if header_sum(frame, 0, header) != 0xFFFF:
        return BAD_CHECKSUM
    total = load16(frame, ipv4.TOTAL_LENGTH)
    if total < header:
        return BAD_TOTAL_LENGTH
    received = length(frame, end, packet)
    if total != received:
        if total > received:
            return TRUNCATED
        trim(frame, end, packet, total)
    return 0


def lookup(frame: Any, end: Any, packet: Any, table: Any, groups: Any, default: Any, next_hops: Any) -> int:
    """Find the next hop by the longest matching prefix (RFC 1812 section 5.2.4)."""
    first = load8(frame, ipv4.SOURCE)
    if first == 127 or (first - 1) & 0xFF >= 223:  # 127/8, and 0/8 or 224/3
        return MARTIAN_SOURCE
    hop = find(table, groups, default, load32(frame, ipv4.DESTINATION))
    packet.next_hop = hop
    if hop < 0:
        packet.error = NET_UNREACHABLE
        return 2
    kind = next_hops[hop].kind
    if kind <= CONNECTED:
        return 0
    if kind == LOCAL:
        return 1
    if kind == MULTICAST:
        return NO_MULTICAST
    if kind == BROADCAST:
        return NO_BROADCAST
    return MARTIAN_DESTINATION


def forward(frame: Any, end: Any, packet: Any, next_hops: Any) -> int:
    """Decrement the TTL and mend the checksum (RFC 1812 section 5.3.1, RFC 1624); mind the MTU."""
    if packet.link_broadcast:
        return LINK_BROADCAST  # RFC 1812 section 5.3.4
    ttl = load8(frame, ipv4.TTL)
    if ttl <= 1:
        packet.error = TTL_EXPIRED
        return 1
    mtu = next_hops[np.uint32(packet.next_hop)].mtu  # unsigned: no code to count from the end
    if load16(frame, ipv4.TOTAL_LENGTH) > mtu and segment(frame, end, packet) > mtu:
        if load16(frame, ipv4.FRAGMENT) & ipv4.DONT_FRAGMENT == 0:
            return NO_FRAGMENTATION
        packet.error = FRAGMENTATION_NEEDED | mtu
        return 1
    store8(frame, ipv4.TTL, ttl - 1)
    # HC' = ~(~HC + ~m + m'), m' = m - 0x0100: RFC 1624 equation 3, which never gives 0xFFFF for 0.
    store16(frame, ipv4.CHECKSUM, ~add16(load16(frame, ipv4.CHECKSUM) ^ 0xFFFF, 0xFFFF - 0x0100))
    return 0


def segment(frame: Any, end: Any, packet: Any) -> int:
    """Bytes of the longest IP packet that the device will cut a super-frame into, or of this one."""
    total = load16(frame, ipv4.TOTAL_LENGTH)
    if packet.gso_type == GSO_NONE:
        return total
    header = header_length(frame, 0)
    if load8(frame, ipv4.PROTOCOL) == ipv4.UDP:
        return header + udp.HEADER + packet.gso_size
    if not require(frame, end, header + tcp.HEADER):
        return total
    return header + tcp_header_length(frame, header) + packet.gso_size


def local(frame: Any, end: Any, packet: Any) -> int:
    """Tell what was sent to the router itself by protocol."""
    if load16(frame, ipv4.FRAGMENT) & ipv4.FRAGMENTED:
        return FRAGMENT_FOR_US
    protocol = load8(frame, ipv4.PROTOCOL)
    if protocol == ipv4.ICMP:
        return 0
    packet.error = PORT_UNREACHABLE if protocol == ipv4.UDP else PROTOCOL_UNREACHABLE
    return 1


def route(frame: Any, end: Any, packet: Any, table: Any, groups: Any, default: Any, next_hops: Any) -> int:
    """Send a packet of the router's own: find its next hop, fill in source (if 0) and checksum."""
    hop = find(table, groups, default, load32(frame, ipv4.DESTINATION))
    packet.next_hop = hop
    if hop < 0:
        return NO_ROUTE_BACK
    if next_hops[hop].kind > CONNECTED:
        return NO_ROUTE_BACK
    if load32(frame, ipv4.SOURCE) == 0:
        store32(frame, ipv4.SOURCE, next_hops[hop].source)
    store16(frame, ipv4.CHECKSUM, 0)
    # The header's own length: a reply to an echo request keeps its options.
    store16(frame, ipv4.CHECKSUM, ~sum16(frame, 0, header_length(frame, 0)))
    return 0


class Ip(Router):
    """The IPv4 router.

    Parameters
    ----------
    name : str
    addresses : mapping of str to str
        For each interface (an Ethernet's name) the router's address there, as "10.0.0.1/24".
    routes : mapping of str to str, optional
        Prefix to gateway, as {"10.9.0.0/16": "10.0.1.2"}; connected networks need none.
    """

    requires = {"net": "ipv4", "resolve": "adjacency"}
    provides = {"messages": "icmp", "errors": "icmp-error"}

    def __init__(self, name: str, addresses: Mapping[str, str], routes: Mapping[str, str] | None = None) -> None:
        super().__init__(name)
        self.addresses = {port: self._parse(IPv4Interface, text) for port, text in addresses.items()}
        self.routes = {
            self._parse(IPv4Network, prefix): self._parse(IPv4Address, via) for prefix, via in (routes or {}).items()
        }

    def _parse(self, kind: Any, text: str) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            raise GraphError(
                f"{self.name}: {error}; write addresses as 10.0.0.1/24, prefixes as 10.0.0.0/24"
            ) from error

    def configure(self, graph: RouterGraph) -> None:
        for port in self.addresses:
            if port not in graph.ports:
                raise GraphError(
                    f"{self.name} has an address on {port!r}, which is no port of the graph: {graph.ports}"
                )
        resolver: Any = graph.router(graph.reached(self.name, "resolve")[0][0])
        hops: list[tuple[int, ...]] = [(kind, -1, 0, -1, 0, 0) for kind in range(BROADCAST + 1)]
        routes: dict[str | IPv4Network, int] = {IPv4Network(prefix): kind for prefix, kind in _SPECIAL.items()}
        for port, interface in self.addresses.items():
            index, own = graph.ports.index(port), int(interface)
            routes[interface.network] = len(hops)
            hops.append((CONNECTED, index, 0, -1, 0, own))
            if interface.network.prefixlen < 31:  # RFC 3021: a /31 has no broadcast address
                routes[IPv4Network(interface.network.broadcast_address)] = BROADCAST
                routes[IPv4Network(interface.network.network_address)] = BROADCAST
        known: dict[IPv4Address, int] = {}
        for prefix, gateway in self.routes.items():
            if gateway not in known:
                known[gateway] = len(hops)
                port = self._port_of(gateway)
                slot = resolver.reserve(graph.ports.index(port), int(gateway))
                hops.append((GATEWAY, graph.ports.index(port), int(gateway), slot, 0, int(self.addresses[port])))
            if prefix in routes:
                raise GraphError(f"{self.name}: {prefix} is routed to {gateway} and is connected or special already")
            routes[prefix] = known[gateway]
        for interface in self.addresses.values():
            routes[IPv4Network(interface.ip)] = LOCAL
        self.fib = Fib(routes.items())
        table = shared(len(hops), NEXT_HOP)  # replicas read an MTU that the supervisor writes while they run
        for index, hop in enumerate(hops):
            table[index] = (*hop, (0, 0))
        self.next_hops = Table(table, "constant")
        tables: tuple[Any, ...] = self.fib.arrays
        self._fib_tables = {
            name: Table(array, "constant") for name, array in zip(("table", "groups", "default"), tables, strict=True)
        }

    def start(self, graph: RouterGraph) -> None:
        for hop in self.next_hops.initial:
            if hop["port"] >= 0:
                hop["mtu"] = graph.router(graph.ports[hop["port"]]).port.mtu

    def _port_of(self, gateway: IPv4Address) -> str:
        for port, interface in self.addresses.items():
            if gateway in interface.network and gateway != interface.ip:
                return port
        raise GraphError(f"{self.name}: gateway {gateway} is on no connected network; give an address next to it")

    def arrive(self, service: str, below: bool) -> str | Via:
        if service == "net":
            return "check"
        return Via("errors") if service == "resolve" else "route"

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
        hops = {"next_hops": self.next_hops}
        error = Outcome("unreachable", Via("errors"))
        if key == "check":
            return Stage(check, (Outcome("good", To("lookup")),), writes=False, resizes=True)
        if key == "lookup":
            outcomes = (Outcome("forward", To("forward")), Outcome("for us", To("local")), error)
            return Stage(lookup, outcomes, self._fib_tables | hops, writes=False, note=f"{len(self.fib)} routes")
        if key == "forward":
            good, bad = Outcome("next hop", Via("resolve")), Outcome("expired, too big", Via("errors"))
            return Stage(forward, (good, bad), hops)
        if key == "local":
            return Stage(local, (Outcome("icmp", Via("messages")), error), writes=False)
        return Stage(route, (Outcome("next hop", Via("resolve")),), self._fib_tables | hops)
