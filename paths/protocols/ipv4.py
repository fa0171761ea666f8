"""IPv4: a router as RFC 1812 has it, without multicast; it fragments no packet that it forwards.

Usage: Ip(name, addresses, routes)
Requires: ipv4 (one or more interfaces), adjacency (finds the next hop's MAC address).
Provides: icmp (messages to and from the router's own addresses), icmp-error (packets to be answered with an error),
transport (packets of one protocol to and from the router's own addresses, such as UDP).

Packets come up from Ethernet interfaces, whose stage "ipv4" has checked them (`check`). They are forwarded, or given to
ICMP or a transport, or to ICMP as the cause of an error.

Drops
    martian-destination: the destination cannot be one; it is in 0/8, 127/8, 169.254/16 or 240/4.
    multicast: the destination is in 224/4.
    broadcast: the destination is a broadcast address, of a connected network (RFC 2644) or of all.
    link-broadcast: the frame came to a group address of the link, and would have to be forwarded (RFC 1812 section
        5.3.4).
    fragmentation-needed: the packet is longer than the MTU of the next hop's port, and may be fragmented. (One that
        must not be fragmented is answered with an error.)
    fragment-for-us: a fragment to one of the router's addresses; it reassembles only if a transport stands on it.
    bad-fragment: a fragment to one of the router's addresses that no datagram can have.
    fragments-overlap: a fragment that overlaps other ones of its datagram, which is given up (RFC 5722 section 4).
    source-route: a packet to one of the router's addresses with a source route that leads further (RFC 1812 section
        5.2.4.1).
    udp-bad-length: a UDP datagram to the router whose length is wrong.
    udp-bad-checksum: a UDP datagram to the router whose checksum is wrong (RFC 1122 section 4.1.3.4).
    tcp-bad-header: a TCP segment to the router whose header is wrong.
    tcp-bad-checksum: a TCP segment to the router whose checksum is wrong.
    no-route-back: a packet of the router's own, such as an error, to an address that no route leads to.
Example
    Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}, {"0.0.0.0/0": "10.0.1.2"})
"""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import numpy as np

from scout.io.access import add16, load8, load16, load32, require, store8, store16, store32, sum16
from scout.io.packet import GSO_NONE, NEEDS_CHECKSUM
from scout.paths.changes.addresses import AddAddress, DeleteAddress
from scout.paths.changes.mtus import SetMtu
from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.model.ahead import ahead
from scout.paths.model.attributes import Attributes
from scout.paths.model.change import Amendment, Change, together
from scout.paths.model.classifier import Classifier
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.stage import Outcome, Stage, To, Via
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.protocols.delivery import Delivery, transports_of
from scout.paths.protocols.fib import NO_ROUTE, next_hop_at, place_of
from scout.paths.protocols.fib import lookup as find
from scout.paths.protocols.ipv4_check import check
from scout.paths.protocols.ipv4_demux import CLASSIFIER
from scout.paths.protocols.ipv4_rules import constant_next_hop, known_protocol, possible_routes
from scout.paths.protocols.mtus import Mtus
from scout.paths.protocols.next_hop import (
    BROADCAST,
    CONNECTED,
    LOCAL,
    MULTICAST,
)
from scout.paths.protocols.own_addresses import OwnAddresses
from scout.paths.protocols.routing import Routing, parsed_routes
from scout.paths.wire import ipv4, tcp, udp
from scout.paths.wire.address import IPV4
from scout.paths.wire.checksum import pseudo_header_sum
from scout.paths.wire.icmp import (
    FRAGMENTATION_NEEDED,
    NET_UNREACHABLE,
    PORT_UNREACHABLE,
    PROTOCOL_UNREACHABLE,
    TTL_EXPIRED,
)
from scout.paths.wire.ipv4 import header_length, is_source_routed
from scout.paths.wire.tcp import tcp_header_length

__all__ = ["Ip", "forward", "local", "lookup", "route"]

MARTIAN_DESTINATION, NO_MULTICAST, NO_BROADCAST = drop("martian-destination"), drop("multicast"), drop("broadcast")
LINK_BROADCAST, NO_FRAGMENTATION = drop("link-broadcast"), drop("fragmentation-needed")
FRAGMENT_FOR_US, SOURCE_ROUTED, NO_ROUTE_BACK = drop("fragment-for-us"), drop("source-route"), drop("no-route-back")
BAD_UDP_LENGTH, BAD_UDP_CHECKSUM = drop("udp-bad-length"), drop("udp-bad-checksum")
BAD_TCP_HEADER, BAD_TCP_CHECKSUM = drop("tcp-bad-header"), drop("tcp-bad-checksum")


