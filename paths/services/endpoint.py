"""Addresses with L4 ports, as people write them in a service's parameters."""

from ipaddress import IPv4Address

from scout.paths.model.router import GraphError

__all__ = ["endpoint"]


def endpoint(name: str, text: str) -> tuple[int, int]:
    """The address (host order) and port of "10.0.0.1:80", a parameter of the service called `name`."""
    address, _, port = text.rpartition(":")
    try:
        found = int(IPv4Address(address)), int(port)
    except ValueError as error:
        raise GraphError(f"{name}: {text!r} is no address and port; write 10.0.0.1:80") from error
    if not 0 < found[1] < 65536:
        raise GraphError(f"{name}: {text!r} has no port of 1 to 65535; write 10.0.0.1:80")
    return found
