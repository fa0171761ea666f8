"""NAPT under random traffic: every packet is as the reference has it, and sums up for Scapy."""

import random
from ipaddress import IPv4Address
from typing import Any

import pytest
from harness import HOST, LEFT, RIGHT
from napt_traffic import STEPS, Traffic
from napt_world import OWN, REMOTES, World, error, tcp
from scapy.all import ICMP, IP, TCP, UDP, Ether, raw

from scout.paths.services.endpoint import Endpoint
from scout.paths.services.napt import Mapping


@pytest.mark.parametrize("share", [0.0, pytest.param(0.9, marks=pytest.mark.long)])
def test_random_traffic_is_translated_by_mappings(one_time: Any, share: float) -> None:
    world = World(*one_time)
    traffic = Traffic(world, 53, share)
    for _ in range(STEPS):
        traffic.step()
    expected = {
        Mapping({TCP: 6, UDP: 17, ICMP: 1}[layer], Endpoint(IPv4Address(address), port), each.external)
        for (layer, address, port), each in world.reference.live(world.now).items()
    }
    assert world.made.service.read(world.now) == expected
    assert min(world.seen["to left"], world.seen["to right"]) > STEPS // 5
    for leaf in ("receive drops napt-no-mapping", "send drops napt-unsupported", "receive drops napt-bad-checksum"):
        assert world.seen[f"napt.{leaf}"] > 0
    assert world.made.service.account() == {"events-lost": 0, "table-full": 0, "evicted": 0}


def test_random_traffic_is_filtered(filtering: Any) -> None:
    world = World(*filtering, filters=True)
    traffic = Traffic(world, 52)
    for _ in range(STEPS):
        traffic.step()
    assert min(world.seen["napt.receive drops napt-filtered"], world.seen["to left"]) > STEPS // 10


def test_short_and_broken_packets_do_no_harm(world: World) -> None:
    whole = raw(Ether(dst=LEFT, src=HOST) / tcp("10.0.0.3", 2000, REMOTES[0], 80, "S"))
    for size in range(14, len(whole)):
        assert "drops" in world.twins["left"].both(whole[:size]).leaf
    chance = random.Random(53)
    for side, packet in (
        ("left", whole),
        ("right", raw(Ether(dst=RIGHT, src=HOST) / error(REMOTES[0], IP(whole[14:]), 20, 3, 3, OWN))),
    ):
        for _ in range(150):
            data = bytearray(packet)
            for _ in range(3):
                data[chance.randrange(14, len(data))] = chance.getrandbits(8)
            world.twins[side].both(bytes(data[: chance.randrange(30, len(data) + 1)]))
