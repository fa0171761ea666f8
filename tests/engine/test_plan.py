"""Planning: what runs together and what is refused, without any side effect."""

import os

import numpy as np
import pytest
from folding import folding, source
from host_router import host_graph

from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.memory import MemoryPort
from scout.io.ports.pcap import PcapPort
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.stages.requests import End, Requests
from scout.plan import make_plan
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor


def count(frame, end, packet, seen):
    seen[0] += 1
    return 0


def counting(name, **options):
    return Service(name, {"seen": np.zeros(1, np.int64)}, [Handler(count)], "request", **options)


def graph_of(ports, services, *connections):
    """A graph of ports `in0` and so on, of services, and of an end called `done`; its paths."""
    graph = RouterGraph("planned")
    for service in services:
        graph.add(service)
    graph.add(End("done", "request"))
    for number, port in enumerate(ports):
        graph.add(Requests(f"in{number}", port))
    for names in connections:
        graph.connect(*names)
    return graph, [graph.create_path(f"in{number}") for number in range(len(ports))]


def memory_ports(count):
    return [MemoryPort(f"02:00:00:00:00:{number:02x}") for number in range(1, count + 1)]


def test_ports_share_a_channel_over_any_number_of_services_and_only_where_one_wants_it():
    services = [
        counting("first", sequenced=True),
        counting("second", sequenced=True),
        counting("free"),
        counting("guarded", sequenced=True, mode="locked"),
    ]
    graph, paths = graph_of(
        memory_ports(5),
        services,
        ("done", "free", "guarded", "first", "in0"),
        ("first", "second", "in2"),
        ("second", "in3"),
        ("guarded", "in1"),
        ("free", "in4"),
    )
    plan = make_plan(graph, paths)
    assert [[path.source for path in share] for share in plan.shares] == [["in0", "in2", "in3"], ["in1"], ["in4"]]
    assert plan.keeps_state and not plan.is_sharded
    assert [plan.index(path) for path in paths] == [0, 1, 2, 3, 4]


def test_a_plan_pins_replicas_to_cores_in_turn_from_the_last_one_down():
    available = sorted(os.sched_getaffinity(0))
    graph, path = folding(source())
    plan = make_plan(graph, [path])
    assert plan.replicas == len(available) and plan.cores == available[::-1]
    assert [plan.core(replica) for replica in range(len(available) + 1)] == [*available[::-1], available[-1]]
    assert make_plan(graph, [path], cores=available[:1]).core(5) == available[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"replicas": 0}, "0 replicas: give 1 to 31"),
        ({"replicas": "2"}, "'2' replicas: give 1 to 31"),
        ({"replicas": 32}, "32 replicas: give 1 to 31"),
        ({"cores": []}, r"cores \[\]: this process may use"),
        ({"cores": [9999]}, r"cores \[9999\]: this process may use"),
        ({"restarts": -1}, "restarts of -1: give 0 or more"),
        ({"wait": "doze"}, "wait 'doze': use one of spin, yield, block"),
        ({"schedule": "random"}, "random"),
        ({"held": 0}, "0 held packets: give 1 to "),
    ],
)
def test_options_that_cannot_be_are_refused(options, words):
    graph, path = folding(source())
    with pytest.raises(ScoutError, match=words):
        make_plan(graph, [path], **options)


def test_two_paths_from_one_port_are_refused():
    graph, path = folding(source())
    with pytest.raises(ScoutError, match="two paths take all packets from requests; say which packets one"):
        make_plan(graph, [path, graph.create_path("requests")])


def test_one_port_under_two_names_is_refused():
    port = source()
    graph = RouterGraph("twice")
    for name in ("one", "other"):
        graph.add(Requests(name, port))
    with pytest.raises(ScoutError, match=r"one and other have one port, .*: give each one of its own"):
        make_plan(graph, [])


def test_ports_of_different_kinds_cannot_share_a_channel():
    ports = [MemoryPort("02:00:00:00:00:01"), PcapPort(read="in.pcap")]
    connections = [("done", "ordered", "in0"), ("ordered", "in1")]
    graph, paths = graph_of(ports, [counting("ordered", sequenced=True)], *connections)
    with pytest.raises(ScoutError, match=r"ordered wants one .* in0 is a MemoryPort, in1 is a PcapPort: .*=False"):
        make_plan(graph, paths)
    make_plan(graph, paths[:1])


def test_flows_that_are_sharded_cannot_come_in_one_order():
    services = [counting("ordered", sequenced=True), counting("divided", mode="sharded")]
    graph, paths = graph_of(memory_ports(2), services, ("done", "ordered", "divided", "in0"), ("ordered", "in1"))
    with pytest.raises(ScoutError, match=r"ordered wants one .* flows of the path from in0 are sharded"):
        make_plan(graph, paths)


def test_flows_that_are_sharded_cannot_leave_in_the_order_of_the_channel():
    graph, _ = graph_of(memory_ports(1), [counting("divided", mode="sharded")], ("done", "divided", "in0"))
    with pytest.raises(ScoutError, match="flows that are sharded leave as completed"):
        make_plan(graph, [graph.create_path("in0", order="channel")])


@pytest.mark.parametrize(
    ("choose", "words"),
    [
        (lambda path, other: [other], "path from requests: it belongs to another graph"),
        (lambda path, other: [], "no path to run; give at least one"),
        (
            lambda path, other: path,
            r"the paths are one path, from requests; give a list, as in Supervisor\(graph, \[path\]\)",
        ),
    ],
)
def test_paths_that_the_graph_cannot_run_are_refused(choose, words):
    graph, path = folding(source())
    _, other = folding(source())
    with pytest.raises(ScoutError, match=words):
        make_plan(graph, choose(path, other))


def test_a_supervisor_that_is_entered_twice_says_so():
    graph, path = folding(source())
    supervisor = Supervisor(graph, [path], replicas=1)
    supervisor._entered = True
    with pytest.raises(ScoutError, match="this Supervisor has run already; make another one"):
        supervisor.__enter__()


def test_channels_of_applications_are_looked_at_first():
    graph = host_graph(AfPacketPort("none"))
    plan = make_plan(graph, [graph.create_path("eth0"), graph.create_path("apps")])
    assert [[path.source for path in share] for share in plan.shares] == [["apps"], ["eth0"]]
