"""Counting the packets of a path: one increment a packet on the main line, the rest follows from conservation."""

import networkx as nx
import numpy as np

from scout.paths.model.editing import StageGraph
from scout.paths.model.router import GraphError

__all__ = ["CountedGraph"]


class CountedGraph(StageGraph):
    """A graph of stages whose edges have counters."""

    def edges_to_count(self) -> list[tuple[str, str, int]]:
        """The edges that get a counter. After them come two for each stage: unknown verdicts, and packets
        held there less those that came in from being held.

        All edges are counted but, for each stage, one edge of the main line that leads to it: how many packets passed
        that one follows from how many left the stage.
        """
        counted = []
        for node, data in self.nodes(data=True):
            # In an order that a copy has too: it shares this path's code.
            edges = sorted(self.in_edges(node, keys=True), key=lambda edge: (not self.edges[edge]["main"], edge))
            if "stage" in data:
                edges = edges[1:] if edges and self.edges[edges[0]]["main"] else edges
            counted += edges
        return counted

    @property
    def counted(self) -> list[tuple[str, str, int]]:
        """The edges that have a counter, in the order of the counters."""
        if "counted" not in self.graph:
            raise GraphError(f"path {self.source!r} was changed and not established; call establish() first")
        return self.graph["counted"]

    @property
    def counter_names(self) -> list[str]:
        """The name of each cell of the path's `counters`, which says what it counts."""
        edges = [f"{tail} -> {head}" for tail, head, _ in self.counted]
        stages = list(self.stages)
        return [*edges, *(f"{node} unknown-verdict" for node in stages), *(f"{node} held" for node in stages)]

    def unknown_counter(self, node: str) -> int:
        """Index of the counter of verdicts of stage `node` that lead nowhere."""
        return len(self.counted) + list(self.stages).index(node)

    def held_counter(self, node: str) -> int:
        """Index of the counter of packets held at `node` less those that came in there from being held."""
        return self.unknown_counter(node) + len(self.stages)

    def flows(self, counters: np.ndarray) -> dict[tuple[str, str], int]:
        """Packets from node to node, from a copy of the path's counters (summed over replicas)."""
        flow = {edge: int(counters[index]) for index, edge in enumerate(self.counted)}
        for node in reversed(list(nx.topological_sort(self))):
            if "stage" not in self.nodes[node]:
                continue
            left = sum(flow[edge] for edge in self.out_edges(node, keys=True))
            left += int(counters[self.unknown_counter(node)] + counters[self.held_counter(node)])
            for edge in self.in_edges(node, keys=True):
                if edge not in flow:
                    flow[edge] = left - sum(flow.get(other, 0) for other in self.in_edges(node, keys=True))
        total: dict[tuple[str, str], int] = {}
        for (tail, head, _), count in flow.items():
            total[tail, head] = total.get((tail, head), 0) + count
        return total

    def emitted(self, counters: np.ndarray) -> int:
        """How many packets the path's stages made, from a copy of its counters (summed over replicas)."""
        flow = self.flows(counters)
        total = 0
        for node in set(self.emissions.values()):
            total += sum(flow[edge] for edge in set(self.out_edges(node)))
            total += int(counters[self.unknown_counter(node)] + counters[self.held_counter(node)])
            total -= sum(flow[edge] for edge in set(self.in_edges(node)))
        return total

    def account(self, counters: np.ndarray) -> dict[str, dict[str, int]]:
        """Where packets went: `{"out": {port: n}, "drops": {reason: n}, "ended": {label: n}}`."""
        out: dict[str, int] = {}
        drops: dict[str, int] = {}
        ended: dict[str, int] = {}
        for index, (_, head, _) in enumerate(self.counted):
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
