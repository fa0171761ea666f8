"""The mappings of a NAPT: what they are made for, how long they last, who may send to them, and a full table."""

from typing import Any

import pytest
from harness import GATEWAY, HOST, LEFT, NOW, RIGHT
from napt_world import HOSTS, OWN, REMOTES, SECOND, World, echo, made_of, ran, tcp, udp
from scapy.all import TCP, UDP, Ether, raw


def test_a_mapping_is_the_endpoints_whatever_it_talks_to(world: World) -> None:
    ports = {world.out(udp("10.0.0.3", 2000, remote, 53))[UDP].sport for remote in REMOTES}
    assert ports == {2000}
    assert world.out(udp("10.0.0.4", 2000, REMOTES[0], 53))[UDP].sport != 2000
    for number in range(40):
        world.out(udp(list(HOSTS)[number % 8], 700 + number // 8, REMOTES[0], 53))
    for each in world.made.service.read(NOW):
        assert each.external % 2 == each.inside.port % 2 and (each.external < 1024) == (each.inside.port < 1024)


def test_all_may_send_to_a_mapping_or_those_it_has_sent_to(world: World, filtering: Any) -> None:
    strict = World(*filtering, filters=True)
    for each, leaf in ((world, "to left"), (strict, "napt.receive drops napt-filtered")):
        external = each.out(udp("10.0.0.3", 2000, REMOTES[0], 53))[UDP].sport
        each.into(udp(REMOTES[0], 99, OWN, external))
        each.into(udp(REMOTES[1], 53, OWN, external))
        assert list(each.seen)[-1] == leaf


def test_only_what_goes_out_keeps_a_mapping(world: World) -> None:
    external = world.out(udp("10.0.0.3", 2000, REMOTES[0], 53))[UDP].sport
    world.now += 299 * SECOND
    assert world.into(udp(REMOTES[0], 53, OWN, external)) is not None
    world.now += SECOND
    assert world.into(udp(REMOTES[0], 53, OWN, external)) is None
    world.out(echo("10.0.0.3", 77, REMOTES[0]))
    world.now += 59 * SECOND
    assert world.into(echo(REMOTES[0], 77, OWN, 0)) is not None
    world.now += SECOND
    assert world.into(echo(REMOTES[0], 77, OWN, 0)) is None


def test_connections_of_tcp_last_as_they_are_established(world: World) -> None:
    def shake(sport: int, remote: str) -> None:
        world.out(tcp("10.0.0.3", sport, remote, 80, "S"))
        world.into(tcp(remote, 80, OWN, sport, "SA"))
        world.out(tcp("10.0.0.3", sport, remote, 80, "A"))

    def alive(sport: int) -> bool:
        return any(each.inside.port == sport for each in world.made.service.read(world.now))

    world.out(tcp("10.0.0.3", 2000, REMOTES[0], 80, "S"))
    shake(2001, REMOTES[0])
    shake(2002, REMOTES[0])
    world.into(tcp(REMOTES[0], 80, OWN, 2002, "R"))
    shake(2003, REMOTES[0])
    world.out(tcp("10.0.0.3", 2003, REMOTES[0], 80, "FA"))
    world.into(tcp(REMOTES[0], 80, OWN, 2003, "FA"))
    # One of its two connections goes on.
    shake(2004, REMOTES[0])
    shake(2004, REMOTES[1])
    world.into(tcp(REMOTES[0], 80, OWN, 2004, "R"))
    world.now += 240 * SECOND - 1
    assert [alive(sport) for sport in range(2000, 2005)] == [True] * 5
    world.now += 1
    assert [alive(sport) for sport in range(2000, 2005)] == [False, True, False, False, True]
    # A reset that was none: who goes on is established again.
    world.into(tcp(REMOTES[0], 80, OWN, 2001, "R"))
    world.out(tcp("10.0.0.3", 2001, REMOTES[0], 80, "A"))
    world.now += 7439 * SECOND
    assert alive(2001) and not alive(2004)
    world.now += SECOND
    assert not alive(2001)


def test_a_connection_may_be_opened_from_outside(world: World) -> None:
    """To a mapping that is there, and also by both ends at once (RFC 5382 REQ-2)."""
    world.out(tcp("10.0.0.3", 2000, REMOTES[0], 80, "S"))
    for flags in ("S", "A"):
        assert world.into(tcp(REMOTES[1], 999, OWN, 2000, flags)) is not None
        world.out(tcp("10.0.0.3", 2000, REMOTES[1], 999, "SA"))
    assert world.into(tcp(REMOTES[0], 80, OWN, 2000, "S")) is not None
    assert world.into(tcp(REMOTES[0], 80, OWN, 2010, "S")) is None


def test_a_mapping_does_not_inherit_the_connections_of_the_one_before() -> None:
    """The port goes to another endpoint, whose connection to the same host is established by itself."""
    made = made_of()
    hour = 3600 * SECOND

    def shake(host: str, time: int) -> None:
        ran(made.left, tcp(host, 2000, REMOTES[0], 80, "S"), time)
        ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "SA"), time)
        ran(made.left, tcp(host, 2000, REMOTES[0], 80, "A"), time)

    shake("10.0.0.3", NOW)
    ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "A"), NOW + 2 * hour)  # keeps the connection, and not the mapping
    later = NOW + 7440 * SECOND
    shake("10.0.0.4", later)
    assert {str(each.inside.address) for each in made.service.read(later + 2 * hour)} == {"10.0.0.4"}


