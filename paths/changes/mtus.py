"""Changes of the longest packets that an `Ip` sends by a port.

Example
    supervisor.change(SetMtu("right", 1400))
"""

from dataclasses import dataclass

from scout.paths.model.change import Change

__all__ = ["SetMtu"]


@dataclass(frozen=True)
class SetMtu(Change):
    """Send no IP packets longer than this by a port, although its interface would.

    Parameters
    ----------
    port : str
        The name of the router that has the port.
    mtu : int or None
        Bytes, 68 at least (RFC 791 section 3.2); None for what the interface sends.

    Examples
    --------
    >>> SetMtu("right", 1400).mtu
    1400
    """

    port: str
    mtu: int | None
