"""Ethernet II: paths begin and end here (RFC 894).

Usage: Ethernet(name, port)
Provides: ipv4, arp.

Received frames go up by their ethertype. IPv4 packets are checked before any service sees them: their header is right,
they end where their total length says (the link may have padded them), and if an `Ip` stands above, their source may be
one. Packets that come down are sent.

Drops
    too-short: the frame ends within its Ethernet or IPv4 header.
    too-long-for-slot: the frame is longer than a slot of the port's receive ring; give AfPacketPort(..., longest=...) a
        greater number.
    not-for-us: the frame's destination is the MAC address of another station. A capture taken elsewhere has the address
        of that machine: give it to the port, as PcapPort(..., mac=...).
    unknown-ethertype: the frame carries neither IPv4 nor ARP.
    bad-version: the IP version is not 4.
    bad-header-length: the IPv4 header says that it has less than 20 bytes.
    bad-checksum: the checksum of the IPv4 header is wrong.
    bad-total-length: the total length is less than the header's.
    truncated: the IPv4 packet is longer than the frame.
    martian-source: the source address cannot be one (RFC 1812 section 5.3.7); it is in 0/8, 127/8, multicast or
        reserved, or a broadcast address of a connected network.
    link-local-source: the source is in 169.254/16, and the destination is not the router itself (RFC 3927 section 7).
    own-source: the source address is one of the router's own; the packet is forged, or comes back in a loop.
Example
    Ethernet("left", AfPacketPort("r0"))
"""

from ipaddress import IPv4Network
from typing import Any

from scout.io.access import load16, load64, require, store16, store32, store64
from scout.io.packet import CUT
from scout.paths.model.attributes import Attributes
from scout.paths.model.classifier import DEFAULT_WAY, Classifier
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage, To, Via
from scout.paths.model.verdict import RULED_OUT, drop
from scout.paths.protocols.ipv4 import Ip
from scout.paths.protocols.ipv4_check import check, check_header
from scout.paths.protocols.route_facts import GOOD_SOURCES, KindsWithin, can_be_sources
from scout.paths.wire.ethernet import ARP, DESTINATION, ETHERTYPE, GROUP, HEADER, IPV4, MAC, SOURCE

__all__ = ["Ethernet", "classify", "receive", "send"]

TOO_SHORT, TOO_LONG = drop("too-short"), drop("too-long-for-slot")
NOT_FOR_US, UNKNOWN = drop("not-for-us"), drop("unknown-ethertype")


def receive(frame: Any, end: Any, packet: Any, mac: int) -> int:
    """Take frames that are sent to our address or to a group; tell IPv4 (0) from ARP (1)."""
    if not require(frame, end, HEADER):
        return TOO_LONG if packet.link_broadcast == CUT else TOO_SHORT
    destination = load64(frame, DESTINATION) >> 16 & MAC  # one load of 8 bytes costs less than two for 6
    if destination != mac:
        if destination & GROUP == 0:
            return NOT_FOR_US
        packet.link_broadcast = 1
    ethertype = load16(frame, ETHERTYPE)
    if ethertype == IPV4:
        return 0
    if ethertype == ARP:
        return 1
    return UNKNOWN


def send(frame: Any, end: Any, packet: Any, mac: int) -> int:
    """Write the header before the packet: to `packet.destination`, from our address."""
    # Both addresses and the ethertype are 14 bytes: stores of 8, 4 and 2.
    store64(frame, DESTINATION, packet.destination << 16 | mac >> 32)
    store32(frame, SOURCE + 2, mac)
    store16(frame, ETHERTYPE, packet.ethertype)
    return 0


def classify(frame: Any, end: Any) -> tuple[int, int, int]:
    """Tell IPv4 (0) from what takes the port's default path."""
    if require(frame, end, HEADER) and load16(frame, ETHERTYPE) == IPV4:
        return 0, 0, 0
    return DEFAULT_WAY, 0, 0


class Ethernet(Router):
    """An Ethernet interface.

    Parameters
    ----------
    name : str
        The router's name, which addresses and paths refer to.
    port : Port
        The port from which frames are received and to which they are sent.

    Examples
    --------
    >>> from scout.io.ports.memory import MemoryPort
    >>> left = Ethernet("left", MemoryPort(mac="02:00:00:00:00:01"))
    """

    provides = {"ipv4": "ipv4", "arp": "arp"}

    def __init__(self, name: str, port: Any) -> None:
        super().__init__(name)
        self.port = port

    def arrive(self, service: str, below: bool) -> str:
        return "out"

    def classifier(self) -> Classifier:
        return Classifier(classify, (Outcome("ipv4", Via("ipv4"), HEADER),))

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        mac = {"mac": self.port_mac}
        if key == "out":
            return Stage(send, (Outcome("sent", Exit(self.name)),), mac, push=HEADER)
        if key == "ipv4":
            ip, good = self._ip(graph), (Outcome("good", Via("ipv4")),)
            return ip.check_stage(good) if ip else Stage(check_header, good, keeps_flow=True)
        # The packets of a path that attributes describe are IP packets: demux has looked at them.
        arp = RULED_OUT if attributes.traffic else Via("arp")
        outcomes = (Outcome("ipv4", To("ipv4"), HEADER), Outcome("arp", arp, HEADER))
        return Stage(receive, outcomes, mac)

    def _ip(self, graph: RouterGraph) -> Ip | None:
        """The `Ip` that stands above, if one does."""
        above = (graph.router(name) for name, _ in graph.reached(self.name, "ipv4"))
        return next((router for router in above if isinstance(router, Ip)), None)

    def establish(self, node: str, path: Path) -> None:
        """Check the header alone, and no source, where every source that the packets can have is a good one."""
        prefix = path.attributes.source
        if path.nodes[node]["stage"].function is not check or not isinstance(prefix, IPv4Network):
            return
        ip = self._ip(path.router_graph)
        if ip and node in path.intact and can_be_sources(ip, prefix):
            path.replace(node, Stage(check_header, keeps_flow=True, note="known sources"))
            path.rely_on(KindsWithin(ip.name, prefix, GOOD_SOURCES))
