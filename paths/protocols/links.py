"""Where a router's own addresses lead packets: to connected networks and to itself."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from scout.paths.model.router import GraphError
from scout.paths.protocols.ipv4_check import broadcasts
from scout.paths.protocols.next_hop import BROADCAST, CONNECTED, LOCAL, MARTIAN, MULTICAST

__all__ = ["Addresses", "Hop", "Links", "Prefix", "special"]

Addresses = Mapping[str, tuple[IPv4Interface, ...]]
"""The addresses of each port, the first of a network before others of it."""

Prefix = tuple[int, int]
"""The network's address, and the length."""

Hop = tuple[int, int, int, int, int]
"""A next hop: the fields of `NEXT_HOP` without the spare ones."""

_SPECIAL = {
    "0.0.0.0/8": MARTIAN,
    "127.0.0.0/8": MARTIAN,
    "169.254.0.0/16": MARTIAN,
    "224.0.0.0/4": MULTICAST,
    "240.0.0.0/4": MARTIAN,
    "255.255.255.255/32": BROADCAST,
}


def special(kind: int) -> Hop:
    """The next hop of all addresses of a kind that are at no port."""
    return kind, -1, 0, -1, 0


def _number(network: IPv4Network) -> Prefix:
    return int(network.network_address), network.prefixlen


class Links:
    """The networks that some addresses connect the router to.

    Of several addresses in one network, the first is the source of the router's own packets to it.

    Parameters
    ----------
    name : str
        The router's, for errors.
    addresses : Addresses
    ports : sequence of str
        The names of all ports, in the order of their indices.

    Attributes
    ----------
    fixed : dict of Prefix to Hop
        The next hops of the prefixes that are connected, the router's own, or special: no route may change them.
    """

    def __init__(self, name: str, addresses: Addresses, ports: Sequence[str]) -> None:
        self._name = name
        self._networks: dict[Prefix, tuple[int, int]] = {}  # the port, and the router's address
        self._own = {int(each) for given in addresses.values() for each in given}
        self.fixed: dict[Prefix, Hop] = {_number(IPv4Network(text)): special(kind) for text, kind in _SPECIAL.items()}
        for port, given in addresses.items():
            for interface in given:
                prefix, link = _number(interface.network), (ports.index(port), int(interface))
                index, own = self._networks.setdefault(prefix, link)
                self.fixed[prefix] = (CONNECTED, index, 0, -1, own)
                self.fixed |= {(int(each), 32): special(BROADCAST) for each in broadcasts(interface.network)}
        self.fixed |= {(own, 32): special(LOCAL) for own in self._own}

    def find(self, gateway: int) -> tuple[int, int] | None:
        """The port that a gateway is at, and the router's address there; None if it is on no connected network."""
        if gateway in self._own:
            return None
        for (network, length), link in self._networks.items():
            if (network ^ gateway) >> 32 - length == 0:
                return link
        return None

    def require(self, gateway: int) -> tuple[int, int]:
        """As `find`.

        Raises
        ------
        GraphError
            If it is on no connected network.
        """
        if (link := self.find(gateway)) is None:
            raise GraphError(
                f"{self._name}: gateway {IPv4Address(gateway)} is on no connected network; give an address next to it"
            )
        return link
