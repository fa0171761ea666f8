"""The router graph and the creation of paths (Mosberger & Peterson, OSDI '96, section 3).

A router is a protocol module with named, typed services. A connection joins a service that the upper
router requires with one of the same type that the lower router provides. A path is created by walking
from a port through the routers: each contributes the stage for packets that reach it by a service, and
says for every outcome by which service the packet goes on.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import networkx as nx

from scout.paths.model.path import Path
from scout.paths.model.stage import DropReason, Exit, Outcome, Stage, Table, To, Via, drop
from scout.ring.errors import ScoutError

__all__ = ["GraphError", "Router", "RouterGraph"]


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

    lock: Table | None = None
    """A shared table whose first word is 0, or names the replica that holds the router's state: its number plus 1."""

    def emitter(self) -> Stage | None:
        """A stage without outcomes that makes packets: it fills one, sets its `egress`, and returns 1, or 0."""
        return None

    def configure(self, graph: "RouterGraph") -> None:
        """Check what was given and build tables, once, when the graph is complete."""

    def start(self, graph: "RouterGraph") -> None:
        """Read what is known only now that the ports are open, before the domains are forked."""

    def arrive(self, service: str, below: bool) -> str | Via:
        """Key of the stage for packets that come by `service`, from `below` or from above.

        A router that has nothing to do with them returns the service by which they go on.
        """
        raise GraphError(f"{self.name}: takes no packets by service {service!r}")

    def stage(self, key: str, graph: "RouterGraph", source: str) -> Stage:
        """Make stage `key` of a path that begins at router `source`; key "" begins the path."""
        raise NotImplementedError


