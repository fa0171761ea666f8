"""A draft of a path can be edited by whole stages, and with networkx; an established path refuses."""

import networkx as nx
import numpy as np
import pytest
from harness import NOW, Twin, two_ports
from traces import ICMP, UDP, frame

from scout.io.access import load8
from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.paths.model.stage import Exit, Outcome, Stage
from scout.paths.model.table import Table
from scout.paths.model.verdict import HOLD, drop
from scout.paths.stages.filter import Filter

REFUSED = drop("protocol-refused")
HOST, ROUTED, OURS = 0x0A000002, 0x0A090001, 0x0A000001
PACKET, PING = frame((HOST, ROUTED, UDP, 5, 6), bytes(100)), frame((HOST, OURS, ICMP, 1, 1), bytes(20))


def refuse(frame, end, protocol):
    return REFUSED if load8(frame, 9) == protocol else 0


def no_lookup(frame, end, packet, next_hop):
    packet.next_hop = next_hop
    return 0


def both(frame, end):
    return 1 if load8(frame, 9) == 1 else 0


def draft() -> Path:
    return two_ports().graph.draft_path("left")


def test_a_draft_is_no_path_yet() -> None:
    path = draft()
    assert not nx.is_frozen(path)
    with pytest.raises(GraphError, match="not established"):
        path.run(PACKET)
    assert "ip.forward drops link-broadcast" not in path  # what functions drop is added when it is established
    assert nx.is_frozen(path.establish())
    assert "ip.forward drops link-broadcast" in path


def test_the_picture_of_a_draft() -> None:
    path = draft()
    path.insert("left.ipv4", "ip.lookup", "gate", Stage(refuse, bindings={"protocol": 17}))
    drawn = path._repr_svg_()
    assert drawn is not None and drawn.count("<svg") == 1 and "gate.in" in drawn


def test_a_stage_is_inserted() -> None:
    path = draft()
    assert path.insert("left.ipv4", "ip.lookup", "gate", Stage(refuse, bindings={"protocol": 17})) == "gate.in"
    assert list(path.successors("left.ipv4")) == ["gate.in"] and list(path.successors("gate.in")) == ["ip.lookup"]
    path.establish()
    assert path.main_line[1:4] == ["left.ipv4", "gate.in", "ip.lookup"]
    twin = Twin(path)
    assert twin.both(PACKET).leaf == "gate.in drops protocol-refused"
    assert twin.both(PING).leaf == "to left"


def test_all_outcomes_that_lead_to_a_node_lead_to_the_stage_before_it() -> None:
    path = draft()
    assert len(path.get_edge_data("ip.lookup", "ip.forward")) == 1
    path.add_outcome("ip.lookup", 3, "another", "ip.forward")
    path.insert("ip.lookup", "ip.forward", "gate", Stage(refuse, bindings={"protocol": 17}))
    assert sorted(path.get_edge_data("ip.lookup", "gate.in")) == [0, 3]
    assert not path.has_edge("ip.lookup", "ip.forward")


def test_a_stage_is_replaced() -> None:
    path = draft()
    path.replace("ip.lookup", Stage(no_lookup, bindings={"next_hop": 8}), [0])
    assert not {"ip.local", "icmp.in"} & set(path)  # nothing leads there any more
    path.establish()
    twin = Twin(path, native=False)
    assert twin.both(PACKET).leaf == "to right"
    assert twin.both(PING).leaf == "to right"  # it is sent to the next hop like any other


def test_a_stage_is_replaced_by_one_with_the_same_outcomes() -> None:
    path = draft()
    path.replace("ip.lookup", Stage(both))
    assert sorted(verdict for _, _, verdict in path.out_edges("ip.lookup", keys=True)) == [0, 1, 2]
    path.replace("ip.lookup", Stage(both, (Outcome("a", Exit(None)), Outcome("b", Exit(None)))), [1, 0])
    assert [head for _, head in path.out_edges("ip.lookup")] == ["ip.local", "ip.forward"]


def test_a_replaced_stage_that_does_not_hold_has_no_timeout() -> None:
    path = draft()
    assert path.nodes["arp.resolve"]["timeout"] == "icmp.error"
    path.replace("arp.resolve", Stage(no_lookup, bindings={"next_hop": 1}))
    assert "timeout" not in path.nodes["arp.resolve"]


def test_a_stage_is_removed() -> None:
    gate = Filter("gate", refuse, protocol=17)
    path = two_ports((gate, ("ip", "gate", "left"))).graph.draft_path("left")
    path.remove("gate.receive")
    path.establish()
    assert path.main_line[:3] == ["left.in", "left.ipv4", "ip.lookup"]
    assert Twin(path).both(PACKET).leaf == "to right"


