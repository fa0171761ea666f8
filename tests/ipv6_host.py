"""A stand-in for an IPv6 router, for tests of a transport: one link, one neighbour, and nothing that a router answers.

It has what a transport takes of the router below (`Ip`): the family, the way to next hops, and the delivery of packets
to its own address. There is no neighbour discovery, no forwarding, and no ICMPv6.
"""

from ipaddress import IPv6Address, IPv6Network
from typing import Any

import numpy as np

from scout.io.access import length, load8, load16, load48, load64, require, store16, store48
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage, Via
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.protocols.delivery import transports_of
from scout.paths.protocols.family import PREFIX_6
from scout.paths.protocols.next_hop import CONNECTED, LOCAL, MULTICAST, NEXT_HOP_6
from scout.paths.wire import ethernet, ipv6
from scout.paths.wire.address import IPV6, words_of

OURS, PEER, NET = "2001:db8::1", "2001:db8::2", "2001:db8::/64"

NOT_FOR_US, NO_ERROR, NO_TRANSPORT = drop("not-for-us"), drop("no-icmpv6"), drop("no-transport")
BAD_LENGTH = drop("ipv6-bad-length")


def receive(frame: Any, end: Any, packet: Any, mac: int, high: int, low: int, protocol: int) -> int:
    """Take the transport's packets to the own address."""
    ip = ethernet.HEADER
    if not require(frame, end, ip + ipv6.HEADER) or load16(frame, ethernet.ETHERTYPE) != ethernet.IPV6:
        return NOT_FOR_US
    if length(frame, end, packet) - ip - ipv6.HEADER < load16(frame, ip + ipv6.PAYLOAD_LENGTH):
        return BAD_LENGTH
    if load48(frame, ethernet.DESTINATION) != mac or load64(frame, ip + ipv6.DESTINATION) != high:
        return NOT_FOR_US
    if load64(frame, ip + ipv6.DESTINATION + 8) != low:
        return NOT_FOR_US
    return 0 if load8(frame, ip + ipv6.NEXT_HEADER) == protocol else NO_TRANSPORT


def send(frame: Any, end: Any, mac: int, neighbour: int) -> int:
    """Write the Ethernet header."""
    store48(frame, ethernet.DESTINATION, neighbour)
    store48(frame, ethernet.SOURCE, mac)
    store16(frame, ethernet.ETHERTYPE, ethernet.IPV6)
    return 0


def refuse(frame: Any, end: Any) -> int:
    """Drop what an ICMPv6 error would answer."""
    return NO_ERROR


class Ipv6(Router):
    """One address on one link, whose only neighbour has a fixed MAC address."""

    family = IPV6
    provides = {"transports": "transport", "errors": "icmp-transport"}

    def __init__(self, name: str, port: Any, neighbour: int, mtu: int = 1500) -> None:
        super().__init__(name)
        self.port, self._neighbour, self._mtu = port, neighbour, mtu
        routes, hops = np.zeros(3, PREFIX_6), np.zeros(3, NEXT_HOP_6)
        kinds = ((f"{OURS}/128", LOCAL), ("ff00::/8", MULTICAST), (NET, CONNECTED))  # the longest first, but for groups
        for index, (prefix, kind) in enumerate(kinds):
            network = IPv6Network(prefix)
            routes[index] = words_of(network.network_address), words_of(network.netmask), index
            hops[index]["kind"], hops[index]["source"] = kind, words_of(IPv6Address(OURS))
        arrays = {"entries": routes, "vectors": np.zeros(1, np.int64), "leaves": np.zeros(1, np.uint8)}
        tables = {name: Table(each, "constant") for name, each in arrays.items()}
        self._hops, mtus = hops, Table(np.full(1, mtu), "constant")
        self.sending = tables | {"root": 0, "next_hops": Table(hops, "constant"), "mtus": mtus, "first": 0}

    def arrive(self, service: str, below: bool) -> str:
        return "refuse" if service == "errors" else "send"

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        if key == "send":
            sent = Outcome("sent", Exit(self.name))
            return Stage(send, (sent,), {"mac": self.port_mac, "neighbour": self._neighbour}, push=ethernet.HEADER)
        if key == "refuse":
            return Stage(refuse)
        (transport,) = transports_of(graph, self.name)
        high, low = words_of(IPv6Address(OURS))
        bound = {"mac": self.port_mac, "high": high, "low": low, "protocol": transport.protocol}
        return Stage(receive, (Outcome(transport.name, Via("transports"), ethernet.HEADER),), bound)