class RouterGraph(nx.DiGraph):
    """Routers and the connections between their services, upper to lower.

    Examples
    --------
    >>> from scout.io.ports.memory import MemoryPort
    >>> from scout.paths.protocols.arp import Arp
    >>> from scout.paths.protocols.ethernet import Ethernet
    >>> from scout.paths.protocols.icmp import Icmp
    >>> from scout.paths.protocols.ipv4 import Ip
    >>> graph = RouterGraph("two-ports")
    >>> for name in ("left", "right"):
    ...     _ = graph.add(Ethernet(name, MemoryPort(mac=f"02:00:00:00:00:0{len(graph)}")))
    >>> _ = graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
    >>> _ = graph.add(Arp("arp")), graph.add(Icmp("icmp"))
    >>> for name in ("left", "right"):
    ...     graph.connect("icmp", "ip", name)
    ...     graph.connect("ip", "arp", name)
    >>> path = graph.create_path("left")
    >>> "ip.lookup" in path
    True
    """

    def __init__(self, incoming_graph_data: Any = None, **attributes: Any) -> None:
        # networkx calls the class without a name to make copies and views.
        name = incoming_graph_data if isinstance(incoming_graph_data, str) else attributes.pop("name", "")
        super().__init__(None if isinstance(incoming_graph_data, str) else incoming_graph_data, **attributes)
        self.graph["name"] = name
        self._configured = False

    @property
    def routers(self) -> list[Router]:
        """All routers, in the order in which they were added."""
        return [data["instance"] for _, data in self.nodes(data=True)]

    @property
    def ports(self) -> list[str]:
        """Names of the routers that drive a port; a port's index is its place in this list."""
        return [router.name for router in self.routers if router.port is not None]

    def router(self, name: str) -> Router:
        """The router called `name`."""
        if name not in self:
            raise GraphError(f"no router {name!r} in graph {self.name!r}; it has {', '.join(self) or 'none'}")
        return self.nodes[name]["instance"]

    def add(self, router: Router) -> Router:
        """Add a router; names are unique."""
        self._refuse_if_configured(f"router {router.name!r}")
        if router.name in self:
            other = type(self.router(router.name)).__name__
            raise GraphError(f"two routers are called {router.name!r}: {other} and {type(router).__name__}; rename one")
        self.add_node(router.name, instance=router, router=router.name, kind="router")
        return router

    def connect(self, *names: str) -> None:
        """Join each router named to the next, upper to lower, by every pair of services that match."""
        self._refuse_if_configured(f"connection {' - '.join(names)}")
        for upper, lower in pairwise(names):
            self._join(self.router(upper), self.router(lower))

    def _join(self, upper: Router, lower: Router) -> None:
        pairs = [
            (wanted, offered)
            for wanted, kind in upper.requires.items()
            for offered, other in lower.provides.items()
            if kind == other
        ]
        if not pairs:
            raise GraphError(
                f"{upper.name} cannot stand on {lower.name}: {upper.name} requires {_services(upper.requires)}, "
                f"{lower.name} provides {_services(lower.provides)}; connect routers whose types match"
            )
        if upper.name == lower.name or nx.has_path(self, lower.name, upper.name):
            raise GraphError(f"connecting {upper.name} to {lower.name} closes a cycle; leave one connection out")
        types = sorted({upper.requires[wanted] for wanted, _ in pairs})
        self.add_edge(upper.name, lower.name, pairs=pairs, service=", ".join(types))

    def _refuse_if_configured(self, what: str) -> None:
        if self._configured:
            raise GraphError(f"{what}: graph {self.name!r} has paths already; complete the graph first")

    def joined(self, router: str, service: str) -> list[tuple[str, str]]:
        """What is connected to `service` of `router`: pairs of a router's name and its service.

        A filter between two routers takes the place of their direct connection.
        """
        below = [
            (lower, offered)
            for _, lower, pairs in self.out_edges(router, data="pairs")
            for wanted, offered in pairs
            if wanted == service
        ]
        above = [
            (upper, wanted)
            for upper, _, pairs in self.in_edges(router, data="pairs")
            for wanted, offered in pairs
            if offered == service
        ]
        pairs = below if service in self.router(router).requires else above
        replaced = {further for pair in pairs for further in self._behind(*pair)}
        return [pair for pair in pairs if pair not in replaced]

    def _behind(self, router: str, service: str) -> list[tuple[str, str]]:
        """What is behind `service` of a filter: further filters, and the routers behind the last; else nothing."""
        passage = self.router(router).through.get(service)
        nearest = self.joined(router, passage) if passage else []
        return [each for pair in nearest for each in (pair, *self._behind(*pair))]

    def reached(self, router: str, service: str) -> list[tuple[str, str]]:
        """Like `joined`, but past all filters."""
        found = [each for pair in self.joined(router, service) for each in (pair, *self._behind(*pair))]
        return [(name, other) for name, other in found if other not in self.router(name).through]

    def leads_to(self, router: str, service: str, other: str) -> bool:
        """True if `service` of `router` is router `other`'s, or that of a filter with `other` behind it."""
        return other == router or other in dict(self._behind(router, service))

    def configure(self) -> None:
        """Check the whole graph and let every router build its tables. Called by `create_path`."""
        if self._configured:
            return
        for router in self.routers:
            for service, kind in router.requires.items():
                if not self.joined(router.name, service):
                    raise GraphError(
                        f"{router.name} requires service {service!r} of type {kind!r} and nothing is connected; "
                        f"connect({router.name!r}, ...) to a router that provides it"
                    )
        self._configured = True
        for router in self.routers:
            router.configure(self)

    def create_path(
        self,
        source: str,
        to: Iterable[str] | None = None,
        order: str = "completed",
        weight: int = 1,
        deadline: float = 0.001,
    ) -> Path:
        """Create the path of all packets that enter at router `source`.

        Parameters
        ----------
        source : str
            A router with a port.
        to : iterable of str, optional
            The routers by whose ports packets may leave; all by default. Others are dropped and counted.
        order : {"completed", "channel"}
            Packets leave as their primary is done, or in the order in which they came. Of paths whose ports share a
            channel (`Service(sequenced=True)`) all leave in its order if one is to.
        weight : int
            For channel schedulers: the path's share, or its rank. Of paths that share a channel the greatest counts,
            and of their deadlines the smallest.
        deadline : float
            For channel schedulers: seconds within which a packet is wanted.

        Raises
        ------
        GraphError
            If the graph makes no sense.
        """
        router = self.router(source)
        if router.port is None:
            raise GraphError(f"path from {source!r}: it has no port; these have: {', '.join(self.ports) or 'none'}")
        if order not in ("completed", "channel"):
            raise GraphError(f"path from {source!r}: order {order!r}; use completed or channel")
        if not 1 <= weight < 1 << 20 or not 0 <= deadline < 1 << 30:
            raise GraphError(f"path from {source!r}: weight {weight}, deadline {deadline}; give at least 1 and 0")
        leaves = list(self.ports if to is None else to)
        for name in leaves:
            if self.router(name).port is None:
                raise GraphError(f"path from {source!r} to {name!r}: {name} has no port")
        self.configure()
        path = _Creation(self, source, leaves, order).run()
        path.graph["weight"], path.graph["deadline"] = weight, int(deadline * 1e9)
        return path


