"""Ethernet II: where paths begin and end (RFC 894).

Usage: Ethernet(name, port)
Provides: ipv4, arp. Received frames go up by their ethertype; packets that come down are sent.
Drops: too-short, not-for-us, unknown-ethertype.
"""

from functools import partial
from typing import Any

from scout.io.access import load16, load64, require, store16, store32, store64
from scout.paths.model.graph import Router, RouterGraph
from scout.paths.model.stage import Exit, Outcome, Stage, Via, drop
from scout.paths.wire.ethernet import ARP, DESTINATION, ETHERTYPE, GROUP, HEADER, IPV4, MAC, SOURCE

__all__ = ["Ethernet", "receive", "send"]

TOO_SHORT, NOT_FOR_US, UNKNOWN = drop("too-short"), drop("not-for-us"), drop("unknown-ethertype")


def receive(frame: Any, end: Any, packet: Any, mac: int) -> int:
    """Take frames sent to us or to a group; tell IPv4 from ARP."""
    if not require(frame, end, HEADER):
        return TOO_SHORT
    destination = load64(frame, DESTINATION) >> 16 & MAC  # one load, two bytes of the source go
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
    # Both addresses and the ethertype are 14 bytes: 8, 4 and 2.
    store64(frame, DESTINATION, packet.destination << 16 | mac >> 32)
    store32(frame, SOURCE + 2, mac)
    store16(frame, ETHERTYPE, packet.ethertype)
    return 0


class Ethernet(Router):
    """An Ethernet interface.

    Parameters
    ----------
    name : str
        The router's name, which addresses and paths refer to.
    port : Port
        What frames are received from and sent to.
    """

    provides = {"ipv4": "ipv4", "arp": "arp"}

    def __init__(self, name: str, port: Any) -> None:
        super().__init__(name)
        self.port = port

    def arrive(self, service: str, below: bool) -> str:
        return "out"

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
        mac = {"mac": partial(getattr, self.port, "mac")}
        if key == "out":
            return Stage(send, (Outcome("sent", Exit(self.name)),), mac, push=HEADER)
        outcomes = (Outcome("ipv4", Via("ipv4"), HEADER), Outcome("arp", Via("arp"), HEADER))
        return Stage(receive, outcomes, mac, writes=False)
