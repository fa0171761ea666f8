"""ARP for IPv4 over Ethernet (RFC 826, RFC 1122 section 2.3.2): the adjacencies of the router.

Usage: Arp(name, timeout)
Requires: arp (one or more interfaces). Provides: adjacency (finds the MAC address of a next hop).
Drops: too-short, bad-arp, arp-address-conflict, adjacency-table-full.

What messages say is learnt by every replica (replicated work); requests are answered, and packets held
until their next hop is known, by the primary alone. The sender of one that was held too long gets host
unreachable. A next hop is asked for at most once a second by all replicas together.
"""

from functools import partial
from ipaddress import IPv4Address
from typing import Any

import numpy as np

from scout.io.access import load16, load32, load48, require, store16, store48, within
from scout.io.ports.contract import mac_number
from scout.paths.model.graph import GraphError, Router, RouterGraph
from scout.paths.model.stage import HOLD, Exit, Outcome, Stage, Table, Via, drop
from scout.paths.wire import arp, ethernet, ipv4
from scout.paths.wire.arp import is_ethernet_ipv4, write_arp
from scout.paths.wire.icmp import HOST_UNREACHABLE

__all__ = ["ADJACENCY", "Arp", "receive", "request", "resolve"]

SECOND = 1_000_000_000
CAPACITY = 1024  # adjacencies; a power of two
PROBES = 16  # how far a key may stand from its place
ASKED = 1024  # words that limit the requests; a power of two
WISHES = 64  # requests waiting to be sent by a replica, one less
FOREVER = 1 << 62

INTERFACE = np.dtype([("mac", "i8"), ("address", "i8")])

ADJACENCY = np.dtype([("key", "i8"), ("mac", "i8"), ("expires", "i8"), ("pinned", "i8")])
"""A next hop on a port: key (port + 1) << 32 | address, 0 if empty; `expires` in nanoseconds since 1970,
0 if the MAC address is not known; a pinned one (a gateway) keeps its place."""

TOO_SHORT, BAD_ARP, TABLE_FULL = drop("too-short"), drop("bad-arp"), drop("adjacency-table-full")
CONFLICT = drop("arp-address-conflict")


def hashed(key: int) -> int:
    """A number that depends on all bits of `key` (Fibonacci hashing)."""
    return ((key ^ key >> 32) * 0x9E3779B1 >> 12) & 0xFFFFF


def find(adjacencies: Any, key: int) -> int:
    """Index of `key`, -1 if it is not there."""
    start = hashed(key)
    for probe in range(PROBES):
        index = (start + probe) & (CAPACITY - 1)
        if adjacencies[index].key == key:
            return index
    return -1


def place(adjacencies: Any, key: int, now: int) -> int:
    """Index of `key`, put in place of an empty or expired adjacency if it is new; -1 if there is no room."""
    index = find(adjacencies, key)
    if index >= 0:
        return index
    start = hashed(key)
    for probe in range(PROBES):
        index = (start + probe) & (CAPACITY - 1)
        adjacency = adjacencies[index]
        if adjacency.pinned == 0 and adjacency.expires < now:
            adjacency.key = key
            adjacency.expires = 0
            return index
    return -1


def ask(wishes: Any, asked: Any, key: int, now: int) -> None:
    """Note that `key` is to be asked for, unless some replica did so less than a second ago."""
    if wishes[0] < WISHES - 1 and within(asked, hashed(key) & (ASKED - 1), now, SECOND, 0):
        wishes[0] += 1
        wishes[wishes[0]] = key


def resolve(
    frame: Any,
    end: Any,
    packet: Any,
    next_hops: Any,
    adjacencies: Any,
    wishes: Any,
    asked: Any,
    refresh: int,
) -> int:
    """Find the MAC address of the next hop; hold the packet while it is being asked for."""
    hop = next_hops[np.uint32(packet.next_hop)]  # unsigned: no code to count from the end
    port, index, address = hop.port, hop.slot, hop.address
    if index < 0:
        address = load32(frame, ipv4.DESTINATION)
        index = find(adjacencies, (port + 1) << 32 | address)
    if index >= 0:
        adjacency = adjacencies[index]
        if packet.timestamp < adjacency.expires:
            packet.destination = adjacency.mac
            packet.ethertype = ethernet.IPV4
            if packet.timestamp > adjacency.expires - refresh:
                ask(wishes, asked, (port + 1) << 32 | address, packet.timestamp)
            return port
    ask(wishes, asked, (port + 1) << 32 | address, packet.timestamp)
    packet.error = HOST_UNREACHABLE
    packet.awaited = (port + 1) << 32 | address
    return HOLD