def test_a_removed_stage_leaves_what_it_pulled_and_pushed_to_those_before() -> None:
    path = draft()
    path.remove("left.in")  # it pulled the Ethernet header
    assert path.edges["port left", "left.ipv4"]["pull"] == 14
    with pytest.raises(GraphError, match=r"left\.out.*pushes a header"):
        path.remove("left.out")


def test_a_stage_that_takes_packets_held_too_long_is_removed() -> None:
    def waiting(frame, end):
        return HOLD

    path = draft()
    path.add_stage("first.in", "first", Stage(waiting))
    path.add_outcome("first.in", 0, "on", "ip.lookup")
    path.insert("left.ipv4", "ip.lookup", "second", Stage(waiting))
    path.nodes["second.in"]["timeout"] = "first.in"
    path.remove("first.in")
    assert path.nodes["second.in"]["timeout"] == "ip.lookup"


def test_an_outcome_is_ruled_out() -> None:
    path = draft()
    assert path.rule_out("ip.lookup", 1) == "for us"
    assert path.is_ruled_out("ip.lookup", 1) and not path.is_ruled_out("ip.lookup", 0)
    assert "icmp.in" not in path
    assert Twin(path.establish()).both(PING).leaf == "ip.lookup drops ruled-out"


def test_networkx_edits_a_draft() -> None:
    path = draft()
    path.remove_edge("ip.lookup", "icmp.error", 2)
    path.add_outcome("ip.lookup", 2, "unreachable", path.add_drop("ip.lookup", drop("no-route")))
    nowhere = frame((HOST, 0xC6336401, UDP, 5, 6))
    assert path.establish().run(nowhere, timestamp=NOW)[0] == "ip.lookup drops no-route"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda p: p.insert("ip.lookup", "right.out", "x", Stage(both)), ["ip.lookup", "right.out", "ip.forward"]),
        (lambda p: p.insert("nowhere", "right.out", "x", Stage(both)), ["nowhere", "ip.lookup"]),
        (lambda p: p.insert("ip.lookup", "ip.forward", "not a name", Stage(both)), ["not a name", "letters"]),
        (lambda p: p.insert("ip.lookup", "ip.forward", "icmp", Stage(both)), ["icmp", "router"]),
        (
            lambda p: p.insert("ip.lookup", "ip.forward", "x", Stage(both, (Outcome("", Exit()), Outcome("", Exit())))),
            ["x.in", "2 outcomes", "1"],
        ),
        (lambda p: p.replace("to right", Stage(both)), ["to right", "no stage", "ip.lookup"]),
        (lambda p: p.replace("ip.lookup", Stage(both), [0, 7]), ["ip.lookup", "no outcome 7", "0, 1, 2"]),
        (lambda p: p.remove("ip.lookup", 7), ["ip.lookup", "no outcome 7"]),
        (lambda p: p.remove("missing"), ["missing", "ip.lookup"]),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused_and_changes_nothing(edit, words) -> None:
    path = draft()
    before = sorted(path.edges(keys=True)), sorted(path)
    with pytest.raises(GraphError) as caught:
        edit(path)
    assert all(word in str(caught.value) for word in words), caught.value
    assert (sorted(path.edges(keys=True)), sorted(path)) == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p.insert("left.ipv4", "ip.lookup", "x", Stage(both)),
        lambda p: p.replace("ip.lookup", Stage(both)),
        lambda p: p.remove("ip.forward"),
        lambda p: p.rule_out("ip.lookup", 1),
        lambda p: p.prune(),
        lambda p: p.remove_node("ip.lookup"),
        lambda p: p.add_outcome("ip.lookup", 5, "", "ip.forward"),
    ],
)
def test_an_established_path_says_how_it_is_changed(edit) -> None:
    path = draft().establish()
    with pytest.raises(GraphError, match=r"path\.copy\(\).*changed\.establish\(\)"):
        edit(path)
    assert path.run(PACKET, timestamp=NOW)[0] == "to right"


def test_a_table_of_an_inserted_stage_counts_on_every_replica() -> None:
    def count(frame, end, seen):
        seen[0] += 1
        return 0

    path = draft()
    path.insert(
        "left.ipv4", "ip.lookup", "count", Stage(count, bindings={"seen": Table(np.zeros(1, np.int64), "replicated")})
    )
    path.establish()
    assert {"left.in", "left.ipv4", "count.in"} <= path.replicated