def test_a_mapping_does_not_inherit_the_peers_of_the_one_before() -> None:
    made = made_of(filtering="address-dependent")
    for flags in ("S", "A"):
        ran(made.left, tcp("10.0.0.3", 2000, REMOTES[0], 80, flags))
        ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "A"))
    ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "R"))
    later = NOW + 240 * SECOND
    assert ran(made.left, tcp("10.0.0.4", 2000, REMOTES[1], 80, "S"), later)[1][TCP].sport == 2000
    assert ran(made.right, tcp(REMOTES[1], 80, OWN, 2000, "SA"), later)[0] == "to left"
    assert ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "A"), later)[0] == "napt.receive drops napt-filtered"


def test_mappings_expire_although_the_clock_was_set_back() -> None:
    made = made_of()
    hour = 3600 * SECOND
    ran(made.left, udp("10.0.0.3", 2000, REMOTES[0], 53), NOW)
    leaves = [ran(made.right, udp(REMOTES[0], 53, OWN, 2000), NOW - hour + s * SECOND)[0] for s in (0, 299, 300)]
    assert leaves == ["to left", "to left", "napt.receive drops napt-no-mapping"]


def test_ports_that_are_all_taken_are_counted() -> None:
    made = made_of(ports=(2000, 2003))
    for number, host in enumerate(list(HOSTS)[:3]):
        leaf = made.left.run(raw(Ether(dst=LEFT, src=HOST) / udp(host, 2000, REMOTES[0], 53)), timestamp=NOW)[0]
        assert leaf == ("to right" if number < 2 else "napt.send drops napt-ports-exhausted")
    assert {each.external for each in made.service.read(NOW)} == {2000, 2002}
    for layer in (tcp("10.0.0.4", 2000, REMOTES[0], 53), udp("10.0.0.4", 2001, REMOTES[0], 53)):
        assert made.left.run(raw(Ether(dst=LEFT, src=HOST) / layer), timestamp=NOW)[0] == "to right"
    later = NOW + 300 * SECOND
    assert (
        made.left.run(raw(Ether(dst=LEFT, src=HOST) / udp("10.0.0.4", 2000, REMOTES[0], 53)), timestamp=later)[0]
        == "to right"
    )


@pytest.mark.parametrize(("full", "key"), [("evict", "evicted"), ("refuse", "table-full")])
def test_a_full_table_evicts_or_refuses_and_counts_it(full: str, key: str) -> None:
    made = made_of(capacity=16, full=full)
    leaves = []
    for number in range(17):
        data = raw(Ether(dst=LEFT, src=HOST) / udp("10.0.0.3", 2000 + number, REMOTES[0], 53))
        leaves.append(made.left.run(data, timestamp=NOW + number)[0])
    assert leaves == ["to right"] * 16 + ["to right" if full == "evict" else "napt.send drops napt-table-full"]
    assert made.service.account()[key] == 1
    ports = {each.external for each in made.service.read(NOW + 20)}
    assert ports == set(range(2001, 2017) if full == "evict" else range(2000, 2016))
    back = raw(Ether(dst=RIGHT, src=GATEWAY) / udp(REMOTES[0], 53, OWN, 2000))
    assert made.right.run(back, timestamp=NOW + 20)[0] == (
        "napt.receive drops napt-no-mapping" if full == "evict" else "to left"
    )
