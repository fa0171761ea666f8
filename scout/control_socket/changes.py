"""Answers to requests that change a router. One happens after the other."""

import time
from collections.abc import Callable
from typing import Any

from scout.control_socket.protocol import answer
from scout.paths.framework.service import Service
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
    """

    def __init__(self, supervisor: Supervisor, stop: Callable[[], None] | None) -> None:
        self._supervisor, self._stop = supervisor, stop

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
        """Bind handlers, and wait until they are, since the next request goes by what is bound then."""
        names = service.names_in(mask)
        self._supervisor.bind(service, *names)
        deadline = time.monotonic() + _PATIENCE
        while self._mask(service) != mask:
            if time.monotonic() > deadline:
                raise ScoutError(
                    f"{service.name}: the change waits behind other requests; `show handlers` tells when it holds"
                )
            time.sleep(_INTERVAL)
        return answer([{"service": service.name, "bound": ", ".join(names)}])
