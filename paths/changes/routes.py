"""Changes of the routes of an `Ip`, which prepares and makes them in `scout.paths.protocols.routing`.

Example
    supervisor.change(DeleteRoute("10.8.0.0/16"), AddRoute("10.9.0.0/16", via="10.0.1.2"))
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from scout.paths.model.change import Change

__all__ = ["AddRoute", "DeleteRoute", "ReplaceRoute"]


@dataclass(frozen=True)
class AddRoute(Change):
    """Route a prefix that has no route of its own yet to a gateway.

    Parameters
    ----------
    prefix : str or IPv4Network
        As "10.9.0.0/16"; "0.0.0.0/0" is the default route.
    via : str or IPv4Address
        The gateway, on a connected network.

    Examples
    --------
    >>> AddRoute("10.9.0.0/16", via="10.0.1.2")
    AddRoute(router='', prefix='10.9.0.0/16', via='10.0.1.2')
    """

    prefix: str | IPv4Network
    via: str | IPv4Address


@dataclass(frozen=True)
class ReplaceRoute(Change):
    """Route a prefix that has a route to another gateway; parameters as of `AddRoute`.

    Examples
    --------
    >>> ReplaceRoute("10.9.0.0/16", via="10.0.1.3").via
    '10.0.1.3'
    """

    prefix: str | IPv4Network
    via: str | IPv4Address


@dataclass(frozen=True)
class DeleteRoute(Change):
    """Delete the route of a prefix; packets go by the next shorter prefix then.

    Parameters
    ----------
    prefix : str or IPv4Network

    Examples
    --------
    >>> DeleteRoute("10.9.0.0/16").prefix
    '10.9.0.0/16'
    """

    prefix: str | IPv4Network
