"""Endpoints: addresses with L4 ports, as services take and give them."""

from ipaddress import IPv4Address
from typing import NamedTuple

from scout.paths.model.router import GraphError
from scout.paths.wire.address import Address

__all__ = ["Endpoint"]


class Endpoint(NamedTuple):
    """An address and an L4 port.

    Examples
    --------
    >>> str(Endpoint(IPv4Address("10.0.0.1"), 80))
    '10.0.0.1:80'
    """

    address: Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.address.version == 4 else f"[{self.address}]:{self.port}"

    @classmethod
    def parse(cls, name: str, text: str) -> "Endpoint":
        """The IPv4 endpoint of "10.0.0.1:80", a parameter of the service called `name`.

        Raises
        ------
        GraphError
            If it is none.
        """
        address, _, port = text.rpartition(":")
        try:
            found = cls(IPv4Address(address), int(port))
        except ValueError as error:
            raise GraphError(f"{name}: {text!r} is no address and port; write 10.0.0.1:80") from error
        if not 0 < found.port < 65536:
            raise GraphError(f"{name}: {text!r} has no port of 1 to 65535; write 10.0.0.1:80")
        return found
