"""ARP for IPv4 over Ethernet: the neighbour cache of the router (RFC 826, RFC 1122 section 2.3.2).

Usage: Arp(name, timeout, capacity)
Requires: arp (one or more interfaces).
Provides: adjacency (finds the MAC address of a next hop).

Every replica learns from messages (replicated work). The primary of a packet alone answers requests, and holds packets
whose next hop is not known until it is; the sender of one that was held too long gets host unreachable. A next hop is
asked for at most once a second by all replicas together. One that is known is asked for anew in the last quarter of its
lifetime, while it is used.

Drops
    too-short: a message of less than 28 bytes.
    bad-arp: a message that is not about IPv4 on Ethernet, is neither request nor reply, has no station's MAC address
        for its sender, or is our own.
    arp-address-conflict: another station says that it has an address of ours.
    adjacency-table-full: no row is free for the sender; see `capacity`.
    no-arp: the packet's next hop is on a port that ARP is not connected to.
Example
    Arp("arp", timeout=60.0)
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from scout.io.access import load16, load32, load48, require, store16, store48
from scout.io.batch import BATCH_SIZE
from scout.io.packet import SECOND
from scout.paths.changes.neighbours import DeleteNeighbour, ForgetNeighbours, SetNeighbour
from scout.paths.limit import once
from scout.paths.model.attributes import Attributes
from scout.paths.model.change import Amendment, Change
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError, Router
from scout.paths.model.stage import Exit, Outcome, Stage, Via
from scout.paths.model.table import Table
from scout.paths.model.verdict import HOLD, drop
from scout.paths.protocols.adjacencies import ADJACENCY, PROBES, STATIC, amend, find, place
from scout.paths.protocols.neighbours import Neighbours, key_of
from scout.paths.wire import arp, ethernet, ipv4
from scout.paths.wire.arp import is_ethernet_ipv4, write_arp
from scout.paths.wire.icmp import HOST_UNREACHABLE
from scout.ring.jit import outline
from scout.ring.segment import shared

__all__ = ["Arp", "receive", "request", "resolve"]

WISHES = BATCH_SIZE + 1  # row 0 counts the ARP requests to be sent, in `key`; they follow, at most one for each packet

WISH = np.dtype([("key", "i8"), ("source", "i8")])
"""An ARP request to be sent: the key of the adjacency, and the router's address to ask from."""

TOO_SHORT, BAD_ARP, TABLE_FULL = drop("too-short"), drop("bad-arp"), drop("adjacency-table-full")
CONFLICT = drop("arp-address-conflict")
ANSWER, LEARNT_ONLY = 0, 1
"""Outcomes of `receive`."""


@outline
def ask(wishes: Any, asked: Any, key: int, source: int, now: int) -> None:
    """Put an ARP request for `key` among the wishes, unless a replica did so less than a second ago."""
    count = wishes[0].key  # row 0 is no wish: its key is the number of wishes, which begin at row 1
    if count < WISHES - 1 and once(asked, key, now, SECOND):
        wishes[count + 1].key = key
        wishes[count + 1].source = source
        wishes[0].key = count + 1


def resolve(
    frame: Any,
    end: Any,
    packet: Any,
    next_hops: Any,
    adjacencies: Any,
    wishes: Any,
    asked: Any,
    lifetime: int,
    refresh: int,
) -> int:
    """Find the MAC address of the next hop; hold the packet while it is asked for."""
    hop = next_hops[np.uintp(packet.next_hop)]  # unsigned indices have no code that counts from an array's end
    index = hop.slot
    if index < 0:  # a neighbour itself, or the gateway of a route that was added while the router runs
        index = find(adjacencies, awaited(frame, hop))
    if index >= 0:
        adjacency = adjacencies[np.uintp(index)]
        left = adjacency.expires - packet.timestamp
        if left > 0:
            # If the clock was set back, more than a lifetime may be left: ask now, else the MAC address would stay in
            # use for that much longer than its lifetime.
            if (left < refresh or left > lifetime) and adjacency.state != STATIC:
                ask(wishes, asked, awaited(frame, hop), hop.source, packet.timestamp)
            packet.destination = adjacency.mac
            packet.ethertype = ethernet.IPV4
            return hop.port
    packet.awaited = awaited(frame, hop)
    packet.error = HOST_UNREACHABLE
    ask(wishes, asked, packet.awaited, hop.source, packet.timestamp)
    return HOLD