def receive(
    frame: Any,
    end: Any,
    packet: Any,
    adjacencies: Any,
    changes: Any,
    address: int,
    network: int,
    mask: int,
    mac: int,
    lifetime: int,
    primary: bool,
) -> int:
    """Learn who sent the message; answer if it asks for our address."""
    if not require(frame, end, arp.HEADER):
        return TOO_SHORT
    operation = load16(frame, arp.OPERATION)
    sender_mac, sender = load48(frame, arp.SENDER_MAC), load32(frame, arp.SENDER)
    if not is_ethernet_ipv4(frame) or (operation != arp.REQUEST and operation != arp.REPLY):
        return BAD_ARP
    if sender_mac & ethernet.GROUP or sender_mac == 0:
        return BAD_ARP
    if sender == address:
        return CONFLICT if sender_mac != mac else BAD_ARP
    key = (packet.port + 1) << 32 | sender
    ours = load32(frame, arp.TARGET) == address
    # RFC 826: what is known is brought up to date by any message, others are learnt only if meant for us.
    if sender & mask == network and (ours or find(adjacencies, key) >= 0):
        index = place(adjacencies, key, packet.timestamp)
        if index < 0:
            return TABLE_FULL
        adjacencies[index].mac = sender_mac
        adjacencies[index].expires = packet.timestamp + lifetime
        changes[0] += 1
    if not ours or operation != arp.REQUEST:
        return 1
    if primary:
        write_arp(frame, 0, arp.REPLY, mac, address, sender_mac, sender)
        packet.destination = sender_mac
        packet.ethertype = ethernet.ARP
    return 0


def request(frame: Any, end: Any, packet: Any, wishes: Any, interfaces: Any) -> int:
    """Make the frame of one request that is waiting to be sent; 0 if there is none."""
    if wishes[0] == 0:
        return 0
    key = wishes[wishes[0]]
    wishes[0] -= 1
    port = (key >> 32) - 1
    mac = interfaces[port].mac
    store48(frame, ethernet.DESTINATION, ethernet.BROADCAST)
    store48(frame, ethernet.SOURCE, mac)
    store16(frame, ethernet.ETHERTYPE, ethernet.ARP)
    write_arp(frame, ethernet.HEADER, arp.REQUEST, mac, interfaces[port].address, 0, key & 0xFFFFFFFF)
    packet.egress = port
    return 1


class Arp(Router):
    """Adjacencies by ARP.

    Parameters
    ----------
    name : str
    timeout : float
        Seconds that an adjacency lasts without being heard of again; asked for anew in its last quarter.
    """

    requires = {"net": "arp"}
    provides = {"resolve": "adjacency"}

    def __init__(self, name: str, timeout: float = 60.0) -> None:
        super().__init__(name)
        if not 0 < timeout < 86400 * 365:
            raise GraphError(f"{name}: timeout of {timeout} seconds; give more than 0 and less than a year")
        self.lifetime = int(timeout * SECOND)
        self.adjacencies = Table(np.zeros(CAPACITY, ADJACENCY))
        self.changes: Table = Table(np.zeros(1, np.int64), "private")
        self.wishes = Table(np.zeros(WISHES, np.int64), "private")
        self.asked = Table(np.zeros(ASKED, np.int64), "shared")

    def configure(self, graph: RouterGraph) -> None:
        self.interfaces = Table(np.zeros(len(graph.ports), INTERFACE), "constant")

    def start(self, graph: RouterGraph) -> None:
        addresses = self._ip(graph).addresses
        for index, name in enumerate(graph.ports):
            address = int(addresses[name]) if name in addresses else 0
            self.interfaces.initial[index] = (graph.router(name).port.mac, address)

    def emitter(self) -> Stage:
        return Stage(request, (), {"wishes": self.wishes, "interfaces": self.interfaces})

    def _ip(self, graph: RouterGraph) -> Any:
        return graph.router(graph.reached(self.name, "resolve")[0][0])

    def reserve(self, port: int, address: int) -> int:
        """Give a gateway its place in the table; the index."""
        adjacencies = self.adjacencies.initial
        # The function runs on records; a plain array gives copies.
        index = place(adjacencies.view(np.recarray), (port + 1) << 32 | address, 1)
        if index < 0:
            raise GraphError(f"{self.name}: too many gateways; {CAPACITY} adjacencies fit, fewer if they collide")
        adjacencies[index]["pinned"] = 1
        return index

    def pin(self, port: int, address: str, mac: str) -> None:
        """Set an adjacency by hand, for ever: `address` has `mac` at the port of index `port`."""
        index = self.reserve(port, int(IPv4Address(address)))
        adjacency = self.adjacencies.initial[index : index + 1]
        adjacency["mac"], adjacency["expires"] = mac_number(mac), FOREVER

    def arrive(self, service: str, below: bool) -> str:
        return "in" if service == "net" else "resolve"

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
        ip = self._ip(graph)
        if key == "resolve":
            joined = {name for name, _ in graph.reached(self.name, "net")}
            outcomes = tuple(
                Outcome(port, Via("net", port) if port in joined else drop("no-arp"), common=True)
                for port in graph.ports
            )
            tables = {"adjacencies": self.adjacencies, "wishes": self.wishes, "asked": self.asked}
            bindings = {"next_hops": ip.next_hops, "refresh": self.lifetime // 4} | tables
            return Stage(resolve, outcomes, bindings, writes=False, on_timeout=Via("resolve"))
        port = graph.router(source).port
        interface = ip.addresses.get(source)
        bindings = {
            "adjacencies": self.adjacencies,
            "changes": self.changes,
            "address": int(interface) if interface else -1,  # which no message is for
            "network": int(interface.network.network_address) if interface else 0,
            "mask": int(interface.netmask) if interface else 0,
            "mac": partial(getattr, port, "mac"),
            "lifetime": self.lifetime,
        }
        outcomes = (Outcome("answer", Via("net", source)), Outcome("learnt", Exit()))
        return Stage(receive, outcomes, bindings, replicated=True, writes=False)
