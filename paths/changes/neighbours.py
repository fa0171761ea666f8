"""Changes of the neighbours of an `Arp` that are set by hand.

Example
    supervisor.change(SetNeighbour("right", "10.0.1.2", "02:00:00:00:00:0b"))
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from scout.paths.model.change import Change

__all__ = ["DeleteNeighbour", "ForgetNeighbours", "SetNeighbour"]


@dataclass(frozen=True)
class SetNeighbour(Change):
    """Set a neighbour's MAC address by hand; it never expires, and no ARP message changes it.

    Parameters
    ----------
    port : str
        The name of the router at whose port the neighbour is.
    address : str or IPv4Address
    mac : str
        As "02:00:00:00:00:0b".

    Examples
    --------
    >>> SetNeighbour("right", "10.0.1.2", "02:00:00:00:00:0b").mac
    '02:00:00:00:00:0b'
    """

    port: str
    address: str | IPv4Address
    mac: str


@dataclass(frozen=True)
class DeleteNeighbour(Change):
    """Forget a neighbour that was set by hand; ARP asks for it then.

    Parameters
    ----------
    port : str
    address : str or IPv4Address

    Examples
    --------
    >>> DeleteNeighbour("right", "10.0.1.2").address
    '10.0.1.2'
    """

    port: str
    address: str | IPv4Address


@dataclass(frozen=True)
class ForgetNeighbours(Change):
    """Forget the MAC addresses that were learnt from ARP at a port.

    Parameters
    ----------
    port : str

    Examples
    --------
    >>> ForgetNeighbours("right").text
    'ForgetNeighbours right'
    """

    port: str
