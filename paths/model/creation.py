"""The creation of a path: a walk from a port through the router graph (Mosberger & Peterson, OSDI '96, section 3).

Each router contributes the stage for the packets that reach it by a service, and says for every outcome by which
service the packet goes on.
"""

from typing import TYPE_CHECKING

from scout.paths.model.attributes import Attributes
from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.paths.model.stage import Exit, Outcome, To, Via
from scout.paths.model.verdict import DropReason, drop

if TYPE_CHECKING:
    from scout.paths.model.graph import RouterGraph

__all__ = ["Creation"]


class Creation:
    """One walk.

    Parameters
    ----------
    graph : RouterGraph
        Complete and configured.
    attributes : Attributes
        Their ingress is the router at whose port the path begins.
    """

    def __init__(self, graph: "RouterGraph", attributes: Attributes) -> None:
        self._graph, self._attributes = graph, attributes
        self._leaves = graph.ports if attributes.egress is None else attributes.egress
        self._timeouts: list[tuple[str, str, To | Via]] = []
        name = f"{attributes.ingress}, {attributes}" if attributes.traffic else attributes.ingress
        self._path = Path(name=name, attributes=attributes, ports=graph.ports, router_graph=graph)

    def run(self) -> Path:
        """Make the path; it is not established yet."""
        source = self._path.source
        entry = self._path.add_port(source, entry=True)
        self._path.add_outcome(entry, 0, "", self._place(source, ""), "frame", 0, True)
        while self._timeouts:
            router, node, hop = self._timeouts.pop()
            target, _ = self._follow(router, node, Outcome("held too long", hop))
            if "stage" in self._path.nodes[target]:
                self._path.nodes[node]["timeout"] = target
        return self._path

    def _place(self, router: str, key: str) -> str:
        """Add stage `key` of `router` and all that follows; the node's name."""
        node = f"{router}.{key}" if key else f"{router}.in"
        if node in self._path:
            return node
        stage = self._graph.router(router).stage(key, self._graph, self._attributes)
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
