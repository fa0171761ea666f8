"""A path: the stages that one kind of traffic goes through, end to end."""

from typing import Any

import networkx as nx
import numpy as np

from scout.paths.model.stage import DropReason, Stage, Table
from scout.ring.errors import ScoutError

__all__ = ["Path", "variable"]


class Path(nx.DiGraph):
    """A graph of stages from one port to others, made by `RouterGraph.create_path`.

    Nodes have `kind` ("stage", "port", "drop" or "end"), `router`, `label`, `note`, and stages `stage`
    (a `Stage`) and `index`. Edges have `service` (its type), `outcome` (the verdict's name), `verdicts`
    (the numbers), `pull`, and `main` if it is common.
    """

    def __init__(self, incoming_graph_data: Any = None, **attributes: Any) -> None:
        super().__init__(incoming_graph_data, **attributes)

    @property
    def source(self) -> str:
        """Name of the router at whose port the path begins."""
        return self.graph["source"]

    @property
    def ports(self) -> list[str]:
        """Names of all routers with a port, in the order of the port's indices."""
        return self.graph["ports"]

    @property
    def order(self) -> str:
        """ "completed" or "channel": how packets leave."""
        return self.graph["order"]

    @property
    def weight(self) -> int:
        """For channel schedulers: the path's share, or its rank."""
        return self.graph["weight"]

    @property
    def deadline(self) -> int:
        """For channel schedulers: nanoseconds within which a packet is wanted."""
        return self.graph["deadline"]

    # What the walk of `create_path` calls.

    def add_stage(self, node: str, router: str, stage: Stage) -> None:
        note = stage.note or ("replicated" if stage.replicated else "")
        self.add_node(node, kind="stage", router=router, label=node, note=note, stage=stage)

    def add_port(self, router: str, entry: bool = False) -> str:
        node = f"port {router}" if entry else f"to {router}"
        self.add_node(node, kind="port", router=router, label=f"port {router}")
        return node

    def add_drop(self, at: str, reason: DropReason) -> str:
        # One node for each stage that drops, so that the picture's edges stay short.
        node = f"{at} drops {reason.name}"
        self.add_node(node, kind="drop", router="drop", label=reason.name, verdict=int(reason))
        return node

    def add_end(self, label: str) -> str:
        self.add_node(label, kind="end", router="drop", label=label)
        return label

    def add_outcome(
        self, node: str, verdict: int, label: str, target: str, service: str, pull: int, main: bool
    ) -> None:
        if self.has_edge(node, target):
            edge = self.edges[node, target]
            edge["verdicts"].append(verdict)
            edge["outcome"] = f"{edge['outcome']}, {label}"
            if edge["pull"] != pull:
                raise ScoutError(f"{node}: two outcomes lead to {target} and pull different headers")
            return
        self.add_edge(node, target, verdicts=[verdict], outcome=label, service=service, pull=pull, main=main)

    def establish(self) -> None:
        """Number the stages, add what their functions drop, and say what is counted."""
        for node in self.replicated:
            stage = self.nodes[node]["stage"]
            self.nodes[node]["stage"] = stage.when_replicated or stage
        for node in list(self.stages):
            for reason in self.nodes[node]["stage"].drops:
                leaf = self.add_drop(node, reason)
                if self.has_edge(node, leaf):
                    self.edges[node, leaf]["verdicts"].append(int(reason))
                else:
                    self.add_edge(node, leaf, verdicts=[int(reason)], outcome="", service="", pull=0, main=False)
        if not nx.is_directed_acyclic_graph(self):
            cycle = " -> ".join(edge[0] for edge in nx.find_cycle(self))
            raise ScoutError(f"path {self.source!r} goes in a circle: {cycle}; a packet would never leave")
        self._refuse_diverging()
        order = [node for node in nx.lexicographical_topological_sort(self) if "stage" in self.nodes[node]]
        # The stages of the main line first: their generated code reads from top to bottom.
        main = self.main_line
        for index, node in enumerate([*main, *(node for node in order if node not in main)]):
            self.nodes[node]["index"] = index
        self.graph["counted"] = self._counted()

    def _refuse_diverging(self) -> None:
        """Refuse replicated work behind a stage at which the primary's packets become others than the replicas'."""
        for node, stage in self.stages.items():
            behind = [n for n, s in self.stages.items() if s.replicated and nx.has_path(self, node, n) and n != node]
            if stage.alone and behind:
                raise ScoutError(
                    f"{node}: a handler that runs on the primary alone changes or drops packets, and behind it "
                    f'{behind[0]} is replicated: use run="all" there, or put {behind[0]} before {node}'
                )

    @property
    def main_line(self) -> list[str]:
        """The stages that the common outcomes lead through, each after all that lead to it."""
        common = nx.subgraph_view(self, filter_edge=lambda tail, head: self.edges[tail, head]["main"])
        reached = nx.descendants(common, f"port {self.source}")
        return [node for node in nx.topological_sort(self) if node in reached and "stage" in self.nodes[node]]

    @property
    def aside(self) -> set[str]:
        """The stages that packets can go through off the main line: begun there, or come back from being held."""
        starts = set(self.stages) - set(self.main_line)
        starts |= {node for node, stage in self.stages.items() if stage.holds}
        return {node for start in starts for node in {start} | nx.descendants(self, start)} & set(self.stages)

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in the order in which they run."""
        found = {node: data for node, data in self.nodes(data=True) if "stage" in data}
        ranked = sorted(found, key=lambda node: found[node].get("index", 0))
        return {node: found[node]["stage"] for node in ranked}

    @property
    def running_order(self) -> list[str]:
        """The stages, each after all that lead to it."""
        ranks = {node: rank for rank, node in enumerate(nx.topological_sort(self))}
        return sorted(self.stages, key=lambda node: ranks[node])

    @property
    def replicated(self) -> set[str]:
        """The stages that every replica runs: the replicated ones, and those that lead to them."""
        wanted = {node for node, stage in self.stages.items() if stage.replicated}
        for node in list(wanted):
            wanted |= nx.ancestors(self, node) & set(self.stages)
        return wanted

    # Counting: one increment a packet on the main line, the rest follows from conservation.

    def _counted(self) -> list[tuple[str, str]]:
        """The edges that have a counter. After them come two for each stage: unknown verdicts, and packets
        held there less those that came in from being held.

        All edges are counted but, for each stage, one edge of the main line that leads to it: what passed
        that one follows from what left the stage.
        """
        counted = []
        for node, data in self.nodes(data=True):
            edges = [edge[:2] for edge in self.in_edges(node)]
            if "stage" in data:
                edges.sort(key=lambda edge: not self.edges[edge]["main"])
                edges = edges[1:] if edges and self.edges[edges[0]]["main"] else edges
            counted += edges
        return counted

    @property
    def counter_names(self) -> list[str]:
        """What each cell of the path's `counters` counts."""
        edges = [f"{tail} -> {head}" for tail, head in self.graph["counted"]]
        stages = list(self.stages)
        return [*edges, *(f"{node} unknown-verdict" for node in stages), *(f"{node} held" for node in stages)]

    def counter(self, tail: str, head: str) -> int | None:
        """Index of the counter of an edge, None if it has none."""
        edge = (tail, head)
        return self.graph["counted"].index(edge) if edge in self.graph["counted"] else None

    def unknown_counter(self, node: str) -> int:
        """Index of the counter of verdicts that stage `node` should not have given."""
        return len(self.graph["counted"]) + list(self.stages).index(node)

    def held_counter(self, node: str) -> int:
        """Index of the counter of packets held at `node` less those that came in there from being held."""
        return self.unknown_counter(node) + len(self.stages)

    def flows(self, counters: np.ndarray) -> dict[tuple[str, str], int]:
        """Packets along every edge, from a copy of the path's counters (summed over replicas)."""
        flow = {edge: int(counters[index]) for index, edge in enumerate(self.graph["counted"])}
        for node in reversed(list(nx.topological_sort(self))):
            if "stage" not in self.nodes[node]:
                continue
            left = sum(flow[edge] for edge in self.out_edges(node))
            left += int(counters[self.unknown_counter(node)] + counters[self.held_counter(node)])
            for edge in self.in_edges(node):
                if edge not in flow:
                    flow[edge] = left - sum(flow.get(other, 0) for other in self.in_edges(node))
        return flow

    def account(self, counters: np.ndarray) -> dict[str, dict[str, int]]:
        """Where packets went: `{"out": {port: n}, "drops": {reason: n}, "ended": {label: n}}`."""
        out: dict[str, int] = {}
        drops: dict[str, int] = {}
        ended: dict[str, int] = {}
        for index, (_, head) in enumerate(self.graph["counted"]):
            data = self.nodes[head]
            group = {"port": out, "drop": drops, "end": ended}.get(data["kind"])
            if group is not None:
                key = data["router"] if data["kind"] == "port" else data["label"]
                group[key] = group.get(key, 0) + int(counters[index])
        for node in self.stages:
            unknown = int(counters[self.unknown_counter(node)])
            if unknown:
                drops["unknown-verdict"] = drops.get("unknown-verdict", 0) + unknown
        return {"out": out, "drops": drops, "ended": ended}

    # Configuration and state.

    @property
    def configuration(self) -> dict[str, int]:
        """The int parameters of all stages, as `router_stage_parameter`."""
        return {
            f"{variable(node)}_{name}": value() if callable(value) else value
            for node, stage in self.stages.items()
            for name, value in stage.bindings.items()
            if name in stage.parameters and not isinstance(value, Table)
        }

    @property
    def tables(self) -> list[Table]:
        """The tables of all stages, each once."""
        found: dict[int, Table] = {}
        for stage in self.stages.values():
            for name in stage.parameters:
                value = stage.bindings.get(name)
                if isinstance(value, Table):
                    found[id(value)] = value
        return list(found.values())

    def explain(self) -> str:
        """The stages in running order, what each was given, what was fused, what became a constant."""
        from scout.paths.compiler.native import explain

        return explain(self)

    def run(self, data: bytes, **fields: int) -> tuple[str, bytes]:
        """Send one frame through the path as plain Python: for print, pdb and coverage.

        Parameters
        ----------
        data : bytes
            The frame as received.
        **fields
            Fields of the packet's record, such as `timestamp` (nanoseconds).

        Returns
        -------
        tuple of str and bytes
            The leaf that the packet came to (such as "to right", or "ip.check drops bad-version"), and
            the frame as it was then.
        """
        from scout.paths.compiler.interpreter import run

        return run(self, data, fields)


def variable(node: str) -> str:
    """The name of stage `node` in generated code."""
    return node.replace(".", "_")
