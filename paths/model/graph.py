"""The router graph (Mosberger & Peterson, OSDI '96, section 3): routers, and the connections between their services.

A connection joins a service that the upper router requires with one of the same type that the lower router provides.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Unpack

import networkx as nx

from scout.paths.model.attributes import Attributes, GivenAttributes
from scout.paths.model.creation import create_stages, join
from scout.paths.model.discarding import make_discarding
from scout.paths.model.path import Path
from scout.paths.model.render import svg
from scout.paths.model.router import GraphError, Router
from scout.paths.model.rule import Rule
from scout.paths.model.views import UncachedViews

__all__ = ["RouterGraph"]


_Pairs = dict[tuple[str, str], list[tuple[str, str]]]


class _Known:
    """The answers that one query has found so far, by a router's name and its service: see `_joined` and `_behind`."""

    def __init__(self) -> None:
        self.joined: _Pairs = {}
        self.behind: _Pairs = {}


class RouterGraph(UncachedViews, nx.DiGraph):
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
        if isinstance(incoming_graph_data, str) and not incoming_graph_data.strip():
            raise GraphError("RouterGraph(''): give the graph a name, as in RouterGraph('two_hosts')")
        super().__init__(None if isinstance(incoming_graph_data, str) else incoming_graph_data, **attributes)
        self.graph["name"] = name
        self._configured = False

    @property
    def routers(self) -> list[Router]:
        """All routers, in the order in which they were added."""
        for name, data in self.nodes(data=True):
            if "instance" not in data:
                raise GraphError(f"graph {self.name!r}: node {name!r} is no router; add one with add(router)")
        return [data["instance"] for _, data in self.nodes(data=True)]

    @property
    def ports(self) -> list[str]:
        """Names of the routers that drive a port; a port's index is its place in this list."""
        return [router.name for router in self.routers if router.port is not None]

    @property
    def service_types(self) -> set[str]:
        """The types of all services that routers provide or require."""
        return {kind for each in self.routers for kind in (*each.provides.values(), *each.requires.values())}

    def router(self, name: str) -> Router:
        """The router called `name`."""
        if name not in self:
            raise GraphError(f"no router {name!r} in graph {self.name!r}; it has {', '.join(self) or 'none'}")
        return self.nodes[name]["instance"]

    def add(self, router: Router) -> Router:
        """Add a router; names are unique."""
        if not isinstance(router, Router):
            what = f"the class {router.__name__}" if isinstance(router, type) else repr(router)
            raise GraphError(f"graph {self.name!r}: {what} is no router; add an object, as in graph.add(Arp('arp'))")
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

    def _repr_svg_(self) -> str | None:
        return svg(self.picture())

    def picture(self) -> nx.DiGraph:
        """A copy to be drawn: without the connections that no packet takes, because filters took the place of them."""
        shown = nx.DiGraph(self, undirected=True)  # a connection carries packets both ways
        for upper, lower, pairs in self.edges(data="pairs"):
            if not any((lower, offered) in self.joined(upper, wanted) for wanted, offered in pairs):
                shown.remove_edge(upper, lower)
        return shown

    def _refuse_if_configured(self, what: str) -> None:
        if self._configured:
            raise GraphError(f"{what}: graph {self.name!r} has paths already; complete the graph before create_path")

    def joined(self, router: str, service: str) -> list[tuple[str, str]]:
        """The routers connected to `service` of `router`: pairs of a router's name and its service.

        A filter between two routers takes the place of their direct connection.
        """
        return self._joined(router, service, _Known())

    def reached(self, router: str, service: str) -> list[tuple[str, str]]:
        """Like `joined`, but past all filters."""
        known = _Known()
        found = [each for pair in self._joined(router, service, known) for each in (pair, *self._behind(*pair, known))]
        return [(name, other) for name, other in found if other not in self.router(name).through]

    def _joined(self, router: str, service: str, known: _Known) -> list[tuple[str, str]]:
        """See `joined`. Without the answers that are known each filter would double the work."""
        if (router, service) not in known.joined:
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
            replaced = {further for pair in pairs for further in self._behind(*pair, known)}
            known.joined[router, service] = [pair for pair in pairs if pair not in replaced]
        return known.joined[router, service]

    def _behind(self, router: str, service: str, known: _Known) -> list[tuple[str, str]]:
        """The routers behind `service` of a filter, with the filters between; empty if `router` is no filter there."""
        if (router, service) not in known.behind:
            passage = self.router(router).through.get(service)
            nearest = self._joined(router, passage, known) if passage else []
            known.behind[router, service] = [each for pair in nearest for each in (pair, *self._behind(*pair, known))]
        return known.behind[router, service]

    def leads_to(self, router: str, service: str, other: str) -> bool:
        """True if `service` of `router` is router `other`'s, or that of a filter with `other` behind it."""
        return other == router or other in dict(self._behind(router, service, _Known()))

    def configure(self) -> None:
        """Check the whole graph and let every router build its tables. Called by `create_path`."""
        if self._configured:
            return
        for router in self.routers:
            for service, kind in router.requires.items():
                if not self.joined(router.name, service):
                    raise GraphError(
                        f"{router.name} requires service {service!r} of type {kind!r} and nothing is connected; "
                        f"{self._advice(router.name, kind)}"
                    )
        self._configured = True
        for router in self.routers:
            router.configure(self)

    def _advice(self, upper: str, kind: str) -> str:
        """Which routers a router can be connected to that requires a service of a type."""
        able = [
            router.name
            for router in self.routers
            if kind in router.provides.values() and not nx.has_path(self, router.name, upper)
        ]
        if not able:
            return f"add a router that provides it, and connect({upper!r}, ...) to it"
        provide = "provides" if len(able) == 1 else "provide"
        return f"{' and '.join(able)} {provide} it: connect({upper!r}, {able[0]!r}, ...)"

    def create_path(
        self,
        ingress: str,
        /,
        *,
        rules: Iterable[Rule] = (),
        **attributes: Unpack[GivenAttributes],
    ) -> Path:
        """Create the path of the packets that enter at router `ingress` and have these attributes; by default all.

        Parameters
        ----------
        ingress : str
            A router with a port.
        egress : str or iterable of str, optional
            The routers by whose ports packets may leave; all by default. Others are dropped and counted.
        destination, source : str or IPv4Network or IPv6Network, optional
            Prefixes, as in "10.0.1.0/24": the packet's addresses are in them.
        protocol : int or str, optional
            The protocol number of the IP header, or one of the names of `scout.paths.model.attributes.PROTOCOLS`.
        destination_port, source_port : int or range, optional
            The L4 ports.
        dscp : int, optional
            The differentiated services code point, 0 to 63.
        order : {"completed", "channel"}
            Packets leave as their primary is done, or in the order in which they came. Of paths whose ports share a
            channel (`Service(sequenced=True)`) all leave in its order if one is to.
        weight : int
            For schedulers of channels and of paths: the path's share, or its rank. For channel schedulers, of paths
            that share a channel the greatest counts, and of their deadlines the smallest.
        deadline : float
            For these schedulers: seconds within which a packet is wanted.
        queue : int
            Packets that wait for the path scheduler (`Supervisor(path_schedule=...)`), at most, in each replica: a
            power of two. Packets beyond are dropped as queue-full. By default, 0, nothing is queued. Stages that every
            replica runs, services, and what leads to them run before a packet is queued.
        batch : int
            Packets that leave the queue at a time, at most: 1 to 256, by default 32.
        account : bool
            Measure the bytes of the path's packets, and the time that they take: `Supervisor.path_figures`. A path with
            a queue or a budget is measured anyway. By default nothing is measured, and nothing paid for it.
        cpu : float
            The path's budget: a share of the time of each domain, as 0.25. The shares of all paths are 1 at most; a
            path that would exceed it is refused. 0, the default: no budget.
        memory : int
            Bytes that the path's queue may take in each replica; packets beyond are dropped as queue-memory. By
            default, 0, as many as the longest packets need, 64 KiB for each place.
        over_budget : {"drop", "defer"}
            While the path is over its budget, its packets are dropped as over-budget, or wait in its queue.
        idle : float
            Seconds: a path that had no packet for so long is deleted; its packets are then taken by the next wider
            path. By default, 0, it stays.
        rules : iterable of Rule, optional
            Transformation rules, applied after those of the routers (`scout.paths.model.rule`).

        Raises
        ------
        GraphError
            If the graph makes no sense, or an attribute.
        """
        return self.draft_path(ingress, rules=rules, **attributes).establish()

    def draft_path(self, ingress: str, /, *, rules: Iterable[Rule] = (), **attributes: Unpack[GivenAttributes]) -> Path:
        """Create a path up to where it can still be edited: its stages are made and joined.

        `Path.establish` has the routers establish them, applies the rules, and freezes the path. The parameters are
        those of `create_path`.
        """
        path = self._begun(ingress, rules, attributes)
        join(path, create_stages(path))
        return path

    def discard_path(self, ingress: str, **attributes: Unpack[GivenAttributes]) -> Path:
        """A path whose packets are dropped as discarded, at the port: before any other stage and any queue.

        Parameters
        ----------
        ingress : str
            The router at whose port the packets come in.
        **attributes
            Which packets, as for `create_path`.

        Raises
        ------
        GraphError
            If an attribute is wrong, or none says which packets.

        Examples
        --------
        ::

            supervisor.create_path(graph.discard_path("left", protocol="udp", destination_port=53))
        """
        path = self._begun(ingress, (), attributes)
        if not path.attributes.traffic:
            raise GraphError(f"discard path from {ingress!r}: say which packets it takes, as in protocol='udp'")
        return make_discarding(path)

    def _begun(self, ingress: str, rules: Iterable["Rule"], attributes: GivenAttributes) -> Path:
        """A path without stages."""
        if self.router(ingress).port is None:
            raise GraphError(f"path from {ingress!r}: it has no port; these have: {', '.join(self.ports) or 'none'}")
        checked = Attributes.checked(ingress, **attributes)
        for name in checked.egress or ():
            if self.router(name).port is None:
                raise GraphError(f"path from {ingress!r} to {name!r}: {name} has no port")
        self.configure()
        path = Path(
            name=f"{ingress}, {checked}" if checked.traffic else ingress,
            attributes=checked,
            ports=self.ports,
            router_graph=self,
            rules=tuple(rules),
            applied=(),
            relies_on=(),
        )
        return path


def _services(services: Mapping[str, str]) -> str:
    return ", ".join(sorted(set(services.values()))) or "nothing"
