"""The first two phases of creating a path (Mosberger & Peterson, OSDI '96, section 3).

1. `create_stages` walks from a port through the router graph. Each router contributes the stage for the packets that
   reach it by a service, and says for every outcome by which service the packet goes on.
2. `join` connects the stages by their outcomes. The path is a draft then, which can be edited.

Establishing the draft (`scout.paths.model.establishing`) has the other two phases.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.paths.model.stage import Exit, Outcome, To, Via
from scout.paths.model.verdict import DropReason, drop

if TYPE_CHECKING:
    pass

__all__ = ["create_stages", "join"]


class Way(NamedTuple):
    """The node that a verdict of a stage leads to: the arguments of `Path.add_outcome`."""

    node: str
    verdict: int
    label: str
    target: str
    service: str
    pull: int
    main: bool
    waits: bool = False


@dataclass
class Ways:
    """The connections that the walk finds between the stages.

    Attributes
    ----------
    outcomes : list of Way
        In the order in which the walk came back from them.
    entrances : list of (str, str, str)
        Stages at which packets begin anew: the stage on whose account they do, the attribute of its node that says so
        ("timeout": they were held there too long; "emission": it makes them), and the stage at which they begin.
    """

    outcomes: list[Way] = field(default_factory=list)
    entrances: list[tuple[str, str, str]] = field(default_factory=list)


def create_stages(path: Path) -> Ways:
    """Phase 1: have the routers make the stages of an empty path, one after another, from its attributes.

    The nodes are added to the path, and how they are connected is returned.

    Raises
    ------
    GraphError
        If a stage does not know where its packets go on.
    """
    return _Walk(path).run()


def join(path: Path, ways: Ways) -> None:
    """Phase 2: connect the stages."""
    for way in ways.outcomes:
        path.add_outcome(*way)
    for node, kind, target in ways.entrances:
        path.nodes[node][kind] = target


class _Walk:
    """Phase 1."""

    def __init__(self, path: Path) -> None:
        self._path, self._graph, self._attributes = path, path.router_graph, path.attributes
        egress = self._attributes.egress
        self._leaves = self._graph.ports if egress is None else egress
        self._found = Ways()
        self._waiting: list[tuple[str, str, str, To | Via]] = []

    def run(self) -> Ways:
        source = self._path.source
        entry = self._path.add_port(source, entry=True)
        self._found.outcomes.append(Way(entry, 0, "", self._place(source, ""), "frame", 0, True))
        while self._waiting:  # they may lead to a stage that is being placed: they are followed last
            router, node, kind, hop = self._waiting.pop()
            target, _ = self._follow(router, node, Outcome(kind, hop))
            if "stage" in self._path.nodes[target]:
                self._found.entrances.append((node, kind, target))
        return self._found

    def _place(self, router: str, key: str) -> str:
        """Add stage `key` of `router` and all that follows; the node's name."""
        node = f"{router}.{key}" if key else f"{router}.in"
        if node in self._path:
            return node
        stage = self._graph.router(router).stage(key, self._graph, self._attributes)
        self._path.add_stage(node, router, stage)
        for index, outcome in enumerate(stage.outcomes):
            target, service = self._follow(router, node, outcome)
            main = (index == 0 or outcome.common) and not outcome.waits
            way = Way(node, index, outcome.label, target, service, outcome.pull, main, outcome.waits)
            self._found.outcomes.append(way)
        if stage.on_timeout:
            self._waiting.append((router, node, "timeout", stage.on_timeout))
        if stage.emits:
            self._waiting.append((router, node, "emission", To(stage.emits.key)))
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
