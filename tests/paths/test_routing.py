"""Changes of routes and neighbours, as routers prepare them: checked, made, undone, and freed once unused."""

import random
import struct
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from harness import GATEWAY, HOST, NOW, two_ports

from scout.paths.changes.mtus import SetMtu
from scout.paths.changes.neighbours import DeleteNeighbour, SetNeighbour
from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.model.change import Amendment, Change
from scout.paths.model.router import GraphError
from scout.paths.protocols.adjacencies import LEARNT, PROBES, RESERVED, STATIC, amend, find, make_room
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.fib import lookup
from scout.paths.protocols.next_hop import UNUSED

OTHER = "02:00:00:00:00:66"


@pytest.fixture
def router() -> SimpleNamespace:
    return two_ports()


def make(router: SimpleNamespace, *changes: Change) -> Amendment:
    """Prepare changes of routes and make them, as the supervisor does; nothing is released."""
    amendment = router.ip.prepare(changes, router.graph)
    for setting, value in amendment.settings.items():
        setting.value = value
    amendment.commit()
    return amendment


def led_to(router: SimpleNamespace, address: str, version: int | None = None) -> str | None:
    """The gateway of a destination; None if it has none."""
    root = router.ip.root.value if version is None else version
    hop = lookup(*router.ip.fib.arrays, root, int(IPv4Address(address)))
    row = router.ip.next_hops.initial[hop]
    assert hop < 0 or row["kind"] != UNUSED
    return str(IPv4Address(int(row["address"]))) if hop >= 0 and row["address"] else None


