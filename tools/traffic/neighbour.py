"""Where the kernel would send packets to an address: by which source address, and to which MAC address."""

import socket
import time
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from scout.io.mac import mac_number
from scout.ring.errors import ScoutError
from scout.tools.namespaces import Place

__all__ = ["address_of", "hop_to"]

_ANSWER_SECONDS = 2.0  # that an ARP request waits for an answer
_DISCARD = 9  # a UDP port that nobody listens to (RFC 863)


def address_of(place: Place) -> str:
    """The first IPv4 address of an interface.

    Raises
    ------
    ScoutError
        If there is no such interface, or it has no address.
    """
    with place.entered(), IPRoute() as ip:
        index = _index(ip, place)
        found = list(ip.get_addr(family=socket.AF_INET, index=index))
    if not found:
        raise ScoutError(f"interface {place.interface}: has no IPv4 address; name one with --source or --destination")
    return str(found[0].get("address"))


def hop_to(place: Place, destination: str) -> int:
    """The MAC address of the next hop to `destination` by an interface, asked for by ARP if need be.

    Raises
    ------
    ScoutError
        If there is no such interface, no route by it, or no answer.
    """
    with place.entered(), IPRoute() as ip:
        index = _index(ip, place)
        try:
            (route,) = ip.route("get", dst=destination)
            leaves = route.get("oif")
        except NetlinkError:
            leaves = None
        if leaves != index:
            raise ScoutError(
                f"interface {place.interface}: no route to {destination} leaves by it; add one, or name --next-hop"
            )
        hop = route.get("gateway") or destination
        deadline = time.monotonic() + _ANSWER_SECONDS
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while time.monotonic() < deadline:
                for entry in ip.get_neighbours(ifindex=index, family=socket.AF_INET):
                    if entry.get("dst") == hop and entry.get("lladdr"):
                        return mac_number(entry.get("lladdr"))
                sock.sendto(b"", (destination, _DISCARD))  # the kernel asks for the address first
                time.sleep(0.05)
    raise ScoutError(f"interface {place.interface}: {hop} does not answer ARP; is it there? Or name --next-hop")


def _index(ip: Any, place: Place) -> int:
    found = ip.link_lookup(ifname=place.interface)
    if not found:
        names = ", ".join(sorted(link.get("ifname") for link in ip.get_links()))
        where = f"namespace {place.netns}" if place.netns else "this namespace"
        raise ScoutError(f"interface {place.interface}: not in {where}; there are: {names}")
    return int(found[0])