@ahead
def find_place(frame: Any, end: Any, entries: Any, vectors: Any, root: Any) -> int:
    """Begin to find the next hop; -1 for a packet that is too short."""
    if not require(frame, end, ipv4.HEADER):
        return NO_ROUTE
    return place_of(entries, vectors, root, load32(frame, ipv4.DESTINATION))


def lookup(
    frame: Any, end: Any, packet: Any, entries: Any, vectors: Any, leaves: Any, root: Any, next_hops: Any
) -> int:
    """Find the next hop by the longest matching prefix (RFC 1812 section 5.2.4); tell what becomes of the packet."""
    return take_next_hop(
        packet, entries, vectors, leaves, root, find_place(frame, end, entries, vectors, root), next_hops
    )


def take_next_hop(packet: Any, entries: Any, vectors: Any, leaves: Any, root: Any, place: int, next_hops: Any) -> int:
    """Note the next hop, of which the place is found; tell from its kind what becomes of the packet."""
    hop = next_hop_at(entries, vectors, leaves, root, place) if place >= 0 else NO_ROUTE
    packet.next_hop = hop
    if hop < 0:
        packet.error = NET_UNREACHABLE
        return 2
    kind = next_hops[np.uintp(hop)].kind  # unsigned indices have no code that counts from an array's end
    if kind <= CONNECTED:
        return 0
    if kind == LOCAL:
        return 1
    if kind == MULTICAST:
        return NO_MULTICAST
    if kind == BROADCAST:
        return NO_BROADCAST
    return MARTIAN_DESTINATION


def forward(frame: Any, end: Any, packet: Any, next_hops: Any, mtus: Any, first: int) -> int:
    """Decrement the TTL and update the checksum (RFC 1812 section 5.3.1, RFC 1624); keep to the MTU."""
    if packet.link_broadcast:
        return LINK_BROADCAST  # RFC 1812 section 5.3.4
    ttl = load8(frame, ipv4.TTL)
    if ttl <= 1:
        packet.error = TTL_EXPIRED
        return 1
    mtu = mtus[np.uintp(first + next_hops[np.uintp(packet.next_hop)].port)]
    if load16(frame, ipv4.TOTAL_LENGTH) > mtu and longest_segment(frame, end, packet) > mtu:
        if load16(frame, ipv4.FRAGMENT) & ipv4.DONT_FRAGMENT == 0:
            return NO_FRAGMENTATION
        packet.error = FRAGMENTATION_NEEDED | mtu
        return 1
    store8(frame, ipv4.TTL, ttl - 1)
    # HC' = ~(~HC + ~m + m'), RFC 1624 equation 3, with m' = m - 0x0100, so that ~m + m' = 0xFFFF - 0x0100.
    store16(frame, ipv4.CHECKSUM, ~add16(load16(frame, ipv4.CHECKSUM) ^ 0xFFFF, 0xFFFF - 0x0100))
    return 0


def longest_segment(frame: Any, end: Any, packet: Any) -> int:
    """Bytes of the longest IP packet that the device will cut a GSO packet into, or of this packet."""
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
    """Tell what was sent to the router itself by protocol; nothing but ICMP is served."""
    if load16(frame, ipv4.FRAGMENT) & ipv4.FRAGMENTED:
        return FRAGMENT_FOR_US
    header = header_length(frame, 0)
    if header > ipv4.HEADER and is_source_routed(frame, end):
        return SOURCE_ROUTED  # RFC 1812 section 5.2.4.1 lets a router refuse to go on by the route
    protocol = load8(frame, ipv4.PROTOCOL)
    if protocol == ipv4.ICMP:
        return 0
    # An error would tell the sender of a broken packet something about another one (RFC 1122 section 4.1.3.4).
    verdict = 0
    if protocol == ipv4.UDP:
        packet.error = PORT_UNREACHABLE
        verdict = check_udp(frame, end, header, packet.flags)
    else:
        packet.error = PROTOCOL_UNREACHABLE
        if protocol == ipv4.TCP:
            verdict = check_tcp(frame, end, header, packet.flags)
    return verdict if verdict != 0 else 1