def awaited(frame: Any, hop: Any) -> int:
    """The key of the adjacency to which a next hop leads."""
    address = hop.address if hop.address != 0 else load32(frame, ipv4.DESTINATION)
    return (hop.port + 1) << 32 | address


def receive(
    frame: Any,
    end: Any,
    packet: Any,
    adjacencies: Any,
    changes: Any,
    own: Any,
    first: int,
    mac: int,
    lifetime: int,
    primary: bool,
) -> int:
    """Learn the sender's address; write the reply over the message if it asks for one of ours.

    `own` is the table of the router's addresses; this port's list of them begins at row `first`. `changes` counts what
    was learnt: the domain then tries again to send the packets that it holds.

    Returns ANSWER for a request that is to be answered, LEARNT_ONLY for any other good message, else a drop.
    """
    if not require(frame, end, arp.HEADER):
        return TOO_SHORT
    operation = load16(frame, arp.OPERATION)
    sender_mac, sender = load48(frame, arp.SENDER_MAC), load32(frame, arp.SENDER)
    if not is_ethernet_ipv4(frame) or (operation != arp.REQUEST and operation != arp.REPLY):
        return BAD_ARP
    if sender_mac & ethernet.GROUP or sender_mac == 0:
        return BAD_ARP
    target = load32(frame, arp.TARGET)
    ours, is_near = False, False
    index = first
    while own[np.uintp(index)].port >= 0:  # the list of addresses ends with a row whose port is negative
        each = own[np.uintp(index)]
        if each.port == packet.port:
            if sender == each.address:
                return CONFLICT if sender_mac != mac else BAD_ARP
            if target == each.address:
                ours = True
            if sender & each.mask == each.network:
                is_near = True
        index += 1
    if is_near:
        # RFC 826: any message updates a known address; a new address is learnt only from a message to one of ours.
        key = (packet.port + 1) << 32 | sender
        index = place(adjacencies, key, packet.timestamp) if ours else find(adjacencies, key)
        if index >= 0 and adjacencies[index].state != STATIC:
            adjacencies[index].mac = sender_mac
            adjacencies[index].expires = packet.timestamp + lifetime
            changes[0] += 1
        elif index < 0 and ours:
            return TABLE_FULL
    if not ours or operation != arp.REQUEST:
        return LEARNT_ONLY
    if primary:
        write_arp(frame, 0, arp.REPLY, mac, target, sender_mac, sender)
        packet.destination = sender_mac
        packet.ethertype = ethernet.ARP
    return ANSWER


def request(frame: Any, end: Any, packet: Any, wishes: Any, macs: Any) -> int:
    """Make the frame of one request that waits to be sent; 0 if there is none."""
    count = wishes[0].key
    if count == 0:
        return 0
    wishes[0].key = count - 1
    key = wishes[count].key
    port = (key >> 32) - 1
    mac = macs[port]
    store48(frame, ethernet.DESTINATION, ethernet.BROADCAST)
    store48(frame, ethernet.SOURCE, mac)
    store16(frame, ethernet.ETHERTYPE, ethernet.ARP)
    write_arp(frame, ethernet.HEADER, arp.REQUEST, mac, wishes[count].source, 0, key & 0xFFFFFFFF)
    packet.egress = port
    return 1


