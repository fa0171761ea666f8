"""The last two phases of creating a path (Mosberger & Peterson, OSDI '96, section 3): a draft becomes a path.

3. Each router *establishes* its stages, with the whole path visible (`Router.establish`).
4. *Rules* are applied until no guard holds (`scout.paths.model.rule`).

Then the stages are numbered, what is counted is decided, and the path is frozen.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from scout.paths.model.agreement import agree
from scout.paths.model.router import GraphError
from scout.paths.model.rule import Application, Rule
from scout.paths.model.stage import Stage

if TYPE_CHECKING:
    from scout.paths.model.path import Path

__all__ = ["MOST_APPLICATIONS", "apply_rules", "check", "check_wishes", "establish", "positioned"]

MOST_APPLICATIONS = 1000
"""Rules that are applied so often to one path do not come to an end."""


def establish(path: "Path") -> None:
    """Make a path of a draft. See `Path.establish`."""
    check(path)
    establish_stages(path)
    apply_rules(path)
    add_drops(path)
    agree(path)
    check_wishes(path)
    number(path)
    path.freeze()


def establish_stages(path: "Path") -> None:
    """Phase 3."""
    for node in list(path.stages):
        if node in path:  # another stage may have removed it
            router = path.nodes[node]["router"]
            if router in path.router_graph:  # and is no stage that was inserted
                path.router_graph.router(router).establish(node, path)
    check(path)


def apply_rules(path: "Path") -> None:
    """Phase 4.

    Raises
    ------
    GraphError
        If a rule breaks the path, or the rules do not come to an end; names the rule.
    """
    rules = [*_rules_of_routers(path), *path.rules]
    while found := _applicable(path, rules):
        rule, node = found
        if len(path.applied) == MOST_APPLICATIONS:
            raise GraphError(
                f"path from {path.source!r}: rule {rule.name!r} still applies, at {node}, after {MOST_APPLICATIONS} "
                "applications; let its transform change what its guard looks at"
            )
        text = rule.transform(path, node) or ""
        path.graph["applied"] = (*path.applied, Application(rule.name, node, text))
        try:
            check(path)
        except GraphError as error:
            raise GraphError(f"rule {rule.name!r} at {node} broke the path: {error}") from error


def _rules_of_routers(path: "Path") -> list[Rule]:
    """The rules that the routers of the path bring, each once."""
    names = dict.fromkeys(path.nodes[node]["router"] for node in path.stages)
    routers = [path.router_graph.router(name) for name in names if name in path.router_graph]
    return list(dict.fromkeys(rule for router in routers for rule in router.rules))


def _applicable(path: "Path", rules: list[Rule]) -> tuple[Rule, str] | None:
    if not rules:
        return None
    order = path.running_order
    return next(((rule, node) for rule in rules for node in order if rule.guard(path, node)), None)


def add_drops(path: "Path") -> None:
    """Add what the stages' functions drop."""
    for node, stage in list(path.stages.items()):
        for reason in stage.drops:
            leaf = path.add_drop(node, reason)
            if not path.has_edge(node, leaf, int(reason)):
                path.add_outcome(node, int(reason), "", leaf)


def check_wishes(path: "Path") -> None:
    """Refuse a budget or a queue that would hold up work which belongs at the packets' positions in the channel.

    Nor may packets wait twice: until a time, and in a queue.
    """
    if path.queue and path.waits:
        raise GraphError(
            f"path from {path.source!r}: queue={path.queue}, but {path.waits[0][0]} lets packets wait until a time; "
            "leave queue= out"
        )
    for node in path.emissions if path.queue else ():
        if node not in positioned(path):
            raise GraphError(
                f"path from {path.source!r}: queue={path.queue}, but {node} makes packets, which leave when a batch is "
                "done; leave queue= out"
            )
    early = positioned(path) if path.queue or path.attributes.cpu else set()
    if not early:
        return
    first = next(node for node in path.running_order if _is_positioned(path.stages[node]))
    if not path.queue:
        raise GraphError(
            f"path from {path.source!r}: cpu={path.attributes.cpu:g}, but {first} may keep state that depends on the "
            "order of packets in their channel, so that none may be dropped before; give the path queue=... too, "
            "which packets enter behind it"
        )
    if early == set(path.stages):
        raise GraphError(
            f"path from {path.source!r}: queue={path.queue}, but nothing is left to do behind {first}, which may keep "
            "state that depends on the order of packets in their channel; leave queue= out"
        )