def check_udp(frame: Any, end: Any, at: int, flags: int) -> int:
    """Refuse the UDP datagram at `at` if its length or its checksum is wrong (RFC 1122 section 4.1.3.4)."""
    size = load16(frame, ipv4.TOTAL_LENGTH) - at
    if size < udp.HEADER or not require(frame, end, at + size):
        return BAD_UDP_LENGTH
    told = load16(frame, at + udp.LENGTH)
    if told < udp.HEADER or told > size:
        return BAD_UDP_LENGTH
    if load16(frame, at + udp.CHECKSUM) == 0 or flags & NEEDS_CHECKSUM:
        return 0  # there is none, or the sender left it to a device that the packet has not passed
    total = add16(pseudo_header_sum(frame, 0, ipv4.UDP, told), sum16(frame, at, told))
    return 0 if total == 0xFFFF else BAD_UDP_CHECKSUM


def check_tcp(frame: Any, end: Any, at: int, flags: int) -> int:
    """Refuse the TCP segment at `at` if its header or its checksum is wrong (RFC 9293 section 3.1)."""
    size = load16(frame, ipv4.TOTAL_LENGTH) - at
    if size < tcp.HEADER or not require(frame, end, at + size):
        return BAD_TCP_HEADER
    header = tcp_header_length(frame, at)
    if header < tcp.HEADER or header > size:
        return BAD_TCP_HEADER
    if flags & NEEDS_CHECKSUM:
        return 0
    total = add16(pseudo_header_sum(frame, 0, ipv4.TCP, size), sum16(frame, at, size))
    return 0 if total == 0xFFFF else BAD_TCP_CHECKSUM


def route(frame: Any, end: Any, packet: Any, entries: Any, vectors: Any, leaves: Any, root: Any, next_hops: Any) -> int:
    """Send a packet of the router's own: find its next hop, fill in its source if that is 0, and its checksum."""
    hop = find(entries, vectors, leaves, root, load32(frame, ipv4.DESTINATION))
    packet.next_hop = hop
    if hop < 0:
        return NO_ROUTE_BACK
    if next_hops[hop].kind > CONNECTED:
        return NO_ROUTE_BACK
    if load32(frame, ipv4.SOURCE) == 0:
        store32(frame, ipv4.SOURCE, next_hops[hop].source)
    store16(frame, ipv4.CHECKSUM, 0)
    # Over the header's own length: a reply to an echo request keeps its options.
    store16(frame, ipv4.CHECKSUM, ~sum16(frame, 0, header_length(frame, 0)))
    return 0


