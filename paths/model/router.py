"""Routers: protocol modules with named, typed services."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scout.paths.model.change import Amendment, Change
from scout.paths.model.classifier import Classifier
from scout.paths.model.stage import Stage, Via
from scout.paths.model.table import Table
from scout.ring.errors import ScoutError

if TYPE_CHECKING:
    from scout.paths.framework.path_requests import PathRequests
    from scout.paths.model.attributes import Attributes
    from scout.paths.model.graph import RouterGraph
    from scout.paths.model.path import Path
    from scout.paths.model.rule import Rule

__all__ = ["GraphError", "Router"]


class GraphError(ScoutError):
    """A router graph that makes no sense; the message names both ends."""


class Router:
    """A protocol module of the router graph. Subclasses declare services and make stages.

    Attributes
    ----------
    provides, requires : mapping of str to str
        The services by name, and their types. `requires` may be joined several times (one IP, many
        Ethernets); every required service must be joined at least once.
    """

    provides: Mapping[str, str] = {}
    requires: Mapping[str, str] = {}

    def __init__(self, name: str) -> None:
        if not name.isidentifier():
            raise GraphError(f"router name {name!r}: use letters, digits and _, as in a Python name")
        self.name = name

    through: Mapping[str, str] = {}
    """Of a router that only stands between others (a filter): its services, each with the one behind it."""

    one_way: Mapping[str, str] = {}
    """The services by which packets only come ("receive") or only go ("send")."""

    port: Any = None
    """The packet port that this router drives; a router with a port begins and ends paths."""

    changes: Table | None = None
    """A private table whose first cell changes when held packets may be able to go on."""

    deadline: Table | None = None
    """A table of int64 whose first cell is the time, nanoseconds since 1970, at which the router wants a request
    `EXPIRE` (`scout.io.endpoints.message`), or 1 << 62. The router has a `protocol`, and the table is replicated state
    of the path by which local requests come to it. The request may come late, or when nothing is due any more."""

    lock: Table | None = None
    """A shared table whose first word is 0, or names the replica that holds the router's state: its number plus 1."""

    path_requests: "PathRequests | None" = None
    """The paths that its stages ask the supervisor for, for packets that they see."""

    takes: tuple[type[Change], ...] = ()
    """The changes that the router can make while it runs."""

    def prepare(self, changes: Sequence[Change], graph: "RouterGraph") -> Amendment:
        """Check changes that the router takes, in turn, and prepare to make them together; nothing changes yet.

        Raises
        ------
        ScoutError
            If one of them cannot be made; names it, and the fix.
        """
        raise NotImplementedError

    covered: tuple[Table, ...] = ()
    """The tables whose contents `differences` tells, or that come from the ports."""

    def differences(self, wanted: Any) -> list[Change]:
        """The changes that make this router, which runs, like another one of its class; changes nothing.

        Only what `covered` has, and what no stage is bound to: the rest is compared by `scout.difference`.

        Raises
        ------
        ScoutError
            If something of it cannot be changed while the router runs; names it.
        """
        return []

    def clearing(self, port: str) -> list[Change]:
        """The changes after which the router has nothing at a port, which is about to lose its interface."""
        return []

    def amender(self) -> Stage | None:
        """A stage without outcomes whose function makes the orders of a change in the tables of a replica.

        `function(order, now, ...)` is called with a record `scout.paths.model.change.ORDER` and the time of the
        request, in every replica at the same position. Its other parameters are tables; it returns 0.
        """
        return None

    def emitter(self) -> Stage | None:
        """A stage without outcomes that makes packets: it fills one, sets its `egress`, and returns 1, or 0."""
        return None

    def awaited(self, number: int) -> str:
        """The name of what a packet waits for that a stage of this router holds, by `packet.awaited`."""
        return ""

    def port_mac(self) -> int:
        """The MAC address of its port.

        Stages are bound to this function and not to an address, which a port may learn only when it is opened.
        """
        return int(self.port.mac)

    def configure(self, graph: "RouterGraph") -> None:
        """Check the parameters and build tables, once, when the graph is complete."""

    def start(self, graph: "RouterGraph") -> None:
        """Read what is known only now that the ports are open, before the domains are forked."""

    def learn_ports(self, graph: "RouterGraph") -> None:
        """Read the MAC addresses and MTUs of the ports again, into memory that all replicas read.

        A port has got another interface, or its interface another MTU, while replicas run.
        """

    def descriptors(self) -> list[int]:
        """The descriptors of files and sockets that its stages use by their numbers.

        Replicas have no others of the process that started them: one that is not named here cannot be written to.
        """
        return []

    rules: "Sequence[Rule]" = ()
    """Transformation rules that are applied to every path with a stage of this router."""

    def arrive(self, service: str, below: bool) -> str | Via:
        """Key of the stage for packets that come by `service`, from `below` or from above.

        A router that has nothing to do with them returns the service by which they go on.
        """
        raise GraphError(f"{self.name}: takes no packets by service {service!r}")

    def classifier(self) -> Classifier | None:
        """The router's part of demux, for packets from below; None if no field of its header tells paths apart."""
        return None

    def stage(self, key: str, graph: "RouterGraph", attributes: "Attributes") -> Stage:
        """Make stage `key` of a path with these attributes; key "" begins the path, at router `attributes.ingress`."""
        raise NotImplementedError

    def establish(self, node: str, path: "Path") -> None:
        """Establish a stage of this router in a draft, of which all stages are made and joined.

        It may edit the path. It is called again when an edited copy of the path is established.
        """
