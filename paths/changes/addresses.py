"""Changes of the addresses of an `Ip`.

Example
    supervisor.change(AddAddress("left", "10.0.2.1/24"))
"""

from dataclasses import dataclass
from ipaddress import IPv4Interface

from scout.paths.model.change import Change

__all__ = ["AddAddress", "DeleteAddress"]


@dataclass(frozen=True)
class AddAddress(Change):
    """Give the router one more address at a port; the address's network is connected from then on.

    Parameters
    ----------
    port : str
        The name of the router that has the port.
    address : str or IPv4Interface
        With the length of the network's prefix, as "10.0.2.1/24".

    Examples
    --------
    >>> AddAddress("left", "10.0.2.1/24").address
    '10.0.2.1/24'
    """

    port: str
    address: str | IPv4Interface


@dataclass(frozen=True)
class DeleteAddress(Change):
    """Take an address away; its network is connected no more, unless another address of the port is in it.

    Parameters
    ----------
    port : str
    address : str or IPv4Interface
        With the length of the network's prefix, as it was given.

    Examples
    --------
    >>> DeleteAddress("left", "10.0.2.1/24").port
    'left'
    """

    port: str
    address: str | IPv4Interface