class _Creation:
    """One walk through the router graph."""

    def __init__(self, graph: RouterGraph, source: str, leaves: list[str], order: str) -> None:
        self._graph, self._leaves = graph, leaves
        self._timeouts: list[tuple[str, str, To | Via]] = []
        self._path = Path(name=source, source=source, ports=graph.ports, order=order, graph_name=graph.name)

    def run(self) -> Path:
        source = self._path.graph["source"]
        self._path.add_port(source, entry=True)
        self._path.add_outcome(f"port {source}", 0, "", self._place(source, ""), "frame", 0, True)
        while self._timeouts:
            router, node, hop = self._timeouts.pop()
            target, _ = self._follow(router, node, Outcome("held too long", hop))
            if "stage" in self._path.nodes[target]:
                self._path.nodes[node]["timeout"] = target
        self._path.establish()
        return self._path

    def _place(self, router: str, key: str) -> str:
        """Add stage `key` of `router` and all that follows; the node's name."""
        stage = self._graph.router(router).stage(key, self._graph, self._path.graph["source"])
        node = f"{router}.{key}" if key else f"{router}.in"
        if node in self._path:
            return node
        self._path.add_stage(node, router, stage)
        for index, outcome in enumerate(stage.outcomes):
            target, service = self._follow(router, node, outcome)
            main = index == 0 or outcome.common
            self._path.add_outcome(node, index, outcome.label, target, service, outcome.pull, main)
        if stage.on_timeout:
            # May lead to a stage that is being placed: it is looked at when all are.
            self._timeouts.append((router, node, stage.on_timeout))
        return node

    def _follow(self, router: str, node: str, outcome: Outcome) -> tuple[str, str]:
        """The node that an outcome leads to, and the type of service by which it is reached."""
        hop = outcome.hop
        if isinstance(hop, DropReason):
            return self._path.add_drop(node, hop), ""
        if isinstance(hop, Exit):
            if hop.port is None:
                return self._path.add_end(outcome.label), ""
            if hop.port not in self._leaves:
                return self._path.add_drop(node, drop("not-on-path")), ""
            return self._path.add_port(hop.port), "frame"
        if isinstance(hop, To):
            return self._place(router, hop.key), ""
        joined = [
            (name, service)
            for name, service in self._graph.joined(router, hop.service)
            if hop.router is None or self._graph.leads_to(name, service, hop.router)
        ]
        instance = self._graph.router(router)
        below = hop.service in instance.provides
        kind = (instance.provides if below else instance.requires)[hop.service]
        if not joined:
            return self._path.add_drop(node, drop(f"no-{kind}")), kind
        if len(joined) > 1:
            names = " and ".join(name for name, _ in joined)
            raise GraphError(f"{router}: {names} are both connected to service {hop.service!r}; leave one out")
        name, service = joined[0]
        key = self._graph.router(name).arrive(service, below)
        if isinstance(key, Via):
            return self._follow(name, node, Outcome(outcome.label, key))[0], kind
        return self._place(name, key), kind


def _services(services: Mapping[str, str]) -> str:
    return ", ".join(sorted(set(services.values()))) or "nothing"
