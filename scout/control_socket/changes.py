"""Answers to requests that change a router. One happens after the other."""

import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from scout.control_socket.protocol import answer
from scout.control_socket.state import settings
from scout.difference import difference
from scout.loader import load_router
from scout.paths.changes.addresses import AddAddress, DeleteAddress
from scout.paths.changes.neighbours import DeleteNeighbour, SetNeighbour
from scout.paths.changes.ports import AddPort, DeletePort
from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.changes.values import SetValue
from scout.paths.framework.service import Service
from scout.paths.model.change import Change
from scout.paths.model.path import Path
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor

__all__ = ["Changes"]

_PATIENCE = 5.0  # seconds until a control request must have reached a replica
_INTERVAL = 0.002  # seconds between two looks whether it has


class Changes:
    """A method for each such request; the parameters are those of `scout.control_socket.requests`.

    Parameters
    ----------
    supervisor : Supervisor
    stop : callable or None
        Stops the router.
    file : str
        The router file.
    """

    def __init__(self, supervisor: Supervisor, stop: Callable[[], None] | None, file: str) -> None:
        self._supervisor, self._stop, self._file = supervisor, stop, file

    def add_replica(self) -> dict[str, Any]:
        return answer([{"replica": self._supervisor.add_replica(), "state": "takes part"}])

    def remove_replica(self, replica: int) -> dict[str, Any]:
        self._supervisor.remove_replica(replica)
        return answer([{"replica": replica, "state": "has left"}])

    def bind(self, service: str, handlers: list[str]) -> dict[str, Any]:
        found = self._service(service)
        return self._have_bound(found, self._mask(found) | found.mask(handlers))

    def unbind(self, service: str, handlers: list[str]) -> dict[str, Any]:
        found = self._service(service)
        return self._have_bound(found, self._mask(found) & ~found.mask(handlers))

    def port_add(self, port: str, interface: str, mac: str | None, promiscuous: bool, coalesce: bool) -> dict[str, Any]:
        return self._change(AddPort(port, interface, mac, promiscuous, coalesce))

    def port_delete(self, port: str) -> dict[str, Any]:
        return self._change(DeletePort(port))

    def address_add(self, port: str, address: IPv4Interface) -> dict[str, Any]:
        return self._change(AddAddress(port, str(address)))

    def address_delete(self, port: str, address: IPv4Interface) -> dict[str, Any]:
        return self._change(DeleteAddress(port, str(address)))

    def route_add(self, prefix: IPv4Network, via: IPv4Address) -> dict[str, Any]:
        return self._change(AddRoute(str(prefix), str(via)))

    def route_replace(self, prefix: IPv4Network, via: IPv4Address) -> dict[str, Any]:
        return self._change(ReplaceRoute(str(prefix), str(via)))

    def route_delete(self, prefix: IPv4Network) -> dict[str, Any]:
        return self._change(DeleteRoute(str(prefix)))

    def path_create(
        self,
        of: str,
        destination: IPv4Network | None,
        source: IPv4Network | None,
        protocol: str | None,
        destination_port: int | None,
        source_port: int | None,
        dscp: int | None,
        egress: str | None,
        **wishes: Any,
    ) -> dict[str, Any]:
        given = _traffic(destination, source, protocol, destination_port, source_port, dscp)
        given |= {name: value for name, value in wishes.items() if value is not None}
        other = self._supervisor.memory.paths.named(of)
        if egress is None:
            path = other.narrowed(**given)
        else:
            graph, order = self._supervisor.graph, other.release_order
            path = graph.create_path(other.source, egress=egress, order=order, **given)
        return self._path(path, self._supervisor.create_path(path), "has its packets")

    def discard_add(self, at: str, **given: Any) -> dict[str, Any]:
        path = self._supervisor.graph.discard_path(at, **_traffic(**given))
        return self._path(path, self._supervisor.create_path(path), "discards its packets")

    def path_delete(self, path: str) -> dict[str, Any]:
        found = self._supervisor.memory.paths.named(path)
        return self._path(found, self._supervisor.delete_path(found), "is deleted")

    def neighbour_set(self, port: str, address: IPv4Address, mac: str) -> dict[str, Any]:
        return self._change(SetNeighbour(port, str(address), mac))

    def neighbour_delete(self, port: str, address: IPv4Address) -> dict[str, Any]:
        return self._change(DeleteNeighbour(port, str(address)))

    def set(self, setting: str, value: int) -> dict[str, Any]:
        known = settings(self._supervisor.graph)
        if setting not in known:
            raise ScoutError(f"no setting {setting!r}; there are {', '.join(known) or 'none'}")
        return self._change(SetValue(known[setting], value))

    def reload(self, dry_run: bool) -> dict[str, Any]:
        _, paths = load_router(self._file)
        found = difference(self._supervisor.given_paths, paths) if dry_run else self._supervisor.reload(paths)
        return answer([{"change": each.text} for each in found])

    def stop(self) -> dict[str, Any]:
        if self._stop is None:
            raise ScoutError("this router stops when the script that runs it does; end the script")
        self._stop()
        return answer([{"router": self._supervisor.graph.name, "state": "stopping"}])

    def _service(self, name: str) -> Service:
        router = self._supervisor.graph.router(name)
        if not isinstance(router, Service):
            raise ScoutError(f"{name} is a {type(router).__name__}, and no service; name one of `show handlers`")
        return router

    def _mask(self, service: Service) -> int:
        """Which handlers are bound now, in the first replica."""
        return int(self._supervisor.table(service.tables["bound"])[0])

    def _have_bound(self, service: Service, mask: int) -> dict[str, Any]:
        names = service.names_in(mask)
        self._supervisor.bind(service, *names)
        # The next request goes by what is bound then.
        _await(lambda: self._mask(service) == mask, "`show handlers` tells when it holds")
        return answer([{"service": service.name, "bound": ", ".join(names)}])

    def _path(self, path: Path, epoch: int, state: str) -> dict[str, Any]:
        _await(lambda: self._supervisor.reached(epoch), "it will hold when they are done")
        return answer([{"epoch": epoch, "path": path.name, "state": state}])

    def _change(self, change: Change) -> dict[str, Any]:
        epoch = self._supervisor.change(change)
        _await(lambda: self._supervisor.reached(epoch), "it will hold when they are done")
        return answer([{"epoch": epoch, "change": change.text}])


def _traffic(
    destination: IPv4Network | None,
    source: IPv4Network | None,
    protocol: str | None,
    destination_port: int | None,
    source_port: int | None,
    dscp: int | None,
) -> dict[str, Any]:
    """The attributes that were given of a path's packets."""
    given: dict[str, Any] = {"destination": destination, "source": source, "dscp": dscp}
    given |= {"destination_port": destination_port, "source_port": source_port}
    given["protocol"] = int(protocol) if protocol and protocol.isdecimal() else protocol
    return {name: value for name, value in given.items() if value is not None}


def _await(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait until replicas have come to a change, so that it has taken effect when the client gets its answer."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise ScoutError(f"the change waits behind other requests in its channel; {otherwise}")
        time.sleep(_INTERVAL)