class Ip(Router):
    """The IPv4 router.

    Parameters
    ----------
    name : str
    addresses : mapping of str to str or list of str
        For each interface (an Ethernet's name) the router's addresses there with the length of the network's prefix, as
        "10.0.0.1/24". Networks of different interfaces must not overlap. Of several addresses in one network, the first
        is the source of what the router itself sends there.
    routes : mapping of str to str, optional
        Prefix to gateway, as {"10.9.0.0/16": "10.0.1.2"}; "0.0.0.0/0" is the default route. Connected networks need
        none.

    Attributes
    ----------
    own : OwnAddresses
        Its addresses, also as rows that stages read.
    fib : Fib
        The routes, once the graph is complete.
    next_hops : Table
        The next hops of the routes: `NEXT_HOP` rows, constant.
    root : Setting
        The version of `fib` that packets are led by.
    mtus : Table
        The MTU of each port by its index, in versions (`scout.paths.protocols.mtus`), bytes.

    Raises
    ------
    GraphError
        If an address or prefix is malformed, networks overlap, or a gateway is on no connected network.

    Examples
    --------
    >>> ip = Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}, {"0.0.0.0/0": "10.0.1.2"})
    """

    family = IPV4
    requires = {"net": "ipv4", "resolve": "adjacency"}
    provides = {"messages": "icmp", "errors": "icmp-error", "transports": "transport"}
    one_way = {"net": "receive", "resolve": "send"}
    takes = (AddAddress, AddRoute, DeleteAddress, DeleteRoute, ReplaceRoute, SetMtu)

    rules = (constant_next_hop(lookup), possible_routes(lookup), known_protocol(local))

    def __init__(
        self,
        name: str,
        addresses: Mapping[str, str | Sequence[str]],
        routes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name)
        self.own = OwnAddresses(name, addresses)
        self._routes = parsed_routes(name, routes or {})

    @property
    def addresses(self) -> dict[str, tuple[IPv4Interface, ...]]:
        """The addresses of each port that has some, after the newest change."""
        return self.own.current

    @property
    def routes(self) -> dict[IPv4Network, IPv4Address]:
        """The gateway of each prefix that has one, after the newest change."""
        return {IPv4Network(prefix): IPv4Address(gateway) for prefix, gateway in self._routes.items()}

    def configure(self, graph: RouterGraph) -> None:
        self.own.configure(graph.ports)
        resolver: Any = graph.router(graph.reached(self.name, "resolve")[0][0])
        self._routing = Routing(self.name, self.addresses, self._routes, graph.ports, resolver)
        self.fib, self.next_hops, self.root = self._routing.fib, self._routing.next_hops, self._routing.root
        self._mtus = Mtus(self.name, graph.ports)
        self.mtus = self._mtus.table
        arrays: dict[str, Any] = dict(zip(("entries", "vectors", "leaves"), self.fib.arrays, strict=True))
        tables = {name: Table(array, "constant") for name, array in arrays.items()}
        self._lookups: dict[str, Any] = tables | {"root": self.root}

        self.delivery = Delivery(self)
        if transports_of(graph, self.name):
            self.lock = self.delivery.reassembly.lock

    @property
    def sending(self) -> dict[str, Any]:
        """The bindings by which a transport's stage finds a packet's next hop, and the source and the MTU there."""
        return self._lookups | {"next_hops": self.next_hops, "mtus": self.mtus, "first": self._mtus.first}

    def mtu_of(self, port: int) -> int:
        """The MTU of the port of an index, after the newest change."""
        return int(self.mtus.initial[self._mtus.first.value + port])

    def start(self, graph: RouterGraph) -> None:
        self.learn_ports(graph)

    def learn_ports(self, graph: RouterGraph) -> None:
        for index, name in enumerate(graph.ports):
            self._mtus.refresh(index, graph.router(name).port.mtu)

    def prepare(self, changes: Sequence[Change], graph: RouterGraph) -> Amendment:
        mtus = [each for each in changes if isinstance(each, SetMtu)]
        addresses = [each for each in changes if isinstance(each, AddAddress | DeleteAddress)]
        routes = [each for each in changes if not isinstance(each, SetMtu | AddAddress | DeleteAddress)]
        work: list[Callable[[], Amendment]] = []
        if addresses:
            wanted = self.own.after(addresses)
            work += [lambda: self._routing.prepare(routes, wanted), lambda: self.own.prepare(wanted)]
        elif routes:
            work.append(lambda: self._routing.prepare(routes))
        if mtus:
            work.append(lambda: self._mtus.prepare(mtus))
        return together(work)

    @property
    def covered(self) -> tuple[Table, ...]:  # type: ignore[override]
        own = (self.own.table, self.own.first, self.own.suspects)
        return (*self._lookups.values(), self.next_hops, self.mtus, self._mtus.first, *own)

    def differences(self, wanted: Any) -> list[Change]:
        no_routes, routes = self._routing.differences(wanted._routes)
        no_addresses, addresses = self.own.differences(wanted.own)
        return no_routes + no_addresses + addresses + routes + self._mtus.differences()

    def clearing(self, port: str) -> list[Change]:
        addresses = [DeleteAddress(port, str(each)) for each in self.addresses.get(port, ())]
        return [*addresses, *self._mtus.clearing(port)]

    def arrive(self, service: str, below: bool) -> str | Via:
        if service == "net":
            return "lookup"
        return Via("errors") if service == "resolve" else "route"

    def classifier(self) -> Classifier:
        return CLASSIFIER

    def check_stage(self, outcomes: tuple[Outcome, ...]) -> Stage:
        """The stage of an interface below that checks packets before anything else sees them."""
        bound = self._lookups | {"next_hops": self.next_hops, "suspects": self.own.suspects}
        return Stage(check, outcomes, bound, keeps_flow=True)

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        hops = {"next_hops": self.next_hops}
        error = Outcome("unreachable", Via("errors"))
        if key == "lookup":
            outcomes = (Outcome("forward", To("forward")), self.delivery.outcome(graph), error)
            return Stage(lookup, outcomes, self._lookups | hops, note=f"{len(self.fib)} routes")
        if key == "forward":
            good, bad = Outcome("next hop", Via("resolve")), Outcome("expired, too big", Via("errors"))
            return Stage(forward, (good, bad), hops | {"mtus": self.mtus, "first": self._mtus.first}, keeps_flow=True)
        if key in ("deliver", "reassemble"):
            return self.delivery.stage(key, graph)
        if key == "local":
            return Stage(local, (Outcome("icmp", Via("messages")), error), payload=True)
        return Stage(route, (Outcome("next hop", Via("resolve")),), self._lookups | hops)
