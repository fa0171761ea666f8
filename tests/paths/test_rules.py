"""Transformation rules: how they are applied to a path, and how they show."""

import pytest
from harness import NOW, two_ports
from traces import UDP, frame

from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.paths.model.rule import Application, Rule
from scout.paths.model.stage import Stage
from scout.paths.model.verdict import drop
from scout.paths.stages.filter import Filter

CLOSED = drop("closed")
TO_RIGHT = frame((0x0A000002, 0x0A090001, UDP, 5, 6), bytes(100))


def passing(frame, end):
    return 0


def closing(frame, end):
    return CLOSED


def is_at(node: str):
    return lambda path, other: other == node


def test_a_rule_of_ones_own_is_applied_once_and_logged() -> None:
    def close(path: Path, node: str) -> str:
        path.insert(node, "ip.lookup", "gate", Stage(closing))
        return "closed to all"

    rule = Rule("gate", lambda path, node: node == "left.ipv4" and "gate.in" not in path, close)
    graph = two_ports().graph
    path = graph.create_path("left", rules=[rule])
    assert path.applied == (Application("gate", "left.ipv4", "closed to all"),)
    assert path.run(TO_RIGHT, timestamp=NOW)[0] == "gate.in drops closed"
    assert graph.create_path("left").run(TO_RIGHT, timestamp=NOW)[0] == "to right"


def test_rules_are_applied_until_no_guard_holds() -> None:
    """One rule makes a stage that another one removes, and so on, down to 0."""
    count = {"left": 5}

    def insert(path: Path, node: str) -> None:
        path.insert(node, "ip.lookup", "extra", Stage(passing))
        count["left"] -= 1

    rules = [
        Rule("remove", is_at("extra.in"), lambda path, node: path.remove(node)),
        Rule("insert", lambda path, node: node == "left.ipv4" and count["left"] > 0, insert),
    ]
    path = two_ports().graph.create_path("left", rules=rules)
    assert [each.rule for each in path.applied] == ["insert", "remove"] * 5
    assert "extra.in" not in path


def test_rules_of_routers_come_first() -> None:
    seen = []

    def guard(path: Path, node: str) -> bool:
        seen.append([each.rule for each in path.applied])
        return False

    path = two_ports().graph.create_path("left", destination="10.9.0.0/16", rules=[Rule("look", guard, guard)])
    assert {tuple(each) for each in seen} == {("constant next hop",)}
    assert len(seen) == len(path.stages)  # once at each stage


def test_rules_that_do_not_come_to_an_end_are_named() -> None:
    with pytest.raises(GraphError, match=r"left.*rule 'for ever'.*ip\.lookup.*guard"):
        two_ports().graph.create_path("left", rules=[Rule("for ever", is_at("ip.lookup"), lambda path, node: None)])


def test_a_rule_that_breaks_the_path_is_named() -> None:
    def cut(path: Path, node: str) -> None:
        path.remove_edge(node, "ip.forward", 0)

    rule = Rule("cut", lambda path, node: node == "ip.lookup" and path.has_edge(node, "ip.forward"), cut)
    with pytest.raises(
        GraphError, match=r"rule 'cut' at ip\.lookup broke the path: ip\.lookup: verdict 0 leads nowhere"
    ):
        two_ports().graph.create_path("left", rules=[rule])


def test_a_router_establishes_its_stages_with_the_whole_path_in_view() -> None:
    seen = {}

    class Watching(Filter):
        def establish(self, node: str, path: Path) -> None:
            seen[node] = set(path.stages)
            path.nodes[node]["note"] = "established"

    watching = Watching("watching", passing)
    path = two_ports((watching, ("ip", "watching", "left"))).graph.create_path("left")
    assert seen == {"watching.receive": set(path.stages)}
    assert path.nodes["watching.receive"]["note"] == "established"


def test_a_copy_of_a_path_keeps_its_rules_facts_and_log() -> None:
    path = two_ports().graph.create_path("left", destination="10.9.0.0/16")
    again = path.copy().establish()
    assert (again.applied, again.relies_on, again.attributes) == (path.applied, path.relies_on, path.attributes)
    assert list(again.stages) == list(path.stages)
