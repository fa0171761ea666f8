"""Changes of the ports of a running router: which of them have an interface.

Example
    supervisor.change(AddPort("third", "eth3"), AddAddress("third", "10.0.3.1/24"))
"""

from dataclasses import dataclass

from scout.paths.model.change import Change

__all__ = ["AddPort", "DeletePort"]


@dataclass(frozen=True)
class AddPort(Change):
    """Give an interface to a port that has none (`AfPacketPort()`).

    Parameters
    ----------
    port : str
        The name of the router that has the port.
    interface : str
    mac : str or None
        A MAC address of the router's own; None for the interface's.
    promiscuous, coalesce : bool
        As of `AfPacketPort`.

    Examples
    --------
    >>> AddPort("third", "eth3").text
    'AddPort third eth3'
    """

    port: str
    interface: str
    mac: str | None = None
    promiscuous: bool = False
    coalesce: bool = True


@dataclass(frozen=True)
class DeletePort(Change):
    """Take the interface away from a port, and with it the router's addresses, MTU and neighbours there.

    Parameters
    ----------
    port : str
        The name of the router that has the port.

    Examples
    --------
    >>> DeletePort("third").text
    'DeletePort third'
    """

    port: str