def positioned(path: "Path") -> set[str]:
    """The stages whose work belongs at a packet's position in its channel, and those that lead to them."""
    found = {node for node, stage in path.stages.items() if _is_positioned(stage)}
    return found | {above for node in found for above in nx.ancestors(path, node)} & set(path.stages)


def _is_positioned(stage: Stage) -> bool:
    return stage.keeps_state or stage.sharded or stage.controlled


def number(path: "Path") -> None:
    """Number the stages, and say what is counted."""
    order = [node for node in nx.lexicographical_topological_sort(path) if "stage" in path.nodes[node]]
    # The stages of the main line first: their generated code reads from top to bottom.
    main = path.main_line
    for index, node in enumerate([*main, *(node for node in order if node not in main)]):
        path.nodes[node]["index"] = index
    path.graph["counted"] = path.edges_to_count()


def check(path: "Path") -> None:
    """Refuse a path whose nodes or edges lack what a path needs, or in which packets could go in a circle."""
    for fault in _faults(path):
        raise GraphError(fault)
    if not nx.is_directed_acyclic_graph(path):
        cycle = " -> ".join(edge[0] for edge in nx.find_cycle(path))
        raise GraphError(f"path {path.source!r} goes in a circle: {cycle}; a packet would never leave")


def _faults(path: "Path") -> Iterator[str]:
    for node, data in path.nodes(data=True):
        kind = data.get("kind")
        if kind not in ("stage", "port", "drop", "end") or (kind == "stage") != ("stage" in data):
            yield f"path {path.source!r}: node {node!r} is no part of a path; add it by add_stage or add_drop"
    if path.out_degree(path.entry) != 1:
        yield f"path {path.source!r} has no stage behind {path.entry!r}; put its edge back"
    for node in path.stages:
        if (timeout := path.nodes[node].get("timeout", node)) not in path:
            yield f"{node} sends packets that were held too long to {timeout}, which is gone; put it back"
        yield from _outcome_faults(path, node)
    for node, target in path.emissions.items():
        yield from _emission_faults(path, node, target)


def _emission_faults(path: "Path", node: str, target: str) -> Iterator[str]:
    if target not in path:
        yield f"{node} makes packets that begin at {target}, which is gone; put it back"
        return
    emission, stages = path.nodes[node]["stage"].emits, path.stages
    if emission is None:
        yield f"{node} leads to {target} by emission, but its stage makes no packets; give the stage emits="
        return
    waiting = emission.waiting
    if waiting.kind != "private" or waiting.initial.shape != (1,) or waiting.initial.dtype != np.int64:
        yield f"{node}: the table of packets that wait to be made is to be Table(np.zeros(1, np.int64), 'private')"
    for each in (node, target):
        if not any(table is waiting for table in stages[each].tables.values()):
            yield f"{each} is not bound to the table of packets that {node} makes; bind a parameter to it"
    if nx.has_path(path, target, node):
        yield f"packets that {node} makes at {target} come to {node} again; let them go another way"
    if holding := [each for each in nx.ancestors(path, node) & set(stages) if stages[each].holds]:
        yield f"{node} makes packets, but {holding[0]} before it holds some; put {node} before {holding[0]}"


def _outcome_faults(path: "Path", node: str) -> Iterator[str]:
    taken: dict[int, str] = {}
    for _, head, data in path.out_edges(node, data=True):
        if not {"verdict", "outcome", "pull", "main"} <= data.keys():
            yield f"path {path.source!r}: edge {node} -> {head} has no verdict; add it by add_outcome"
        if (verdict := data["verdict"]) in taken:
            yield f"{node}: verdict {verdict} leads to {taken[verdict]} and to {head}; remove one"
        taken[verdict] = head
    for verdict in range(len(path.nodes[node]["stage"].outcomes)):
        if verdict not in taken:
            yield f"{node}: verdict {verdict} leads nowhere; give it a way by add_outcome, or a drop"
