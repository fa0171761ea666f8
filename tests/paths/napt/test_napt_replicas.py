"""NAPT on several replicas: their tables are equal, and each packet leaves once, as in the plain run."""

import os
import signal
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from harness import HOST, LEFT, MTU, RIGHT, Replicas
from napt_traffic import STEPS, Traffic, noted
from napt_world import REMOTES, World, made_of, udp
from scapy.all import Ether, raw

from scout.io.ports.memory import MemoryPort
from scout.supervisor import Supervisor

pytestmark = pytest.mark.long

STATE = ("mappings", "ports", "created", "sessions", "fragments")


def sides(made: SimpleNamespace) -> tuple[Replicas, Replicas]:
    """Two replicas of both paths, which have their tables in common."""
    left = Replicas(made.left)
    return left, Replicas(made.right, beside=left)


def test_replicas_have_equal_tables_and_each_packet_leaves_once(one_time: Any) -> None:
    world = World(*one_time)
    taken = noted(world)
    traffic = Traffic(world, 54, 0.9)
    traffic.bodies = (0, 1, 20, 300)
    for _ in range(400):
        traffic.step()
    tables = {name: world.made.service.tables[name] for name in STATE}
    expected = {name: table.initial.copy() for name, table in tables.items()}
    for twin in world.twins.values():
        twin.reset()
    left, right = sides(world.made)
    for number, (side, data, fields, _) in enumerate(taken):
        (left if side == "left" else right).serve(data, number // 3 % 2, port=int(side == "right"), **fields)
    for name, table in tables.items():
        assert (left.table(table, 0) == expected[name]).all() and (left.table(table, 1) == expected[name]).all()
    sent = sum(sum(each.leaves()["out"].values()) for each in (left, right))
    assert sent == sum(count for leaf, count in world.seen.items() if leaf.startswith("to "))


def test_two_ports_that_share_a_channel_translate_as_the_plain_run(one_time: Any) -> None:
    """Two replicas, packets of both directions interleaved: each packet is the plain run's, and so is the state."""
    world = World(*one_time)
    taken = noted(world)
    out, into = world.out, world.into
    world.out = lambda packet, partial=False: out(packet)  # type: ignore[method-assign]
    world.into = lambda packet, partial=False: into(packet)  # type: ignore[method-assign]
    traffic = Traffic(world, 55, 0.3)
    for _ in range(STEPS):
        traffic.step()
    assert sum(one[0] != next_one[0] for one, next_one in pairwise(taken)) > STEPS // 3
    expected = {name: world.made.service.tables[name].initial.copy() for name in STATE}
    ports = {name: MemoryPort(mac, MTU[name], entries=256) for name, mac in (("left", LEFT), ("right", RIGHT))}
    made = made_of(on=ports, order="channel", transitory=7440)
    reports: list[str] = []
    killed = {len(taken) // 3: 0, len(taken) * 2 // 3: 1}
    with Supervisor(made.graph, [made.left, made.right], 2, report=reports.append) as supervisor:
        assert len(supervisor.channels) == 1
        for number, (side, data, fields, _) in enumerate(taken):
            assert ports[side].send(data, timestamp=fields["timestamp"], timeout=600)
            if number in killed:
                os.kill(supervisor.processes[killed[number]].pid, signal.SIGKILL)
        for port in ports.values():
            port.end()
        assert supervisor.wait(600)
        assert supervisor.diverged() == []
    assert len(reports) == 2
    for name, port in ports.items():
        assert port.sent() == [result.data for _, _, _, result in taken if result.leaf == f"to {name}"]
    for replica in range(2):
        for name in STATE:
            assert (supervisor.table(made.service.tables[name], replica) == expected[name]).all()
    drops = {leaf.split(" drops ")[1] for leaf in world.seen if " drops " in leaf}
    # Packets that a killed replica had sent, and its successor sent again, are counted too.
    assert set(supervisor.account()["drops"]) - {"done-again"} == drops


def test_replicas_do_not_take_from_the_rate_of_errors() -> None:
    made = made_of(burst=1)
    left, _ = sides(made)
    data = raw(Ether(dst=LEFT, src=HOST) / udp("10.0.0.3", 2000, REMOTES[0], 53, ttl=1))
    left.serve(data, 1)
    assert left.leaves()["out"] == {"left": 1}
    left.serve(data, 1)
    assert left.leaves()["drops"] == {"icmp-rate-limited": 1}
