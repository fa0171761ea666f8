"""A path: the stages that one kind of traffic goes through, end to end."""

from typing import TYPE_CHECKING, Any, Self, Unpack
from weakref import ref

import networkx as nx
from networkx.classes.reportviews import OutMultiEdgeView

from scout.paths.model.attributes import Attributes, GivenAttributes
from scout.paths.model.counting import CountedGraph
from scout.paths.model.establishing import check_wishes, establish, positioned
from scout.paths.model.invariants import intact_stages
from scout.paths.model.render import svg
from scout.paths.model.rule import Application, Fact, Rule
from scout.paths.model.table import Table

if TYPE_CHECKING:
    from scout.paths.model.graph import RouterGraph

__all__ = ["Path"]


class Path(CountedGraph):
    """A graph of stages from one port to others, made by `RouterGraph.create_path`.

    Nodes have `kind` ("stage", "port", "drop" or "end"), `router`, `label`, `note`, and stages `stage`
    (a `Stage`) and `index`. Edges have `service` (its type), `outcome` (the verdict's name), `verdict` (its number,
    which is the edge's key too), `pull`, `main` if it is common, and `waits` if packets wait there. Two outcomes may
    lead to the same node.

    A draft (`RouterGraph.draft_path`) can be edited, with networkx or by whole stages (`insert`, `replace`, `remove`,
    `rule_out`). An established path cannot: its code and its counters belong to it. Edit a copy, and establish that::

        changed = path.copy()
        changed.remove_node("ip.lookup drops multicast")
        changed.establish()
    """

    lowered: Any = None
    """The plan that the compiler made of the path, and what it depends on (`scout.paths.compiler.plan.lower`)."""

    _shape: Any = None
    """A weak reference to what `runs_as` gives: the memory of a run goes with its supervisor."""

    def __init__(self, incoming_graph_data: Any = None, **attributes: Any) -> None:
        super().__init__(incoming_graph_data, **attributes)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("lowered", "_shape")}

    @property
    def source(self) -> str:
        """Name of the router at whose port the path begins."""
        return self.attributes.ingress

    @property
    def attributes(self) -> Attributes:
        """The facts that are known of the path's traffic, and the wishes for the path."""
        return self.graph["attributes"]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that were given for it; those of its routers are applied too."""
        return self.graph["rules"]

    @property
    def applied(self) -> tuple[Application, ...]:
        """The rules that were applied when it was established, in order."""
        return self.graph["applied"]

    @property
    def relies_on(self) -> tuple[Fact, ...]:
        """The facts outside of the path that its code depends on, such as a route.

        When one of them no longer holds, the path has to be replaced by one that is created anew.
        """
        return self.graph["relies_on"]

    @property
    def broken_facts(self) -> list[Fact]:
        """Those of `relies_on` that no longer hold."""
        return [fact for fact in self.relies_on if not fact.holds(self)]

    @property
    def intact(self) -> frozenset[str]:
        """The stages at which the attributes that describe packets hold (`scout.paths.model.invariants`)."""
        return intact_stages(self)

    @property
    def ports(self) -> list[str]:
        """Names of all routers with a port, in the order of the port's indices."""
        return self.graph["ports"]

    @property
    def router_graph(self) -> "RouterGraph":
        """The router graph that the path was created from."""
        return self.graph["router_graph"]

    @property
    def release_order(self) -> str:
        """ "completed" or "channel": the order in which packets leave."""
        return self.attributes.order

    @property
    def weight(self) -> int:
        """For schedulers of channels and of paths: the path's share, or its rank."""
        return self.attributes.weight

    @property
    def deadline(self) -> int:
        """For these schedulers: nanoseconds within which a packet is wanted."""
        return int(self.attributes.deadline * 1e9)

    @property
    def queue(self) -> int:
        """Packets that the path's queue holds in each replica; 0 if its packets are not queued."""
        return self.attributes.queue

    @property
    def runs_as(self) -> Any:
        """The shape as which a supervisor runs the path (`scout.shapes.Shape`); None if none does."""
        return self._shape() if self._shape else None

    @runs_as.setter
    def runs_as(self, shape: Any) -> None:
        self._shape = ref(shape) if shape else None

    @property
    def tier(self) -> str:
        """How a supervisor runs the path: "fused", as one function; "linked", stage by stage; empty if none does."""
        return self.runs_as.tier if self.runs_as else ""

    @property
    def is_accounted(self) -> bool:
        """True if what the path uses is measured: that was asked for, or it has a budget or a queue."""
        return self.attributes.account or self.attributes.cpu > 0 or self.queue > 0

    @property
    def edges(self) -> "_Edges":  # type: ignore[override]
        """The edges, as in networkx; `edges[tail, head]` finds the only edge between two nodes without its key."""
        return _Edges(self)

    def establish(self) -> Self:
        """Make a path of a draft: establish its stages, apply its rules, check and number it; then freeze it.

        Raises
        ------
        GraphError
            If a node or an edge lacks what a path needs, if packets could go in a circle, if replicas could differ, or
            if a rule does not come to an end.
        """
        establish(self)
        return self

    def rely_on(self, fact: Fact) -> None:
        """Note a fact that the path's code depends on (`relies_on`)."""
        if fact not in self.relies_on:
            self.graph["relies_on"] = (*self.relies_on, fact)

    def copy(self, as_view: bool = False) -> "Path":
        """A copy that can be edited and established anew."""
        copied = super().copy(as_view)
        if not as_view:
            copied.graph.pop("counted", None)
        return copied

    def narrowed(self, **given: Unpack[GivenAttributes]) -> "Path":
        """The same path for a part of its traffic, as one of its connections: it shares this path's stages and code.

        It takes microseconds, where `RouterGraph.create_path` walks through the router graph anew.

        Parameters
        ----------
        **given
            Attributes that describe packets, those of this path or narrower ones, and wishes: a weight, a deadline, a
            queue, a batch, an account or a budget of its own. See `RouterGraph.create_path`.

        Raises
        ------
        GraphError
            If the path is not established, or has no such packets.
        """
        from scout.paths.compiler.plan import lower

        lower(self)  # so that it is done once for all of them
        attributes = self.attributes.narrowed(**given)
        made = Path.__new__(Path)
        made.__dict__.update(self.__dict__)
        made.runs_as = None
        made.graph = self.graph | {"attributes": attributes, "name": f"{attributes.ingress}, {attributes}"}
        check_wishes(made)
        if bool(made.early) != bool(self.early):  # its code is not this path's
            made.lowered = None
        return made

    # Queries.

    @property
    def main_line(self) -> list[str]:
        """The stages that the common outcomes lead through, each after all that lead to it."""
        reached, waiting = set(), [self.entry]
        while waiting:
            for _, head, main in self.out_edges(waiting.pop(), data="main"):
                if main and head not in reached:
                    reached.add(head)
                    waiting.append(head)
        return [node for node in nx.topological_sort(self) if node in reached and "stage" in self.nodes[node]]

    @property
    def aside(self) -> set[str]:
        """The stages that packets can go through off the main line: begun there, or come back from being held, from
        waiting, or from a queue."""
        starts = set(self.stages) - set(self.main_line)
        starts |= {node for node, stage in self.stages.items() if stage.holds}
        starts |= {head for _, head in self.waits}
        early = self.early
        starts |= {head for _, head in self.out_edges(early)} - early
        return {node for start in starts for node in {start} | nx.descendants(self, start)} & set(self.stages)

    @property
    def routers(self) -> set[str]:
        """The routers that it leads through."""
        return {data["router"] for _, data in self.nodes(data=True)}

    @property
    def running_order(self) -> list[str]:
        """The stages, each after all that lead to it."""
        ranks = {node: rank for rank, node in enumerate(nx.topological_sort(self))}
        return sorted(self.stages, key=lambda node: ranks[node])

    @property
    def replicated(self) -> set[str]:
        """The stages that every replica runs: those that keep replicated state, and those that lead to them."""
        wanted = {node for node, stage in self.stages.items() if stage.keeps_state}
        for node in list(wanted):
            wanted |= nx.ancestors(self, node) & set(self.stages)
        return wanted

    @property
    def early(self) -> set[str]:
        """The stages that run before a packet is queued: those whose work belongs at its position in the channel, and
        those that lead to them. Empty if the path has no queue, or no such stages."""
        return positioned(self) if self.queue else set()

    # State and use.

    @property
    def tables(self) -> list[Table]:
        """The tables of all stages, each once."""
        found = {id(table): table for stage in self.stages.values() for table in stage.tables.values()}
        return list(found.values())

    def merged(self) -> nx.DiGraph:
        """A copy with one edge between two nodes, for what knows no parallel edges: pictures."""
        simple = nx.DiGraph(**self.graph)
        simple.add_nodes_from((node, dict(data)) for node, data in self.nodes(data=True))
        for tail, head, data in self.edges(data=True):
            if simple.has_edge(tail, head):
                known = simple.edges[tail, head]
                known["outcome"] = ", ".join(label for label in (known["outcome"], data["outcome"]) if label)
                known["main"] |= data["main"]
            else:
                simple.add_edge(tail, head, **data)
        for node, target in self.emissions.items():
            simple.add_edge(node, target, outcome="makes", main=False, dashed=True)
        return simple

    def _repr_svg_(self) -> str | None:
        return svg(self.merged())

    def explain(self) -> str:
        """The stages in running order, what each was given, what was fused, what became a constant."""
        from scout.paths.compiler.explain import explain

        return explain(self)

    def run(self, data: bytes, **fields: int) -> tuple[str, bytes]:
        """Send one frame through the path as plain Python: for print, pdb and coverage.

        The routers are started for it. A port that is not open is taken to have an MTU of 1500 bytes, and the address
        that the frame is for.

        Parameters
        ----------
        data : bytes
            The frame as received.
        **fields
            Fields of the packet's record, such as `timestamp` (nanoseconds).

        Returns
        -------
        tuple of str and bytes
            The leaf that the packet came to (such as "to right", or "left.ipv4 drops bad-version"), and
            the frame as it was then. Of a verdict that leads nowhere the leaf tells the number and the fault, as
            in "mine.receive unknown-verdict 7: neither 0, one of its outcomes, nor a drop".
        """
        from scout.paths.compiler.interpreter import run

        return run(self, data, fields)

    def emit(self, **fields: int) -> list[tuple[str, bytes]]:
        """Make the packets, as plain Python, that stages wanted to be made for the frames of `run`.

        Parameters
        ----------
        **fields
            As of `run`.

        Returns
        -------
        list of tuple of str and bytes
            As of `run`, for each of these packets.
        """
        from scout.paths.compiler.interpreter import emit

        return emit(self, fields)


class _Edges(OutMultiEdgeView):
    """The edges of a path."""

    __slots__ = ()

    def __getitem__(self, edge: Any) -> dict[str, Any]:
        if isinstance(edge, tuple) and len(edge) == 2 and len(self._adjdict[edge[0]][edge[1]]) == 1:
            edge = (*edge, next(iter(self._adjdict[edge[0]][edge[1]])))
        return super().__getitem__(edge)
