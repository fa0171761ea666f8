"""Building and editing a draft of a path: the methods that add to it, and those that change it by whole stages."""

from collections.abc import Iterable
from typing import Any

import networkx as nx

from scout.paths.model.router import GraphError
from scout.paths.model.stage import Stage
from scout.paths.model.verdict import RULED_OUT, DropReason
from scout.paths.model.views import UncachedViews

__all__ = ["StageGraph"]

_EDITS = (
    *("add_node", "add_nodes_from", "add_edge", "add_edges_from", "add_weighted_edges_from", "update"),
    *("remove_node", "remove_nodes_from", "remove_edge", "remove_edges_from", "clear", "clear_edges"),
    *("insert", "replace", "remove", "rule_out", "prune"),
)


class StageGraph(UncachedViews, nx.MultiDiGraph):
    """A graph of stages, ports, drops and ends: what a `Path` is built from, and edited with."""

    @property
    def entry(self) -> str:
        """The node at which packets come in."""
        return f"port {self.graph['attributes'].ingress}"

    # Building.

    def add_stage(self, node: str, router: str, stage: Stage) -> None:
        """Add a stage of a router."""
        note = stage.note or ("replicated" if stage.keeps_state else "")
        self.add_node(node, kind="stage", router=router, label=node, note=note, stage=stage)

    def add_port(self, router: str, entry: bool = False) -> str:
        """Add the leaf of packets that leave by a router's port, or the entry; the node's name."""
        node = f"port {router}" if entry else f"to {router}"
        self.add_node(node, kind="port", router=router, label=f"port {router}")
        return node

    def add_drop(self, at: str, reason: DropReason) -> str:
        """Add the leaf of packets that stage `at` drops for a reason; the node's name."""
        # One node for each stage that drops, so that the picture's edges stay short.
        node = f"{at} drops {reason.name}"
        self.add_node(node, kind="drop", router="drop", label=reason.name, verdict=int(reason))
        return node

    def add_end(self, label: str) -> str:
        """Add the leaf of packets that end here; the node's name."""
        self.add_node(label, kind="end", router="drop", label=label)
        return label

    def add_outcome(
        self,
        node: str,
        verdict: int,
        label: str,
        target: str,
        service: str = "",
        pull: int = 0,
        main: bool = False,
        waits: bool = False,
    ) -> None:
        """Add the edge that a verdict of stage `node` takes; if packets wait, at a stage that it leads to."""
        data: dict[str, Any] = {"verdict": verdict, "outcome": label, "service": service, "pull": pull, "main": main}
        self.add_edge(node, target, verdict, **data, waits=waits and "stage" in self.nodes[target])

    # Editing by whole stages.

    def insert(self, tail: str, head: str, name: str, stage: Stage) -> str:
        """Put a stage on the way from node `tail` to node `head`: all outcomes that lead there lead to it first.

        Parameters
        ----------
        tail, head : str
        name : str
            The new stage's name; its node is NAME.in.
        stage : Stage
            Without outcomes of its own, as in `Stage(function, bindings={"port": 23})`: packets go on to `head` where
            its function returns 0.

        Returns
        -------
        str
            The new node.

        Raises
        ------
        GraphError
            If there is no such way, the name is no identifier or taken, or the stage has outcomes of its own.
        """
        self._refuse_unknown(tail, head)
        node = f"{name}.in"
        edges = [(key, dict(data)) for key, data in (self.get_edge_data(tail, head) or {}).items()]
        if not edges:
            heads = " and ".join(dict.fromkeys(self.successors(tail))) or "nothing"
            raise GraphError(f"insert of {name!r}: {tail!r} leads to {heads}, not to {head!r}; give two neighbours")
        if not name.isidentifier() or node in self or name in self.graph["router_graph"]:
            raise GraphError(f"insert of {name!r}: use letters, digits and _, and a name that no stage or router has")
        self._refuse_outcomes(node, stage, 1)
        self.add_stage(node, name, stage)
        for key, data in edges:
            self.remove_edge(tail, head, key)
            self.add_edge(tail, node, key, **data)
        main = any(data["main"] for _, data in edges)
        self.add_outcome(node, 0, "passed", head, edges[0][1]["service"], main=main)
        return node

    def replace(self, node: str, stage: Stage, verdicts: Iterable[int] | None = None) -> None:
        """Put another stage in the place of one.

        Parameters
        ----------
        node : str
            The stage that is replaced; the node keeps its name.
        stage : Stage
            The new one, with as many outcomes as `verdicts`, or none of its own.
        verdicts : iterable of int, optional
            The old stage's outcomes, by number, that the new one's outcomes 0, 1, ... lead to; all of them by default.
            Stages that no packet reaches any more are removed.

        Raises
        ------
        GraphError
            If there is no such stage, or the outcomes do not match.
        """
        old = self._outcomes(node)
        chosen = sorted(old) if verdicts is None else list(verdicts)
        if unknown := [verdict for verdict in chosen if verdict not in old]:
            raise GraphError(f"replace of {node}: it has no outcome {unknown[0]}; there are {', '.join(map(str, old))}")
        self._refuse_outcomes(node, stage, len(chosen))
        self.remove_edges_from(list(self.out_edges(node, keys=True)))
        self.add_stage(node, self.nodes[node]["router"], stage)
        for verdict, (head, data) in enumerate(old[each] for each in chosen):
            waits = data.get("waits", False)
            main = (data["main"] or verdict == 0) and not waits
            self.add_outcome(node, verdict, data["outcome"], head, data["service"], data["pull"], main, waits)
        if not stage.holds:
            self.nodes[node].pop("timeout", None)
        if not stage.emits:
            self.nodes[node].pop("emission", None)
        self.prune()

    def remove(self, node: str, verdict: int = 0) -> None:
        """Take a stage out: packets that came to it go where its outcome `verdict` leads.

        Stages that no packet reaches any more are removed too.

        Raises
        ------
        GraphError
            If there is no such stage or outcome, or the stage pushes a header that is not pulled before it.
        """
        outcomes = self._outcomes(node)
        if verdict not in outcomes:
            raise GraphError(
                f"remove of {node}: it has no outcome {verdict}; there are {', '.join(map(str, outcomes))}"
            )
        if makers := [other for other, data in self.nodes(data=True) if data.get("emission") == node]:
            raise GraphError(f"remove of {node}: packets that {makers[0]} makes begin there; replace it")
        head, out = outcomes[verdict]
        moved = out["pull"] - self.nodes[node]["stage"].push
        held = [other for other, data in self.nodes(data=True) if data.get("timeout") == node]
        ways = [(tail, key, dict(data)) for tail, _, key, data in self.in_edges(node, keys=True, data=True)]
        if any(data["pull"] + moved < 0 for _, _, data in ways) or (held and moved):
            raise GraphError(f"remove of {node}: it pushes a header that the stages behind it need; replace it")
        for tail, key, data in ways:
            self.remove_edge(tail, node, key)
            self.add_edge(tail, head, key, **data | {"pull": data["pull"] + moved})
        for other in held:
            if "stage" in self.nodes[head]:
                self.nodes[other]["timeout"] = head
            else:
                del self.nodes[other]["timeout"]
        self.prune()

    def rule_out(self, node: str, verdict: int) -> str:
        """Say that no packet of this path takes an outcome: one that does all the same is dropped as ruled-out.

        Stages that no packet reaches any more are removed.

        Returns
        -------
        str
            The outcome's label.
        """
        head, data = self._outcomes(node)[verdict]
        self.remove_edge(node, head, verdict)
        self.add_outcome(node, verdict, data["outcome"], self.add_drop(node, RULED_OUT))
        self.prune()
        return data["outcome"]

    def prune(self) -> None:
        """Remove the nodes that no packet reaches."""
        reached: set[str] = set()
        waiting = [self.entry]
        while waiting:
            node = waiting.pop()
            if node not in reached:
                reached.add(node)
                waiting += self.ways(node)
        self.remove_nodes_from([node for node in self if node not in reached])

    def freeze(self) -> None:
        """Refuse all edits from now on."""
        for name in _EDITS:
            setattr(self, name, _refuse)
        self.frozen = True

    # Queries.

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in the order in which they run."""
        found = {node: data for node, data in self.nodes(data=True) if "stage" in data}
        ranked = sorted(found, key=lambda node: found[node].get("index", 0))
        return {node: found[node]["stage"] for node in ranked}

    @property
    def emissions(self) -> dict[str, str]:
        """The stages that make packets besides the one at hand, each with the stage at which these begin."""
        return {node: data["emission"] for node, data in self.nodes(data=True) if data.get("emission")}

    def ways(self, node: str) -> list[str]:
        """The nodes that packets go to from a node: by its outcomes, or as they were held too long, or made there."""
        data = self.nodes[node]
        return [*self.successors(node), *(data[kind] for kind in ("timeout", "emission") if data.get(kind))]

    @property
    def waits(self) -> list[tuple[str, str]]:
        """The ways on which packets wait: from a stage, to the one at which they go on."""
        return [(tail, head) for tail, head, waits in self.edges(data="waits") if waits]

    def is_ruled_out(self, node: str, verdict: int) -> bool:
        """True if no packet of this path takes an outcome of stage `node` (`rule_out`)."""
        return self.has_edge(node, f"{node} drops {RULED_OUT.name}", verdict)

    def _outcomes(self, node: str) -> dict[int, tuple[str, dict[str, Any]]]:
        """The outcomes of a stage by verdict: where each leads, and the edge's data. Drops are none."""
        self._refuse_unknown(node)
        if "stage" not in self.nodes[node]:
            raise GraphError(
                f"{node!r} is no stage; give one of {', '.join(n for n in self if 'stage' in self.nodes[n])}"
            )
        edges = self.out_edges(node, keys=True, data=True)
        return {verdict: (head, dict(data)) for _, head, verdict, data in edges if verdict >= 0}

    def _refuse_unknown(self, *nodes: str) -> None:
        for node in nodes:
            if node not in self:
                raise GraphError(f"no node {node!r} in this path; it has {', '.join(self)}")

    def _refuse_outcomes(self, node: str, stage: Stage, number: int) -> None:
        if stage.outcomes and len(stage.outcomes) != number:
            raise GraphError(f"{node}: the stage has {len(stage.outcomes)} outcomes; give it none, or {number}")


def _refuse(*arguments: Any, **words: Any) -> None:
    raise GraphError(
        "an established path cannot be changed: edit a copy (changed = path.copy()) and call changed.establish()"
    )
