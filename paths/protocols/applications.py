"""Applications: paths begin and end here at the sockets of programs in other processes (docs/endpoints.md).

Usage: Applications(name, port)
Requires: socket (one or more transports, such as `Udp`).

Drops
    bad-request: a local request for a protocol that no transport here serves.
Example
    Applications("apps", ApplicationPort("apps"))
"""

from typing import Any

from scout.io.access import load8, require
from scout.io.endpoints import message
from scout.io.ports.applications import ApplicationPort
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError, Router
from scout.paths.model.stage import Exit, Outcome, Stage, Via
from scout.paths.model.verdict import drop

__all__ = ["Applications", "to_sockets", "to_transport"]

BAD_REQUEST = drop("bad-request")


def to_transport(frame: Any, end: Any, first: int, second: int) -> int:
    """Tell local requests by their protocol."""
    if not require(frame, end, message.HEADER):
        return BAD_REQUEST
    protocol = load8(frame, message.PROTOCOL)
    if protocol == first:
        return 0
    if protocol == second:
        return 1
    return BAD_REQUEST


def to_sockets(frame: Any, end: Any) -> int:
    """Let a message leave."""
    return 0


class Applications(Router):
    """The sockets of applications.

    Parameters
    ----------
    name : str
    port : ApplicationPort

    Raises
    ------
    GraphError
        If the port is another one.

    Examples
    --------
    >>> apps = Applications("apps", ApplicationPort("apps"))
    """

    requires = {"sockets": "socket"}

    def __init__(self, name: str, port: ApplicationPort) -> None:
        super().__init__(name)
        if not isinstance(port, ApplicationPort):
            raise GraphError(f"{name}: {port!r} has no sockets; give an ApplicationPort")
        self.port = port

    def transports(self, graph: RouterGraph) -> dict[int, Any]:
        """The transports by their protocols' numbers."""
        found = [graph.router(name) for name, _ in graph.reached(self.name, "sockets")]
        return {router.protocol: router for router in found if hasattr(router, "protocol")}

    def arrive(self, service: str, below: bool) -> str:
        return "out"

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        if key == "out":
            return Stage(to_sockets, (Outcome("to a socket", Exit(self.name)),))
        transports = self.transports(graph)
        first, second = [*transports, -1, -1][:2]
        outcomes = [Outcome(router.name, Via("sockets", router.name), common=True) for router in transports.values()]
        return Stage(to_transport, tuple(outcomes), {"first": first, "second": second})