def test_routes_are_added_replaced_and_deleted_in_versions(router: SimpleNamespace) -> None:
    first = router.ip.root.value
    make(router, AddRoute("10.8.0.0/16", "10.0.0.9"), ReplaceRoute("10.9.0.0/16", via="10.0.0.9"))
    assert led_to(router, "10.8.1.1") == led_to(router, "10.9.1.1") == "10.0.0.9"
    assert (led_to(router, "10.8.1.1", first), led_to(router, "10.9.1.1", first)) == (None, "10.0.1.2")
    make(router, DeleteRoute("10.8.0.0/16"), AddRoute(IPv4Network("10.9.7.0/24"), IPv4Address("10.0.1.7")))
    assert (led_to(router, "10.8.1.1"), led_to(router, "10.9.7.1")) == (None, "10.0.1.7")
    assert router.ip.routes == {
        IPv4Network("10.9.0.0/16"): IPv4Address("10.0.0.9"),
        IPv4Network("10.9.7.0/24"): IPv4Address("10.0.1.7"),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([AddRoute("10.9.0.0/16", "10.0.1.3")], "ip: 10.9.0.0/16 is routed to 10.0.1.2 already; replace that"),
        ([AddRoute("10.8.0.0/16", "10.0.1.3")] * 2, "ip: 10.8.0.0/16 is routed to 10.0.1.3 already"),
        ([DeleteRoute("10.8.0.0/16")], "ip: 10.8.0.0/16 has no route of its own; leave it out"),
        ([DeleteRoute("10.9.0.0/16")] * 2, "ip: 10.9.0.0/16 has no route of its own"),
        ([ReplaceRoute("10.8.0.0/16", "10.0.1.3")], "ip: 10.8.0.0/16 has no route of its own; add it by AddRoute"),
        ([AddRoute("10.0.1.0/24", "10.0.1.3")], "ip: 10.0.1.0/24 is connected or special, and keeps its route"),
        ([DeleteRoute("10.0.1.1/32")], "ip: 10.0.1.1/32 is connected or special"),
        ([AddRoute("127.0.0.0/8", "10.0.1.3")], "ip: 127.0.0.0/8 is connected or special"),
        ([AddRoute("10.8.0.0/16", "10.7.0.1")], "ip: gateway 10.7.0.1 is on no connected network"),
        ([AddRoute("10.8.0.0/16", "10.0.1.1")], "ip: gateway 10.0.1.1 is on no connected network"),
        ([AddRoute("10.8.0.1/16", "10.0.1.2")], "ip: '10.8.0.1/16': 10.8.0.1/16 has host bits set"),
        ([AddRoute("10.8.0.0/16", "here")], "ip: 'here': .*write addresses as"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_and_changes_nothing(
    router: SimpleNamespace, changes: list[Change], message: str
) -> None:
    before = (dict(router.ip.routes), router.ip.fib.version, router.ip.next_hops.initial.copy())
    with pytest.raises(GraphError, match=message):
        router.ip.prepare([AddRoute("10.6.0.0/16", "10.0.0.9"), *changes], router.graph)
    assert (router.ip.routes, router.ip.fib.version) == before[:2]
    assert np.array_equal(router.ip.next_hops.initial, before[2])


def test_a_change_that_was_undone_leaves_no_trace(router: SimpleNamespace) -> None:
    routes, rows = dict(router.ip.routes), router.ip.next_hops.initial.copy()
    for _ in range(3):
        changes = [AddRoute("10.8.0.0/16", "10.0.0.9"), DeleteRoute("10.9.0.0/16")]
        router.ip.prepare(changes, router.graph).undo()
        assert router.ip.routes == routes and sorted(router.ip.fib.routes) == sorted(two_ports().ip.fib.routes)
        assert (led_to(router, "10.8.1.1"), led_to(router, "10.9.1.1")) == (None, "10.0.1.2")
    used = router.ip.fib.used
    for _ in range(3):
        make(router, AddRoute("10.8.0.0/16", "10.0.0.9")).release()
        make(router, DeleteRoute("10.8.0.0/16")).release()
    assert router.ip.fib.used <= used
    assert (router.ip.next_hops.initial["kind"] == UNUSED).sum() == (rows["kind"] == UNUSED).sum()


def test_changes_that_cancel_each_other_change_nothing(router: SimpleNamespace) -> None:
    make(router, AddRoute("10.8.0.0/16", "10.0.0.9"), DeleteRoute("10.8.0.0/16")).release()
    make(router, ReplaceRoute("10.9.0.0/16", "10.0.0.9"), ReplaceRoute("10.9.0.0/16", "10.0.1.2")).release()
    assert led_to(router, "10.9.1.1") == "10.0.1.2" and led_to(router, "10.8.1.1") is None


def test_random_changes_agree_with_a_slow_table_in_every_version_that_is_in_use(router: SimpleNamespace) -> None:
    chance = random.Random(3)
    prefixes = [
        IPv4Network((0x0B000000 | chance.getrandbits(24) & -(1 << 32 - n), n)) for n in (8, 12, 16, 20, 24, 28, 32)
    ]
    prefixes += [IPv4Network((0x0B000000 | chance.getrandbits(24) & -(1 << 32 - n), n)) for n in range(9, 33)]
    gateways = [f"10.0.{chance.randrange(2)}.{last}" for last in range(10, 40)]
    routes: dict[IPv4Network, str] = {}
    in_use: list[tuple[int, dict[IPv4Network, str], Amendment]] = []

    def slow(address: IPv4Address, table: dict[IPv4Network, str]) -> str | None:
        found = max((prefix for prefix in table if address in prefix), key=lambda each: each.prefixlen, default=None)
        return table[found] if found else None

    for _ in range(400):
        wanted, changes = dict(routes), []
        for _ in range(chance.choice((1, 1, 3, 12))):
            prefix, gateway = chance.choice(prefixes), chance.choice(gateways)
            if prefix not in wanted:
                changes.append(AddRoute(prefix, gateway))
                wanted[prefix] = gateway
            elif chance.random() < 0.5:
                changes.append(DeleteRoute(prefix))
                del wanted[prefix]
            else:
                changes.append(ReplaceRoute(prefix, gateway))
                wanted[prefix] = gateway
        if chance.random() < 0.1:
            router.ip.prepare(changes, router.graph).undo()
            continue
        before = router.ip.root.value
        in_use.append((before, routes, make(router, *changes)))
        routes = wanted
        if len(in_use) > 5:
            in_use.pop(0)[2].release()
        for version, table, _ in [*in_use, (router.ip.root.value, routes, None)]:
            for prefix in chance.sample(prefixes, 6):
                address = prefix[chance.randrange(prefix.num_addresses)]
                assert led_to(router, str(address), version) == slow(address, table)


def test_room_for_gateways_is_limited_and_comes_back(router: SimpleNamespace, monkeypatch: Any) -> None:
    free = router.ip._routing._free  # 4,096 gateways would not fit on the two networks
    while len(free) > 2:
        free.pop()
    changes = [AddRoute(f"10.{net}.0.0/16", f"10.0.1.{net}") for net in (20, 21, 22)]
    with pytest.raises(GraphError, match="3 more gateways, and there is room for 2"):
        router.ip.prepare(changes, router.graph)
    for _ in range(3):
        make(router, *changes[:2]).release()
        with pytest.raises(GraphError, match="1 more gateways, and there is room for 0"):
            router.ip.prepare(changes[2:], router.graph)
        gone = make(router, DeleteRoute("10.20.0.0/16"), DeleteRoute("10.21.0.0/16"))
        with pytest.raises(GraphError, match="there is room for 0"):  # packets may still be led to them
            router.ip.prepare(changes[2:], router.graph)
        gone.release()


# MTUs.


def test_an_mtu_is_set_below_that_of_the_interface_and_taken_back(router: SimpleNamespace) -> None:
    path = router.graph.create_path("left")
    long = frame_to("10.9.1.1") + bytes(1300)
    long = long[:16] + (len(long) - 14).to_bytes(2) + long[18:]
    long = long[:24] + bytes(2) + long[26:]
    total = sum(struct.unpack("!10H", long[14:34]))
    long = long[:24] + (0xFFFF - total % 0xFFFF).to_bytes(2) + long[26:]
    assert path.run(long, timestamp=NOW)[0] == "to right"
    first = make(router, SetMtu("right", 1000), AddRoute("10.8.0.0/16", "10.0.0.9"))
    assert path.run(long, timestamp=NOW)[0] == "ip.forward drops fragmentation-needed"
    router.ip._mtus.refresh(1, 900)  # the interface gets another one
    assert router.ip.mtus.initial[router.ip._mtus.first.value + 1] == 900
    router.ip._mtus.refresh(1, 1400)
    first.release()
    make(router, SetMtu("right", None)).release()
    assert path.run(long, timestamp=NOW)[0] == "to right"
    assert router.ip._mtus.differences() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (SetMtu("up", 1000), "ip: the MTU of 'up', which is no port"),
        (SetMtu("right", 67), "ip: an MTU of 67 for 'right'; give 68 to 1400"),
        (SetMtu("right", 1401), "ip: an MTU of 1401 for 'right'; give 68 to 1400"),
        (SetMtu("right", 1000.5), "ip: an MTU of 1000.5 for 'right'; give 68 to 1400"),  # type: ignore[arg-type]
        (SetMtu("right", "1000"), "ip: an MTU of 1000 for 'right'; give 68 to 1400"),  # type: ignore[arg-type]
    ],
)
def test_an_mtu_that_cannot_be_is_refused_with_the_routes_beside_it(
    router: SimpleNamespace, change: Change, message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        router.ip.prepare([AddRoute("10.8.0.0/16", "10.0.0.9"), change], router.graph)
    assert led_to(router, "10.8.1.1") is None
    make(router, AddRoute("10.8.0.0/16", "10.0.0.9"))


def test_versions_of_mtus_come_back(router: SimpleNamespace) -> None:
    in_use = [make(router, SetMtu("right", 100 + number)) for number in range(63)]
    with pytest.raises(GraphError, match="MTUs: 64 versions are in use"):
        make(router, SetMtu("right", 500))
    for amendment in in_use:
        amendment.release()
    for number in range(200):
        make(router, SetMtu("right", 100 + number)).release()


# Neighbours.


def ordered(router: SimpleNamespace, amendment: Amendment) -> np.ndarray:
    """Make the orders of an amendment in the table of plain runs; the rows in use."""
    table = router.arp.adjacencies.initial.view(np.recarray)
    for order in amendment.orders:
        amend(order, NOW, table, router.arp.changes.initial)
    return table[table["key"] != 0]


def key(port: int, address: str) -> int:
    return (port + 1) << 32 | int(IPv4Address(address))


def state(router: SimpleNamespace, port: int, address: str) -> tuple[int, int] | None:
    """The MAC address and the state of a neighbour."""
    table = router.arp.adjacencies.initial.view(np.recarray)
    row = find(table, key(port, address))
    return (int(table[row].mac), int(table[row].state)) if row >= 0 else None


def number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def test_a_neighbour_is_set_and_deleted(router: SimpleNamespace) -> None:
    changes = [SetNeighbour("left", "10.0.0.7", OTHER), SetNeighbour("right", IPv4Address("10.0.1.2"), OTHER)]
    ordered(router, router.arp.prepare(changes, router.graph))
    assert state(router, 0, "10.0.0.7") == state(router, 1, "10.0.1.2") == (number(OTHER), STATIC)
    told = router.arp.changes.initial[0]
    ordered(router, router.arp.prepare([DeleteNeighbour("left", "10.0.0.7")], router.graph))
    ordered(router, router.arp.prepare([DeleteNeighbour("right", "10.0.1.2")], router.graph))
    assert state(router, 0, "10.0.0.7") == (number(OTHER), LEARNT)
    assert state(router, 1, "10.0.1.2") == (number(OTHER), RESERVED)  # a gateway
    assert router.arp.changes.initial[0] == told + 2
    path = router.graph.create_path("left")
    assert path.run(frame_to("10.9.1.1"), timestamp=NOW + 1)[0] == "arp.resolve holds"


def test_plain_runs_and_the_next_start_have_the_neighbours_of_changes(router: SimpleNamespace) -> None:
    make(router, AddRoute("10.8.0.0/16", "10.0.1.9"))
    router.arp.prepare([SetNeighbour("right", "10.0.1.9", OTHER)], router.graph).commit()
    make(router, AddRoute("10.7.0.0/16", "10.0.1.8"))
    path = router.graph.create_path("left")
    leaf, sent = path.run(frame_to("10.8.1.1"), timestamp=NOW)
    assert leaf == "to right" and sent[:6] == bytes.fromhex(OTHER.replace(":", ""))
    router.arp.start(router.graph)
    assert (state(router, 1, "10.0.1.9"), state(router, 1, "10.0.1.8")) == ((number(OTHER), STATIC), (0, RESERVED))


def frame_to(destination: str) -> bytes:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    return bytes(Ether(src=HOST, dst="02:00:00:00:00:01") / IP(src="10.0.0.2", dst=destination) / UDP())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (SetNeighbour("up", "10.0.0.7", OTHER), "arp: neighbour 10.0.0.7 on 'up', which is no port"),
        (SetNeighbour("left", "10.0.0.777", OTHER), "arp: neighbour 10.0.0.777 at "),
        (SetNeighbour("left", "10.0.0.7", "02:00"), "arp: neighbour 10.0.0.7 at 02:00: "),
        (DeleteNeighbour("left", "10.0.0.7"), "arp: 10.0.0.7 on 'left' was not set by hand; leave it out"),
    ],
)
def test_a_change_of_neighbours_that_cannot_be_made_is_refused(
    router: SimpleNamespace, change: Change, message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        router.arp.prepare([SetNeighbour("left", "10.0.0.9", OTHER), change], router.graph)
    with pytest.raises(GraphError, match="was not set by hand"):  # nor was the first
        router.arp.prepare([DeleteNeighbour("left", "10.0.0.9")], router.graph)


def test_a_neighbour_finds_a_row_in_every_replica_whatever_it_has_learnt() -> None:
    """Kept rows are refused before all rows where another may stand are taken."""
    chance = random.Random(1)
    arp = Arp("arp", capacity=64)
    arp._neighbours.ports = ["left"]
    table = arp.adjacencies.initial.view(np.recarray)
    for number in range(4 * 64):  # learnt from a flood of messages
        row = make_room(table, key(0, f"10.1.{number >> 8}.{number & 255}"), NOW)
        table[row].expires = NOW + chance.randrange(1000)
    kept = []
    for number in range(64):
        address = f"10.0.0.{number}"
        try:
            amendment = arp.prepare([SetNeighbour("left", address, OTHER)], SimpleNamespace())  # type: ignore[arg-type]
        except GraphError as error:
            assert "leave no row for another one; give more capacity than 64" in str(error)
            continue
        for order in amendment.orders:
            amend(order, NOW, table, arp.changes.initial)
        kept.append(address)
    assert len(kept) >= PROBES
    assert all(table[find(table, key(0, address))].state == STATIC for address in kept)


def test_a_gateway_keeps_its_row_while_a_route_leads_to_it(router: SimpleNamespace) -> None:
    first = router.ip.prepare([AddRoute("10.8.0.0/16", "10.0.0.9"), AddRoute("10.7.0.0/16", "10.0.0.9")], router.graph)
    first.commit()
    ordered(router, first)
    assert state(router, 0, "10.0.0.9") == (0, RESERVED)
    second = router.ip.prepare([DeleteRoute("10.8.0.0/16")], router.graph)
    assert not second.orders
    second.commit()
    third = router.ip.prepare([DeleteRoute("10.7.0.0/16")], router.graph)
    ordered(router, third)
    assert state(router, 0, "10.0.0.9") == (0, LEARNT)


def test_a_packet_goes_to_a_new_gateway_and_waits_for_its_mac_address(router: SimpleNamespace) -> None:
    path = router.graph.create_path("left")
    make(router, AddRoute("10.8.0.0/16", "10.0.1.9"))
    assert path.run(frame_to("10.8.1.1"), timestamp=NOW)[0] == "arp.resolve holds"
    ordered(router, router.arp.prepare([SetNeighbour("right", "10.0.1.9", OTHER)], router.graph))
    leaf, sent = path.run(frame_to("10.8.1.1"), timestamp=NOW)
    assert leaf == "to right" and sent[:6] == bytes.fromhex(OTHER.replace(":", ""))
    leaf, sent = path.run(frame_to("10.9.1.1"), timestamp=NOW)
    assert leaf == "to right" and sent[:6] == bytes.fromhex(GATEWAY.replace(":", ""))


def test_a_packet_waits_whose_timestamp_is_before_that_of_the_change_that_it_follows(router: SimpleNamespace) -> None:
    """The supervisor stamps a change by a clock that may be ahead of the kernel's, which stamps packets."""
    path = router.graph.create_path("left")
    ordered(router, make(router, AddRoute("10.8.0.0/16", "10.0.1.9")))
    assert path.run(frame_to("10.8.1.1"), timestamp=NOW - 1)[0] == "arp.resolve holds"
    for change in (SetNeighbour("right", "10.0.1.9", OTHER), DeleteNeighbour("right", "10.0.1.9")):
        amendment = router.arp.prepare([change], router.graph)
        amendment.commit()
        ordered(router, amendment)
    assert path.run(frame_to("10.8.1.1"), timestamp=NOW - 1)[0] == "arp.resolve holds"