class Arp(Router):
    """Adjacencies by ARP: which MAC address a next hop has.

    Parameters
    ----------
    name : str
    timeout : float
        Seconds that an adjacency lasts without a message from it.
    capacity : int
        Adjacencies at most, a power of two; some fewer if their hashes collide. A new one takes the row of an expired
        one.

    Examples
    --------
    A neighbour that is not asked for, on the port of router "left":

    >>> arp = Arp("arp")
    >>> arp.pin("left", "10.0.0.2", "02:00:00:00:00:0a")
    """

    requires = {"net": "arp"}
    provides = {"resolve": "adjacency"}
    takes = (DeleteNeighbour, ForgetNeighbours, SetNeighbour)

    def __init__(self, name: str, timeout: float = 60.0, capacity: int = 1024) -> None:
        super().__init__(name)
        if not isinstance(timeout, int | float) or not 0 < timeout < 86400 * 365:
            raise GraphError(f"{name}: timeout of {timeout!r} seconds; give more than 0 and less than a year")
        if capacity < PROBES or capacity & (capacity - 1):
            raise GraphError(f"{name}: capacity of {capacity} adjacencies; give a power of two, {PROBES} or more")
        self.lifetime = int(timeout * SECOND)
        self.adjacencies = Table(np.zeros(capacity, ADJACENCY))
        self.changes: Table = Table(np.zeros(1, np.int64), "private")
        self.wishes = Table(np.zeros(WISHES, WISH), "private")
        self.asked = Table(np.zeros(2 * capacity, np.int64), "shared")
        self._neighbours = Neighbours(name, self.adjacencies)
        self._pins: list[tuple[str, str, str]] = []  # of ports by name, until the graph is complete

    # Hooks of `Router` (`scout.paths.model.router`), which tells when each is called.

    def configure(self, graph: RouterGraph) -> None:
        # In shared memory: a port may get another interface while replicas run.
        self.macs = Table(shared(len(graph.ports), np.int64), "constant")
        self._neighbours.ports = graph.ports
        for pin in self._pins:
            self.pin(*pin)

    def start(self, graph: RouterGraph) -> None:
        self._neighbours.reserve_gateways()
        self.learn_ports(graph)

    def learn_ports(self, graph: RouterGraph) -> None:
        self.macs.initial[:] = [graph.router(name).port.mac for name in graph.ports]

    def emitter(self) -> Stage:
        return Stage(request, (), {"wishes": self.wishes, "macs": self.macs})

    def _ip(self, graph: RouterGraph) -> Any:
        return graph.router(graph.reached(self.name, "resolve")[0][0])

    def reserve(self, port: int, address: int) -> int:
        """Give a gateway, at the port of an index, a row of the table for ever; the row's index."""
        return self._neighbours.reserve(key_of(port, address))

    def pin(self, port: str | int, address: str, mac: str) -> None:
        """Set an adjacency by hand, before the paths run; it never expires, and no ARP message changes it.

        While they run, `supervisor.change(SetNeighbour(...))` does it.

        Parameters
        ----------
        port : str or int
            The port where the neighbour is: its router's name, or its index in `RouterGraph.ports`.
        address, mac : str
            The neighbour's IPv4 and MAC addresses.

        Raises
        ------
        GraphError
            If an address is malformed, or the graph has no such port; the latter when the graph is complete.
        """
        if isinstance(port, str):
            if not self._neighbours.ports:
                self._neighbours.parsed(address, mac)
                self._pins.append((port, address, mac))
                return
            port = self._neighbours.index(port, address)
        self._neighbours.pin(port, address, mac)

    def awaited(self, number: int) -> str:
        """A neighbour, as right/10.0.1.2."""
        return "/".join(self._neighbours.place_of(number))

    # Changing.

    @property
    def covered(self) -> tuple[Table, ...]:  # type: ignore[override]
        return (self.adjacencies,)

    def differences(self, wanted: Any) -> list[Change]:
        return self._neighbours.differences(wanted._neighbours)

    def clearing(self, port: str) -> list[Change]:
        return self._neighbours.clearing(port)

    def prepare(self, changes: Sequence[Change], graph: RouterGraph) -> Amendment:
        return self._neighbours.prepare(changes)

    def gateways(self, new: Iterable[tuple[int, int]], gone: Iterable[tuple[int, int]]) -> Amendment:
        """Prepare to keep the rows of new gateways, and not to keep those of others; by port and address."""
        return self._neighbours.gateways(new, gone)

    def amender(self) -> Stage:
        return Stage(amend, (), {"adjacencies": self.adjacencies, "changes": self.changes})

    def arrive(self, service: str, below: bool) -> str:
        return "in" if service == "net" else "resolve"

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        ip = self._ip(graph)
        if key == "resolve":
            joined = {name for name, _ in graph.reached(self.name, "net")}
            outcomes = tuple(
                Outcome(port, Via("net", port) if port in joined else drop("no-arp"), common=True)
                for port in graph.ports
            )
            tables = {"adjacencies": self.adjacencies, "wishes": self.wishes, "asked": self.asked}
            times = {"lifetime": self.lifetime, "refresh": self.lifetime // 4}
            bindings = {"next_hops": ip.next_hops} | times | tables
            return Stage(resolve, outcomes, bindings, on_timeout=Via("resolve"))
        bindings = {
            "adjacencies": self.adjacencies,
            "changes": self.changes,
            "own": ip.own.table,
            "first": ip.own.first,
            "mac": graph.router(attributes.ingress).port_mac,
            "lifetime": self.lifetime,
        }
        outcomes = (Outcome("answer", Via("net", attributes.ingress)), Outcome("learnt", Exit()))
        return Stage(receive, outcomes, bindings)
